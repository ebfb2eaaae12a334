//! What must survive the process: leases won and lost, the plan, resume
//! points, the children. Beats are never stored.
//!
//! An engine keeps one promise: when [`LeaseStore::commit`] has returned `Ok`,
//! every write of the batch is there after a crash, and when it has not, the
//! batch is there as a whole or not at all.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shardman_core::budget::Budget;
use shardman_core::lease::LeaseRecord;
use shardman_core::ledger::Counter;
use shardman_core::rescale::Rescale;
use shardman_core::resume::SavedPoint;
use shardman_core::rolling::RollingRecord;
use shardman_core::{Epoch, Plan, PoolId, ShardId, WorkerId};

mod disk;
mod memory;
#[cfg(test)]
mod tests;

pub use disk::DiskStore;
pub use memory::MemoryStore;

/// One durable change.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A grant. It also moves the epoch counter past the lease's epoch.
    Lease(LeaseRecord),
    LeaseEnded(ShardId),
    Plan(Plan),
    Discord(DiscordFacts),
    /// A change of the number of shards goes on; `None` when there is none.
    Rescale(Option<Rescale>),
    /// The number that an operator wants; `None` for the configured one.
    Chosen(Option<ChosenCount>),
    /// The session starts of one hour since 1970; an empty list forgets it.
    Starts(u64, Vec<Counter>),
    /// `None` ends a halt.
    Halt(Option<HaltRecord>),
    /// How the last planned restart stands.
    Rolling(RollingRecord),
    /// `None` forgets the point.
    Resume(ShardId, Option<SavedPoint>),
    Worker(WorkerRecord),
    WorkerGone(WorkerId),
    /// A place that has done its work; `None` when it is to run again.
    Rest(WorkerId, Option<RestRecord>),
    /// A place that an operator stopped; `None` when one starts it.
    Stopped(WorkerId, Option<StoppedRecord>),
    /// A change of another pool than `discord`, which keeps records of its own.
    Pool(PoolId, Box<Write>),
}

/// What Discord last said about the bot, so that known counts stay in force
/// while its REST API is down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscordFacts {
    pub gateway_url: String,
    pub recommended_shards: u32,
    pub max_concurrency: u32,
    /// Session starts.
    pub starts: Budget,
}

/// The number of shards that an operator asked for. It holds while `MAX_SHARDS`
/// is what it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenCount {
    pub total: u32,
    pub max_shards: Option<u32>,
    /// Wall clock, milliseconds since 1970: when `RESCALE=auto` chose it; 0
    /// where an operator did.
    #[serde(default)]
    pub auto_at_ms: u64,
}

/// Why the fleet is halted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaltRecord {
    pub reason: String,
    /// Wall clock, milliseconds since 1970.
    pub at_ms: u64,
}

/// A child, as the next manager must know it to adopt it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    pub worker: WorkerId,
    /// SHA-256 of the credential it got as its `SECRET`, in hex.
    pub credential: String,
    pub shards: u32,
    /// Unknown between the decision to start it and its start.
    pub process: Option<ProcessId>,
    /// Shards of lapsed leases, not to be handed on before it is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub condemned: Vec<ShardId>,
    /// Wall clock, milliseconds since 1970.
    pub started_at_ms: u64,
}

/// Why a place is not started again, also by the next manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestRecord {
    /// How its last run ended.
    pub how: String,
    /// SHA-256 of its command, in hex: another command is another task.
    pub command: String,
}

/// A place that an operator stopped, also for the next manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedRecord {
    /// Wall clock, milliseconds since 1970.
    pub at_ms: u64,
    /// How many shards it had places for.
    pub shards: u32,
}

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    /// Clock ticks from boot to its start (proc_pid_stat(5), field 22).
    pub start_time: u64,
    pub boot_id: String,
}

/// Everything a store holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    pub next_epoch: Epoch,
    pub plan: Option<Plan>,
    pub rescale: Option<Rescale>,
    pub chosen: Option<ChosenCount>,
    pub discord: Option<DiscordFacts>,
    /// By hour since 1970.
    pub starts: BTreeMap<u64, Vec<Counter>>,
    pub halt: Option<HaltRecord>,
    pub rolling: Option<RollingRecord>,
    pub leases: Vec<LeaseRecord>,
    pub resume: BTreeMap<ShardId, SavedPoint>,
    pub workers: Vec<WorkerRecord>,
    pub rests: BTreeMap<WorkerId, RestRecord>,
    pub stopped: BTreeMap<WorkerId, StoppedRecord>,
    /// Those of other pools. None of them has pools in turn.
    pub pools: BTreeMap<PoolId, Saved>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "DATA_DIR '{0}' is in use by another shardman; stop that one, or give this one a folder of its own"
    )]
    Locked(PathBuf),
    #[error(
        "'{path}' is damaged: {reason}; move it away to start afresh (running workers must be stopped first), or restore a copy"
    )]
    Corrupt { path: PathBuf, reason: String },
    #[error("'{0}' was not written by shardman; move it away, or set DATA_DIR to another folder")]
    Foreign(PathBuf),
    #[error("'{path}' has format {found}, this shardman knows {known}; use a newer shardman")]
    Newer { path: PathBuf, found: u64, known: u64 },
    #[error("cannot use '{path}' for data: {reason}; check that it exists, is writable and has room")]
    Io { path: PathBuf, reason: String },
}

/// An engine that keeps [`Saved`].
pub trait LeaseStore: Send + 'static {
    fn load(&mut self) -> impl Future<Output = Result<Saved, StoreError>> + Send;

    fn commit(&mut self, writes: Vec<Write>) -> impl Future<Output = Result<(), StoreError>> + Send;
}
