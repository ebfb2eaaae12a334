//! From decisions to durable writes, and back when the disk takes none.

use std::time::Duration;

use shardman_core::lease::{EndCause, LeaseEffect, LeaseRecord, LeaseWrite};
use shardman_core::reconcile::StopCause;
use shardman_core::{ShardId, Tick, WorkerId};
use tracing::{info, warn};

use super::{Alert, AlertKind, Effect, Fleet, Ground, Turn};
use crate::manager::request::Answer;
use crate::store::Write;

/// How long changed resume points and counts may wait for company on their way
/// to the disk.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

impl Fleet {
    /// The writes of a turn did not become durable: no grant of it ever was, no
    /// start happens. Returns what is done all the same, because it needs no
    /// disk.
    pub(in crate::manager) fn undo(&mut self, turn: Turn, reason: &str, now: Tick) -> Vec<Effect> {
        let grants: Vec<_> = turn.answers.iter().filter_map(Answer::grant).collect();
        let undone: Vec<_> = grants.iter().map(|grant| grant.session).collect();
        for grant in grants {
            if grant.spent {
                self.refund_start(grant.session);
            }
            self.table.undo(grant.session, now);
        }
        for answer in turn.answers.iter().rev() {
            if let Answer::Rescale { before, .. } = answer {
                self.undo_rescale((**before).clone(), now);
            }
        }
        if turn.answers.iter().any(Answer::begins_a_restart) {
            // It is written that it never was: the disk may have it all the
            // same, and the write shows when it is well again.
            if let Some(mut rolling) = self.rolling.take() {
                rolling.cancel();
                self.writes.push(Write::Rolling(rolling.record().clone()));
            }
        }
        for answer in turn.answers {
            answer.refuse(reason, &undone);
        }
        let mut effects = Vec::new();
        let mut unstarted = Vec::new();
        for effect in turn.effects {
            match effect {
                Effect::Start { worker, assigned, .. } => {
                    for (_, session) in assigned {
                        self.refund_start(session);
                        self.table.undo(session, now);
                    }
                    self.start_undone(&worker, now);
                    unstarted.push(worker);
                }
                Effect::Stop {
                    worker,
                    cause: StopCause::Restart,
                } => self.restart_undone(&worker),
                Effect::Stop {
                    worker,
                    cause: StopCause::Retired | StopCause::Room,
                } => self.stop_undone(&worker),
                Effect::Stop {
                    worker,
                    cause: StopCause::Unwell(_),
                } => {
                    self.stop_undone(&worker);
                    self.health.restart_undone(&worker);
                }
                Effect::Alert(Alert {
                    kind: AlertKind::Connect,
                    ..
                }) => {}
                needs_no_disk @ (Effect::Adopt { .. }
                | Effect::Bury { .. }
                | Effect::Stop { .. }
                | Effect::Alert(_)
                | Effect::AlertOn(..)) => {
                    effects.push(needs_no_disk);
                }
            }
        }
        let kept: Vec<_> = turn
            .writes
            .into_iter()
            .filter_map(|write| self.keep(write, &unstarted, now))
            .collect();
        self.writes.splice(0..0, kept);
        self.follow_leases(now);
        self.changed = true;
        effects
    }

    /// A write for the next turn that can write: what ended, ended. What will
    /// be said anew is not kept, so that a long trouble piles nothing up, and a
    /// grant must never become durable after it was refused.
    fn keep(&mut self, write: Write, unstarted: &[WorkerId], now: Tick) -> Option<Write> {
        match write {
            // A lease of an earlier manager under its new number; what was
            // granted in this turn is undone and gone by now.
            Write::Lease(record) => {
                let lease = self.table.lease(record.shard);
                let same =
                    lease.is_some_and(|lease| lease.session == record.session && lease.epoch == record.epoch);
                same.then_some(Write::Lease(record))
            }
            Write::Resume(shard, _) => {
                self.resume.unsave(shard);
                self.flush_soon(now);
                None
            }
            Write::Discord(_) => {
                self.unflushed_counts = true;
                self.flush_soon(now);
                None
            }
            // What is under way now is said again; what was undone must not be.
            Write::Rescale(_) => Some(Write::Rescale(self.rescale.clone())),
            Write::Chosen(_) => Some(Write::Chosen(self.counting.chosen)),
            cancelled @ Write::Rolling(_) if self.rolling.is_none() => Some(cancelled),
            Write::Rolling(_) => {
                self.rolling_unsaved = true;
                None
            }
            Write::Starts(hour, _) => {
                self.starts.ledger.unsave(hour);
                self.flush_soon(now);
                None
            }
            Write::Worker(record) if unstarted.contains(&record.worker) => None,
            kept @ (Write::LeaseEnded(_)
            | Write::Plan(_)
            | Write::Halt(_)
            | Write::Worker(_)
            | Write::WorkerGone(_)
            | Write::Rest(..)
            | Write::Stopped(..)
            | Write::Pool(..)) => Some(kept),
        }
    }

    /// Turns what the lease table did into writes, alerts and log lines.
    pub(super) fn follow_leases(&mut self, now: Tick) {
        let wall = self.clock.wall_ms();
        for write in self.table.take_writes() {
            self.writes.push(match write {
                LeaseWrite::Granted {
                    shard,
                    session,
                    epoch,
                    holder,
                    key,
                    wait_ms,
                    ttl_ms,
                    assigned,
                } => {
                    self.tally.leases_granted += 1;
                    let identify_at_ms = if wait_ms == 0 { 0 } else { wall + wait_ms };
                    Write::Lease(LeaseRecord {
                        shard,
                        session,
                        epoch,
                        holder,
                        key,
                        identify_at_ms,
                        ttl_ms,
                        assigned,
                    })
                }
                LeaseWrite::Ended { shard, .. } => Write::LeaseEnded(shard),
            });
        }
        for LeaseEffect::Ended {
            shard,
            holder,
            cause,
            silent_ms,
            epoch,
        } in self.table.take_effects()
        {
            self.changed = true;
            self.note_lost((shard, epoch), &holder, cause, silent_ms);
            self.line.forget(shard, now);
            self.waiters.remove(&shard);
            self.tally.forget(shard);
            self.tally.lease_ended(cause);
            self.health.lease_changed(shard, now);
            if !self.table.plan().contains(shard) {
                self.resume.forget(shard);
                self.flush_soon(now);
            }
            let worker = holder.child().and_then(|worker| self.workers.get(worker));
            let told = worker.is_some_and(|worker| worker.told_to_stop);
            self.starts.lease_ended(shard, cause, told);
            match cause {
                EndCause::Released | EndCause::WorkerGone | EndCause::Undone => {}
                EndCause::OutOfPlan => {
                    info!(shard.id = %shard, "{} left the plan and its lease ended", self.name(shard));
                }
                EndCause::Lapsed => self.lapsed(shard, holder.child(), silent_ms, now),
            }
        }
    }

    fn lapsed(&mut self, shard: ShardId, child: Option<&WorkerId>, silent_ms: u64, now: Tick) {
        let (seconds, name) = (silent_ms / 1000, self.name(shard));
        warn!(shard.id = %shard, lease.silent_ms = silent_ms, "lease lost on {name}: no beat for {seconds} s");
        let text = match self.is_discord() {
            true => format!("no beat for {seconds} s"),
            false => format!("lease lost on {name}: no beat for {seconds} s"),
        };
        // One word is said for all of them, where many lapse together.
        if child.is_none() || !self.brake.is_on() {
            let alert = Alert {
                kind: AlertKind::Disconnect,
                shard: Some(shard),
                worker: child.cloned(),
                pool: (!self.is_discord()).then(|| self.settings.pool.clone()),
                text,
                last_beat_ms: self.clock.wall_ms().saturating_sub(silent_ms),
            };
            self.effects.push(match child {
                Some(_) => Effect::AlertOn(Ground::Lapse, alert),
                None => Effect::Alert(alert),
            });
        }
        if let Some(worker) = child {
            self.condemn(worker, shard, now);
        }
    }

    pub(super) fn flush_soon(&mut self, now: Tick) {
        if self.flush_at.is_none() {
            self.flush_at = Some(now + FLUSH_EVERY);
            self.changed = true;
        }
    }

    pub(super) fn flush(&mut self, now: Tick) {
        let due = self.flush_at.is_some_and(|at| at <= now);
        // Where something is written anyway, the rest rides along.
        if !due && (self.writes.is_empty() || self.flush_at.is_none()) {
            return;
        }
        self.flush_at = None;
        let points = self.resume.take_unsaved();
        self.writes.extend(
            points
                .into_iter()
                .map(|(shard, point)| Write::Resume(shard, point)),
        );
        if std::mem::take(&mut self.unflushed_counts)
            && let Some(facts) = &self.discord
        {
            self.writes.push(Write::Discord(facts.clone()));
        }
        let hours = self.starts.ledger.take_unsaved();
        self.writes.extend(
            hours
                .into_iter()
                .map(|(hour, counters)| Write::Starts(hour, counters)),
        );
    }
}
