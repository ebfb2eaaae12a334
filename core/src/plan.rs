//! The plan: which shards should be live now.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::ShardId;

/// The most shards a plan may hold. Far above any bot known; it bounds memory
/// against a bad setting.
pub const MAX_SHARDS: u32 = 65_536;

/// The shards that should be live now. During a rescale it may mix totals,
/// which Discord allows (Discord, "Gateway", Sharding).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plan(BTreeSet<ShardId>);

impl Plan {
    /// Every shard of one total.
    pub fn of_total(total: u32) -> Self {
        Self(ShardId::all(total.min(MAX_SHARDS)).collect())
    }

    pub fn contains(&self, shard: ShardId) -> bool {
        self.0.contains(&shard)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.0.iter().copied()
    }

    /// The total that the plan is at or on its way to; 0 for an empty plan.
    pub fn total(&self) -> u32 {
        self.0.last().map_or(0, |shard| shard.total())
    }
}
