//! What operators and the dashboard see of the fleet.

use serde::{Deserialize, Serialize};

use super::RescaleView;
use crate::id::Epoch;

/// The answer to `GET /fleet`: every planned shard, every worker, and what
/// Discord allows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FleetView {
    pub planned: u32,
    pub leased: u32,
    pub ready: u32,
    pub max_concurrency: u32,
    /// Session starts left today, as far as Discord said.
    pub starts_remaining: Option<u32>,
    pub starts_total: Option<u32>,
    #[serde(default)]
    pub starts: StartsView,
    /// What keeps the fleet from being whole, in words.
    pub trouble: Vec<String>,
    /// Why nothing is started until an operator resumes the fleet; none where it
    /// is not halted.
    #[serde(default)]
    pub halted: Option<String>,
    /// The change of the number of shards that is under way.
    #[serde(default)]
    pub rescale: Option<RescaleView>,
    /// Another number of shards that is due, and why.
    #[serde(default)]
    pub proposal: Option<String>,
    /// The planned restart that runs, or the last one.
    #[serde(default)]
    pub restart: Option<RestartView>,
    /// How children are killed with all that they started: `cgroup`, or
    /// `process_group`.
    #[serde(default)]
    pub kill_method: String,
    /// What holds children to `WORKER_MEMORY`: `cgroup`, or `process` where it
    /// can only be each process by itself. None where it is not set.
    #[serde(default)]
    pub memory_limit: Option<String>,
    pub shards: Vec<ShardView>,
    pub workers: Vec<WorkerView>,
    /// The pools beside `discord`.
    #[serde(default)]
    pub pools: Vec<PoolView>,
}

impl FleetView {
    /// The workers of every pool, those of `discord` first.
    pub fn every_worker(&self) -> impl Iterator<Item = &WorkerView> {
        let others = self.pools.iter().flat_map(|pool| &pool.workers);
        self.workers.iter().chain(others)
    }
}

/// A pool beside `discord` in [`FleetView`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoolView {
    pub pool: String,
    /// How many slots there are.
    pub size: u32,
    pub leased: u32,
    /// Slots whose holder is there, as far as one can tell.
    pub ready: u32,
    /// Seconds without a beat after which a slot is handed to somebody else.
    pub max_seconds: f64,
    /// The planned restart that runs, or the last one.
    #[serde(default)]
    pub restart: Option<RestartView>,
    /// The slots.
    pub shards: Vec<ShardView>,
    pub workers: Vec<WorkerView>,
}

/// Discord's session starts in [`FleetView`]. The first four are unknown where
/// Discord was not asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StartsView {
    pub total: Option<u32>,
    pub remaining: Option<u32>,
    /// The part of them that only an operator may use.
    pub reserve: Option<u32>,
    /// Seconds until Discord gives new ones.
    pub resets_in: Option<f64>,
    /// Seconds until all but the reserve are used up at the rate of the last
    /// hour, if that is before Discord gives new ones.
    pub used_up_in: Option<f64>,
    /// Who spent them within the last 24 hours, the most first.
    pub by_worker: Vec<WorkerStarts>,
}

/// What one worker spent, over all its runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerStarts {
    /// `external` for all external workers together.
    pub worker: String,
    pub starts: u32,
    /// Why, most often: `first start`, `crash`, `silence`, `restart`,
    /// `session lost` or `unknown`.
    pub cause: String,
    /// The most that it may spend within 24 hours; none for external workers,
    /// whose shares go by shard, and where nothing limits it.
    pub share: Option<u32>,
}

/// One planned shard in [`FleetView`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardView {
    pub shard: crate::id::ShardId,
    /// `free`, `held_back` (its lapsed child is not gone yet), `draining` (it is
    /// out of the plan and its holder still there), `leased` (its holder reports
    /// no state), or a [`super::ShardState`].
    pub state: String,
    /// What it is, in one word: [`crate::health::Condition`].
    #[serde(default)]
    pub condition: String,
    /// Seconds since that began.
    #[serde(default)]
    pub condition_age: Option<f64>,
    /// Seconds until something follows if it goes on; none where somebody else
    /// is waited for.
    #[serde(default)]
    pub deadline_in: Option<f64>,
    /// The seconds of silence after which it counts as deaf, beside shards that
    /// hear; none while too little is known of it.
    #[serde(default)]
    pub deaf_after: Option<f64>,
    pub epoch: Option<Epoch>,
    /// The child that holds it; none for an external holder.
    pub worker: Option<String>,
    /// Seconds since the last beat.
    pub beat_age: Option<f64>,
    pub guild_count: Option<i64>,
    pub latency: Option<f64>,
    pub last_event_age: Option<f64>,
    pub loop_lag: Option<f64>,
    /// As far as its holder counts them.
    #[serde(default)]
    pub events_per_second: Option<f64>,
    pub close_code: Option<u16>,
}

/// A planned restart of workers, one at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestartView {
    /// RFC 3339, UTC, microseconds: when it was asked for.
    pub asked_at: String,
    /// `running`, `paused`, `done` or `cancelled`.
    pub state: String,
    /// Workers restarted so far, or gone before their turn.
    pub done: u32,
    pub total: u32,
    /// The worker that was stopped and is not back yet.
    pub current: Option<String>,
    /// What it waits for, in words.
    pub waiting_for: Option<String>,
    /// Why it is paused: what became of the worker that was restarted last, or
    /// that an operator holds it.
    pub paused: Option<String>,
    /// An operator holds it.
    #[serde(default)]
    pub on_hold: bool,
    /// Seconds for which the first worker has to stay healthy.
    #[serde(default)]
    pub canary: Option<f64>,
    /// Workers whose turn is still to come, in order.
    pub queue: Vec<String>,
}

/// One place for a child in [`FleetView`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerView {
    pub worker: String,
    /// `running`, `lapsed` (a lease of it lapsed, and it is not stopped yet),
    /// `stopping`, `backing_off`, `halted`, `resting` (it has done its work), or
    /// `stopped`: an operator stopped it.
    pub state: String,
    /// What it is, in one word: [`crate::health::WorkerCondition`].
    #[serde(default)]
    pub condition: String,
    /// Seconds until something follows if it goes on.
    #[serde(default)]
    pub deadline_in: Option<f64>,
    pub pid: Option<i32>,
    pub shards: u32,
    pub holding: u32,
    /// Exits in a row.
    pub exits: u32,
    pub last_exit: Option<String>,
    /// Seconds until it is started again, while it backs off.
    pub restart_in: Option<f64>,
    pub uptime: Option<f64>,
    /// The memory of it and all that it started, in bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// What they use of one core, in percent.
    #[serde(default)]
    pub cpu_percent: Option<f64>,
}
