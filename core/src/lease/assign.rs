//! Leases of children that know nothing of leases: shards that are given, rather
//! than asked for, and what others ask of a table that is one of several.

use std::time::Duration;

use super::{Claim, ClaimError, LeaseTable};
use crate::id::{Epoch, SessionId, ShardId, WorkerId};
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

    /// A child runs: more will not be heard of what is assigned to it.
    pub fn runs(&mut self, worker: &WorkerId, now: Tick) {
        for shard in self.held_by(worker) {
            if let Some(lease) = self.leases.get_mut(&shard).filter(|lease| lease.assigned) {
                lease.heard = true;
                lease.last_beat = now;
            }
        }
    }

    /// The shards that a child holds now.
    pub fn held_by(&self, worker: &WorkerId) -> Vec<ShardId> {
        self.leases()
            .filter(|(_, lease)| lease.holder.child() == Some(worker))
            .map(|(shard, _)| shard)
            .collect()
    }

    /// Whether this session has a lease here.
    pub fn knows(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Whether this shard may be handed out.
    pub fn is_free(&self, shard: ShardId) -> bool {
        self.free.contains(&shard)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Holder, LeaseEffect, LeaseRecord};
    use super::*;
    use crate::id::PoolId;
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
