//! The published status.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The answer to `GET /status`, as published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub total_shards: u32,
    pub shards: Vec<StatusShard>,
}

/// One leased shard in [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusShard {
    pub shard_id: u32,
    /// RFC 3339, UTC, microseconds.
    pub last_beat: String,
    pub guild_count: Option<i64>,
    pub latency: Option<f64>,
    pub extra: Option<Box<RawValue>>,
}
