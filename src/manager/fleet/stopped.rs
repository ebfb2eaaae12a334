//! Workers that an operator stopped: they are not started again, by this
//! manager or by the next, until one wants them to run.

use std::collections::BTreeMap;

use shardman_core::reconcile::StopCause;
use shardman_core::restart::RestartRecord;
use shardman_core::timeline::{Kind, Subject};
use shardman_core::{Tick, WorkerId};
use tracing::info;

use super::{Fleet, Run, Worker};
use crate::manager::restarts::RestartError;
use crate::manager::settings::Count;
use crate::store::{StoppedRecord, WorkerRecord, Write};

/// Stopped workers that are named in one line.
const NAMED: usize = 4;

impl Fleet {
    /// An operator wants a worker to run, or to stop and stay so. What is so
    /// already stays as it is.
    pub(super) fn want_worker(&mut self, name: &str, wanted: bool, now: Tick) -> Result<(), RestartError> {
        if self.stopping {
            let reason = "the manager is shutting down".to_owned();
            return Err(RestartError::Unavailable { reason });
        }
        let worker = self.workers.keys().find(|known| known.as_str() == name);
        let worker = worker.cloned().ok_or(RestartError::UnknownWorker)?;
        let run = self.workers.get(&worker).map(|entry| entry.run);
        match run {
            Some(Run::Running) | None if wanted => {}
            Some(Run::Stopping) if wanted => self.wanted_again(&worker),
            Some(_) if wanted => self.start_soon(&worker, now),
            _ if self.stays_stopped(&worker) => {}
            _ => self.stop_for_good(&worker),
        }
        self.changed = true;
        Ok(())
    }

    fn stop_for_good(&mut self, worker: &WorkerId) {
        let Some(entry) = self.workers.get_mut(worker) else {
            return;
        };
        let run = entry.run;
        let record = StoppedRecord {
            at_ms: self.clock.wall_ms(),
            shards: entry.record.shards,
        };
        entry.restarts_at_once = false;
        match run {
            Run::Running => {}
            // It comes back no more, whatever it was told to stop for.
            Run::Stopping => entry.stopped_for = Some(StopCause::Operator),
            Run::BackingOff { .. } | Run::Halted | Run::Resting | Run::Stopped => entry.run = Run::Stopped,
        }
        // Durable before the process is told, so that no manager starts it anew.
        self.writes.push(Write::Stopped(worker.clone(), Some(record)));
        match run {
            Run::Running => self.stop(worker.clone(), StopCause::Operator),
            Run::Stopping => self.note_stop(worker, StopCause::Operator),
            Run::BackingOff { .. } | Run::Halted | Run::Resting | Run::Stopped => {
                if run == Run::Resting {
                    self.writes.push(Write::Rest(worker.clone(), None));
                }
                self.tell_stopped(worker);
            }
        }
    }

    /// Its process group is gone.
    pub(super) fn stopped_by_operator(&mut self, worker: &WorkerId) {
        if let Some(entry) = self.workers.get_mut(worker) {
            // Whatever it said in the end, it is no crash.
            entry.restarts = RestartRecord::default();
            entry.run = Run::Stopped;
            self.tell_stopped(worker);
        }
    }

    fn tell_stopped(&mut self, worker: &WorkerId) {
        let text = format!("{worker} is stopped by an operator");
        info!(worker.id = %worker, "worker {text}; `shardman start {worker}` starts it");
        self.note(Kind::WorkerStopped, Subject::worker(worker), text);
    }

    /// An operator wants it to run, so a next manager must not keep it stopped.
    pub(super) fn wanted_again(&mut self, worker: &WorkerId) {
        if !self.stays_stopped(worker) {
            return;
        }
        self.writes.push(Write::Stopped(worker.clone(), None));
        if let Some(entry) = self.workers.get_mut(worker)
            && entry.run == Run::Stopping
        {
            entry.stopped_for = Some(StopCause::Restart);
            entry.restarts_at_once = true;
            let text = format!("an operator starts {worker} as soon as it has stopped");
            self.note(Kind::WorkerStartAsked, Subject::worker(worker), text);
        }
    }

    /// Whether an operator stopped it, and nobody wanted it to run since.
    pub(super) fn stays_stopped(&self, worker: &WorkerId) -> bool {
        self.workers.get(worker).is_some_and(|entry| match entry.run {
            Run::Stopping => entry.stopped_for == Some(StopCause::Operator),
            Run::Stopped => true,
            Run::Running | Run::BackingOff { .. } | Run::Halted | Run::Resting => false,
        })
    }

    /// Those that operators stopped before this manager began.
    pub(super) fn restore_stopped(&mut self, stopped: BTreeMap<WorkerId, StoppedRecord>, now: Tick) {
        for (worker, stopped) in stopped {
            let has_place = self.is_discord() || self.has_place(&worker);
            if self.settings.count == Count::Nothing || !has_place {
                self.writes.push(Write::Stopped(worker, None));
                continue;
            }
            match self.workers.get_mut(&worker) {
                // The last manager died before it could tell it.
                Some(entry) if entry.run == Run::Running => self.stop(worker, StopCause::Operator),
                Some(entry) if entry.run == Run::Stopping => entry.stopped_for = Some(StopCause::Operator),
                Some(entry) => entry.run = Run::Stopped,
                None => {
                    let record = WorkerRecord {
                        worker: worker.clone(),
                        credential: String::new(),
                        shards: stopped.shards,
                        process: None,
                        condemned: Vec::new(),
                        started_at_ms: 0,
                    };
                    let mut entry = Worker::running(record, now, now);
                    entry.run = Run::Stopped;
                    self.workers.insert(worker, entry);
                }
            }
        }
    }

    /// Why shards are free, where that is so because nobody but a stopped worker
    /// has room for them.
    pub(in crate::manager) fn stopped_words(&self) -> Option<String> {
        if !self.is_discord() || self.table.free_count() == 0 {
            return None;
        }
        let stopped = self.workers.iter().filter(|(_, entry)| entry.run == Run::Stopped);
        let names: Vec<_> = stopped.map(|(worker, _)| worker.as_str()).collect();
        let more = match names.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = names.get(..NAMED).unwrap_or(&names);
        let (first, named) = (named.first()?, named.join(", "));
        let rest = if names.len() > 1 { " …" } else { "" };
        Some(format!(
            "stopped by an operator: {named}{more}; `shardman start {first}{rest}` starts what was stopped"
        ))
    }
}
