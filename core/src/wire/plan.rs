//! What is said of the number of shards and its changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::ShardId;

/// The body of `POST /plan`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanRequest {
    /// How many shards to run.
    pub shards: u32,
}

/// The answer to `GET /plan`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanView {
    /// How many shards of each total are live.
    pub live: BTreeMap<u32, u32>,
    /// Why no shards are planned yet; none where some are, and where none will.
    #[serde(default)]
    pub waits: Option<String>,
    /// The change that is under way.
    pub rescale: Option<RescaleView>,
    /// Another number that is due, and why.
    pub proposal: Option<String>,
}

/// A change of the number of shards, under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RescaleView {
    /// The number before it; unknown where an older manager began it.
    #[serde(default)]
    pub from: Option<u32>,
    pub to: u32,
    pub cause: String,
    pub steps: u32,
    pub done: u32,
    /// `stand_by`, `go_live` or `drain`; nothing between two steps.
    pub phase: Option<String>,
    /// The shards that the present step replaces, and those that come.
    pub old: Vec<ShardId>,
    pub new: Vec<ShardId>,
    /// Those of them that the phase waits for.
    pub waiting_for: Vec<ShardId>,
}

/// The answer to `GET /plan?shards=N` and to `POST /plan`: what a change costs,
/// and what speaks against it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// How many shards of each total are live.
    pub from: BTreeMap<u32, u32>,
    pub to: u32,
    /// Steps, each of which replaces some shards by some others.
    pub steps: u32,
    /// IDENTIFYs that it takes.
    pub identifies: u32,
    /// Session starts that may be used today, and all that are left; nothing
    /// when Discord was not asked.
    pub starts_free: Option<u32>,
    pub starts_left: Option<u32>,
    /// How long it takes at Discord's pace, when nothing else goes wrong.
    pub seconds: f64,
    /// The most shards that run beside the live ones at a time.
    pub peak_shards: u32,
    /// The memory that those take, as far as the present workers tell.
    pub peak_bytes: Option<u64>,
    /// Why it will not be done; nothing when it is safe.
    pub refusals: Vec<String>,
}
