//! Children: started, watched, stopped, adopted. It does what it is told and
//! reports what happened; whether a process should run is decided elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use shardman_core::WorkerId;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use crate::store::ProcessId;

mod cgroup;
mod child;
mod exec_child;
mod hold;
pub(crate) mod memory;
mod orphans;
mod output;
pub(crate) mod pressure;
mod unix;
pub(crate) mod usage;

pub use exec_child::exec_child;
use hold::{Hold, Holds};
pub use hold::{KillMethod, Limits, Means, MemoryLimit};
pub(crate) use output::Logs;
pub(crate) use unix::hash;
pub(crate) use usage::Usages;

/// Stop requests that may wait for one child: one to end, one to end it now.
const STOP_REQUESTS: usize = 4;

/// The processes of earlier managers, as far as they live.
pub(crate) trait Processes {
    /// Whether exactly this process runs.
    fn is_alive(&self, process: &ProcessId) -> bool;
    /// The child that was started with the credential of this hash.
    fn find(&self, credential: &str) -> Option<ProcessId>;
    /// Whether any process has that credential.
    fn lives(&self, credential: &str) -> bool;
}

/// Those of this host.
#[derive(Debug)]
pub(crate) struct Host;

impl Processes for Host {
    fn is_alive(&self, process: &ProcessId) -> bool {
        unix::is_alive(process)
    }

    fn find(&self, credential: &str) -> Option<ProcessId> {
        unix::find_by_environment(credential)
    }

    fn lives(&self, credential: &str) -> bool {
        unix::lives_by_environment(credential)
    }
}

/// What to start.
#[derive(Debug)]
pub struct Launch {
    pub worker: WorkerId,
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Set for the child, over what it inherits. May hold secrets.
    pub env: Vec<(&'static str, String)>,
    /// Inherited otherwise than this process has it: a value, or nothing.
    pub inherit: Vec<(String, Option<String>)>,
    /// Never inherited.
    pub without_env: Vec<String>,
    /// How far it stands back for other processes, as nice(1) counts, up to 19.
    pub nice: u8,
}

impl Launch {
    /// The hash of the `SECRET` that the child is given.
    fn credential(&self) -> String {
        let secret = self.env.iter().find(|(name, _)| *name == "SECRET");
        secret.map_or_else(String::new, |(_, secret)| hash(secret.as_bytes()))
    }
}

/// What happened to a child.
#[derive(Debug)]
pub enum WorkerEvent {
    Started {
        worker: WorkerId,
        process: ProcessId,
    },
    NotStarted {
        worker: WorkerId,
        error: io::Error,
    },
    /// It is gone, with all that it started.
    Gone {
        worker: WorkerId,
        exit: Exit,
        last_lines: Vec<String>,
    },
}

impl WorkerEvent {
    /// Whom it is about.
    pub(crate) fn worker(&self) -> &WorkerId {
        match self {
            Self::Started { worker, .. } | Self::NotStarted { worker, .. } | Self::Gone { worker, .. } => {
                worker
            }
        }
    }
}

/// A part of what a worker printed.
#[derive(Debug, PartialEq, Eq)]
pub struct LogPart {
    pub bytes: Vec<u8>,
    /// Where the log goes on behind it.
    pub next: u64,
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// The kernel killed it for taking more than `WORKER_MEMORY`.
    OutOfMemory,
    /// It was adopted: only its parent could learn how it ended.
    Unknown,
}

impl Exit {
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(*code),
            Self::Signal(_) | Self::OutOfMemory | Self::Unknown => None,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::OutOfMemory => f.write_str("out of memory (WORKER_MEMORY)"),
            Self::Unknown => f.write_str("unknown exit (adopted)"),
        }
    }
}

/// Owns no state but the doors to its children.
#[derive(Debug)]
pub struct Supervisor {
    spawner: std::sync::mpsc::Sender<SpawnJob>,
    events: mpsc::Sender<WorkerEvent>,
    children: BTreeMap<WorkerId, mpsc::Sender<Duration>>,
    logs: Arc<Logs>,
    holds: Holds,
    /// Dropped with the supervisor: no log is cut any more.
    _cutting: std::sync::mpsc::Sender<()>,
}

type SpawnJob = (Command, Hold, oneshot::Sender<io::Result<(Child, Hold)>>);

impl Supervisor {
    /// `logs` is the folder for what children print, `limits` the most that each
    /// may use; `events` gets what happens to them.
    pub fn new(logs: PathBuf, limits: Limits, events: mpsc::Sender<WorkerEvent>) -> io::Result<Self> {
        let logs = Arc::new(Logs::open(logs)?);
        let cutting = logs.watch()?;
        let (spawner, jobs) = std::sync::mpsc::channel::<SpawnJob>();
        // One thread for the life of the process: what a child inherits from
        // the thread that spawned it never depends on a runtime's pool.
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for (command, hold, reply) in jobs {
                    if let Err(Ok((mut orphan, _))) = reply.send(start_child(command, hold)) {
                        // Nobody waits for it any more: the process is shutting down.
                        drop(orphan.kill().and_then(|()| orphan.wait()));
                    }
                }
            })?;
        Ok(Self {
            spawner,
            events,
            children: BTreeMap::new(),
            logs,
            holds: Holds::new(limits),
            _cutting: cutting,
        })
    }

    /// What the children print.
    pub(crate) fn logs(&self) -> Arc<Logs> {
        Arc::clone(&self.logs)
    }

    /// What this host lets us do with children.
    pub(crate) fn means(&self) -> Means {
        self.holds.means()
    }

    /// Starts a child in a session and, where the host allows, a control group
    /// of its own.
    pub fn start(&mut self, launch: Launch) {
        debug!(worker.id = %launch.worker, "worker {} is to start", launch.worker);
        let stops = self.door(&launch.worker);
        let hold = self
            .holds
            .prepare()
            .and_then(|()| self.holds.on(&launch.worker, &launch.credential()));
        let events = self.events.clone();
        let logs = self.logs();
        let spawner = self.spawner.clone();
        tokio::spawn(async move {
            let worker = launch.worker.clone();
            let prepared = on_logs(&logs, move |logs| {
                let output = logs.append(&launch.worker)?;
                let from = logs.end(&launch.worker);
                let mut hold = hold?;
                hold.conditions.nice = launch.nice;
                Ok((child::command(&launch, &hold.conditions, output)?, hold, from))
            });
            let spawned = match prepared.await.and_then(|prepared| prepared) {
                Ok((command, hold, from)) => spawn(&spawner, command, hold).await.map(|child| (child, from)),
                Err(error) => Err(error),
            };
            let event = match spawned {
                Ok((child, from)) => {
                    child::started(worker, child, stops, events.clone(), (&logs, from)).await
                }
                Err(error) => WorkerEvent::NotStarted { worker, error },
            };
            report(&events, event).await;
        });
    }

    /// Watches a child that an earlier manager started.
    /// `credential` is the hash of what it was started with.
    pub fn adopt(&mut self, worker: &WorkerId, process: &ProcessId, credential: &str) {
        let stops = self.door(worker);
        self.logs.keep(worker);
        let hold = self.holds.on_adopted(process.pid, credential);
        let events = self.events.clone();
        let (worker, logs) = (worker.clone(), self.logs());
        let leader = child::Leader::Adopted(process.clone());
        tokio::spawn(async move {
            let exit = child::watch(&worker, leader, &hold, stops).await;
            let last_lines = last_lines(&logs, &worker, 0).await;
            report(
                &events,
                WorkerEvent::Gone {
                    worker,
                    exit,
                    last_lines,
                },
            )
            .await;
        });
    }

    /// Kills what an earlier child left behind, and reports when nothing is left.
    pub fn bury(&mut self, worker: WorkerId, credential: String) {
        let events = self.events.clone();
        tokio::spawn(async move {
            hold::bury_left(&credential).await;
            report(
                &events,
                WorkerEvent::Gone {
                    worker,
                    exit: Exit::Unknown,
                    last_lines: Vec::new(),
                },
            )
            .await;
        });
    }

    /// TERM to the group, `grace`, KILL to the group. A second request kills
    /// at once. [`WorkerEvent::Gone`] follows when the group is gone.
    pub fn stop(&mut self, worker: &WorkerId, grace: Duration) {
        let asked = self.children.get(worker).map(|door| door.try_send(grace));
        match asked {
            Some(Ok(())) => {}
            Some(Err(_)) => debug!(worker.id = %worker, "worker {worker} is already being stopped"),
            None => warn!(worker.id = %worker, "no process to stop for worker {worker}"),
        }
    }

    fn door(&mut self, worker: &WorkerId) -> mpsc::Receiver<Duration> {
        let (door, stops) = mpsc::channel(STOP_REQUESTS);
        self.children.insert(worker.clone(), door);
        stops
    }
}

/// Works on the logs where it may block.
async fn on_logs<T: Send + 'static>(
    logs: &Arc<Logs>,
    work: impl FnOnce(&Logs) -> T + Send + 'static,
) -> io::Result<T> {
    let logs = Arc::clone(logs);
    let done = tokio::task::spawn_blocking(move || work(&logs)).await;
    done.map_err(io::Error::other)
}

async fn last_lines(logs: &Arc<Logs>, worker: &WorkerId, from: u64) -> Vec<String> {
    let worker = worker.clone();
    let lines = on_logs(logs, move |logs| logs.last_lines(&worker, from)).await;
    // Without a runtime nobody is left to tell.
    lines.unwrap_or_default()
}

fn start_child(mut command: Command, hold: Hold) -> io::Result<(Child, Hold)> {
    let mut spawn = || command.spawn();
    let pid = |child: &Child| i32::try_from(child.id()).unwrap_or(-1);
    let child = match &hold.orphans {
        Some(orphans) => orphans.start(&hold.credential, spawn, pid),
        None => spawn(),
    };
    child.map(|child| (child, hold))
}

async fn spawn(
    spawner: &std::sync::mpsc::Sender<SpawnJob>,
    command: Command,
    hold: Hold,
) -> io::Result<(Child, Hold)> {
    let gone = || io::Error::other("the spawning thread is gone");
    let (reply, answer) = oneshot::channel();
    spawner.send((command, hold, reply)).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

async fn report(events: &mpsc::Sender<WorkerEvent>, event: WorkerEvent) {
    // The manager listens as long as it runs; after that nobody needs to know.
    let _ = events.send(event).await;
}
