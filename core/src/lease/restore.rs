//! A table taken up again by the next manager.

use std::time::Duration;

use super::{Figures, Lease, LeaseRecord, LeaseTable};
use crate::id::Epoch;
use crate::plan::Plan;
use crate::tick::Tick;

impl LeaseTable {
    /// The table as the last manager left it. Every lease gets its full time
    /// again, because nobody could beat while no manager listened; `wait` says
    /// what is left of a holder's wait for its identify slot.
    ///
    /// # Panics
    ///
    /// If two records name one shard or one session: the store would have
    /// broken its contract, and to go on could double a shard.
    pub fn restore(
        plan: Plan,
        ttl: Duration,
        next_epoch: Epoch,
        records: Vec<LeaseRecord>,
        wait: impl Fn(&LeaseRecord) -> Duration,
        now: Tick,
    ) -> Self {
        let newest = records
            .iter()
            .map(|record| record.epoch.next())
            .max()
            .unwrap_or_default();
        let mut table = Self::new(plan, ttl, next_epoch.max(newest));
        for record in records {
            // The holder counts on what it was told, however short the time is
            // for new leases.
            let ttl = ttl.max(Duration::from_millis(record.ttl_ms));
            let identify_at = now + wait(&record);
            let assigned = record.assigned;
            let deadline = if assigned { identify_at } else { identify_at + ttl };
            table.free.remove(&record.shard);
            let lease = Lease {
                session: record.session,
                epoch: record.epoch,
                holder: record.holder,
                key: record.key,
                granted_at: now,
                identify_at: Some(identify_at),
                last_beat: now,
                heard: assigned && identify_at <= now,
                assigned,
                beats: 0,
                ttl,
                deadline,
                leaving: false,
                unplanned_since: (!table.plan.contains(record.shard)).then_some(now),
                timer: deadline,
                figures: Figures::default(),
            };
            table.insert(record.shard, lease);
        }
        table
    }
}
