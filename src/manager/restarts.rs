//! What operators ask about planned restarts.

use std::time::Duration;

use tokio::sync::oneshot;

use super::handle::{ManagerHandle, STOPPED};
use super::request::Request;

/// Which workers to restart, and how. Without a name and a shard, all that run.
#[derive(Clone, Debug, Default)]
pub struct RestartRequest {
    pub workers: Vec<String>,
    /// Numbers of shards: whoever holds them is restarted.
    pub shards: Vec<u32>,
    /// How long the first one has to stay healthy before the second is stopped.
    /// None where it counts as well as soon as the fleet is whole, and where its
    /// failure heals by itself.
    pub canary: Option<Duration>,
}

impl RestartRequest {
    /// Of every worker that runs.
    pub fn is_of_all(&self) -> bool {
        self.workers.is_empty() && self.shards.is_empty()
    }
}

/// Why no restart begins, or none is cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    #[error("there is no such worker")]
    UnknownWorker,
    #[error("there is no such shard")]
    UnknownShard,
    #[error("no worker that can be restarted holds shard {0}")]
    NotHeld(u32),
    /// These are there.
    #[error("there is no such pool")]
    UnknownPool { pools: Vec<String> },
    #[error("no worker runs")]
    NothingRuns,
    #[error("a restart is under way")]
    UnderWay,
    #[error("no restart is under way")]
    NotUnderWay,
    #[error("it cannot be done now: {reason}")]
    Unavailable { reason: String },
    /// Some pools do it, and each of the others says why not.
    #[error("it is done in {}, and not in {}", done.join(", "), each(refused))]
    Partly {
        done: Vec<String>,
        refused: Vec<(String, RestartError)>,
    },
}

fn each(refused: &[(String, RestartError)]) -> String {
    let words = refused.iter().map(|(pool, error)| format!("{pool} ({error})"));
    words.collect::<Vec<_>>().join(", ")
}

impl ManagerHandle {
    /// Restarts these workers one after the other. False when none of them ran:
    /// they are started at once.
    pub async fn restart(&self, request: RestartRequest) -> Result<bool, RestartError> {
        self.restart_in(None, request).await
    }

    /// Restarts no further worker.
    pub async fn cancel_restart(&self) -> Result<(), RestartError> {
        self.cancel_restarts().await
    }

    pub(super) async fn ask_about_restart(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<bool, RestartError>>,
    ) -> Result<bool, RestartError> {
        let gone = || RestartError::Unavailable {
            reason: STOPPED.to_owned(),
        };
        self.requests.send(request).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}
