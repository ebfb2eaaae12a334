//! What a planned restart is told, what it answers, and what it must remember.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::id::{ShardId, WorkerId};

/// One run of a worker: the process that is to make room for the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRun {
    pub worker: WorkerId,
    /// Differs from run to run.
    pub run: u64,
}

/// How a restart stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    #[default]
    Running,
    /// A restarted worker failed. It goes on by itself once that one runs and
    /// the fleet is whole again, or when an operator says so if that one was
    /// the canary.
    Paused {
        worker: WorkerId,
        reason: String,
        #[serde(default)]
        canary: bool,
    },
    Done,
    Cancelled,
}

/// The worker whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// The run that was told to stop.
    pub stopped: WorkerRun,
    /// What it held then.
    pub shards: Vec<ShardId>,
}

/// Everything that must survive the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollingRecord {
    /// Wall clock, milliseconds since 1970.
    pub asked_at_ms: u64,
    pub total: u32,
    /// Who has not been restarted yet, in order.
    pub queue: VecDeque<WorkerRun>,
    pub current: Option<Current>,
    /// Who is back.
    #[serde(default)]
    pub restarted: BTreeSet<WorkerId>,
    /// Whether any worker was stopped yet.
    #[serde(default)]
    pub begun: bool,
    /// Shards that were not ready before the restart began: it waits for none
    /// of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub excused: BTreeSet<ShardId>,
    #[serde(default)]
    pub standing: Standing,
    /// How long the first one has to be healthy before the second is stopped.
    #[serde(default)]
    pub canary_ms: u64,
    /// An operator wants no further worker stopped for now.
    #[serde(default)]
    pub on_hold: bool,
}

/// The fleet, as observed.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The runs of children whose process group is not gone.
    pub runs: BTreeMap<WorkerId, u64>,
    /// Planned shards that are not ready.
    pub unready: BTreeSet<ShardId>,
    /// Why a worker that was stopped could not be started again now.
    pub hold: Option<String>,
}

/// What is to be done or told. The record is to be made durable with each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It begins although these have not become ready.
    Excused(String),
    Stop(WorkerRun),
    /// The worker's shards are ready again.
    Back(WorkerId),
    /// Others hold all that the worker had, and it was not started again.
    Replaced(WorkerId),
    Paused(String),
    GoesOn,
    Done,
}
