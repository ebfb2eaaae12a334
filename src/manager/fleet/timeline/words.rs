//! The words for what the fleet notes: one function for each decision.

use std::sync::Arc;

use shardman_core::lease::{EndCause, Holder};
use shardman_core::reconcile::StopCause;
use shardman_core::rolling::Step;
use shardman_core::timeline::{Kind, Subject};
use shardman_core::wall::about;
use shardman_core::wire::ShardState;
use shardman_core::{Epoch, ShardId, Tick, WorkerId};

use super::super::rescale::names;
use super::super::{Fleet, Run, Worker};
use crate::supervisor::Exit;

impl Fleet {
    pub(in crate::manager::fleet) fn note_leased(&mut self, shard: ShardId, epoch: Epoch, holder: &Holder) {
        let resumes = self.resume.get(shard, self.clock.wall_ms()).is_some();
        let how = if resumes { ", to resume its session" } else { "" };
        let subject = Subject::lease(shard, holder, epoch);
        let Some(worker) = holder.child() else {
            let text = format!("leased to an external worker (epoch {epoch}){how}");
            return self.note(Kind::Leased, subject, text);
        };
        let started = self.notes.workers.get(worker);
        let started = started.map(|(_, number)| Arc::clone(number));
        let text = format!("leased to {worker} (epoch {epoch}){how}");
        self.note_after(Kind::Leased, subject, text, started);
        if self.notes.registered.insert(worker.clone()) {
            let text = format!("{worker} took its first shard, {shard}");
            self.note(Kind::WorkerRegistered, Subject::worker(worker), text);
        }
    }

    /// A child that is about to start holds the shard without having asked.
    pub(in crate::manager::fleet) fn note_given(&mut self, shard: ShardId) {
        let Some(lease) = self.table.lease(shard) else {
            return;
        };
        let Some(worker) = lease.holder.child() else {
            return;
        };
        let (subject, epoch) = (Subject::lease(shard, &lease.holder, lease.epoch), lease.epoch);
        let started = self.notes.workers.get(worker);
        let started = started.map(|(_, number)| Arc::clone(number));
        let text = format!("given to {worker} for its start (epoch {epoch})");
        self.note_after(Kind::Leased, subject, text, started);
    }

    pub(in crate::manager::fleet) fn note_lost(
        &mut self,
        (shard, epoch): (ShardId, Epoch),
        holder: &Holder,
        cause: EndCause,
        silent_ms: u64,
    ) {
        let name = holder.child().map_or("an external worker", WorkerId::as_str);
        let worker = holder.child().and_then(|worker| self.notes.workers.get(worker));
        let worker = worker.cloned();
        let leaves = !self.table.plan().contains(shard);
        let how = match cause {
            // It never was.
            EndCause::Undone => return,
            EndCause::Released if leaves => format!("given back by {name}: the shard left the plan"),
            EndCause::Released => format!("given back by {name}"),
            EndCause::Lapsed => format!("lost by {name}: no beat for {} s", silent_ms / 1000),
            EndCause::WorkerGone => format!("lost by {name}: {}", self.how_ended(holder.child())),
            EndCause::OutOfPlan => format!("ended for {name}: the shard left the plan"),
        };
        let because_of = match cause {
            EndCause::Released if !leaves => worker
                .filter(|(kind, _)| *kind == Kind::WorkerStopAsked)
                .map(|(_, number)| number),
            EndCause::WorkerGone => worker.map(|(_, number)| number),
            EndCause::OutOfPlan | EndCause::Released => {
                self.because_of_fleet(&[Kind::RescaleStep, Kind::RescaleFinished])
            }
            EndCause::Lapsed | EndCause::Undone => None,
        };
        self.note_after(Kind::Lost, Subject::lease(shard, holder, epoch), how, because_of);
        match (cause, holder.child()) {
            // What becomes of the worker follows from this, unless it is told to
            // stop already.
            (EndCause::Lapsed, Some(worker)) => {
                let stopping = self
                    .workers
                    .get(worker)
                    .is_some_and(|entry| entry.run == Run::Stopping);
                if let Some(lost) = self.notes.shards.get(&shard).filter(|_| !stopping) {
                    self.notes.workers.insert(worker.clone(), lost.clone());
                }
            }
            _ if leaves => drop(self.notes.shards.remove(&shard)),
            _ => {}
        }
    }

    fn how_ended(&self, worker: Option<&WorkerId>) -> String {
        match worker.and_then(|worker| self.notes.ends.get(worker)) {
            Some(how) => format!("its process {how}"),
            None => "its process is gone".to_owned(),
        }
    }

    /// A holder says that its shard is in another state.
    pub(in crate::manager::fleet) fn note_state(
        &mut self,
        shard: ShardId,
        before: Option<ShardState>,
        after: ShardState,
        closed: Option<u16>,
    ) {
        let Some(kind) = Kind::of_state(after) else { return };
        let known = self.notes.shards.contains_key(&shard);
        let how = match before {
            None if !known => " still, as its holder tells the new manager",
            Some(ShardState::Resuming) => " after RESUME",
            Some(ShardState::Identifying) => " after IDENTIFY",
            Some(ShardState::StandingBy) => ", events are delivered",
            _ => "",
        };
        let text = match (after, closed) {
            (ShardState::Ready, _) => format!("ready{how}"),
            (ShardState::Disconnected, Some(code)) => {
                format!("disconnected by Discord (close code {code})")
            }
            (ShardState::Disconnected, None) => "disconnected from Discord".to_owned(),
            (ShardState::Waiting, _) => "waits for its turn to identify".to_owned(),
            (ShardState::StandingBy, _) => "stands by: connected, events are held back".to_owned(),
            (ShardState::Resuming, _) => "resuming its session".to_owned(),
            (other, _) => other.to_string(),
        };
        let lease = self.table.lease(shard);
        let subject = lease.map_or_else(
            || Subject::shard(shard),
            |lease| Subject::lease(shard, &lease.holder, lease.epoch),
        );
        self.note(kind, subject, text);
    }

    /// A child is started. Called while its earlier run is still known.
    pub(in crate::manager::fleet) fn note_start(&mut self, worker: &WorkerId, shards: u32) {
        let before = self.notes.latest(&Subject::worker(worker));
        let earlier = self.workers.get(worker);
        let why = match earlier.and_then(|entry| entry.stopped_for) {
            _ if before.is_none() => "first start",
            _ if earlier.is_some_and(|entry| entry.restarts_at_once) => "again, as planned",
            Some(StopCause::LeaseLapsed) => "again, after a lease of it lapsed",
            Some(_) => "again, after it was stopped",
            None => "again, after its end",
        };
        let resumed = self.because_of_fleet(&[Kind::Resumed]);
        let because_of = match before {
            Some((Kind::WorkerHalted, _)) if resumed.is_some() => resumed,
            Some((_, number)) => Some(number),
            None => self.because_of_fleet(&[
                Kind::Planned,
                Kind::RescaleBegun,
                Kind::RescaleStep,
                Kind::Resumed,
            ]),
        };
        let text = format!("{worker} is started for {}: {why}", count(shards));
        self.notes.registered.remove(worker);
        self.note_after(Kind::WorkerStarted, Subject::worker(worker), text, because_of);
    }

    pub(in crate::manager::fleet) fn note_stop(&mut self, worker: &WorkerId, cause: StopCause) {
        let text = format!("{worker} is told to stop: {}", cause.as_str());
        let fleet = match cause {
            StopCause::Restart => &[Kind::RestartBegun, Kind::RestartStep, Kind::RestartContinued][..],
            StopCause::Shutdown => &[Kind::ManagerStopping],
            StopCause::Room | StopCause::Surplus | StopCause::Retired => {
                &[Kind::RescaleStep, Kind::RescaleFinished, Kind::Planned]
            }
            StopCause::LeaseLapsed => &[Kind::BrakeOn],
            StopCause::NeverRegistered | StopCause::Unwell(_) | StopCause::Operator => &[],
        };
        match self.because_of_fleet(fleet) {
            Some(fleet) => self.note_after(Kind::WorkerStopAsked, Subject::worker(worker), text, Some(fleet)),
            None => self.note(Kind::WorkerStopAsked, Subject::worker(worker), text),
        }
    }

    pub(in crate::manager::fleet) fn note_ended(
        &mut self,
        worker: &WorkerId,
        how: &str,
        exit: Option<&Exit>,
        (held, lines): (usize, &[String]),
        now: Tick,
    ) {
        let Some(entry) = self.workers.get(worker) else {
            return;
        };
        let held = if held > 0 {
            format!(", held {}", count(u32::try_from(held).unwrap_or(u32::MAX)))
        } else {
            String::new()
        };
        let printed = if lines.is_empty() { "" } else { "; see its log" };
        let after = about(entry.uptime(now).as_secs_f64());
        let words = exit.map_or_else(|| how.to_owned(), exit_words);
        let text = match exit {
            Some(_) => format!("{worker} {words} after {after}{held}{printed}"),
            None => format!("{worker} {words}"),
        };
        self.notes.ends.insert(worker.clone(), words);
        self.note(Kind::WorkerEnded, Subject::worker(worker), text);
    }

    /// A child of the last manager is there still, or what it left behind.
    pub(in crate::manager::fleet) fn note_taken_up(&mut self, entry: &Worker, left_over: bool) {
        let worker = &entry.record.worker;
        let pid = entry.record.process.as_ref().map_or(0, |process| process.pid);
        let (kind, text) = if left_over {
            (
                Kind::WorkerBuried,
                format!("{worker} ended while no manager ran; what it left behind is ended"),
            )
        } else {
            (
                Kind::WorkerAdopted,
                format!("{worker} is adopted from the last manager (pid {pid})"),
            )
        };
        self.notes.registered.insert(worker.clone());
        self.note(kind, Subject::worker(worker), text);
    }

    /// What follows from the end of a child's run.
    pub(in crate::manager::fleet) fn note_verdict(
        &mut self,
        worker: &WorkerId,
        crash_looping: bool,
        now: Tick,
    ) {
        let Some(entry) = self.workers.get(worker) else {
            return;
        };
        let exits = entry.restarts.exits;
        let subject = || Subject::worker(worker);
        match entry.run {
            Run::Halted => {
                let text = format!("{worker} is halted: its configuration is wrong");
                self.note(Kind::WorkerHalted, subject(), text);
            }
            Run::BackingOff { until } if until > now && !self.stopping => {
                let pause = until.since(now).as_secs_f64();
                let text =
                    format!("{worker} waits {pause:.1} s for its next start, after {exits} ends in a row");
                self.note(Kind::BackOff, subject(), text);
            }
            Run::Resting => {
                let text = format!("{worker} rests: its work is done");
                self.note(Kind::WorkerResting, subject(), text);
            }
            Run::BackingOff { .. } | Run::Running | Run::Stopping | Run::Stopped => {}
        }
        if crash_looping && !self.stopping {
            let text = format!("{worker} is crash looping: it ended {exits} times in a row");
            self.note(Kind::CrashLooping, subject(), text);
        }
    }

    /// A rescale begins, or a step of it is done.
    pub(in crate::manager::fleet) fn note_rescale(&mut self) {
        let Some(rescale) = &self.rescale else { return };
        let (done, steps, target) = (rescale.done, rescale.steps, rescale.target);
        let (kind, text) = if done == 0 && rescale.step.is_none() {
            (
                Kind::RescaleBegun,
                format!("rescale to {target} shards in {steps} steps: {}", rescale.cause),
            )
        } else {
            let step = rescale.step.as_ref().map_or_else(String::new, |step| {
                format!(", {} take over from {}", names(&step.new), names(&step.old))
            });
            (
                Kind::RescaleStep,
                format!("rescale to {target} shards: {done} of {steps} steps done{step}"),
            )
        };
        self.note(kind, Subject::fleet(), text);
    }

    /// A step of a planned restart.
    pub(in crate::manager::fleet) fn note_restart(&mut self, step: &Step, (done, total): (u32, u32)) {
        let (kind, text) = match step {
            Step::Excused(what) => (
                Kind::RestartStep,
                format!("the restart waited in vain for {what} and begins all the same"),
            ),
            Step::Stop(run) => (
                Kind::RestartStep,
                format!("{} is restarted ({} of {total})", run.worker, done + 1),
            ),
            Step::Back(worker) => (
                Kind::RestartStep,
                format!("{worker} is back and the fleet is whole ({done} of {total})"),
            ),
            Step::Replaced(worker) => (
                Kind::RestartStep,
                format!("{worker} was not started again: others hold its shards ({done} of {total})"),
            ),
            Step::Paused(reason) => (Kind::RestartPaused, format!("the restart is paused: {reason}")),
            Step::GoesOn => (Kind::RestartContinued, "the restart goes on".to_owned()),
            Step::Done => (
                Kind::RestartDone,
                format!("the restart is done ({done} of {total})"),
            ),
        };
        self.note(kind, Subject::fleet(), text);
    }
}

fn count(shards: u32) -> String {
    match shards {
        1 => "1 shard".to_owned(),
        several => format!("{several} shards"),
    }
}

fn exit_words(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("ended with exit code {code}"),
        Exit::Signal(number) => match rustix::process::Signal::from_named_raw(*number) {
            Some(signal) => format!("was killed by {}", signal_name(signal)),
            None => format!("was killed by signal {number}"),
        },
        Exit::OutOfMemory => "was killed by the kernel: it took more than WORKER_MEMORY".to_owned(),
        Exit::Unknown => "ended, nobody saw how (it was adopted)".to_owned(),
    }
}

fn signal_name(signal: rustix::process::Signal) -> String {
    let name = format!("{signal:?}");
    name.trim_matches('"').replace("Signal::", "SIG")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_told_in_words() {
        assert_eq!(exit_words(&Exit::Signal(9)), "was killed by SIGKILL");
        assert_eq!(exit_words(&Exit::Signal(99)), "was killed by signal 99");
        assert_eq!(exit_words(&Exit::Code(3)), "ended with exit code 3");
    }
}
