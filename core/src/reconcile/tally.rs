//! One look at the fleet: which places there are, which shards still need one,
//! and what follows.

use super::{Action, Desired, Observed, Phase, StopCause, WorkerView};
use crate::id::WorkerId;
use crate::tick::Tick;

pub(super) struct Tally<'a> {
    desired: &'a Desired,
    /// Free shards, less those that children were started for just now.
    free: u32,
    /// Those that children which run are about to take, or that one gives back
    /// for its own next run.
    spoken_for: u32,
    /// Of these, those that one gives back for its own next run.
    given_back: u32,
    /// Children whose process group is not gone, and those started now.
    running: u32,
    /// Places that an operator stopped: no other process is started for them.
    stopped: u32,
    /// The shards that they can hold.
    places: u32,
    /// What those children had that wait for their next run.
    waiting: u32,
    /// Some child is on its way up or down, or has places that it will fill.
    moving: bool,
    pub(super) actions: Vec<Action>,
}

impl<'a> Tally<'a> {
    /// Counts what runs, and stops what must not.
    pub(super) fn of(desired: &'a Desired, observed: &Observed<'_>, now: Tick) -> Self {
        let mut tally = Self {
            desired,
            free: observed.uncovered,
            spoken_for: 0,
            given_back: 0,
            running: 0,
            stopped: 0,
            places: 0,
            waiting: 0,
            moving: false,
            actions: Vec::new(),
        };
        for (worker, view) in observed.workers {
            if runs(view.phase) || on_its_way(view.phase) {
                tally.running += 1;
            }
            match view.phase {
                Phase::Short { .. } | Phase::Idle { .. } | Phase::Full | Phase::Lapsed { .. } => {
                    match tally.must_stop(worker, view, observed, now) {
                        Some(cause) => {
                            tally.stop(worker, cause);
                            // It comes back for what it holds.
                            if matches!(cause, StopCause::Unwell(_)) {
                                tally.count(view, now);
                            }
                            if cause == StopCause::NeverRegistered {
                                tally.waiting += view.capacity;
                            }
                        }
                        None => tally.count(view, now),
                    }
                }
                Phase::Restarting => {
                    tally.places += view.capacity;
                    let given_back = view.capacity.saturating_sub(view.holding);
                    tally.spoken_for += given_back;
                    tally.given_back += given_back;
                    tally.moving = true;
                }
                Phase::Stopping => {
                    tally.waiting += view.capacity;
                    tally.moving = true;
                }
                Phase::BackingOff { until } if until > now => tally.waiting += view.capacity,
                Phase::Halted => tally.waiting += view.capacity,
                // A number that is configured no more takes nobody's place, or
                // those that are left could not be started.
                Phase::Stopped if worker.index().is_some_and(|index| index < desired.max_workers) => {
                    tally.stopped += 1;
                }
                Phase::BackingOff { .. } | Phase::Returning | Phase::Stopped => {}
            }
        }
        tally
    }

    fn must_stop(
        &self,
        worker: &WorkerId,
        view: &WorkerView,
        observed: &Observed<'_>,
        now: Tick,
    ) -> Option<StopCause> {
        let late = |since: Tick| view.holding == 0 && now >= since + self.desired.register_within;
        match view.phase {
            _ if observed.lapsed.contains(worker) => Some(StopCause::LeaseLapsed),
            Phase::Lapsed { .. } => None,
            // It would take the shards of the next step, and be full too soon.
            _ if self.desired.rescaling && view.holding == 0 && view.capacity < self.most_each() => {
                Some(StopCause::Surplus)
            }
            _ if observed.may_restart && observed.unwell.contains_key(worker) => {
                observed.unwell.get(worker).copied().map(StopCause::Unwell)
            }
            Phase::Short { since } if late(since) => Some(StopCause::NeverRegistered),
            Phase::Idle { since } if late(since) => Some(StopCause::Surplus),
            Phase::Short { .. }
            | Phase::Idle { .. }
            | Phase::Full
            | Phase::Stopping
            | Phase::Restarting
            | Phase::Returning
            | Phase::BackingOff { .. }
            | Phase::Halted
            | Phase::Stopped => None,
        }
    }

    /// Counts a child that goes on running.
    fn count(&mut self, view: &WorkerView, now: Tick) {
        let stale =
            matches!(view.phase, Phase::Short { since } if now >= since + self.desired.register_within);
        if view.passes || stale {
            self.places += view.holding;
            return;
        }
        self.places += view.capacity;
        let about_to_take = match view.phase {
            Phase::Short { .. } => view.capacity.saturating_sub(view.holding),
            // What it lost is not free; what it has given up since, it takes.
            Phase::Lapsed { lost } => view.capacity.saturating_sub(view.holding + lost),
            Phase::Idle { .. }
            | Phase::Full
            | Phase::Stopping
            | Phase::Restarting
            | Phase::Returning
            | Phase::BackingOff { .. }
            | Phase::Halted
            | Phase::Stopped => return,
        };
        self.spoken_for += about_to_take;
        self.moving = true;
    }

    /// What those that wait keep from others: no more than is really missing.
    fn reserve(&self) -> u32 {
        self.waiting.min(self.desired.shards.saturating_sub(self.places))
    }

    /// Free shards that no child is about to take.
    pub(super) fn need(&self) -> u32 {
        self.free.saturating_sub(self.spoken_for)
    }

    /// Free shards for one whose next run is due: not those that another one
    /// has given back for its own.
    pub(super) fn left_to_return(&self) -> u32 {
        self.free.saturating_sub(self.given_back)
    }

    /// Those that new places may be opened for.
    pub(super) fn open(&self) -> u32 {
        self.need().saturating_sub(self.reserve())
    }

    pub(super) fn has_room_for_a_process(&self) -> bool {
        self.running.saturating_add(self.stopped) < self.desired.max_workers
    }

    /// Starts a child, if there is anything for it. `own` shards are due to it
    /// whoever else waits.
    pub(super) fn start(&mut self, worker: &WorkerId, own: u32) {
        let share = own.max(self.open());
        if share == 0 || !self.has_room_for_a_process() {
            return;
        }
        let provided = self.places.saturating_add(self.reserve());
        let shards = if self.desired.rescaling {
            self.most_each()
        } else {
            share
                .max(self.desired.shards.saturating_sub(provided))
                .min(self.most_each())
        };
        self.free = self.free.saturating_sub(shards);
        self.places += shards;
        self.running += 1;
        self.actions.push(Action::Start {
            worker: worker.clone(),
            shards,
        });
    }

    pub(super) fn stop(&mut self, worker: &WorkerId, cause: StopCause) {
        self.actions.push(Action::Stop {
            worker: worker.clone(),
            cause,
        });
    }

    /// The child that has to make room for a larger run of its own: shards are
    /// left, and no further process may be started for them.
    pub(super) fn to_be_restarted_larger<'b>(&self, observed: &Observed<'b>) -> Option<&'b WorkerId> {
        let stuck = self.open() > 0 && self.desired.max_workers > 0 && !self.has_room_for_a_process();
        if !stuck || self.moving || !self.actions.is_empty() {
            return None;
        }
        let small = |view: &WorkerView| runs(view.phase) && !view.passes && view.capacity < self.most_each();
        observed
            .workers
            .iter()
            .filter(|(_, view)| small(view))
            .min_by_key(|(_, view)| (view.capacity, view.holding))
            .map(|(worker, _)| worker)
    }

    /// The child that holds least, if more run than are needed and the others
    /// can hold what it holds.
    pub(super) fn one_too_many<'b>(&self, observed: &Observed<'b>) -> Option<&'b WorkerId> {
        let quiet = observed.uncovered == 0 && observed.whole && observed.may_restart;
        if !quiet || self.desired.rescaling || self.moving || !self.actions.is_empty() {
            return None;
        }
        let running = || observed.workers.iter().rev().filter(|(_, view)| runs(view.phase));
        let (worker, least) = running().min_by_key(|(_, view)| view.holding)?;
        let others = running().filter(|(other, _)| *other != worker);
        let beyond_the_limit = self.running > self.desired.max_workers;
        let room: u32 = others
            .map(|(_, view)| match view.passes {
                true => view.holding,
                // A process too many must go, even if another has to be
                // restarted larger for it.
                false if beyond_the_limit => view.capacity.max(self.most_each()),
                false => view.capacity,
            })
            .sum();
        let too_many = self.running > self.desired.enough_workers();
        // One that holds nothing and may run has its time: it may yet be needed.
        let has_time = least.holding == 0 && !beyond_the_limit;
        (too_many && !has_time && room >= self.desired.shards).then_some(worker)
    }

    fn most_each(&self) -> u32 {
        self.desired.shards_per_worker.max(1)
    }
}

/// Whether it runs, and nobody told it to stop.
fn runs(phase: Phase) -> bool {
    matches!(phase, Phase::Short { .. } | Phase::Idle { .. } | Phase::Full)
}

/// Whether it has a process that was told to stop, or may be soon.
fn on_its_way(phase: Phase) -> bool {
    matches!(phase, Phase::Stopping | Phase::Restarting | Phase::Lapsed { .. })
}
