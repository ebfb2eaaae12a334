//! What the manager was told to do, in final types.

use std::path::PathBuf;
use std::time::Duration;

use shardman_core::PoolId;
use shardman_core::reconcile::REGISTER_WITHIN;

use crate::supervisor::Limits;

mod pool;

pub use pool::{PoolSettings, Register, RestartRule, StartTerms};

/// How the number of shards is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// `MAX_SHARDS`.
    Fixed(u32),
    /// What `GET /gateway/bot` recommends.
    Discord,
    /// Nothing is run: there is no bot, or no such pool any more.
    Nothing,
}

/// What happens when another number of shards is due (`RESCALE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RescaleMode {
    /// Nothing is looked for.
    Off,
    /// It is said, and an operator decides.
    Propose,
    /// It is done, if it is safe.
    Auto,
}

/// What a child runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerProgram {
    /// The manager's own executable, as `shardman worker`.
    Bundled(PathBuf),
    /// `WORKER_COMMAND`, given to `sh -c`.
    Command(String),
}

/// The manager's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `MAX_SECONDS`.
    pub max_seconds: Duration,
    pub count: Count,
    pub rescale: RescaleMode,
    /// Whether Discord can be asked (there is a token): then its
    /// `max_concurrency` is waited for before the first lease.
    pub asks_discord: bool,
    pub program: WorkerProgram,
    /// Children are given their shards at their start, because they do not ask
    /// for any.
    pub assigns: bool,
    /// How long such a child may take to its first IDENTIFY.
    pub login_within: Duration,
    /// How long a child may live without holding any shard (`REGISTER_SECONDS`).
    pub register_within: Duration,
    /// The most children; `None` for as many as the plan needs.
    pub max_workers: Option<u32>,
    /// `None` to spread the plan over the cores.
    pub shards_per_worker: Option<u32>,
    /// Set for every child.
    pub worker_env: Vec<(&'static str, String)>,
    /// What children inherit otherwise than this process has it, since a
    /// reload: a value, or nothing.
    pub inherit: Vec<(String, Option<String>)>,
    /// The part of Discord's session starts that only an operator may use, in
    /// percent.
    pub reserve_percent: u32,
    /// The most that one worker may use of them within 24 hours, in percent.
    pub worker_starts_percent: u32,
    /// The least silence of the gateway that may count as deafness; `None` to
    /// judge nobody.
    pub deaf: Option<Duration>,
    /// How long a child may take to stop before it is killed.
    pub grace: Duration,
    /// What each child may use at most.
    pub limits: Limits,
    /// The most children that may be away at once because they were killed for
    /// a lapsed lease; `None` for four, or a tenth of them.
    pub kills_at_once: Option<u32>,
    /// How far children stand back for other processes, as nice(1) counts.
    pub nice: u8,
    /// For what children print.
    pub logs: PathBuf,
    /// Gateway sessions of earlier runs are worth nothing: the simulator that
    /// knew them is gone.
    pub forget_resume_points: bool,
    /// The pool that all this is of.
    pub pool: PoolId,
    pub register: Register,
    pub restart: RestartRule,
    /// The further pools (`POOLS`).
    pub pools: Vec<PoolSettings>,
}

impl Settings {
    /// A manager that starts nothing and asks nobody: it leases `shards`.
    pub fn leases_only(shards: u32, max_seconds: Duration, logs: PathBuf) -> Self {
        Self {
            max_seconds,
            count: Count::Fixed(shards),
            rescale: RescaleMode::Propose,
            asks_discord: false,
            program: WorkerProgram::Command(String::new()),
            assigns: false,
            login_within: Duration::from_secs(10),
            register_within: REGISTER_WITHIN,
            max_workers: Some(0),
            shards_per_worker: None,
            worker_env: Vec::new(),
            inherit: Vec::new(),
            reserve_percent: 10,
            worker_starts_percent: 25,
            deaf: Some(Duration::from_secs(120)),
            grace: Duration::ZERO,
            limits: Limits::default(),
            kills_at_once: None,
            nice: 0,
            logs,
            forget_resume_points: false,
            pool: PoolId::discord(),
            register: Register::Connect,
            restart: RestartRule::Always,
            pools: Vec::new(),
        }
    }
}

impl Settings {
    /// The file of events, beside the folder of logs.
    pub(super) fn events(&self) -> PathBuf {
        self.logs.with_file_name("events.ndjson")
    }
}

/// The most shards that one bundled worker takes unless told otherwise: what
/// one crash or restart touches.
const SHARDS_PER_WORKER: u32 = 16;

impl Settings {
    /// The most shards for one child of a plan of `planned`.
    pub fn shards_per_worker(&self, planned: u32) -> u32 {
        match (self.shards_per_worker, &self.program) {
            (Some(shards), _) => shards,
            // A bot of somebody else's takes one shard unless told otherwise.
            (None, WorkerProgram::Command(_)) => 1,
            (None, WorkerProgram::Bundled(_)) => {
                let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
                let cores = u32::try_from(cores).unwrap_or(1).max(2);
                planned.div_ceil(cores).clamp(1, SHARDS_PER_WORKER)
            }
        }
    }

    /// `MAX_SHARDS`, where it is set.
    pub fn max_shards(&self) -> Option<u32> {
        match self.count {
            Count::Fixed(total) => Some(total),
            Count::Discord | Count::Nothing => None,
        }
    }

    /// The most shards of a plan of `planned` that children can hold; `None`
    /// without a bound, or where there are none and externals hold them all.
    pub fn places(&self, planned: u32) -> Option<u32> {
        let most = self.max_workers.filter(|most| *most > 0)?;
        Some(most.saturating_mul(self.shards_per_worker(planned)))
    }

    /// The most children for a plan of `planned` shards. Without a bound it is
    /// one for each: a child is started for what has no place then, which may
    /// be less than it could take.
    pub fn max_workers(&self, planned: u32) -> u32 {
        self.max_workers.map_or(planned, |most| most.min(planned))
    }
}

/// How often a holder is asked to beat: often enough that six beats may be
/// lost, and seldom enough that a large fleet costs nothing.
pub(super) fn heartbeat_every(max_seconds: Duration) -> Duration {
    (max_seconds / 6).clamp(Duration::from_millis(250), Duration::from_secs(10))
}
