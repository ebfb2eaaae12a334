//! What should run against what runs: the only place where it is decided that
//! a process is started or stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::health::Unwell;
use crate::id::{PoolId, WorkerId};
use crate::tick::Tick;
use tally::Tally;

#[cfg(test)]
mod played;
mod tally;
#[cfg(test)]
mod tests;

/// How long a child may live without holding any shard, unless told otherwise.
pub const REGISTER_WITHIN: Duration = Duration::from_secs(60);

/// How long a child must have been one too many before it is stopped.
pub const RETIRE_AFTER: Duration = Duration::from_secs(10);

/// What an operator wants of one pool.
#[derive(Clone, Debug)]
pub struct Desired {
    pub pool: PoolId,
    /// The most children that may run at once.
    pub max_workers: u32,
    /// The most shards that one child takes.
    pub shards_per_worker: u32,
    /// The shards for children in all: what is planned, and what a rescale
    /// will plan, less what externals hold.
    pub shards: u32,
    /// The number of shards changes: a child that is started meanwhile gets all
    /// the room that one may have, for the steps to come.
    pub rescaling: bool,
    /// Whether children are sure to take what is free while they have a place
    /// for it. Then no more of them run than the shards need.
    pub packs: bool,
    /// How long a child may live without holding any shard.
    pub register_within: Duration,
}

impl Desired {
    /// When more children run than these, one may be too many.
    pub fn enough_workers(&self) -> u32 {
        match self.packs {
            true => self
                .max_workers
                .min(self.shards.div_ceil(self.shards_per_worker.max(1))),
            false => self.max_workers,
        }
    }
}

/// Where a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It runs, and since then it holds fewer shards than it could.
    Short { since: Tick },
    /// It runs, holds fewer shards than it could, and since then none is free.
    Idle { since: Tick },
    /// It runs and holds all it was started for.
    Full,
    /// It runs, a lease of it lapsed, and it waits for its turn to be stopped or
    /// gives up what it lost: so many shards are held back until then.
    Lapsed { lost: u32 },
    /// It was told to stop, or ended and its process group is not gone yet.
    Stopping,
    /// The same, to make room for its next run: what it gives back waits for that.
    Restarting,
    /// It is gone, and its next run is due before anything else.
    Returning,
    /// It is gone and may be started again from then on.
    BackingOff { until: Tick },
    /// It is gone and is not started again by itself.
    Halted,
    /// It is gone because an operator stopped it, until one starts it.
    Stopped,
}

/// One child, as observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerView {
    pub phase: Phase,
    /// The shards it was started for; 0 for a place that was given up, or that
    /// a child which is told to stop may not come back to.
    pub capacity: u32,
    pub holding: u32,
    /// It left a free shard alone for [`Desired::register_within`] when it last could
    /// take one: its free places count for nothing.
    pub passes: bool,
}

/// The fleet, as observed.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    pub workers: &'a BTreeMap<WorkerId, WorkerView>,
    /// The children that are to be stopped now because they lost a lease.
    pub lapsed: &'a [WorkerId],
    /// Those that beat and do not serve, where a new run is to cure it.
    pub unwell: &'a BTreeMap<WorkerId, Unwell>,
    /// How many planned shards are free.
    pub uncovered: u32,
    /// Every planned shard is ready, and no planned restart is under way.
    pub whole: bool,
    /// A child that is stopped now could be started again.
    pub may_restart: bool,
}

/// Why a child is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// It held nothing for [`Desired::register_within`].
    NeverRegistered,
    /// The lease of one of its shards lapsed: frozen, deaf to us, or gone.
    LeaseLapsed,
    /// It holds nothing, and nothing is left for it to hold.
    Surplus,
    /// The others have room for what it holds, and are enough.
    Retired,
    /// It was started for fewer shards than there are to hold now.
    Room,
    /// It beats and does not serve, and nothing else has helped.
    Unwell(Unwell),
    /// An operator wants its next run.
    Restart,
    /// An operator wants it to stop, and not to be started again.
    Operator,
    /// The manager stops, and the fleet with it.
    Shutdown,
}

impl StopCause {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeverRegistered => "it held no shard in time",
            Self::LeaseLapsed => "a lease of it lapsed",
            Self::Surplus => "nothing is left for it to hold",
            Self::Retired => "the other workers have room for its shards",
            Self::Room => "it starts again at once, for more shards",
            Self::Unwell(Unwell::Deaf) => "a shard of it hears nothing, however often it reconnects",
            Self::Unwell(Unwell::Overdue(_)) => "a shard of it does not get on",
            Self::Unwell(Unwell::Blocked) => "its loop is blocked",
            Self::Restart => "it starts again at once",
            Self::Operator => "an operator stops it, until `shardman start`",
            Self::Shutdown => "the fleet stops",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Start { worker: WorkerId, shards: u32 },
    Stop { worker: WorkerId, cause: StopCause },
}

/// Compares what should run with what runs.
#[derive(Debug, Default)]
pub struct Reconciler {
    /// The child that is one too many, and since when.
    spare: Option<(WorkerId, Tick)>,
}

impl Reconciler {
    /// Says what is to be started and stopped now.
    pub fn poll(&mut self, desired: &Desired, observed: &Observed<'_>, now: Tick) -> Vec<Action> {
        let mut tally = Tally::of(desired, observed, now);
        // First of all, so that no shard of it waits for a spare place elsewhere.
        for (worker, view) in with_phase(observed, |phase| phase == Phase::Returning) {
            tally.start(worker, tally.left_to_return().min(view.capacity));
        }
        // Whoever waits keeps its share from new places, not from one that has
        // waited already.
        let due = |phase| matches!(phase, Phase::BackingOff { until } if until <= now);
        for (worker, view) in with_phase(observed, due).filter(|(_, view)| view.capacity > 0) {
            tally.start(worker, tally.need().min(view.capacity));
        }
        let known = u32::try_from(observed.workers.len()).unwrap_or(u32::MAX);
        for index in 0..desired.max_workers.saturating_add(known) {
            if !tally.has_room_for_a_process() || tally.open() == 0 {
                break;
            }
            let worker = WorkerId::new(&desired.pool, index);
            let view = observed.workers.get(&worker);
            if view.is_none_or(|view| view.capacity == 0 && due(view.phase)) {
                tally.start(&worker, 0);
            }
        }
        if observed.may_restart
            && let Some(worker) = tally.to_be_restarted_larger(observed)
        {
            tally.stop(worker, StopCause::Room);
        }
        self.retire(&mut tally, observed, now);
        tally.actions
    }

    /// When to compare again although nothing changed.
    pub fn poll_timeout(
        &self,
        register_within: Duration,
        workers: &BTreeMap<WorkerId, WorkerView>,
        now: Tick,
    ) -> Option<Tick> {
        let of_workers = workers.values().filter_map(|view| match view.phase {
            Phase::Short { since } => Some(since + register_within),
            Phase::Idle { since } => (view.holding == 0).then(|| since + register_within),
            Phase::BackingOff { until } => Some(until),
            Phase::Full
            | Phase::Lapsed { .. }
            | Phase::Stopping
            | Phase::Restarting
            | Phase::Returning
            | Phase::Halted
            | Phase::Stopped => None,
        });
        let spare = self.spare.iter().map(|(_, since)| *since + RETIRE_AFTER);
        of_workers.chain(spare).filter(|at| *at > now).min()
    }

    /// Stops a child that is one too many, once it has been for a while.
    fn retire(&mut self, tally: &mut Tally<'_>, observed: &Observed<'_>, now: Tick) {
        let Some(worker) = tally.one_too_many(observed) else {
            self.spare = None;
            return;
        };
        let since = match &self.spare {
            Some((earlier, since)) if earlier == worker => *since,
            Some(_) | None => now,
        };
        self.spare = Some((worker.clone(), since));
        if now >= since + RETIRE_AFTER {
            self.spare = None;
            tally.stop(worker, StopCause::Retired);
        }
    }
}

fn with_phase<'a>(
    observed: &Observed<'a>,
    wanted: impl Fn(Phase) -> bool,
) -> impl Iterator<Item = (&'a WorkerId, &'a WorkerView)> {
    observed
        .workers
        .iter()
        .filter(move |(_, view)| wanted(view.phase))
}
