//! One child: its start, its watch, its end.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use shardman_core::WorkerId;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::exec_child::{self, Conditions};
use super::hold::Hold;
use super::{Exit, Launch, Logs, WorkerEvent, unix};
use crate::store::ProcessId;

/// Between two tries to watch a child.
const WATCH_RETRY: Duration = Duration::from_millis(200);

/// The command with its environment and its output. The output goes to a file,
/// not to a pipe, because a pipe would break when the manager dies.
pub(super) fn command(launch: &Launch, conditions: &Conditions, output: File) -> io::Result<Command> {
    let mut command = exec_child::command(conditions, &launch.program);
    command
        .args(&launch.args)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    for (name, value) in &launch.inherit {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    for name in &launch.without_env {
        command.env_remove(name);
    }
    command.envs(launch.env.iter().map(|(name, value)| (name, value)));
    Ok(command)
}

/// Reports the start and waits for the end.
pub(super) async fn started(
    worker: WorkerId,
    (child, hold): (Child, Hold),
    stops: mpsc::Receiver<Duration>,
    events: mpsc::Sender<WorkerEvent>,
    (logs, from): (&Arc<Logs>, u64),
) -> WorkerEvent {
    let pid = i32::try_from(child.id()).expect("a pid fits in an i32");
    match unix::identify(pid) {
        Ok(process) => {
            super::report(
                &events,
                WorkerEvent::Started {
                    worker: worker.clone(),
                    process,
                },
            )
            .await;
        }
        // It ended already; the watch below sees that.
        Err(error) => debug!(worker.id = %worker, %error, "worker {worker} cannot be identified"),
    }
    let exit = watch(&worker, Leader::Ours(pid, child), &hold, stops).await;
    let last_lines = super::last_lines(logs, &worker, from).await;
    WorkerEvent::Gone {
        worker,
        exit,
        last_lines,
    }
}

/// The process that is watched.
pub(super) enum Leader {
    /// Until we reap it, its pid is nobody else's.
    Ours(i32, Child),
    /// Its pid may be somebody else's by now.
    Adopted(ProcessId),
}

impl Leader {
    fn pid(&self) -> i32 {
        match self {
            Self::Ours(pid, _) => *pid,
            Self::Adopted(process) => process.pid,
        }
    }

    /// Whether what the pid names now is still this process.
    fn is_named(&self) -> io::Result<bool> {
        match self {
            Self::Ours(..) => Ok(true),
            Self::Adopted(process) => unix::is_named(process),
        }
    }
}

/// Waits until it is gone with all that it started, stopping it when asked.
pub(super) async fn watch(
    worker: &WorkerId,
    watched: Leader,
    hold: &Hold,
    mut stops: mpsc::Receiver<Duration>,
) -> Exit {
    let pid = watched.pid();
    let leader = watch_leader(worker, &watched).await;
    // The number of a leader that we saw names its group as long as any of it
    // is left; of one that is gone it may name another.
    let group = match (&leader, &watched) {
        (Some(_), _) | (None, Leader::Ours(..)) => Some(pid),
        (None, Leader::Adopted(_)) => Some(pid).filter(|pid| unix::group_carries(*pid, &hold.credential)),
    };
    if let Some(mut leader) = leader {
        let mut kill_at: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                () = leader.exited() => break,
                Some(grace) = stops.recv() => kill_at = Some(ask_to_stop(&leader, pid, grace, kill_at)),
                () = until(kill_at) => {
                    warn!(worker.id = %worker, "worker {worker} did not stop in time and is killed");
                    leader.signal_group(pid, Signal::KILL);
                    hold.kill(group);
                    kill_at = None;
                }
            }
        }
    }
    debug!(worker.id = %worker, "worker {worker} has exited");
    // A leader of ours is not reaped yet, so its number still names this group.
    hold.kill(group);
    let exit = match watched {
        Leader::Ours(_, mut child) => child.wait().map_or(Exit::Unknown, exit_of),
        Leader::Adopted(_) => Exit::Unknown,
    };
    let killed = matches!(exit, Exit::Signal(_) | Exit::Unknown);
    let exit = if killed && hold.ran_out_of_memory() {
        Exit::OutOfMemory
    } else {
        exit
    };
    hold.bury(pid, group).await;
    exit
}

/// `None` when the leader is gone already. Any other trouble, such as a lack of
/// descriptors, passes: a child is never taken for dead because of it.
async fn watch_leader(worker: &WorkerId, watched: &Leader) -> Option<unix::ExitWatch> {
    loop {
        // Asked once the process is held: what the pid names then, it is.
        let leader = unix::ExitWatch::new(watched.pid());
        match leader.and_then(|leader| Ok(watched.is_named()?.then_some(leader))) {
            Ok(leader) => return leader,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                return None;
            }
            Err(error) => warn!(worker.id = %worker, %error, "worker {worker} cannot be watched yet"),
        }
        sleep(WATCH_RETRY).await;
    }
}

/// The moment to kill at.
fn ask_to_stop(leader: &unix::ExitWatch, pid: i32, grace: Duration, earlier: Option<Instant>) -> Instant {
    if earlier.is_some() {
        return Instant::now();
    }
    leader.signal_group(pid, Signal::TERM);
    Instant::now() + grace
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;
    use crate::supervisor::hold::{Holds, Limits};

    /// Somebody else leads a group with the number that our child had.
    #[tokio::test]
    async fn a_pid_that_names_another_process_now_is_left_alone() {
        let mut stranger = Command::new("sleep");
        let mut stranger = stranger.arg("1000").process_group(0).spawn().unwrap();
        let pid = i32::try_from(stranger.id()).unwrap();
        let mut process = unix::identify(pid).unwrap();
        process.start_time -= 1;
        let credential = super::super::hash(b"that of a child that is gone");
        let hold = Holds::new(Limits::default()).on_adopted(pid, &credential);
        let (stop, stops) = mpsc::channel(1);
        stop.send(Duration::ZERO).await.unwrap();
        let leader = Leader::Adopted(process);
        let worker = WorkerId::from("discord-0");
        let watched = watch(&worker, leader, &hold, stops);
        let exit = tokio::time::timeout(Duration::from_secs(30), watched).await;
        assert_eq!(exit.unwrap(), Exit::Unknown);
        assert!(stranger.try_wait().unwrap().is_none(), "it was not signalled");
        stranger.kill().and_then(|()| stranger.wait()).unwrap();
    }
}
