//! What one fleet has done since its manager started, counted for
//! `GET /metrics`. Plain numbers under the fleet's own lock; no decision rests
//! on them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prometheus::Histogram;
use shardman_core::health::Unwell;
use shardman_core::lease::EndCause;
use shardman_core::ledger::StartCause;
use shardman_core::reconcile::StopCause;
use shardman_core::restart::EX_CONFIG;
use shardman_core::wire::ShardState;
use shardman_core::{ShardId, Tick, WorkerId};

use super::Fleet;
use crate::manager::view;
use crate::metrics;
use crate::supervisor::Exit;

/// Who asks again within this time has waited all along: a poll for a permit
/// ends after 25 seconds.
const ASKS_AGAIN: Duration = Duration::from_secs(5);

/// How often something happened, by its cause.
#[derive(Clone, Debug)]
pub(in crate::manager) struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// Every cause is there before its first time.
    fn of(causes: &[&'static str]) -> Self {
        Self(causes.iter().map(|cause| (*cause, 0)).collect())
    }

    fn add(&mut self, cause: &'static str) {
        *self.0.entry(cause).or_insert(0) += 1;
    }

    pub(in crate::manager) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(cause, count)| (*cause, *count))
    }
}

#[derive(Clone, Debug)]
pub(in crate::manager) struct Tally {
    pub(in crate::manager) leases_granted: u64,
    pub(in crate::manager) leases_ended: Counts,
    pub(in crate::manager) worker_starts: u64,
    pub(in crate::manager) worker_restarts: Counts,
    pub(in crate::manager) worker_ends: Counts,
    pub(in crate::manager) unwell: Counts,
    pub(in crate::manager) permits: u64,
    pub(in crate::manager) waits: Histogram,
    /// Who waits for a permit, since when, and when it last left the line.
    waiting: BTreeMap<ShardId, (Tick, Option<Tick>)>,
    pub(in crate::manager) starts: Counts,
    pub(in crate::manager) refunds: u64,
    pub(in crate::manager) identifies: u64,
    /// Those of them that nobody had allowed.
    pub(in crate::manager) unpermitted: u64,
    pub(in crate::manager) resumes: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            leases_granted: 0,
            leases_ended: Counts::of(&["released", "lapsed", "worker_gone", "out_of_plan", "undone"]),
            worker_starts: 0,
            worker_restarts: Counts::of(ENDS),
            worker_ends: Counts::of(ENDS),
            unwell: Counts::of(&["deaf", "stuck", "blocked"]),
            permits: 0,
            waits: metrics::permit_waits(),
            waiting: BTreeMap::new(),
            starts: Counts::of(&["first", "crash", "lapse", "restart", "session_lost", "unknown"]),
            refunds: 0,
            identifies: 0,
            unpermitted: 0,
            resumes: 0,
        }
    }
}

impl Tally {
    pub(super) fn lease_ended(&mut self, cause: EndCause) {
        self.leases_ended.add(match cause {
            EndCause::Released => "released",
            EndCause::Lapsed => "lapsed",
            EndCause::WorkerGone => "worker_gone",
            EndCause::OutOfPlan => "out_of_plan",
            EndCause::Undone => "undone",
        });
    }

    pub(super) fn unwell(&mut self, unwell: Unwell) {
        self.unwell.add(unwell_word(unwell));
    }

    /// A shard joins the line, or keeps its place in it.
    pub(super) fn asked(&mut self, shard: ShardId, now: Tick) {
        let entry = self.waiting.entry(shard).or_insert((now, None));
        if entry.1.take().is_some_and(|left| now > left + ASKS_AGAIN) {
            entry.0 = now;
        }
    }

    /// Nobody waits for its permit at this moment.
    pub(super) fn left(&mut self, shard: ShardId, now: Tick) {
        if let Some((_, left)) = self.waiting.get_mut(&shard) {
            *left = Some(now);
        }
    }

    /// Its lease is over.
    pub(super) fn forget(&mut self, shard: ShardId) {
        self.waiting.remove(&shard);
    }

    pub(super) fn permit_granted(&mut self, shard: ShardId, now: Tick) {
        self.permits += 1;
        if let Some((since, _)) = self.waiting.remove(&shard) {
            self.waits.observe(now.since(since).as_secs_f64());
        }
    }

    pub(super) fn start_spent(&mut self, cause: StartCause) {
        self.starts.add(match cause {
            StartCause::First => "first",
            StartCause::Crash => "crash",
            StartCause::Lapse => "lapse",
            StartCause::Restart => "restart",
            StartCause::SessionLost => "session_lost",
            StartCause::Unknown => "unknown",
        });
    }

    pub(super) fn state(&mut self, state: ShardState) {
        self.identifies += u64::from(state == ShardState::Identifying);
        self.resumes += u64::from(state == ShardState::Resuming);
    }
}

/// Every cause of [`end_of`].
const ENDS: &[&str] = &[
    "never_registered",
    "lease_lapsed",
    "surplus",
    "retired",
    "room",
    "deaf",
    "stuck",
    "blocked",
    "restart",
    "operator",
    "shutdown",
    "not_started",
    "exit_zero",
    "exit_config",
    "exit_nonzero",
    "signal",
    "out_of_memory",
    "unknown",
];

/// Why a run ended: what it was stopped for, else how its process ended, which
/// is `None` where there was none.
fn end_of(stopped_for: Option<StopCause>, exit: Option<&Exit>) -> &'static str {
    match stopped_for {
        Some(StopCause::NeverRegistered) => "never_registered",
        Some(StopCause::LeaseLapsed) => "lease_lapsed",
        Some(StopCause::Surplus) => "surplus",
        Some(StopCause::Retired) => "retired",
        Some(StopCause::Room) => "room",
        Some(StopCause::Unwell(unwell)) => unwell_word(unwell),
        Some(StopCause::Restart) => "restart",
        Some(StopCause::Operator) => "operator",
        Some(StopCause::Shutdown) => "shutdown",
        None => match exit {
            None => "not_started",
            Some(Exit::Code(0)) => "exit_zero",
            Some(Exit::Code(EX_CONFIG)) => "exit_config",
            Some(Exit::Code(_)) => "exit_nonzero",
            Some(Exit::Signal(_)) => "signal",
            Some(Exit::OutOfMemory) => "out_of_memory",
            Some(Exit::Unknown) => "unknown",
        },
    }
}

const fn unwell_word(unwell: Unwell) -> &'static str {
    match unwell {
        Unwell::Deaf => "deaf",
        Unwell::Overdue(_) => "stuck",
        Unwell::Blocked => "blocked",
    }
}

impl Fleet {
    /// Planned shards that serve, as [`view`] counts them.
    pub(in crate::manager) fn serving(&self, now: Tick) -> BTreeSet<ShardId> {
        view::serving(self, now).collect()
    }

    /// How many events the gateway session of each shard has had.
    pub(in crate::manager) fn sequences(&self) -> BTreeMap<ShardId, u64> {
        self.resume.sequences().collect()
    }

    /// The run of a child is over.
    pub(super) fn tally_end(&mut self, worker: &WorkerId, exit: Option<&Exit>) {
        let Some(entry) = self.workers.get_mut(worker) else {
            return;
        };
        let cause = end_of(entry.stopped_for, exit);
        entry.ended_by = Some(cause);
        self.tally.worker_ends.add(cause);
    }

    /// A child's start is durable, and it is started now.
    pub(in crate::manager) fn tally_start(&mut self, worker: &WorkerId) {
        self.tally.worker_starts += 1;
        if let Some(cause) = self.workers.get(worker).and_then(|entry| entry.ended_by) {
            self.tally.worker_restarts.add(cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_goes_on_over_polls_and_begins_anew_after_a_pause() {
        let shard = ShardId::new(0, 1).unwrap();
        let mut tally = Tally::default();
        let seconds = |seconds: u64| Tick(seconds * 1000);
        tally.asked(shard, seconds(0));
        tally.left(shard, seconds(25));
        tally.asked(shard, seconds(26));
        tally.permit_granted(shard, seconds(30));
        assert!((tally.waits.get_sample_sum() - 30.0).abs() < 1e-9);
        tally.asked(shard, seconds(100));
        tally.left(shard, seconds(101));
        tally.asked(shard, seconds(200));
        tally.permit_granted(shard, seconds(203));
        assert!((tally.waits.get_sample_sum() - 33.0).abs() < 1e-9);
        assert_eq!((tally.permits, tally.waits.get_sample_count()), (2, 2));
    }

    #[test]
    fn what_a_worker_was_stopped_for_counts_before_how_it_ended() {
        let stopped = Some(StopCause::Unwell(Unwell::Deaf));
        assert_eq!(end_of(stopped, Some(&Exit::Signal(9))), "deaf");
        assert_eq!(end_of(None, Some(&Exit::Code(78))), "exit_config");
        assert_eq!(end_of(None, Some(&Exit::Code(3))), "exit_nonzero");
        assert_eq!(end_of(None, None), "not_started");
        assert!(ENDS.contains(&end_of(stopped, None)));
    }
}
