//! Leases of children that know nothing of leases, and what others ask of a
//! table that is one of several.

use std::time::Duration;

use super::{Claim, ClaimError, LeaseTable};
use crate::id::{Epoch, SessionId, ShardId, WorkerId};
use crate::tick::Tick;

impl LeaseTable {
    /// Leases a free shard to a child that knows nothing of it: the lease lasts
    /// as long as the child's process group, with no beat.
    pub fn assign(&mut self, shard: ShardId, claim: Claim, now: Tick) -> Result<Epoch, ClaimError> {
        if !self.free.contains(&shard) {
            return Err(ClaimError::NoShardFree);
        }
        Ok(self.grant(shard, claim, Duration::ZERO, true, now))
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
    use super::super::{Holder, LeaseEffect};
    use super::*;
    use crate::id::PoolId;
    use crate::plan::Plan;

    fn claim(worker: &WorkerId, bits: u128) -> Claim {
        Claim {
            holder: Holder::Child(worker.clone()),
            session: SessionId::from_random(bits),
            key: None,
        }
    }

    #[test]
    fn an_assigned_slot_is_held_without_a_beat_until_its_child_is_gone() {
        let ttl = Duration::from_secs(10);
        let mut table = LeaseTable::new(Plan::of_total(2), ttl, Epoch(1));
        let worker = WorkerId::new(&PoolId::discord(), 1);
        let slot = ShardId::new(1, 2).unwrap();
        assert_eq!(table.assign(slot, claim(&worker, 1), Tick(0)), Ok(Epoch(1)));
        assert_eq!(
            table.assign(slot, claim(&worker, 2), Tick(0)),
            Err(ClaimError::NoShardFree)
        );
        for minute in 1..=10 {
            let now = Tick(minute * 60_000);
            table.handle_timeout(now);
            assert!(
                table.poll_timeout().is_some_and(|at| at > now),
                "it does not spin"
            );
        }
        assert_eq!(table.take_effects(), []);
        assert!(!table.is_free(slot) && table.knows(SessionId::from_random(1)));
        assert_eq!(table.worker_gone(&worker, Tick(700_000)), [slot]);
        assert!(matches!(table.take_effects()[..], [LeaseEffect::Ended { .. }]));
        assert!(table.is_free(slot) && !table.knows(SessionId::from_random(1)));
    }
}
