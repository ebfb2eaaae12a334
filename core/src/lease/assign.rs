//! Shards that are given to children, rather than asked for, and who has which.

use std::time::Duration;

use super::{Claim, ClaimError, LeaseTable};
use crate::id::{Epoch, ShardId, WorkerId};
use crate::tick::Tick;

impl LeaseTable {
    /// All free shards, the lowest first.
    pub fn free(&self) -> impl Iterator<Item = ShardId> {
        self.free.iter().copied()
    }

    /// Leases a free shard to a child that knows nothing of it: the lease lasts
    /// as long as the child's process group, with no beat. After `wait` the
    /// child counts as one that serves.
    pub fn assign(
        &mut self,
        shard: ShardId,
        claim: Claim,
        wait: Duration,
        now: Tick,
    ) -> Result<Epoch, ClaimError> {
        if !self.free.contains(&shard) {
            return Err(ClaimError::NoShardFree);
        }
        Ok(self.grant(shard, claim, wait, true, now))
    }

    /// The shards that a child holds now.
    pub fn held_by(&self, worker: &WorkerId) -> Vec<ShardId> {
        self.leases()
            .filter(|(_, lease)| lease.holder.child() == Some(worker))
            .map(|(shard, _)| shard)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Holder, LeaseEffect, LeaseRecord};
    use super::*;
    use crate::id::{PoolId, SessionId};
    use crate::plan::Plan;

    const WAIT: Duration = Duration::from_secs(10);

    fn worker() -> WorkerId {
        WorkerId::new(&PoolId::discord(), 0)
    }

    #[test]
    fn an_assigned_shard_needs_no_beat_and_serves_once_it_has_had_its_time() {
        let mut table = LeaseTable::new(Plan::of_total(2), Duration::from_secs(60), Epoch(1));
        let shard = ShardId::new(1, 2).unwrap();
        let claim = |bits| Claim {
            holder: Holder::Child(worker()),
            session: SessionId::from_random(bits),
            key: None,
        };
        assert_eq!(table.assign(shard, claim(1), WAIT, Tick(0)), Ok(Epoch(1)));
        assert_eq!(
            table.assign(shard, claim(2), WAIT, Tick(0)),
            Err(ClaimError::NoShardFree)
        );
        table.handle_timeout(Tick(10_000));
        assert!(!table.lease(shard).unwrap().heard);
        for minute in 1..10 {
            let now = Tick(minute * 60_000);
            table.handle_timeout(now);
            assert!(table.lease(shard).unwrap().heard);
            assert!(
                table.poll_timeout().is_some_and(|at| at > now),
                "it does not spin"
            );
        }
        assert_eq!(table.take_effects(), []);
        assert_eq!(table.free().count(), 1);
        assert_eq!(table.worker_gone(&worker(), Tick(600_000)), [shard]);
        assert!(matches!(table.take_effects()[..], [LeaseEffect::Ended { .. }]));
        assert_eq!(table.free().count(), 2);
    }

    #[test]
    fn the_next_manager_keeps_it_as_long() {
        let shard = ShardId::new(0, 1).unwrap();
        let record = LeaseRecord {
            shard,
            session: SessionId::from_random(1),
            epoch: Epoch(7),
            holder: Holder::Child(worker()),
            key: None,
            identify_at_ms: 0,
            ttl_ms: 60_000,
            assigned: true,
        };
        let (plan, ttl) = (Plan::of_total(1), Duration::from_secs(60));
        let mut table = LeaseTable::restore(plan, ttl, Epoch(1), vec![record], |_| Duration::ZERO, Tick(0));
        assert!(table.lease(shard).unwrap().heard);
        table.handle_timeout(Tick(3_600_000));
        assert!(table.lease(shard).is_some());
    }
}
