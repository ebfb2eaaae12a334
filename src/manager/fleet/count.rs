//! Which number of shards is run: the configured one, the one that an operator
//! asked for, or another that is due.

use std::time::Duration;

use shardman_core::count::{self, Bot, Question};
use shardman_core::rescale::{Phase, Rescale};
use shardman_core::timeline::{Kind, Subject};
use shardman_core::wire::PlanReport;
use shardman_core::{Plan, ShardId, Tick};
use tracing::{info, warn};

use super::{Alert, AlertKind, Effect, Fleet};
use crate::manager::settings::{Count, RescaleMode, Settings};
use crate::store::{ChosenCount, Saved, Write};

/// How often one looks whether another number is due.
pub(in crate::manager) const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long the holders of a fleet that runs have to say how they are, before
/// its number is changed because the configuration did.
const SETTLE: Duration = Duration::from_secs(60);

/// By itself the fleet is not rescaled more often: one rescale shows what the
/// next is worth.
const AUTO_PAUSE_MS: u64 = 6 * 60 * 60 * 1000;

/// What the fleet knows of numbers of shards, besides the one that runs.
#[derive(Clone, Debug, Default)]
pub(in crate::manager) struct Counting {
    /// What an operator asked for, or `RESCALE=auto` did.
    pub(super) chosen: Option<ChosenCount>,
    /// `MAX_SHARDS`, where a fleet that runs has another number.
    wanted: Option<u32>,
    /// Why it is not taken.
    wanted_refused: Option<String>,
    /// Another number that is due, in words.
    pub(in crate::manager) proposal: Option<String>,
    /// The number that was told last.
    told: Option<u32>,
    /// The close code with which Discord refused a number.
    refused: Option<(u16, u32)>,
    /// A number that Discord refused when it was tried.
    given_up: Option<u32>,
    look_at: Option<Tick>,
    /// The memory of one shard and what the host has left, in bytes.
    pub(in crate::manager) memory: Option<(u64, u64)>,
}

/// The plan to start with, a rescale that goes on, and a plan to fall back on
/// while Discord cannot be asked. A fleet that runs keeps its plan; one that
/// stopped takes the number that is wanted now.
pub(super) struct FirstPlan {
    pub(super) live: Plan,
    pub(super) rescale: Option<Rescale>,
    pub(super) fallback: Option<Plan>,
    pub(super) counting: Counting,
}

impl FirstPlan {
    pub(super) fn of(settings: &Settings, saved: &Saved) -> Self {
        if settings.count == Count::Nothing {
            return Self {
                live: Plan::default(),
                rescale: None,
                fallback: None,
                counting: Counting::default(),
            };
        }
        let max_shards = settings.max_shards();
        // An operator's word holds until MAX_SHARDS says something new.
        // What was said to another simulator, which is gone, says nothing of this.
        let is_new = settings.forget_resume_points && max_shards.is_none();
        let said = |chosen: &ChosenCount| !is_new && chosen.max_shards == max_shards;
        let chosen = saved.chosen.filter(said);
        let wanted = chosen.map(|chosen| chosen.total).or(max_shards);
        let runs = !saved.leases.is_empty() || (saved.rescale.is_some() && !is_new);
        let counting = Counting {
            chosen,
            ..Counting::default()
        };
        match &saved.plan {
            Some(plan) if runs => {
                let target = saved.rescale.as_ref().map(|rescale| rescale.target);
                let same = |total: u32| match target {
                    Some(target) => target == total,
                    None => *plan == Plan::of_total(total),
                };
                Self {
                    live: plan.clone(),
                    rescale: saved.rescale.clone(),
                    fallback: None,
                    counting: Counting {
                        wanted: wanted.filter(|total| !same(*total)),
                        ..counting
                    },
                }
            }
            plan => Self {
                live: wanted.map_or_else(Plan::default, Plan::of_total),
                rescale: None,
                fallback: plan.clone().filter(|_| wanted.is_none()),
                counting,
            },
        }
    }

    /// The shards that may be held.
    pub(super) fn held(&self) -> Plan {
        self.rescale
            .as_ref()
            .map_or_else(|| self.live.clone(), |rescale| rescale.held_plan(&self.live))
    }
}

impl Fleet {
    /// What is known of the bot.
    fn bot(&self) -> Bot {
        let guilds = |shard: ShardId| {
            let count = self.table.lease(shard)?.figures.guild_count?;
            u64::try_from(count).ok()
        };
        let counts: Vec<u64> = self.live.iter().filter_map(guilds).collect();
        let recommended = self.discord.as_ref().map(|facts| facts.recommended_shards);
        Bot::new(recommended, self.line.max_concurrency(), self.live.len(), &counts)
    }

    /// What is asked of a change to `target` shards. `memory` is that of one
    /// shard, and what the host has left.
    pub(in crate::manager) fn question(&self, target: u32, memory: Option<(u64, u64)>) -> Question {
        let wall = self.clock.wall_ms();
        Question {
            live: self.live.clone(),
            target,
            bot: self.bot(),
            starts: self
                .discord
                .as_ref()
                .map(|facts| (self.starts_free(), facts.starts.left(wall))),
            places: self.places(target),
            memory,
            under_way: self.is_rescaling(),
            halted: self.halted_because(),
        }
    }

    pub(super) fn price(&self, target: u32, memory: Option<(u64, u64)>) -> PlanReport {
        count::price(&self.question(target, memory))
    }

    /// From now on this is the number, whatever Discord recommends.
    pub(super) fn choose(&mut self, total: u32, auto_at_ms: u64) {
        let configured = self.settings.max_shards().or_else(|| {
            let facts = self.discord.as_ref()?;
            Some(facts.recommended_shards)
        });
        let chosen = ChosenCount {
            total,
            max_shards: self.settings.max_shards(),
            auto_at_ms,
        };
        self.set_chosen(Some(chosen).filter(|_| configured != Some(total)));
        self.counting.wanted = None;
        self.counting.wanted_refused = None;
    }

    /// `MAX_SHARDS` says something new, so an operator's earlier word ends.
    pub(super) fn want(&mut self, max_shards: Option<u32>, runs: bool) {
        self.set_chosen(None);
        let target = self.rescale.as_ref().map(|rescale| rescale.target);
        let same = |total: u32| match target {
            Some(target) => target == total,
            None => self.live == Plan::of_total(total),
        };
        self.counting.wanted = max_shards.filter(|total| runs && !same(*total));
        self.counting.wanted_refused = None;
    }

    fn set_chosen(&mut self, chosen: Option<ChosenCount>) {
        self.counting.chosen = chosen;
        self.writes.push(Write::Chosen(chosen));
    }

    /// Why the number of shards that is configured cannot be run.
    pub(super) fn count_refused(&self) -> Option<String> {
        let Count::Fixed(total) = self.settings.count else {
            return None;
        };
        // What runs, Discord has taken.
        if self.discord.is_none()
            || self.table.leases().next().is_some()
            || self.live.totals() != [total].into()
        {
            return None;
        }
        let reason = self.bot().disallows(total)?;
        Some(format!("MAX_SHARDS is {total}: {reason}"))
    }

    /// Discord refused a shard because of the number of shards.
    pub(super) fn number_refused(&mut self, shard: ShardId, code: u16, now: Tick) {
        match &self.rescale {
            Some(rescale) if rescale.brings(shard) => {
                let target = rescale.target;
                let text = format!(
                    "the rescale to {target} shards is given up: Discord refused shard {shard} (close code {code})"
                );
                self.note(Kind::RescaleGivenUp, Subject::fleet(), &text);
                self.say_plan(text);
                self.rescale = None;
                self.writes.push(Write::Rescale(None));
                self.set_chosen(None);
                self.counting.given_up = Some(target);
                self.replan(now);
            }
            Some(_) => {}
            None if self.live.contains(shard) => {
                self.counting.refused = Some((code, self.live.total()));
                self.look_soon();
            }
            None => {}
        }
    }

    /// Something changed that may make another number due.
    pub(super) fn look_soon(&mut self) {
        self.counting.look_at = None;
        self.changed = true;
    }

    /// Looks whether another number of shards is due.
    pub(super) fn look_for_due(&mut self, now: Tick) {
        if self.counting.look_at.is_some_and(|at| at > now) {
            return;
        }
        self.counting.look_at = Some(now + LOOK_EVERY);
        if self.is_rescaling() || self.stopping || self.halted.is_some() || self.live.is_empty() {
            return;
        }
        match self.counting.wanted {
            Some(total) => self.follow_configuration(total, now),
            None if self.settings.rescale == RescaleMode::Off => {}
            None => self.propose(now),
        }
    }

    /// `MAX_SHARDS` names another number than what runs.
    fn follow_configuration(&mut self, total: u32, now: Tick) {
        let heard = |shard| self.table.lease(shard).is_some_and(|lease| lease.heard);
        if !self.live.iter().all(heard) && now.since(self.started) < SETTLE {
            self.counting.look_at = Some(now + Duration::from_secs(1));
            return;
        }
        let refusals = self.price(total, self.counting.memory).refusals;
        if refusals.is_empty() {
            self.counting.wanted = None;
            self.counting.wanted_refused = None;
            self.begin_rescale(total, format!("MAX_SHARDS is {total}"), now);
        } else {
            self.counting.wanted_refused = Some(format!(
                "MAX_SHARDS is {total}, and {} run: {}",
                self.live.len(),
                refusals.join("; ")
            ));
        }
    }

    fn propose(&mut self, now: Tick) {
        let total = self.live.total();
        let refused = self.counting.refused.filter(|(_, refused)| *refused == total);
        let code = refused.map(|(code, _)| code);
        let Some((target, why)) = self.bot().due(total, code) else {
            self.counting.proposal = None;
            return;
        };
        let refusals = self.price(target, self.counting.memory).refusals;
        if refusals.is_empty() && self.may_rescale_by_itself(target, code) {
            self.begin_rescale(target, why, now);
            self.choose(target, self.clock.wall_ms());
            return;
        }
        let text = if refusals.is_empty() {
            format!("{why}: {target} shards are due; `shardman rescale {target}` starts them without a gap")
        } else {
            format!("{why}: {target} shards are due, but {}", refusals.join("; "))
        };
        if self.counting.told.replace(target) != Some(target) {
            self.note(Kind::RescaleProposed, Subject::fleet(), &text);
            self.say_plan(text.clone());
        }
        self.counting.proposal = Some(text);
    }

    fn may_rescale_by_itself(&self, target: u32, code: Option<u16>) -> bool {
        let chosen = self.counting.chosen;
        let last = chosen.map_or(0, |chosen| chosen.auto_at_ms);
        let small = target <= self.live.total().saturating_mul(2) || code == Some(4010);
        let rested = self.clock.wall_ms().saturating_sub(last) >= AUTO_PAUSE_MS;
        let fresh = self.counting.given_up != Some(target);
        self.settings.rescale == RescaleMode::Auto && small && rested && fresh
    }

    pub(super) fn say_plan(&mut self, text: String) {
        warn!("{text}");
        self.effects.push(Effect::Alert(Alert {
            kind: AlertKind::Plan,
            shard: None,
            worker: None,
            pool: None,
            text,
            last_beat_ms: self.clock.wall_ms(),
        }));
    }

    /// The change is through.
    pub(super) fn rescaled(&mut self, total: u32) {
        info!("rescale done: {total} shards run");
        let text = format!("the rescale is done: {total} shards run");
        self.note(Kind::RescaleFinished, Subject::fleet(), text);
        self.counting.refused = None;
        self.counting.proposal = None;
        self.counting.told = None;
        self.effects.push(Effect::Alert(Alert {
            kind: AlertKind::Rescaled,
            shard: None,
            worker: None,
            pool: None,
            text: format!("{total} shards run now"),
            last_beat_ms: self.clock.wall_ms(),
        }));
    }

    /// What keeps the number of shards from being the wanted one.
    pub(in crate::manager) fn count_trouble(&self) -> Option<String> {
        let Some(rescale) = &self.rescale else {
            return self.counting.wanted_refused.clone();
        };
        let now = self.clock.now();
        let waits = now.since(self.rescale_since);
        if waits < SETTLE {
            return None;
        }
        let waiting_for = self.waiting_for(now);
        if waiting_for.is_empty() {
            return None;
        }
        let phase = match rescale.step.as_ref().map(|step| step.phase) {
            Some(Phase::StandBy) => "to connect",
            Some(Phase::GoLive) => "to be live",
            Some(Phase::Drain) | None => "to leave",
        };
        let names: Vec<_> = waiting_for.iter().take(4).map(ToString::to_string).collect();
        Some(format!(
            "the rescale to {} waits {} s for {} {phase}",
            rescale.target,
            waits.as_secs(),
            names.join(", ")
        ))
    }
}
