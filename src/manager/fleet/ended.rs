//! The end of a child's run: what it says of the child, and when the next one
//! begins.

use std::time::Duration;

use shardman_core::reconcile::StopCause;
use shardman_core::restart::{RestartPolicy, RestartRecord, RestartStep};
use shardman_core::{Tick, WorkerId};
use tracing::{error, info, warn};

use super::{Alert, AlertKind, Effect, Fleet, Run};
use crate::store::Write;
use crate::supervisor::Exit;

impl Fleet {
    pub(super) fn ended(
        &mut self,
        worker: &WorkerId,
        how: &str,
        exit: Option<&Exit>,
        lines: &[String],
        now: Tick,
    ) {
        let held = self.table.worker_gone(worker, now).len();
        self.writes.push(Write::WorkerGone(worker.clone()));
        self.note_ended(worker, how, exit, (held, lines), now);
        self.tally_end(worker, exit);
        let stopping = self.stopping;
        let stopped_for = self.workers.get(worker).and_then(|entry| entry.stopped_for);
        let given_up = matches!(stopped_for, Some(StopCause::Surplus | StopCause::Retired));
        // What we decided says nothing of a new version.
        let decided = given_up
            || matches!(
                stopped_for,
                Some(StopCause::Room | StopCause::Unwell(_) | StopCause::Operator)
            );
        let told = !decided && self.rolling_ended(worker, how, lines);
        let rests = !stopping && self.rests_after(exit, stopped_for);
        let Some(entry) = self.workers.get_mut(worker) else {
            return;
        };
        let asked = stopping || entry.run == Run::Stopping && exit == Some(&Exit::Code(0));
        entry.told_to_stop = stopping || entry.run == Run::Stopping;
        entry.record.process = None;
        entry.last_exit = Some(how.to_owned());
        entry.last_lines = lines.to_vec();
        if stopped_for == Some(StopCause::Operator) && !stopping {
            self.stopped_by_operator(worker);
            return;
        }
        if entry.restarts_at_once && !stopping {
            // Whatever it said in the end, it is no crash.
            entry.restarts = RestartRecord::default();
            entry.run = Run::BackingOff { until: now };
            info!(worker.id = %worker, "worker {worker} stopped: {how}; it starts again at once");
            return;
        }
        if given_up && !stopping {
            entry.run = Run::BackingOff { until: now };
            entry.record.shards = 0;
            info!(worker.id = %worker, "worker {worker} stopped: {how}; its place is given up");
            return;
        }
        if rests {
            self.rest(worker, how, lines);
            self.note_verdict(worker, false, now);
            return;
        }
        let policy = RestartPolicy::default();
        let chance = self.dice.chance();
        let code = exit.and_then(Exit::code);
        // A run is stable from its last session start on: one that only waits
        // for its turn proves nothing, and whoever ends soon after each start
        // is in a loop, however long the line was.
        let steady = match entry.last_start {
            Some(start) => now.since(start.max(entry.started)),
            None => entry.uptime(now),
        };
        let unregistered = stopped_for == Some(StopCause::NeverRegistered);
        let uptime = if unregistered { Duration::ZERO } else { steady };
        let step = entry.restarts.on_exit(&policy, code, uptime, chance, now);
        let crash_looping = entry.restarts.exits == policy.loop_exits;
        let (run, next) = match step {
            RestartStep::StartAt(until) => {
                let pause = until.since(now);
                (
                    Run::BackingOff { until },
                    format!("starts again in {:.1} s", pause.as_secs_f64()),
                )
            }
            RestartStep::Halt => (
                Run::Halted,
                "is not started again: its configuration is wrong".to_owned(),
            ),
        };
        entry.run = run;
        self.note_verdict(worker, crash_looping, now);
        if asked {
            info!(worker.id = %worker, "worker {worker} stopped: {how}");
            return;
        }
        warn!(worker.id = %worker, "worker {worker} ended: {how}; it held {held} shards and {next}");
        for line in lines {
            warn!(worker.id = %worker, "worker {worker} said: {line}");
        }
        // A halted fleet has told why already, and so has a paused restart.
        if self.halted.is_none() && !told && !unregistered {
            self.tell_verdict(worker, crash_looping, how, lines);
        }
    }

    /// Somebody has to look at a worker that is not started again, or seldom.
    fn tell_verdict(&mut self, worker: &WorkerId, crash_looping: bool, how: &str, lines: &[String]) {
        let halted = self.workers.get(worker).map(|entry| entry.run) == Some(Run::Halted);
        let verdict = match (halted, crash_looping) {
            (true, _) => "is halted",
            (false, true) => "is crash looping",
            (false, false) => return,
        };
        error!(worker.id = %worker, "worker {worker} {verdict}: {how}");
        let kind = if halted {
            AlertKind::Misconfigured
        } else {
            AlertKind::CrashLoop
        };
        let text = format!("worker {worker} {verdict}: {how}\n{}", lines.join("\n"));
        let alert = Alert::new(kind, text, self.clock.wall_ms());
        self.effects.push(Effect::Alert(alert.of_worker(worker)));
    }
}
