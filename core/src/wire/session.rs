//! What a session holds.

use serde::{Deserialize, Serialize};

use crate::id::Epoch;

/// The answer to `GET /sessions/{session_id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    pub pool: String,
    /// The slot's number, in pools beside `discord`.
    pub shard_id: u32,
    pub max_shards: u32,
    /// The lease's fencing token.
    pub epoch: Epoch,
    /// The child that holds it; absent where nobody of the manager's does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
}
