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

    /// This plan and the other's shards.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).copied().collect())
    }

    /// This plan without the other's shards.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }

    /// The totals that are mixed here, lowest first.
    pub fn totals(&self) -> BTreeSet<u32> {
        self.0.iter().map(|shard| shard.total()).collect()
    }

    /// The highest total of the plan; 0 for an empty one.
    pub fn total(&self) -> u32 {
        self.0.last().map_or(0, |shard| shard.total())
    }
}

impl FromIterator<ShardId> for Plan {
    fn from_iter<I: IntoIterator<Item = ShardId>>(shards: I) -> Self {
        Self(shards.into_iter().collect())
    }
}
