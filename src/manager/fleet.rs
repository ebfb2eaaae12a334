//! The fleet's state, and every decision about it. Synchronous: it is changed
//! in turns by the owner, and by beats, under one short lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shardman_core::brake::{Brake, HostSigns};
use shardman_core::identify::{IDENTIFY_GAP, IdentifyLine, Permit, USE_WITHIN};
use shardman_core::lease::{Holder, LeaseRecord, LeaseTable};
use shardman_core::ledger::Ledger;
use shardman_core::reconcile::{Reconciler, StopCause};
use shardman_core::rescale::Rescale;
use shardman_core::resume::ResumeBook;
use shardman_core::rolling::Rolling;
use shardman_core::{Epoch, Plan, SessionId, ShardId, Tick, WorkerId};
use tokio::sync::oneshot;
use tracing::info;

use super::alert::{Alert, AlertKind, Ground};
use super::handle::{Caller, DisconnectError, IdentifyError};
use super::request::{Answer, Request};
use super::settings::Settings;
use crate::clock::Clock;
use crate::store::{DiscordFacts, HaltRecord, Saved, Write};
use crate::supervisor::Processes;

mod assigned;
mod beat;
mod brake;
mod connect;
mod count;
mod dice;
mod discord;
mod durable;
mod ended;
mod halt;
mod health;
mod places;
mod pool;
mod reload;
mod rescale;
mod rolling;
mod starts;
mod stopped;
mod tally;
mod timeline;
mod unregistered;
mod workers;

use assigned::Assigning;
use count::FirstPlan;
pub(super) use count::{Counting, LOOK_EVERY};
pub(super) use dice::Dice;
use health::Health;
pub(super) use rescale::Told;
pub(super) use starts::Starts;
pub(super) use tally::{Counts, Tally};
pub(super) use timeline::Note;
pub(super) use workers::{Run, Worker};

/// Something to do once the writes of a turn are durable.
#[derive(Debug)]
pub(super) enum Effect {
    Start {
        worker: WorkerId,
        shards: u32,
        /// What it is given, where it does not ask.
        assigned: Vec<(ShardId, SessionId)>,
        credential: String,
    },
    Adopt {
        worker: WorkerId,
    },
    /// The rest of a child whose leader died while no manager ran.
    Bury {
        worker: WorkerId,
    },
    Stop {
        worker: WorkerId,
        cause: StopCause,
    },
    Alert(Alert),
    /// An alert that is void if its ground is gone before the turn is over.
    AlertOn(Ground, Alert),
}

#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) settings: Arc<Settings>,
    clock: Clock,
    dice: Dice,
    pub(super) table: LeaseTable,
    pub(super) line: IdentifyLine,
    resume: ResumeBook,
    pub(super) discord: Option<DiscordFacts>,
    /// Why Discord cannot be asked, while it cannot.
    pub(super) discord_trouble: Option<String>,
    /// A plan of an earlier run, for when Discord cannot be asked.
    fallback_plan: Option<Plan>,
    /// The plan: the shards that are live, or should be. The lease table's may
    /// have more, which stand by.
    pub(super) live: Plan,
    rescale: Option<Rescale>,
    /// When it last went on.
    rescale_since: Tick,
    pub(super) counting: Counting,
    started: Tick,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    waiters: BTreeMap<ShardId, oneshot::Sender<Result<Permit, IdentifyError>>>,
    pub(super) stopping: bool,
    halted: Option<HaltRecord>,
    /// The planned restart that runs, or the last one.
    pub(super) rolling: Option<Rolling>,
    rolling_unsaved: bool,
    pub(super) starts: Starts,
    /// Why the disk takes no writes, while it does not.
    pub(super) store_trouble: Option<String>,
    unflushed_counts: bool,
    flush_at: Option<Tick>,
    changed: bool,
    reconciler: Reconciler,
    assigning: Assigning,
    /// Holds back kills for lapsed leases.
    pub(super) brake: Brake,
    host_signs: HostSigns,
    health: Health,
    writes: Vec<Write>,
    answers: Vec<Answer>,
    effects: Vec<Effect>,
    notes: timeline::Notes,
    pub(super) tally: Tally,
}

/// What a turn leaves to be done: first made durable, then answered, then
/// acted upon.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) writes: Vec<Write>,
    pub(super) answers: Vec<Answer>,
    pub(super) effects: Vec<Effect>,
    /// What it did, to be told.
    pub(super) notes: Vec<Note>,
}

impl Fleet {
    /// The fleet as the last manager left it.
    pub(super) fn restore(
        settings: Arc<Settings>,
        clock: Clock,
        dice: Dice,
        processes: &dyn Processes,
        saved: Saved,
    ) -> Self {
        let now = clock.now();
        let wall = clock.wall_ms();
        // Somebody may have identified a moment before the last manager ended;
        // where it crashed, a permit may still be on its way to its use.
        let open_from = match (saved.next_epoch <= Epoch(1), saved.leases.is_empty()) {
            (true, _) => now,
            (false, true) => now + IDENTIFY_GAP,
            (false, false) => now + USE_WITHIN + IDENTIFY_GAP,
        };
        let max_concurrency = saved.discord.as_ref().map_or(1, |facts| facts.max_concurrency);
        let mut line = IdentifyLine::new(max_concurrency, open_from);
        let left = |record: &LeaseRecord| Duration::from_millis(record.identify_at_ms.saturating_sub(wall));
        for record in saved.leases.iter().filter(|record| record.identify_at_ms > wall) {
            if record.assigned {
                line.begin(record.shard, now + left(record));
            } else {
                line.restore_reservation(record.shard, now + left(record));
            }
        }
        let plan = FirstPlan::of(&settings, &saved);
        let starts = Starts::restore(
            Ledger::restore(saved.starts, wall),
            saved.leases.iter().map(|record| record.shard),
        );
        let mut writes = Vec::new();
        if saved.plan.as_ref() != Some(&plan.live) && !plan.live.is_empty() {
            writes.push(Write::Plan(plan.live.clone()));
        }
        if saved.chosen != plan.counting.chosen {
            writes.push(Write::Chosen(None));
        }
        if saved.rescale.is_some() && plan.rescale.is_none() && !plan.live.is_empty() {
            writes.push(Write::Rescale(None));
        }
        let ttl = settings.max_seconds;
        let resume = if settings.forget_resume_points {
            BTreeMap::default()
        } else {
            saved.resume
        };
        let mut fleet = Self {
            table: LeaseTable::restore(plan.held(), ttl, saved.next_epoch, saved.leases, left, now),
            line,
            resume: ResumeBook::restore(resume),
            discord: saved.discord,
            discord_trouble: None,
            fallback_plan: plan.fallback,
            live: plan.live,
            rescale: plan.rescale,
            rescale_since: now,
            counting: plan.counting,
            started: now,
            workers: BTreeMap::new(),
            waiters: BTreeMap::new(),
            stopping: false,
            halted: saved.halt,
            rolling: saved.rolling.map(Rolling::restore),
            rolling_unsaved: false,
            starts,
            store_trouble: None,
            unflushed_counts: false,
            flush_at: None,
            changed: true,
            reconciler: Reconciler::default(),
            assigning: Assigning::default(),
            brake: brake::new(&settings),
            host_signs: HostSigns::default(),
            health: Health::new(&settings),
            writes,
            answers: Vec::new(),
            effects: Vec::new(),
            notes: timeline::Notes::default(),
            tally: Tally::default(),
            settings,
            clock,
            dice,
        };
        fleet.restore_workers(saved.workers, processes, now);
        fleet.restore_stopped(saved.stopped, now);
        fleet
    }

    /// Whether a beat has left something for the owner to do.
    pub(super) fn wants_a_turn(&self) -> bool {
        self.changed
    }

    /// One turn: what was asked, then what is due.
    pub(super) fn turn(&mut self, requests: Vec<Request>, now: Tick) -> Turn {
        self.changed = false;
        for request in requests {
            self.handle(request, now);
        }
        self.table.handle_timeout(now);
        self.follow_leases(now);
        self.look_for_due(now);
        self.advance_rescale(now);
        self.grant_permits(now);
        self.roll(now);
        self.look_after_health(now);
        self.reconcile(now);
        self.flush(now);
        Turn {
            writes: std::mem::take(&mut self.writes),
            answers: std::mem::take(&mut self.answers),
            effects: std::mem::take(&mut self.effects),
            notes: self.notes.take(),
        }
    }

    /// When the next turn is due although nothing happens.
    pub(super) fn poll_timeout(&self, now: Tick) -> Option<Tick> {
        let line = if self.starts_free() > 0 && self.halted.is_none() {
            let shares = self.shares();
            let may = |shard| {
                shares
                    .spender(shard)
                    .is_none_or(|spender| shares.left(&spender) > 0)
            };
            self.line.poll_timeout(now, may)
        } else {
            None
        };
        [
            self.table.poll_timeout(),
            line,
            self.reconcile_timeout(now),
            self.rolling
                .as_ref()
                .and_then(|rolling| rolling.poll_timeout(now)),
            self.starts_timeout(now),
            self.brake.poll_timeout(now),
            self.next_step_due(now),
            self.assigned_timeout(now),
            self.health.poll_timeout(),
            self.flush_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How long a waiting shard is likely to wait yet.
    pub(super) fn identify_wait(&mut self, session: SessionId, now: Tick) -> Duration {
        match self
            .table
            .by_session(&Holder::External, session)
            .map(|(shard, _)| shard)
        {
            Some(shard) => self.line.wait(shard, now),
            None => Duration::ZERO,
        }
    }

    fn handle(&mut self, request: Request, now: Tick) {
        match request {
            Request::Connect { request, reply } => match self.connect(&request, now) {
                Ok((grant, connection)) => {
                    self.answers.push(Answer::Connect {
                        grant,
                        connection,
                        reply,
                    });
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::Disconnect {
                caller,
                session,
                reply,
            } => match self.table.release(&holder(&caller), session, now) {
                Ok(shard) => {
                    info!(shard.id = %shard, "{} was given back", self.name(shard));
                    self.answers.push(Answer::Disconnect { reply });
                }
                Err(_) => match self.give_up(&caller, session) {
                    Some(shard) => {
                        info!(shard.id = %shard, "shard {shard} was given up by the worker that had lost it");
                        self.answers.push(Answer::Disconnect { reply });
                    }
                    None => drop(reply.send(Err(DisconnectError::UnknownSession))),
                },
            },
            Request::Identify {
                caller,
                session,
                reply,
            } => {
                match self.ask_permit(&caller, session, now) {
                    // An earlier call of the same holder is answered no more.
                    Ok(shard) => drop(self.waiters.insert(shard, reply)),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Request::Rescale {
                target,
                memory,
                reply,
            } => self.rescale_asked(target, memory, reply, now),
            Request::Worker(event) => self.worker_event(event, now),
            Request::In(_, request) => self.handle(*request, now),
            Request::Discord(news) => self.discord_news(news, now),
            Request::Stop => self.stop_all(),
            Request::Restart { request, reply } => match self.restart(&request, now) {
                Ok(begins) => self.answers.push(Answer::Restart { begins, reply }),
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::HoldRestart { hold, reply } => match self.hold_restart(hold) {
                Ok(()) => self.answers.push(Answer::Restart { begins: false, reply }),
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::CancelRestart { reply } => match self.cancel_restart() {
                Ok(()) => self.answers.push(Answer::Restart { begins: false, reply }),
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::Want {
                worker,
                wanted,
                reply,
            } => match self.want_worker(&worker, wanted, now) {
                Ok(()) => self.answers.push(Answer::Restart { begins: false, reply }),
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::SpendReserve => self.release_reserve(),
            Request::Reload {
                settings,
                changes,
                reply,
            } => drop(reply.send(self.reload(settings, &changes, now))),
            Request::Resume { reply } => {
                let resumed = self.resume_fleet(now);
                self.answers.push(Answer::Resume { resumed, reply });
            }
        }
    }
}

pub(super) fn holder(caller: &Caller) -> Holder {
    match caller {
        Caller::External | Caller::Operator => Holder::External,
        Caller::Child { worker, .. } => Holder::Child(worker.clone()),
    }
}
