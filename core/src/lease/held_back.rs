//! Shards that are kept from others although nobody leases them: the lease of
//! a child lapsed, and its process may still run.

use std::collections::BTreeMap;

use super::LeaseTable;
use crate::id::{SessionId, ShardId, WorkerId};

/// A lapsed shard's former holder.
#[derive(Debug)]
struct Former {
    worker: WorkerId,
    /// The lease that lapsed; `None` where an earlier manager knew it.
    session: Option<SessionId>,
}

#[derive(Debug, Default)]
pub(super) struct HeldBack(BTreeMap<ShardId, Former>);

impl HeldBack {
    pub(super) fn insert(&mut self, shard: ShardId, worker: WorkerId, session: Option<SessionId>) {
        self.0.insert(shard, Former { worker, session });
    }

    pub(super) fn contains(&self, shard: ShardId) -> bool {
        self.0.contains_key(&shard)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ShardId, &WorkerId)> {
        self.0.iter().map(|(shard, former)| (*shard, &former.worker))
    }

    /// Takes out what was held back because of this child.
    pub(super) fn take_of(&mut self, worker: &WorkerId) -> Vec<ShardId> {
        let of = |(_, former): &(&ShardId, &Former)| former.worker == *worker;
        let shards: Vec<_> = self.0.iter().filter(of).map(|(shard, _)| *shard).collect();
        for shard in &shards {
            self.0.remove(shard);
        }
        shards
    }

    fn take_given_up(&mut self, worker: &WorkerId, session: SessionId) -> Option<ShardId> {
        let of =
            |(_, former): &(&ShardId, &Former)| former.worker == *worker && former.session == Some(session);
        let shard = self.0.iter().find(of).map(|(shard, _)| *shard)?;
        self.0.remove(&shard);
        Some(shard)
    }
}

impl LeaseTable {
    /// A child that lives gives back a lease that it had lost already. That is
    /// the same word as for a live lease: it has left the gateway. So its shard
    /// is free although its process runs. Nobody can say it for another child,
    /// and nobody for a lease of an earlier manager's time.
    pub fn give_up(&mut self, worker: &WorkerId, session: SessionId) -> Option<ShardId> {
        let shard = self.held_back.take_given_up(worker, session)?;
        assert!(
            !self.leases.contains_key(&shard),
            "what is held back is not leased"
        );
        self.set_free(shard);
        Some(shard)
    }
}
