//! The fleet's children, as the manager knows them.

use std::collections::BTreeMap;
use std::time::Duration;

use shardman_core::reconcile::{Phase, StopCause, WorkerView};
use shardman_core::restart::RestartRecord;
use shardman_core::timeline::{Kind, Subject};
use shardman_core::{SessionId, ShardId, Tick, WorkerId};
use tracing::{info, warn};

use super::{Effect, Fleet};
use crate::manager::handle::Caller;
use crate::manager::keys::run_of;
use crate::store::{WorkerRecord, Write};
use crate::supervisor::{self, Processes, WorkerEvent};

/// When a start that could not be made durable is tried again.
const RETRY_START: Duration = Duration::from_secs(5);

/// Whether a child's process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Run {
    Running,
    Stopping,
    BackingOff {
        until: Tick,
    },
    Halted,
    /// It has done its work.
    Resting,
    /// An operator stopped it.
    Stopped,
}

/// One place for a child, over all its runs.
#[derive(Debug)]
pub(in crate::manager) struct Worker {
    pub(in crate::manager) record: WorkerRecord,
    pub(in crate::manager) run: Run,
    pub(in crate::manager) restarts: RestartRecord,
    pub(in crate::manager) last_exit: Option<String>,
    /// What its process printed last before that exit.
    pub(in crate::manager) last_lines: Vec<String>,
    /// Its last run ended because it was told to.
    pub(super) told_to_stop: bool,
    /// When it last identified a shard, or is to.
    pub(super) last_start: Option<Tick>,
    pub(in crate::manager) started: Tick,
    /// How long it had run before the first moment that a [`Tick`] can say: it
    /// may be older than the manager.
    pub(super) lived: Duration,
    /// Since when it holds fewer shards than it could, with one to take.
    pub(super) short_since: Option<Tick>,
    /// Since when it does, with none to take.
    pub(super) idle_since: Option<Tick>,
    /// How many shards it held at the last look.
    pub(super) held: u32,
    /// It left a free shard alone for too long, and has taken none since.
    pub(super) passes: bool,
    /// What was said when a run was stopped for holding no shard, until one
    /// holds some.
    pub(super) unregistered: Option<String>,
    /// It called `GET /connect`.
    pub(super) asked: bool,
    /// Why it was told to stop.
    pub(super) stopped_for: Option<StopCause>,
    /// Why its last run ended, for those who count.
    pub(super) ended_by: Option<&'static str>,
    /// When it is killed, once it was told to stop.
    pub(super) killed_at: Option<Tick>,
    /// Its end was asked for, and its next run is to follow at once.
    pub(super) restarts_at_once: bool,
}

impl Fleet {
    /// Takes up the children of the last manager: those that run are adopted,
    /// the rest gave their shards back by dying.
    pub(super) fn restore_workers(
        &mut self,
        records: Vec<WorkerRecord>,
        processes: &dyn Processes,
        now: Tick,
    ) {
        for mut record in records {
            let worker = record.worker.clone();
            let process = match record.process.take() {
                Some(process) => Some(process).filter(|process| processes.is_alive(process)),
                None => processes.find(&record.credential),
            };
            let left_over = process.is_none() && processes.lives(&record.credential);
            if process.is_none() && !left_over {
                let text = format!("{worker} ended while no manager ran");
                info!(worker.id = %worker, "worker {text}");
                self.note(Kind::WorkerEnded, Subject::worker(&worker), text);
                self.table.worker_gone(&worker, now);
                self.writes.push(Write::WorkerGone(worker.clone()));
                self.ended_unseen(record, now);
                continue;
            }
            for shard in &record.condemned {
                self.table.hold_back(*shard, worker.clone());
            }
            record.process = process;
            self.writes.push(Write::Worker(record.clone()));
            let uptime = self.clock.wall_ms().saturating_sub(record.started_at_ms);
            let uptime = Duration::from_millis(uptime);
            let mut entry = Worker::running(record, now - uptime, now);
            entry.lived = uptime.saturating_sub(now.since(entry.started));
            self.note_taken_up(&entry, left_over);
            if left_over {
                entry.run = Run::Stopping;
                self.effects.push(Effect::Bury {
                    worker: worker.clone(),
                });
            } else {
                self.effects.push(Effect::Adopt {
                    worker: worker.clone(),
                });
            }
            self.workers.insert(worker, entry);
        }
        self.suspect_replacements(now);
        let known: Vec<_> = self.workers.keys().cloned().collect();
        let holders: Vec<_> = self
            .table
            .leases()
            .filter_map(|(_, lease)| lease.holder.child().cloned())
            .collect();
        for holder in holders.into_iter().filter(|holder| !known.contains(holder)) {
            self.table.worker_gone(&holder, now);
        }
        self.follow_leases(now);
    }

    pub(super) fn worker_event(&mut self, event: WorkerEvent, now: Tick) {
        match event {
            WorkerEvent::Started { worker, process } => {
                info!(worker.id = %worker, pid = process.pid, "worker {worker} runs (pid {})", process.pid);
                if let Some(entry) = self.workers.get_mut(&worker) {
                    entry.record.process = Some(process);
                    self.writes.push(Write::Worker(entry.record.clone()));
                }
            }
            WorkerEvent::NotStarted { worker, error } => {
                self.unspend_assigned(&worker);
                self.ended(&worker, &format!("could not be started: {error}"), None, &[], now);
            }
            WorkerEvent::Gone {
                worker,
                exit,
                last_lines,
            } => {
                self.ended(&worker, &exit.to_string(), Some(&exit), &last_lines, now);
            }
        }
    }

    /// A lease of this child lapsed: its shard is held back until the process
    /// group is gone, also by the next manager.
    pub(super) fn condemn(&mut self, worker: &WorkerId, shard: ShardId, now: Tick) {
        match self.workers.get_mut(worker) {
            Some(entry) if matches!(entry.run, Run::Running | Run::Stopping) => {
                entry.record.condemned.push(shard);
                self.changed = true;
                self.writes.push(Write::Worker(entry.record.clone()));
            }
            // It has no process that could still use the shard.
            Some(_) | None => drop(self.table.worker_gone(worker, now)),
        }
    }

    /// Whether a caller may hold shards: a child only while its own run lasts.
    /// A request may outlive the process that sent it. One that has not given up
    /// what it lost may be killed for it, and gets nothing more.
    pub(super) fn may_hold(&self, caller: &Caller) -> bool {
        match caller {
            Caller::External | Caller::Operator => true,
            Caller::Child { worker, run } => self.workers.get(worker).is_some_and(|entry| {
                let may = entry.run == Run::Running && entry.record.condemned.is_empty();
                may && run_of(&entry.record.credential) == Some(*run)
            }),
        }
    }

    /// Whether a child holds all that it was started for. One that asks on must
    /// not take what is meant for others.
    pub(super) fn is_full(&self, caller: &Caller) -> bool {
        let Caller::Child { worker, .. } = caller else {
            return false;
        };
        let held = self.table.children().get(worker).copied().unwrap_or(0);
        self.workers
            .get(worker)
            .is_some_and(|entry| held >= entry.record.shards)
    }

    /// Every child is told to stop; none is started any more. One that stops
    /// already keeps its time: only a second call ends it now.
    pub(super) fn stop_all(&mut self) {
        let again = std::mem::replace(&mut self.stopping, true);
        if !again {
            self.note(
                Kind::ManagerStopping,
                Subject::fleet(),
                "the manager stops, and the fleet with it",
            );
        }
        let is_asked = |worker: &WorkerId| again || self.workers[worker].run == Run::Running;
        let asked: Vec<_> = self
            .running()
            .filter(|worker| is_asked(worker))
            .cloned()
            .collect();
        for worker in asked {
            self.stop(worker, StopCause::Shutdown);
        }
    }

    /// Children whose process group is not gone.
    pub(in crate::manager) fn running(&self) -> impl Iterator<Item = &WorkerId> {
        self.workers
            .iter()
            .filter(|(_, worker)| matches!(worker.run, Run::Running | Run::Stopping))
            .map(|(id, _)| id)
    }

    /// A stop was decided, but the disk would not take the next start.
    pub(super) fn stop_undone(&mut self, worker: &WorkerId) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.run = Run::Running;
            entry.restarts_at_once = false;
            entry.stopped_for = None;
            entry.killed_at = None;
        }
    }

    /// A start was decided, but could not be made durable.
    pub(super) fn start_undone(&mut self, worker: &WorkerId, now: Tick) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.run = Run::BackingOff {
                until: now + RETRY_START,
            };
            entry.restarts_at_once = false;
        }
    }

    /// `assigned` is what it is given, where it does not ask.
    pub(super) fn start(
        &mut self,
        worker: WorkerId,
        shards: u32,
        mut assigned: Vec<(ShardId, SessionId)>,
        now: Tick,
    ) {
        assigned.extend(self.assign_slot(&worker, now));
        let credential = format!("{:016x}{:016x}", self.dice.roll(), self.dice.roll());
        let record = WorkerRecord {
            worker: worker.clone(),
            credential: supervisor::hash(credential.as_bytes()),
            shards,
            process: None,
            condemned: Vec::new(),
            started_at_ms: self.clock.wall_ms(),
        };
        self.note_start(&worker, shards);
        for (shard, _) in &assigned {
            self.note_given(*shard);
            self.health.lease_changed(*shard, now);
        }
        // The next manager must find it even if this one dies right after the
        // start, so the intent is durable first.
        self.writes.push(Write::Worker(record.clone()));
        let mut entry = Worker::running(record, now, now);
        if let Some(earlier) = self.workers.remove(&worker) {
            entry.restarts = earlier.restarts;
            entry.last_exit = earlier.last_exit;
            entry.last_lines = earlier.last_lines;
            entry.ended_by = earlier.ended_by;
            entry.unregistered = earlier.unregistered;
        }
        self.workers.insert(worker.clone(), entry);
        self.rest_is_over(&worker);
        self.effects.push(Effect::Start {
            worker,
            shards,
            assigned,
            credential,
        });
    }

    pub(super) fn stop(&mut self, worker: WorkerId, cause: StopCause) {
        self.note_stop(&worker, cause);
        let Some(entry) = self.workers.get_mut(&worker) else {
            return;
        };
        match cause {
            StopCause::Shutdown | StopCause::Restart => {}
            StopCause::Surplus | StopCause::Retired | StopCause::Room => {
                info!(worker.id = %worker, "worker {worker} is stopped: {}", cause.as_str());
                // In a commit that shows whether the disk takes the next start.
                self.writes.push(Write::Worker(entry.record.clone()));
            }
            StopCause::Unwell(_) => {
                warn!(worker.id = %worker, "worker {worker} is restarted: {}", cause.as_str());
                self.writes.push(Write::Worker(entry.record.clone()));
            }
            StopCause::NeverRegistered => self.never_registered(&worker),
            StopCause::LeaseLapsed => {
                warn!(worker.id = %worker, "worker {worker} is stopped: {}", cause.as_str());
            }
            StopCause::Operator => {
                info!(worker.id = %worker, "worker {worker} is stopped: {}", cause.as_str());
            }
        }
        let Some(entry) = self.workers.get_mut(&worker) else {
            return;
        };
        // Whatever else it is told to stop for, it comes back for an operator alone.
        let stays = entry.run == Run::Stopping && entry.stopped_for == Some(StopCause::Operator);
        entry.run = Run::Stopping;
        if !stays {
            entry.stopped_for = Some(cause);
        }
        entry.killed_at = Some(self.clock.now() + self.settings.grace);
        entry.restarts_at_once |= matches!(cause, StopCause::Room | StopCause::Unwell(_));
        self.effects.push(Effect::Stop { worker, cause });
    }
}

impl Worker {
    pub(super) fn running(record: WorkerRecord, started: Tick, now: Tick) -> Self {
        Self {
            record,
            run: Run::Running,
            restarts: RestartRecord::default(),
            last_exit: None,
            last_lines: Vec::new(),
            told_to_stop: false,
            last_start: None,
            started,
            lived: Duration::ZERO,
            short_since: Some(now),
            idle_since: None,
            held: 0,
            passes: false,
            unregistered: None,
            asked: false,
            stopped_for: None,
            ended_by: None,
            killed_at: None,
            restarts_at_once: false,
        }
    }

    /// The age of its run.
    pub(in crate::manager) fn uptime(&self, now: Tick) -> Duration {
        now.since(self.started) + self.lived
    }

    pub(super) fn view(&self, held: &BTreeMap<WorkerId, u32>) -> WorkerView {
        let lost = u32::try_from(self.record.condemned.len()).unwrap_or(u32::MAX);
        let phase = match (self.run, self.short_since, self.idle_since) {
            (Run::Running, ..) if lost > 0 => Phase::Lapsed { lost },
            (Run::Running, Some(since), _) => Phase::Short { since },
            (Run::Running, None, Some(since)) => Phase::Idle { since },
            (Run::Running, None, None) => Phase::Full,
            (Run::Stopping, ..) if self.restarts_at_once => Phase::Restarting,
            (Run::BackingOff { .. }, ..) if self.restarts_at_once => Phase::Returning,
            (Run::Stopping, ..) => Phase::Stopping,
            (Run::BackingOff { until }, ..) => Phase::BackingOff { until },
            (Run::Halted | Run::Resting, ..) => Phase::Halted,
            (Run::Stopped, ..) => Phase::Stopped,
        };
        let holding = held.get(&self.record.worker).copied().unwrap_or(0);
        // Only it is sure to come back to its place.
        let returns = self.stopped_for == Some(StopCause::NeverRegistered);
        WorkerView {
            phase,
            capacity: if phase == Phase::Stopping && !returns {
                0
            } else {
                self.record.shards
            },
            holding,
            passes: self.passes,
        }
    }
}
