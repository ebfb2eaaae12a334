//! How the number of shards changes while the fleet runs.

use shardman_core::count;
use shardman_core::lease::Beaten;
use shardman_core::rescale::{Observed, Progress, Rescale, Role};
use shardman_core::timeline::{Kind, Subject};
use shardman_core::wire::{Directive, PlanReport, PlanView, RescaleView, ShardState};
use shardman_core::{Plan, ShardId, Tick};
use tokio::sync::oneshot;
use tracing::{debug, info};

use super::{Counting, Fleet, Run};
use crate::manager::handle::RescaleError;
use crate::manager::request::Answer;
use crate::store::Write;

/// How often a holder beats while a rescale is under way, in seconds: it hears
/// of each phase with the next answer.
const HEARTBEAT: f64 = 1.0;

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
            Some(Role::Live) | None if self.health.asks(beaten.shard) => Directive::Reconnect,
            Some(Role::Live) | None if standing_by() => Directive::GoLive,
            Some(Role::Live) | None => Directive::CarryOn,
        };
        let concerned = |rescale: &Rescale| rescale.concerns(beaten.shard);
        let soon = beaten.drain || self.rescale.as_ref().is_some_and(concerned);
        Told {
            directive,
            heartbeat: soon.then_some(HEARTBEAT),
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
        let stopping = self.stopping.then(|| "the manager is shutting down".to_owned());
        let reason = stopping
            .or_else(|| self.waits_for_discord())
            .or_else(|| self.store_trouble.clone());
        if let Some(reason) = reason {
            drop(reply.send(Err(RescaleError::Unavailable { reason })));
            return;
        }
        let report = self.price(target, memory);
        // To ask again for what is under way is to ask how far it is.
        if self
            .rescale
            .as_ref()
            .is_some_and(|rescale| rescale.target == target)
        {
            drop(reply.send(Ok(report)));
            return;
        }
        if !report.refusals.is_empty() {
            drop(reply.send(Err(RescaleError::Refused(report.refusals.join("; ")))));
            return;
        }
        let before = (self.rescale.clone(), self.counting.clone());
        self.begin_rescale(target, "an operator asked for it".to_owned(), now);
        self.choose(target, 0);
        self.answers.push(Answer::Rescale {
            before: Box::new(before),
            report,
            reply,
        });
    }

    pub(super) fn begin_rescale(&mut self, target: u32, cause: String, now: Tick) {
        self.rescale = match &self.rescale {
            Some(under_way) => {
                under_way.instead(&self.live, target, cause, |shard| self.observed_shard(shard, now))
            }
            None => Rescale::begin(&self.live, target, cause),
        };
        match &self.rescale {
            Some(rescale) => info!(
                "rescale to {target} shards in {} steps: {}",
                rescale.steps, rescale.cause
            ),
            None => info!("the {target} shards that run stay"),
        }
        self.note_rescale();
        self.writes.push(Write::Rescale(self.rescale.clone()));
        self.counting.proposal = None;
        self.rescale_since = now;
        self.replan(now);
    }

    /// The beginning of a rescale did not become durable: it never was.
    pub(super) fn undo_rescale(&mut self, before: (Option<Rescale>, Counting), now: Tick) {
        (self.rescale, self.counting) = before;
        self.replan(now);
    }

    /// Lets the lease table know which shards may be held.
    pub(super) fn replan(&mut self, now: Tick) {
        let plan = self
            .rescale
            .as_ref()
            .map_or_else(|| self.live.clone(), |rescale| rescale.held_plan(&self.live));
        for shard in self.table.plan().without(&plan).iter() {
            self.line.leave(shard);
        }
        self.table.set_plan(plan, now);
        self.assigning.plan_changed();
        self.changed = true;
    }

    /// Takes on a plan at once: nothing runs yet.
    pub(super) fn adopt_plan(&mut self, plan: Plan, now: Tick) {
        info!("planned: {} shards", plan.len());
        let text = format!("{} shards are planned", plan.len());
        self.note(Kind::Planned, Subject::fleet(), text);
        self.writes.push(Write::Plan(plan.clone()));
        self.live = plan;
        self.replan(now);
    }

    /// Where a shard is. A holder that is being stopped is as good as gone.
    fn observed_shard(&self, shard: ShardId, now: Tick) -> Observed {
        let child = self
            .table
            .lease(shard)
            .and_then(|lease| lease.holder.child())
            .and_then(|worker| self.workers.get(worker));
        match child {
            Some(worker) if worker.run != Run::Running => Observed::Away,
            Some(_) | None => Observed::of(&self.table, shard, now),
        }
    }

    /// Whether the next holder of a shard will replay what nobody else has.
    pub(super) fn owes(&self, shard: ShardId) -> bool {
        self.resume.get(shard, self.clock.wall_ms()).is_some()
    }

    /// Goes on with a rescale as far as the holders are.
    pub(super) fn advance_rescale(&mut self, now: Tick) {
        // What was asked for in this turn may yet turn out not to be durable.
        let asked = |answer: &Answer| matches!(answer, Answer::Rescale { .. });
        if self.answers.iter().any(asked) {
            self.changed = true;
            return;
        }
        while let Some(mut rescale) = self.rescale.take() {
            let mut live = std::mem::take(&mut self.live);
            let progress = rescale.advance(
                &mut live,
                |shard| self.observed_shard(shard, now),
                |shard| self.owes(shard),
            );
            self.live = live;
            match progress {
                Progress::Waiting => {
                    self.rescale = Some(rescale);
                    break;
                }
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
                    if progress == Progress::Changed {
                        rescale.widen(&self.live, |shard| self.assigned_together(shard));
                    }
                    self.writes.push(Write::Rescale(Some(rescale.clone())));
                    self.rescale = Some(rescale);
                }
                Progress::Finished => {
                    self.writes.push(Write::Rescale(None));
                    self.rescaled(rescale.target);
                }
            }
            if progress == Progress::Replaced {
                self.writes.push(Write::Plan(self.live.clone()));
                self.note_rescale();
            }
            self.rescale_since = now;
            self.replan(now);
        }
    }

    /// A rescale between two steps goes on at once.
    pub(super) fn next_step_due(&self, now: Tick) -> Option<Tick> {
        let rescale = self.rescale.as_ref()?;
        rescale.step.is_none().then_some(now)
    }

    /// The shards that the present step waits for.
    pub(super) fn waiting_for(&self, now: Tick) -> Vec<ShardId> {
        self.rescale.as_ref().map_or_else(Vec::new, |rescale| {
            rescale.waiting_for(|shard| self.observed_shard(shard, now), |shard| self.owes(shard))
        })
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
            waits: self.waits_for_discord().filter(|_| self.live.is_empty()),
            rescale: self.rescale_view(now),
            proposal: self.counting.proposal.clone(),
        }
    }

    pub(in crate::manager) fn rescale_view(&self, now: Tick) -> Option<RescaleView> {
        let rescale = self.rescale.as_ref()?;
        let step = rescale.step.as_ref();
        let shards = |plan: &Plan| plan.iter().collect::<Vec<_>>();
        Some(RescaleView {
            from: rescale.from,
            to: rescale.target,
            cause: rescale.cause.clone(),
            steps: rescale.steps,
            done: rescale.done,
            phase: step.map(|step| step.phase.as_str().to_owned()),
            old: step.map(|step| shards(&step.old)).unwrap_or_default(),
            new: step.map(|step| shards(&step.new)).unwrap_or_default(),
            waiting_for: self.waiting_for(now),
        })
    }
}

/// A few names, for a log line.
pub(super) fn names(plan: &Plan) -> String {
    let mut names: Vec<String> = plan.iter().take(8).map(|shard| shard.to_string()).collect();
    if plan.len() > names.len() {
        names.push(format!("{} more", plan.len() - names.len()));
    }
    names.join(", ")
}
