//! What should run against what runs: the only place where it is decided that
//! a process is started or stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{PoolId, WorkerId};
use crate::tick::Tick;

#[cfg(test)]
mod tests;

/// How long a child may live without holding any shard.
pub const REGISTER_WITHIN: Duration = Duration::from_secs(60);

/// What an operator wants of one pool.
#[derive(Clone, Debug)]
pub struct Desired {
    pub pool: PoolId,
    /// The most children that may run at once.
    pub max_workers: u32,
    /// The most shards that one child takes.
    pub shards_per_worker: u32,
    /// During a rescale, how many shards there will be for children once it is
    /// through: one that is started meanwhile is made large enough for some of
    /// them. Otherwise 0.
    pub shards_to_come: u32,
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
}

/// One child, as observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerView {
    pub phase: Phase,
    /// The shards it was started for.
    pub capacity: u32,
    pub holding: u32,
}

/// Why a child is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// It held nothing for [`REGISTER_WITHIN`].
    NeverRegistered,
    /// The lease of one of its shards lapsed: frozen, deaf to us, or gone.
    LeaseLapsed,
    /// It holds nothing, and nothing is left for it to hold.
    Surplus,
    /// An operator wants its next run.
    Restart,
    /// The manager stops, and the fleet with it.
    Shutdown,
}

impl StopCause {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeverRegistered => "it held no shard in time",
            Self::LeaseLapsed => "a lease of it lapsed",
            Self::Surplus => "nothing is left for it to hold",
            Self::Restart => "it starts again at once",
            Self::Shutdown => "the fleet stops",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Start { worker: WorkerId, shards: u32 },
    Stop { worker: WorkerId, cause: StopCause },
}

/// Compares and answers with actions. `uncovered` is the number of planned
/// shards that are free; `lapsed` are the children that lost a lease.
pub fn reconcile(
    desired: &Desired,
    workers: &BTreeMap<WorkerId, WorkerView>,
    lapsed: &[WorkerId],
    uncovered: u32,
    now: Tick,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut need = uncovered;
    let mut running = 0;
    let mut places = 0;
    // First of all, so that no shard of it waits for a spare place elsewhere.
    for (worker, view) in workers.iter().filter(|(_, view)| view.phase == Phase::Returning) {
        let shards = need.min(view.capacity).min(desired.shards_per_worker.max(1));
        if shards > 0 {
            need -= shards;
            running += 1;
            places += shards;
            actions.push(Action::Start {
                worker: worker.clone(),
                shards,
            });
        }
    }
    for (worker, view) in workers {
        if !matches!(view.phase, Phase::Stopping | Phase::Returning) {
            places += view.capacity;
        }
        match view.phase {
            Phase::Short { .. } | Phase::Idle { .. } | Phase::Full if lapsed.contains(worker) => {
                running += 1;
                actions.push(Action::Stop {
                    worker: worker.clone(),
                    cause: StopCause::LeaseLapsed,
                });
            }
            Phase::Short { since } if view.holding == 0 && now >= since + REGISTER_WITHIN => {
                running += 1;
                actions.push(Action::Stop {
                    worker: worker.clone(),
                    cause: StopCause::NeverRegistered,
                });
            }
            Phase::Short { since } => {
                running += 1;
                if now < since + REGISTER_WITHIN {
                    need = need.saturating_sub(view.capacity.saturating_sub(view.holding));
                }
            }
            Phase::Idle { since } if view.holding == 0 && now >= since + REGISTER_WITHIN => {
                running += 1;
                actions.push(Action::Stop {
                    worker: worker.clone(),
                    cause: StopCause::Surplus,
                });
            }
            Phase::Idle { .. } | Phase::Full | Phase::Stopping => running += 1,
            Phase::Restarting => {
                running += 1;
                need = need.saturating_sub(view.capacity.saturating_sub(view.holding));
            }
            Phase::Returning => {}
            // Its shards wait for it: another child in its place would only
            // multiply a crash loop.
            Phase::BackingOff { until } if until > now => need = need.saturating_sub(view.capacity),
            Phase::Halted => need = need.saturating_sub(view.capacity),
            Phase::BackingOff { .. } => {}
        }
    }
    for index in 0..desired.max_workers {
        if need == 0 || running >= desired.max_workers {
            break;
        }
        let worker = WorkerId::new(&desired.pool, index);
        let startable = match workers.get(&worker).map(|view| view.phase) {
            None => true,
            Some(Phase::BackingOff { until }) => until <= now,
            Some(
                Phase::Short { .. }
                | Phase::Idle { .. }
                | Phase::Full
                | Phase::Stopping
                | Phase::Restarting
                | Phase::Returning
                | Phase::Halted,
            ) => false,
        };
        if startable {
            let to_come = desired.shards_to_come.saturating_sub(places);
            let shards = need.max(to_come).min(desired.shards_per_worker.max(1));
            need = need.saturating_sub(shards);
            places += shards;
            running += 1;
            actions.push(Action::Start { worker, shards });
        }
    }
    actions
}

/// When to compare again although nothing changed.
pub fn poll_timeout(workers: &BTreeMap<WorkerId, WorkerView>, now: Tick) -> Option<Tick> {
    workers
        .values()
        .filter_map(|view| match view.phase {
            Phase::Short { since } => Some(since + REGISTER_WITHIN),
            Phase::Idle { since } => (view.holding == 0).then(|| since + REGISTER_WITHIN),
            Phase::BackingOff { until } => Some(until),
            Phase::Full | Phase::Stopping | Phase::Restarting | Phase::Returning | Phase::Halted => None,
        })
        .filter(|at| *at > now)
        .min()
}
