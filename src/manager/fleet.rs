//! The fleet's state, and every decision about it. Synchronous: it is changed
//! in turns by the owner, and by beats, under one short lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shardman_core::identify::{IDENTIFY_GAP, IdentifyLine, Permit, USE_WITHIN};
use shardman_core::lease::{BeatError, BeatReport, Holder, LeaseRecord, LeaseTable};
use shardman_core::ledger::Ledger;
use shardman_core::reconcile::StopCause;
use shardman_core::resume::ResumeBook;
use shardman_core::wire::ShardState;
use shardman_core::{Epoch, Plan, SessionId, ShardId, Tick, WorkerId};
use tokio::sync::oneshot;
use tracing::{debug, info};

use super::alert::{Alert, AlertKind};
use super::handle::{Caller, DisconnectError, IdentifyError};
use super::request::{Answer, Request};
use super::settings::Settings;
use crate::clock::Clock;
use crate::store::{DiscordFacts, HaltRecord, Saved, Write};
use crate::supervisor::Processes;

mod connect;
mod discord;
mod durable;
mod halt;
mod starts;
mod workers;

pub(super) use starts::Starts;
pub(super) use workers::{Run, Worker};

/// Something to do once the writes of a turn are durable.
#[derive(Debug)]
pub(super) enum Effect {
    Start {
        worker: WorkerId,
        shards: u32,
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
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    waiters: BTreeMap<ShardId, oneshot::Sender<Result<Permit, IdentifyError>>>,
    pub(super) stopping: bool,
    halted: Option<HaltRecord>,
    pub(super) starts: Starts,
    /// Why the disk takes no writes, while it does not.
    pub(super) store_trouble: Option<String>,
    unflushed_counts: bool,
    flush_at: Option<Tick>,
    changed: bool,
    /// Children that lost a lease since the last look.
    lapsed: Vec<WorkerId>,
    writes: Vec<Write>,
    answers: Vec<Answer>,
    effects: Vec<Effect>,
}

/// What a turn leaves to be done: first made durable, then answered, then
/// acted upon.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) writes: Vec<Write>,
    pub(super) answers: Vec<Answer>,
    pub(super) effects: Vec<Effect>,
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
            line.restore_reservation(record.shard, now + left(record));
        }
        let (plan, fallback_plan) = discord::first_plan(&settings, &saved);
        let starts = Starts::restore(
            Ledger::restore(saved.starts, wall),
            saved.leases.iter().map(|record| record.shard),
        );
        let mut writes = Vec::new();
        if saved.plan.as_ref() != Some(&plan) && !plan.is_empty() {
            writes.push(Write::Plan(plan.clone()));
        }
        let ttl = settings.max_seconds;
        let resume = if settings.forget_resume_points {
            BTreeMap::default()
        } else {
            saved.resume
        };
        let mut fleet = Self {
            table: LeaseTable::restore(plan, ttl, saved.next_epoch, saved.leases, left, now),
            line,
            resume: ResumeBook::restore(resume),
            discord: saved.discord,
            discord_trouble: None,
            fallback_plan,
            workers: BTreeMap::new(),
            waiters: BTreeMap::new(),
            stopping: false,
            halted: saved.halt,
            starts,
            store_trouble: None,
            unflushed_counts: false,
            flush_at: None,
            changed: true,
            lapsed: Vec::new(),
            writes,
            answers: Vec::new(),
            effects: Vec::new(),
            settings,
            clock,
            dice,
        };
        fleet.restore_workers(saved.workers, processes, now);
        fleet
    }

    /// Keeps a lease, and notes what the beat says of the shard.
    pub(super) fn beat(
        &mut self,
        caller: &Caller,
        session: SessionId,
        mut report: BeatReport,
        now: Tick,
    ) -> Result<(), BeatError> {
        let point = report.gateway.take();
        let guild_count = report.guild_count;
        let close_code = report.close_code;
        let beaten = self.table.beat(&holder(caller), session, report, now);
        let beaten = match beaten {
            Ok(beaten) => beaten,
            Err(error) => {
                self.changed |= error == BeatError::OutOfPlan;
                return Err(error);
            }
        };
        if beaten.outdated {
            return Ok(());
        }
        if let Some((before, after)) = beaten.change {
            self.state_changed(beaten.shard, before, after, now);
        }
        if let Some(code) = close_code {
            self.connection_closed(beaten.shard, code);
        }
        if let Some(point) = point {
            self.resume
                .report(beaten.shard, point, guild_count, self.clock.wall_ms());
            self.flush_soon(now);
        }
        Ok(())
    }

    fn state_changed(&mut self, shard: ShardId, before: Option<ShardState>, after: ShardState, now: Tick) {
        self.changed = true;
        match after {
            ShardState::Identifying => {
                // A permit and a slot are spent when they are given.
                if !self.line.used(shard, now)
                    && let Some(holder) = self.table.lease(shard).map(|lease| lease.holder.clone())
                {
                    self.spend_start(shard, &holder, now, now);
                }
                self.resume.forget(shard);
            }
            // Whatever comes after IDENTIFY says at least that it was sent.
            ShardState::Ready | ShardState::Disconnected => {
                self.line.used(shard, now);
                if after == ShardState::Ready {
                    self.starts.ready(shard);
                }
            }
            ShardState::Starting | ShardState::Waiting | ShardState::Resuming | ShardState::Stopping => {}
        }
        let before = before.map_or("leased", ShardState::as_str);
        if after == ShardState::Ready {
            info!(shard.id = %shard, "shard {shard} is ready");
        } else {
            debug!(shard.id = %shard, "shard {shard} goes from {before} to {after}");
        }
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
        self.grant_permits(now);
        self.reconcile(now);
        self.flush(now);
        Turn {
            writes: std::mem::take(&mut self.writes),
            answers: std::mem::take(&mut self.answers),
            effects: std::mem::take(&mut self.effects),
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
            self.starts_timeout(now),
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
                    info!(shard.id = %shard, "shard {shard} was given back");
                    self.answers.push(Answer::Disconnect { reply });
                }
                Err(_) => drop(reply.send(Err(DisconnectError::UnknownSession))),
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
            Request::Worker(event) => self.worker_event(event, now),
            Request::Discord(news) => self.discord_news(news, now),
            Request::Stop => self.stop_all(),
            Request::SpendReserve => self.release_reserve(),
            Request::Resume { reply } => {
                let resumed = self.resume_fleet(now);
                self.answers.push(Answer::Resume { resumed, reply });
            }
        }
    }
}

fn holder(caller: &Caller) -> Holder {
    match caller {
        Caller::External | Caller::Operator => Holder::External,
        Caller::Child { worker, .. } => Holder::Child(worker.clone()),
    }
}

/// Where the fleet's chance comes from: ids, credentials, jitter.
#[derive(Clone, Debug)]
pub(super) enum Dice {
    /// The operating system.
    System,
    /// A seed, so that a test's run can be repeated.
    #[cfg(test)]
    Seeded(u64),
}

impl Dice {
    /// 64 random bits.
    fn roll(&mut self) -> u64 {
        match self {
            Self::System => getrandom::u64().expect("the operating system has random numbers"),
            // SplitMix64.
            #[cfg(test)]
            Self::Seeded(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut bits = *state;
                bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                bits ^ (bits >> 31)
            }
        }
    }

    /// Uniform in 0..1.
    fn chance(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }
}
