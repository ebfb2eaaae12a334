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
    for name in launch.without_env {
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
    let exit = watch(&worker, pid, Some(child), &hold, stops).await;
    let last_lines = super::last_lines(logs, &worker, from).await;
    WorkerEvent::Gone {
        worker,
        exit,
        last_lines,
    }
}

/// Waits until `pid` is gone with all that it started, stopping it when asked.
pub(super) async fn watch(
    worker: &WorkerId,
    pid: i32,
    child: Option<Child>,
    hold: &Hold,
    mut stops: mpsc::Receiver<Duration>,
) -> Exit {
    if let Some(mut leader) = watch_leader(worker, pid).await {
        let mut kill_at: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                () = leader.exited() => break,
                Some(grace) = stops.recv() => kill_at = Some(ask_to_stop(&leader, pid, grace, kill_at)),
                () = until(kill_at) => {
                    warn!(worker.id = %worker, "worker {worker} did not stop in time and is killed");
                    leader.signal_group(pid, Signal::KILL);
                    hold.kill(pid);
                    kill_at = None;
                }
            }
        }
    }
    debug!(worker.id = %worker, "worker {worker} has exited");
    // The leader is not reaped yet, so its number still names this group.
    hold.kill(pid);
    let exit = match child {
        Some(mut child) => child.wait().map_or(Exit::Unknown, exit_of),
        None => Exit::Unknown,
    };
    let killed = matches!(exit, Exit::Signal(_) | Exit::Unknown);
    let exit = if killed && hold.ran_out_of_memory() {
        Exit::OutOfMemory
    } else {
        exit
    };
    hold.bury(pid).await;
    exit
}

/// `None` when the leader is gone already. Any other trouble, such as a lack of
/// descriptors, passes: a child is never taken for dead because of it.
async fn watch_leader(worker: &WorkerId, pid: i32) -> Option<unix::ExitWatch> {
    loop {
        match unix::ExitWatch::new(pid) {
            Ok(leader) => return Some(leader),
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
