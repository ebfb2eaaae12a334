//! The door to a reload: who is asked to read the configuration again, and how
//! what was read gets to the owner.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shardman_core::reload::{ReloadEffect, ReloadView};
use tokio::sync::{mpsc, oneshot};

use super::handle::{ManagerHandle, STOPPED};
use super::request::Request;
use super::settings::Settings;

/// Somebody wants the configuration read again.
pub type ReloadCall = oneshot::Sender<Result<ReloadView, ReloadError>>;

/// Calls that may wait; each is a look at one file.
const CALLS: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// One line that names the variable, the value and the remedy.
    #[error("{0}")]
    BadConfiguration(String),
    #[error("nothing can be changed now: {reason}")]
    Unavailable { reason: String },
}

impl ManagerHandle {
    /// Whoever gets these calls reads the configuration for all others. `None`
    /// once somebody does.
    pub fn reload_calls(&self) -> Option<mpsc::Receiver<ReloadCall>> {
        let (sender, calls) = mpsc::channel(CALLS);
        self.shared.reloads.set(sender).ok().map(|()| calls)
    }

    /// Reads the configuration again and applies what it can.
    pub async fn reload(&self) -> Result<ReloadView, ReloadError> {
        let gone = || ReloadError::Unavailable {
            reason: STOPPED.to_owned(),
        };
        let (reply, answer) = oneshot::channel();
        let calls = self.shared.reloads.get().ok_or_else(gone)?;
        calls.send(reply).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Exchanges the settings in the owner's next turn. `changes` names the
    /// variables. Where they change what workers are started with, those that
    /// were halted for their configuration are started again, and named.
    pub async fn apply(
        &self,
        settings: Settings,
        changes: Vec<(String, ReloadEffect)>,
    ) -> Result<Vec<String>, ReloadError> {
        let gone = || ReloadError::Unavailable {
            reason: STOPPED.to_owned(),
        };
        let (reply, answer) = oneshot::channel();
        let request = Request::Reload {
            settings: Arc::new(settings),
            changes,
            reply,
        };
        self.requests.send(request).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// How often the owner has turned: a number that stands still means that it
    /// hangs.
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Relaxed)
    }
}
