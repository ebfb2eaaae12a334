//! Looks after shards whose holders beat and do not serve: deaf ones, those
//! that do not come up, those whose holder's loop is blocked.
//!
//! Beats leave marks, in a few stores each; what follows is decided in turns,
//! for the shards that are due alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shardman_core::health::{Limits, Unwell, Watch};
use shardman_core::lease::BeatReport;
use shardman_core::wire::ShardState;
use shardman_core::{ShardId, Tick, WorkerId};

use super::Fleet;
use crate::manager::settings::Settings;

mod remedy;
mod standing;

/// How long what was done has the shard to itself before others are helped.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// When whoever has to wait for others is looked at again.
const SOON: Duration = Duration::from_secs(5);

/// A shard that is unwell, and what was done.
#[derive(Debug)]
pub(super) struct Case {
    unwell: Unwell,
    found: Tick,
    /// An operator was told.
    told: bool,
}

#[derive(Debug)]
pub(super) struct Health {
    limits: Limits,
    watches: BTreeMap<ShardId, Watch>,
    /// When a shard is looked at, at most one entry each.
    looks: BTreeSet<(Tick, ShardId)>,
    due: BTreeMap<ShardId, Tick>,
    cases: BTreeMap<ShardId, Case>,
    /// Whose holder was asked to reconnect, and when.
    asked: BTreeMap<ShardId, Tick>,
    /// What `reconcile` is to restart.
    restarts: BTreeMap<WorkerId, Unwell>,
    /// When a worker was last restarted from here.
    restarted: BTreeMap<WorkerId, Tick>,
    /// When the host was last too busy for its workers.
    starved: Option<Tick>,
    /// Why nothing is done, although something is wrong.
    held_off: Option<&'static str>,
}

/// What a beat says of the health of its shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    event_age: Option<Duration>,
    lag: Option<Duration>,
}

impl Signs {
    pub(super) fn of(report: &BeatReport) -> Self {
        let seconds =
            |value: Option<f64>| value.and_then(|value| Duration::try_from_secs_f64(value.max(0.0)).ok());
        Self {
            event_age: seconds(report.last_event_age),
            lag: seconds(report.loop_lag),
        }
    }
}

impl Health {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            limits: Limits::new(settings.max_seconds, settings.deaf),
            watches: BTreeMap::new(),
            looks: BTreeSet::new(),
            due: BTreeMap::new(),
            cases: BTreeMap::new(),
            asked: BTreeMap::new(),
            restarts: BTreeMap::new(),
            restarted: BTreeMap::new(),
            starved: None,
            held_off: None,
        }
    }

    /// When a turn has something to look at.
    pub(super) fn poll_timeout(&self) -> Option<Tick> {
        self.looks.first().map(|(at, _)| *at)
    }

    /// A lease of the shard began or ended.
    pub(super) fn lease_changed(&mut self, shard: ShardId, now: Tick) {
        self.watches
            .entry(shard)
            .or_insert_with(|| Watch::new(now))
            .lease_changed(now);
        self.cases.remove(&shard);
        self.asked.remove(&shard);
        self.look_at(shard, None);
    }

    /// Whether the holder of a shard is to reconnect.
    pub(super) fn asks(&self, shard: ShardId) -> bool {
        self.asked.contains_key(&shard) && self.watches.get(&shard).is_some_and(Watch::is_asked)
    }

    pub(super) fn take_restarts(&mut self) -> BTreeMap<WorkerId, Unwell> {
        std::mem::take(&mut self.restarts)
    }

    /// A restart from here did not happen: it may be tried again.
    pub(super) fn restart_undone(&mut self, worker: &WorkerId) {
        if let Some(at) = self.restarted.remove(worker) {
            for watch in self.watches.values_mut() {
                watch.restart_undone(at);
            }
        }
    }

    fn look_at(&mut self, shard: ShardId, at: Option<Tick>) {
        if let Some(earlier) = self.due.remove(&shard) {
            self.looks.remove(&(earlier, shard));
        }
        if let Some(at) = at {
            self.due.insert(shard, at);
            self.looks.insert((at, shard));
        }
    }
}

impl Fleet {
    /// Notes what a beat says; says whether somebody should look at once.
    pub(super) fn note_signs(&mut self, shard: ShardId, signs: Signs, state: Option<ShardState>, now: Tick) {
        let health = &mut self.health;
        let limits = health.limits;
        let watch = health.watches.entry(shard).or_insert_with(|| Watch::new(now));
        if let Some(state) = state {
            watch.goes_to(state, now);
        }
        if let Some(lag) = signs.lag {
            watch.lags(lag, &limits, now);
        }
        if let Some(age) = signs.event_age {
            watch.heard(age, &limits, now);
        }
        let blocked = watch.blocked_since(&limits, now).is_some();
        let silent = limits
            .deaf
            .is_some_and(|floor| watch.hearing.may_be_deaf(floor, now));
        let case = health.cases.get(&shard);
        let well = match case.map(|case| (case.unwell, case.found)) {
            Some((Unwell::Deaf, found)) => watch.hearing.last_event() > found,
            Some((Unwell::Overdue(_), _)) => {
                matches!(state, Some(ShardState::Ready | ShardState::StandingBy))
            }
            Some((Unwell::Blocked, _)) => !blocked,
            None => false,
        };
        let over = well.then(|| health.cases.remove(&shard)).flatten();
        let ill = blocked && !health.cases.contains_key(&shard);
        if let Some(case) = over {
            self.case_over(shard, &case);
        }
        if state.is_some() || well {
            let guilds = self
                .table
                .lease(shard)
                .and_then(|lease| lease.figures.guild_count);
            let due = self
                .health
                .watches
                .get(&shard)
                .and_then(|watch| watch.due(guilds));
            let goes_on = self.health.cases.contains_key(&shard).then_some(now + SOON);
            self.health.look_at(shard, due.into_iter().chain(goes_on).min());
            self.changed = true;
        }
        if (silent || ill) && !self.health.due.contains_key(&shard) {
            self.health.look_at(shard, Some(now));
            self.changed = true;
        }
    }

    /// Adds the manager's own stall to what others are judged by.
    pub(in crate::manager) fn forgive(&mut self, stall: Duration, now: Tick) {
        self.table.forgive(stall);
        self.brake.stalled(stall, now);
        self.health.starved = Some(now);
        for watch in self.health.watches.values_mut() {
            watch.forgive(stall, now);
        }
    }

    /// Looks at the shards whose time has come.
    pub(super) fn look_after_health(&mut self, now: Tick) {
        while let Some(&(at, shard)) = self.health.looks.first() {
            if at > now {
                return;
            }
            self.health.look_at(shard, None);
            if let Some(again) = self.look_after(shard, now) {
                self.health
                    .look_at(shard, Some(again.max(now + Duration::from_millis(1))));
            }
        }
    }
}
