//! A fleet in miniature: children, externals and rescales, second by second.

use std::collections::BTreeSet;

use super::super::*;
use crate::id::ShardId;
use crate::plan::Plan;
use crate::rescale::{Observed as Seen, Phase as StepPhase, Progress, Rescale};

/// One look a second.
pub(super) const SECOND: Duration = Duration::from_secs(1);
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    Running,
    Stopping { gone: Tick },
    Resting { until: Tick },
    Halted,
}

#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) run: Run,
    pub(super) capacity: u32,
    pub(super) registers: Tick,
    /// Takes no shard, or no further one.
    pub(super) deaf: bool,
    pub(super) gives_up: bool,
    pub(super) at_once: bool,
    pub(super) short_since: Option<Tick>,
    pub(super) idle_since: Option<Tick>,
    pub(super) held: u32,
    pub(super) passes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    Child(u32),
    External,
}

#[derive(Debug)]
pub(super) struct Game {
    pub(super) now: Tick,
    pub(super) workers: u32,
    pub(super) each: u32,
    pub(super) packs: bool,
    pub(super) live: Plan,
    pub(super) rescale: Option<Rescale>,
    pub(super) leases: BTreeMap<ShardId, (Holder, Tick)>,
    pub(super) children: BTreeMap<u32, Child>,
    pub(super) externals: u32,
    /// Children take one shard, whatever they were told.
    pub(super) shy: bool,
    pub(super) reconciler: Reconciler,
    pub(super) actions: Vec<(Tick, Action)>,
}

pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap()
}

fn name(index: u32) -> WorkerId {
    WorkerId::new(&PoolId::discord(), index)
}

impl Game {
    pub(super) fn new(workers: u32, each: u32, shards: u32, packs: bool) -> Self {
        Self {
            now: Tick(0),
            workers,
            each,
            packs,
            live: Plan::of_total(shards),
            rescale: None,
            leases: BTreeMap::new(),
            children: BTreeMap::new(),
            externals: 0,
            shy: false,
            reconciler: Reconciler::default(),
            actions: Vec::new(),
        }
    }

    pub(super) fn plan(&self) -> Plan {
        let rescale = self.rescale.as_ref();
        rescale.map_or_else(|| self.live.clone(), |rescale| rescale.held_plan(&self.live))
    }

    pub(super) fn free(&self) -> BTreeSet<ShardId> {
        self.plan()
            .iter()
            .filter(|shard| !self.leases.contains_key(shard))
            .collect()
    }

    pub(super) fn holding(&self, index: u32) -> u32 {
        let own = |(holder, _): &&(Holder, Tick)| *holder == Holder::Child(index);
        count(self.leases.values().filter(own).count())
    }

    fn take(&mut self, holder: Holder, most: u32) {
        for shard in self.free().into_iter().take(most as usize) {
            self.leases.insert(shard, (holder, self.now));
        }
    }

    pub(super) fn end(&mut self, index: u32, run: Run) {
        self.leases
            .retain(|_, (holder, _)| *holder != Holder::Child(index));
        self.children.get_mut(&index).unwrap().run = run;
    }

    pub(super) fn second(&mut self) {
        self.now = self.now + SECOND;
        let now = self.now;
        let plan = self.plan();
        // A shard that left the plan is drained in a moment.
        self.leases.retain(|shard, _| plan.contains(*shard));
        for index in self.children.keys().copied().collect::<Vec<_>>() {
            let child = &self.children[&index];
            match child.run {
                Run::Stopping { gone } if gone <= now => {
                    self.end(index, Run::Resting { until: now });
                    let child = self.children.get_mut(&index).unwrap();
                    if child.gives_up {
                        child.capacity = 0;
                    }
                }
                Run::Running if !child.deaf && child.registers <= now => {
                    let most = if self.shy { 1 } else { child.capacity };
                    let spare = most.saturating_sub(self.holding(index));
                    self.take(Holder::Child(index), spare);
                }
                Run::Running | Run::Stopping { .. } | Run::Resting { .. } | Run::Halted => {}
            }
        }
        let by_externals = self
            .leases
            .values()
            .filter(|(holder, _)| *holder == Holder::External);
        let spare = self.externals.saturating_sub(count(by_externals.count()));
        self.take(Holder::External, spare);
        self.advance();
        self.look();
    }

    /// A rescale goes on as far as its holders are: live three seconds after
    /// they took the shard.
    fn advance(&mut self) {
        while let Some(mut rescale) = self.rescale.take() {
            let going_live = rescale
                .step
                .as_ref()
                .is_some_and(|step| step.phase != StepPhase::StandBy);
            let seen = |shard: ShardId| match self.leases.get(&shard) {
                None => Seen::Free,
                Some((_, since)) if self.now < *since + 3 * SECOND => Seen::Away,
                Some(_) if going_live || self.live.contains(shard) => Seen::Live,
                Some(_) => Seen::StandingBy,
            };
            let mut live = self.live.clone();
            let progress = rescale.advance(&mut live, seen, |_| false);
            self.live = live;
            if progress != Progress::Finished {
                self.rescale = Some(rescale);
            }
            if matches!(progress, Progress::Waiting | Progress::Finished) {
                break;
            }
        }
    }

    fn views(&mut self) -> BTreeMap<WorkerId, WorkerView> {
        let (now, some_free, rescaling) = (self.now, !self.free().is_empty(), self.rescale.is_some());
        let held: BTreeMap<u32, u32> = self
            .children
            .keys()
            .map(|index| (*index, self.holding(*index)))
            .collect();
        let view = |(index, child): (&u32, &mut Child)| {
            let holding = held[index];
            let short = child.run == Run::Running && holding < child.capacity;
            let since = |wanted: bool, since: Option<Tick>| wanted.then(|| since.unwrap_or(now));
            child.short_since = since(short && some_free, child.short_since);
            child.idle_since = since(short && !some_free && !rescaling, child.idle_since);
            let late = child
                .short_since
                .is_some_and(|since| now >= since + REGISTER_WITHIN);
            child.passes = holding <= child.held && (child.passes || late && holding > 0);
            child.held = holding;
            let phase = match (child.run, child.short_since, child.idle_since) {
                (Run::Running, Some(since), _) => Phase::Short { since },
                (Run::Running, None, Some(since)) => Phase::Idle { since },
                (Run::Running, None, None) => Phase::Full,
                (Run::Stopping { .. }, ..) if child.at_once => Phase::Restarting,
                (Run::Resting { .. }, ..) if child.at_once => Phase::Returning,
                (Run::Stopping { .. }, ..) => Phase::Stopping,
                (Run::Resting { until }, ..) => Phase::BackingOff { until },
                (Run::Halted, ..) => Phase::Halted,
            };
            let view = WorkerView {
                phase,
                capacity: child.capacity,
                holding,
                passes: child.passes,
            };
            (name(*index), view)
        };
        self.children.iter_mut().map(view).collect()
    }

    fn look(&mut self) {
        let views = self.views();
        let plan = self.plan();
        let external = |shard: &ShardId| matches!(self.leases.get(shard), Some((Holder::External, _)));
        let externals = count(plan.iter().filter(external).count());
        let beside = count(
            plan.without(&self.live).len()
                + self.leases.keys().filter(|shard| !plan.contains(**shard)).count(),
        );
        let target = self.rescale.as_ref().map_or(0, |rescale| rescale.target);
        let planned = count(plan.len());
        let desired = Desired {
            pool: PoolId::discord(),
            max_workers: self.workers.min(planned) + beside.div_ceil(self.each),
            shards_per_worker: self.each,
            shards: planned.max(target) - externals,
            rescaling: self.rescale.is_some(),
            packs: self.packs,
            register_within: REGISTER_WITHIN,
        };
        let observed = Observed {
            workers: &views,
            lapsed: &[],
            unwell: &BTreeMap::new(),
            uncovered: count(self.free().len()),
            whole: self.free().is_empty(),
            may_restart: true,
        };
        for action in self.reconciler.poll(&desired, &observed, self.now) {
            self.actions.push((self.now, action.clone()));
            match action {
                Action::Start { worker, shards } => {
                    assert!(
                        (1..=self.each).contains(&shards),
                        "{worker} is started for {shards}"
                    );
                    let index = (0..).find(|index| name(*index) == worker).unwrap();
                    let child = Child {
                        run: Run::Running,
                        capacity: shards,
                        registers: self.now + 2 * SECOND,
                        deaf: false,
                        gives_up: false,
                        at_once: false,
                        short_since: Some(self.now),
                        idle_since: None,
                        held: 0,
                        passes: false,
                    };
                    let earlier = self.children.insert(index, child);
                    let rested = |child: &Child| matches!(child.run, Run::Resting { .. });
                    assert!(earlier.as_ref().is_none_or(rested), "{worker} ran: {earlier:?}");
                }
                Action::Stop { worker, cause } => {
                    let (_, child) = self
                        .children
                        .iter_mut()
                        .find(|(index, _)| name(**index) == worker)
                        .unwrap();
                    assert_eq!(child.run, Run::Running, "{worker} is stopped: {cause:?}");
                    child.run = Run::Stopping {
                        gone: self.now + 2 * SECOND,
                    };
                    child.gives_up = matches!(cause, StopCause::Surplus | StopCause::Retired);
                    child.at_once = cause == StopCause::Room;
                }
            }
        }
        let limit = desired.max_workers.max(self.running_before(&views));
        assert!(self.running() <= limit, "{} run, {limit} may", self.running());
    }

    fn running_before(&self, views: &BTreeMap<WorkerId, WorkerView>) -> u32 {
        let had = |view: &&WorkerView| {
            !matches!(
                view.phase,
                Phase::BackingOff { .. } | Phase::Returning | Phase::Halted
            )
        };
        count(views.values().filter(had).count())
    }

    pub(super) fn running(&self) -> u32 {
        let runs = |child: &&Child| matches!(child.run, Run::Running | Run::Stopping { .. });
        count(self.children.values().filter(runs).count())
    }
}
