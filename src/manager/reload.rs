//! The door to a reload: who is asked to read the configuration again, and how
//! what was read gets to the owner.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shardman_core::reload::{ReloadEffect, ReloadView};
use tokio::sync::{mpsc, oneshot};

use super::handle::{ManagerHandle, STOPPED};
use super::pools::within;
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

    /// Exchanges the settings of every pool in the owner's next turn. Workers
    /// that were halted for their configuration are started again, and named.
    /// `changes` names the variables.
    pub async fn apply(
        &self,
        settings: Settings,
        changes: Vec<(String, ReloadEffect)>,
    ) -> Result<Vec<String>, ReloadError> {
        let gone = || ReloadError::Unavailable {
            reason: STOPPED.to_owned(),
        };
        let others = settings.pools.iter().map(|pool| settings.of_pool(pool));
        let mut of_pools: Vec<_> = others.collect();
        of_pools.insert(0, settings);
        let mut answers = Vec::new();
        // Told once, by the first of them.
        let mut changes = changes;
        for settings in of_pools {
            let (reply, answer) = oneshot::channel();
            let pool = settings.pool.clone();
            let request = Request::Reload {
                settings: Arc::new(settings),
                changes: std::mem::take(&mut changes),
                reply,
            };
            self.requests
                .send(within(pool, request))
                .await
                .map_err(|_| gone())?;
            answers.push(answer);
        }
        let mut freed = Vec::new();
        for answer in answers {
            freed.extend(answer.await.map_err(|_| gone())?);
        }
        Ok(freed)
    }

    /// How often the owner has turned: a number that stands still means that it
    /// hangs.
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Relaxed)
    }
}
