//! The number of shards, and how it changes while the fleet runs.

use std::time::Duration;

use shardman_core::count::{self, Bot, Question};
use shardman_core::lease::Beaten;
use shardman_core::rescale::{Observed, Progress, Rescale, Role};
use shardman_core::wire::{Directive, PlanReport, PlanView, RescaleView, ShardState};
use shardman_core::{Plan, ShardId, Tick};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::{Alert, AlertKind, Effect, Fleet};
use crate::manager::handle::RescaleError;
use crate::manager::request::Answer;
use crate::manager::settings::{Count, RescaleMode, Settings};
use crate::store::{ChosenCount, Saved, Write};

/// How often a holder beats while a rescale is under way, in seconds: it hears
/// of each phase with the next answer.
const HEARTBEAT: f64 = 1.0;

/// How often one looks whether another number is due.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The plan to start with, a rescale that it needs, and a plan to fall back on
/// while Discord cannot be asked. A fleet that runs keeps its plan; one that
/// stopped takes the number that is wanted now.
pub(super) struct FirstPlan {
    pub(super) live: Plan,
    pub(super) rescale: Option<Rescale>,
    pub(super) fallback: Option<Plan>,
}

impl FirstPlan {
    pub(super) fn of(settings: &Settings, saved: &Saved) -> Self {
        let max_shards = settings.max_shards();
        // An operator's word holds until MAX_SHARDS says something new.
        let chosen = saved.chosen.filter(|chosen| chosen.max_shards == max_shards);
        let wanted = chosen.map(|chosen| chosen.total).or(max_shards);
        let runs = !saved.leases.is_empty() || saved.rescale.is_some();
        match (&saved.plan, wanted) {
            (Some(plan), wanted) if runs => {
                let under_way = saved.rescale.clone();
                let goes_on = under_way.filter(|rescale| wanted.is_none_or(|total| total == rescale.target));
                let rescale = goes_on.or_else(|| {
                    let total = wanted.filter(|total| refused_at_once(saved, *total).is_none())?;
                    Rescale::begin(plan, total, format!("MAX_SHARDS is {total}"))
                });
                Self::new(plan.clone(), rescale)
            }
            (_, Some(total)) => Self::new(Plan::of_total(total), None),
            (plan, None) => Self {
                fallback: plan.clone(),
                ..Self::new(Plan::default(), None)
            },
        }
    }

    fn new(live: Plan, rescale: Option<Rescale>) -> Self {
        Self {
            live,
            rescale,
            fallback: None,
        }
    }

    /// The shards that may be held.
    pub(super) fn held(&self) -> Plan {
        held_plan(&self.live, self.rescale.as_ref())
    }
}

/// Why a number is no good, as far as one knows before anybody has beaten.
fn refused_at_once(saved: &Saved, total: u32) -> Option<String> {
    let bot = Bot {
        recommended: saved.discord.as_ref().map(|facts| facts.recommended_shards),
        max_concurrency: saved.discord.as_ref().map_or(1, |facts| facts.max_concurrency),
        ..Bot::default()
    };
    bot.refuses(total)
        .inspect(|reason| warn!("MAX_SHARDS is {total}, and the running shards stay: {reason}"))
}

fn held_plan(live: &Plan, rescale: Option<&Rescale>) -> Plan {
    rescale.map_or_else(|| live.clone(), |rescale| rescale.held_plan(live))
}

/// What a beat is answered with, beyond yes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::manager) struct Told {
    pub(in crate::manager) directive: Directive,
    /// Seconds until the next beat, if sooner than usual.
    pub(in crate::manager) heartbeat: Option<f64>,
}

impl Fleet {
    /// What the holder of a shard is to do.
    pub(super) fn told(&self, beaten: Beaten) -> Told {
        let role = self.rescale.as_ref().map(|rescale| rescale.role(beaten.shard));
        let standing_by = || {
            let lease = self.table.lease(beaten.shard);
            lease.is_some_and(|lease| lease.figures.state == Some(ShardState::StandingBy))
        };
        let directive = match role {
            _ if beaten.drain => Directive::Drain,
            Some(Role::StandBy) => Directive::StandBy,
            Some(Role::Live) | None if standing_by() => Directive::GoLive,
            Some(Role::Live) | None => Directive::CarryOn,
        };
        Told {
            directive,
            heartbeat: (role.is_some() || beaten.drain).then_some(HEARTBEAT),
        }
    }

    /// An operator asks for another number of shards.
    pub(super) fn rescale_asked(
        &mut self,
        target: u32,
        memory: Option<(u64, u64)>,
        reply: oneshot::Sender<Result<PlanReport, RescaleError>>,
        now: Tick,
    ) {
        if let Some(reason) = self.waits_for_discord().or_else(|| self.store_trouble.clone()) {
            drop(reply.send(Err(RescaleError::Unavailable { reason })));
            return;
        }
        let report = self.price(target, memory);
        if !report.refusals.is_empty() {
            drop(reply.send(Err(RescaleError::Refused(report.refusals.join("; ")))));
            return;
        }
        let before = (self.rescale.clone(), self.chosen);
        self.begin_rescale(target, "an operator asked for it".to_owned(), now);
        self.choose(target);
        self.answers.push(Answer::Rescale {
            before: Box::new(before),
            report,
            reply,
        });
    }

    /// From now on this is the number, whatever Discord recommends.
    fn choose(&mut self, total: u32) {
        let chosen = ChosenCount {
            total,
            max_shards: self.settings.max_shards(),
        };
        self.writes.push(Write::Chosen(Some(chosen)));
        self.chosen = Some(chosen);
    }

    fn begin_rescale(&mut self, target: u32, cause: String, now: Tick) {
        self.rescale = Rescale::begin(&self.live, target, cause);
        match &self.rescale {
            Some(rescale) => info!(
                "rescale to {target} shards in {} steps: {}",
                rescale.steps, rescale.cause
            ),
            None => info!("the {target} shards that run stay"),
        }
        self.writes.push(Write::Rescale(self.rescale.clone()));
        self.proposal = None;
        self.refused_with = None;
        self.rescale_since = now;
        self.replan(now);
    }

    /// The beginning of a rescale did not become durable: it never was.
    pub(super) fn undo_rescale(&mut self, before: (Option<Rescale>, Option<ChosenCount>), now: Tick) {
        (self.rescale, self.chosen) = before;
        self.replan(now);
    }

    /// Lets the lease table know which shards may be held.
    fn replan(&mut self, now: Tick) {
        let plan = held_plan(&self.live, self.rescale.as_ref());
        for shard in self.table.plan().without(&plan).iter() {
            self.line.leave(shard);
        }
        self.table.set_plan(plan, now);
        self.changed = true;
    }

    /// Takes on a plan at once: nothing runs yet.
    pub(super) fn adopt_plan(&mut self, plan: Plan, now: Tick) {
        info!("planned: {} shards", plan.len());
        self.writes.push(Write::Plan(plan.clone()));
        self.live = plan;
        self.replan(now);
    }

    /// Goes on with a rescale as far as the holders are.
    pub(super) fn advance_rescale(&mut self, now: Tick) {
        while let Some(rescale) = &mut self.rescale {
            let waited = now.since(self.rescale_since);
            let table = &self.table;
            let progress = rescale.advance(&mut self.live, |shard| Observed::of(table, shard, now), waited);
            match progress {
                Progress::Waiting => break,
                Progress::Changed | Progress::Replaced => {
                    let (done, steps) = (rescale.done, rescale.steps);
                    match &rescale.step {
                        Some(step) => debug!(
                            "rescale: {} for {}, in place of {}",
                            step.phase.as_str(),
                            names(&step.new),
                            names(&step.old)
                        ),
                        None => debug!("rescale to {}: {done} of {steps} steps done", rescale.target),
                    }
                    self.writes.push(Write::Rescale(Some(rescale.clone())));
                }
                Progress::Finished => {
                    info!("rescale done: {} shards run", rescale.target);
                    self.effects.push(Effect::Alert(Alert {
                        kind: AlertKind::Worker,
                        shard: None,
                        text: format!("the fleet was rescaled to {} shards", rescale.target),
                        last_beat_ms: self.clock.wall_ms(),
                    }));
                    self.writes.push(Write::Rescale(None));
                    self.rescale = None;
                }
            }
            if progress == Progress::Replaced {
                self.writes.push(Write::Plan(self.live.clone()));
            }
            self.rescale_since = now;
            self.replan(now);
        }
    }

    /// What is known of the bot.
    pub(super) fn bot(&self) -> Bot {
        let guilds = |shard: ShardId| {
            let count = self.table.lease(shard)?.figures.guild_count?;
            u64::try_from(count).ok()
        };
        let counts: Vec<u64> = self.live.iter().filter_map(guilds).collect();
        Bot {
            recommended: self.discord.as_ref().map(|facts| facts.recommended_shards),
            max_concurrency: self.line.max_concurrency(),
            guilds: counts.iter().fold(0, |sum, count| sum.saturating_add(*count)),
            most_guilds: counts.into_iter().max().unwrap_or(0),
        }
    }

    /// What a change to `target` shards costs. `memory` is that of one shard,
    /// and what the host has left.
    pub(in crate::manager) fn price(&self, target: u32, memory: Option<(u64, u64)>) -> PlanReport {
        let wall = self.clock.wall_ms();
        let halted = self.halted_because();
        count::price(&Question {
            live: &self.live,
            target,
            bot: self.bot(),
            starts: self
                .discord
                .as_ref()
                .map(|facts| (self.starts_free(), facts.starts.left(wall))),
            places: self.settings.places(target),
            memory,
            under_way: self.is_rescaling(),
            halted: halted.as_deref(),
        })
    }

    /// Why the number of shards that is configured cannot be run.
    pub(super) fn count_refused(&self) -> Option<String> {
        let Count::Fixed(total) = self.settings.count else {
            return None;
        };
        self.discord.as_ref()?;
        if self.live != Plan::of_total(total) || self.table.leases().next().is_some() {
            return None;
        }
        let reason = self.bot().refuses(total)?;
        Some(format!("MAX_SHARDS is {total}: {reason}"))
    }

    /// Discord refused a shard because of the number of shards.
    pub(super) fn number_refused(&mut self, shard: ShardId, code: u16) {
        if self.live.contains(shard) && self.refused_with.is_none() {
            self.refused_with = Some(code);
            self.look_at = None;
            self.changed = true;
        }
    }

    /// Looks whether another number of shards is due.
    pub(super) fn look_for_due(&mut self, now: Tick) {
        if self.look_at.is_some_and(|at| at > now) || self.settings.rescale == RescaleMode::Off {
            return;
        }
        self.look_at = Some(now + LOOK_EVERY);
        if self.rescale.is_some() || self.stopping || self.halted.is_some() || self.live.is_empty() {
            return;
        }
        let Some((target, why)) = self.bot().due(self.live.total(), self.refused_with) else {
            self.proposal = None;
            return;
        };
        let refusals = self.price(target, None).refusals;
        if self.settings.rescale == RescaleMode::Auto && refusals.is_empty() {
            self.begin_rescale(target, why, now);
            self.choose(target);
            return;
        }
        let mut text =
            format!("{why}: {target} shards are due; `shardman rescale {target}` starts them without a gap");
        if !refusals.is_empty() {
            text = format!("{why}: {target} shards are due, but {}", refusals.join("; "));
        }
        if self
            .proposal
            .as_ref()
            .is_none_or(|(earlier, _)| *earlier != target)
        {
            warn!("{text}");
            self.effects.push(Effect::Alert(Alert {
                kind: AlertKind::Worker,
                shard: None,
                text: text.clone(),
                last_beat_ms: self.clock.wall_ms(),
            }));
        }
        self.proposal = Some((target, text));
    }

    /// The number of shards that is aimed at.
    pub(super) fn target(&self) -> u32 {
        self.rescale
            .as_ref()
            .map_or_else(|| self.live.total(), |rescale| rescale.target)
    }

    pub(in crate::manager) fn rescale_words(&self) -> Option<String> {
        let Rescale {
            target, done, steps, ..
        } = self.rescale.as_ref()?;
        Some(format!("rescale to {target}: {done} of {steps} steps done"))
    }

    pub(super) fn is_rescaling(&self) -> bool {
        self.rescale.is_some()
    }

    pub(in crate::manager) fn plan_view(&self, now: Tick) -> PlanView {
        PlanView {
            live: count::totals(&self.live),
            rescale: self.rescale_view(now),
            proposal: self.proposal.as_ref().map(|(_, text)| text.clone()),
        }
    }

    pub(in crate::manager) fn rescale_view(&self, now: Tick) -> Option<RescaleView> {
        let rescale = self.rescale.as_ref()?;
        let step = rescale.step.as_ref();
        let shards = |plan: &Plan| plan.iter().collect::<Vec<_>>();
        Some(RescaleView {
            to: rescale.target,
            cause: rescale.cause.clone(),
            steps: rescale.steps,
            done: rescale.done,
            phase: step.map(|step| step.phase.as_str().to_owned()),
            old: step.map(|step| shards(&step.old)).unwrap_or_default(),
            new: step.map(|step| shards(&step.new)).unwrap_or_default(),
            waiting_for: rescale.waiting_for(|shard| Observed::of(&self.table, shard, now)),
        })
    }
}

/// A few names, for a log line.
fn names(plan: &Plan) -> String {
    let mut names: Vec<String> = plan.iter().take(8).map(|shard| shard.to_string()).collect();
    if plan.len() > names.len() {
        names.push(format!("{} more", plan.len() - names.len()));
    }
    names.join(", ")
}
