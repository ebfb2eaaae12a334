//! What is answered to who stops the fleet.

use serde::{Deserialize, Serialize};

/// The answer to `POST /fleet/stop`: the manager ends when its workers have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoppingView {
    /// Workers that run.
    pub workers: u32,
    /// Seconds after which those that still do are killed.
    pub stop_seconds: f64,
}
