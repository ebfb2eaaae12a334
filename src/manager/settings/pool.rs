//! What the manager was told of a pool beside `discord`.

use std::time::Duration;

use shardman_core::PoolId;

use super::{Count, RescaleMode, Settings, WorkerProgram};

/// How a child comes by its slot (`POOL_…_REGISTER`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Register {
    /// It calls `/connect` and `/beat` itself.
    #[default]
    Connect,
    /// It knows nothing of us: its slot is held for it from its start to the
    /// end of its process group.
    Process,
}

/// What follows the end of a child that nobody asked to end (`POOL_…_RESTART`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RestartRule {
    /// It is started again.
    #[default]
    Always,
    /// It is started again unless it ended with exit code 0.
    OnFailure,
    /// It is started again by an operator alone.
    Never,
}

/// What the children of a pool are started with, beside what all are.
#[derive(Clone, Debug, Default)]
pub struct StartTerms {
    pub env: Vec<(&'static str, String)>,
    /// Variables of ours that no child of another pool inherits.
    pub inherit_alone: &'static [&'static str],
    /// How far they stand back for other processes, as nice(1) counts, up to 19.
    pub nice: u8,
}

/// A pool beside `discord`.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    pub pool: PoolId,
    /// Given to `sh -c`; without it nothing is started, and externals alone
    /// take slots.
    pub command: Option<String>,
    /// How many slots there are.
    pub size: u32,
    pub max_seconds: Duration,
    /// How long a child may take to stop before it is killed.
    pub grace: Duration,
    pub register: Register,
    pub restart: RestartRule,
    pub start: StartTerms,
}

impl Settings {
    /// The settings of a further pool: one slot for each child, and nothing of
    /// Discord's.
    pub(in crate::manager) fn of_pool(&self, pool: &PoolSettings) -> Self {
        let mut worker_env = self.worker_env.clone();
        worker_env.retain(|(name, _)| *name == "SHARDMAN_URL");
        worker_env.push(("SHARDMAN_POOL", pool.pool.to_string()));
        worker_env.extend(pool.start.env.iter().cloned());
        Self {
            max_seconds: pool.max_seconds,
            count: match pool.size {
                0 => Count::Nothing,
                size => Count::Fixed(size),
            },
            rescale: RescaleMode::Off,
            asks_discord: false,
            program: WorkerProgram::Command(pool.command.clone().unwrap_or_default()),
            max_workers: pool.command.is_none().then_some(0),
            shards_per_worker: Some(1),
            worker_env,
            grace: pool.grace,
            pool: pool.pool.clone(),
            register: pool.register,
            assigns: false,
            restart: pool.restart,
            nice: pool.start.nice,
            pools: Vec::new(),
            ..self.clone()
        }
    }

    /// The settings of a pool that is not declared any more: what an earlier
    /// manager started for it is stopped.
    pub(in crate::manager) fn of_former_pool(&self, pool: PoolId) -> Self {
        self.of_pool(&PoolSettings {
            pool,
            command: None,
            size: 0,
            max_seconds: self.max_seconds,
            grace: self.grace,
            register: Register::default(),
            restart: RestartRule::default(),
            start: StartTerms::default(),
        })
    }
}
