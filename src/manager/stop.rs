//! What operators ask about the end of workers, and of the manager.

use shardman_core::WorkerId;
use shardman_core::wire::StoppingView;
use tokio::sync::oneshot;

use super::handle::ManagerHandle;
use super::pools::within;
use super::request::Request;
use super::restarts::RestartError;

impl ManagerHandle {
    /// Stops a worker until it is wanted again, also over a restart of the
    /// manager; or starts it. What is so already stays as it is.
    pub async fn want_worker(&self, worker: String, wanted: bool) -> Result<(), RestartError> {
        let id = WorkerId::from(&*worker);
        let pool = self.shared.of_worker(&id).settings.pool.clone();
        let (reply, answer) = oneshot::channel();
        let request = Request::Want {
            worker,
            wanted,
            reply,
        };
        self.ask_about_restart(within(pool, request), answer)
            .await
            .map(drop)
    }

    /// Somebody wants the fleet and the manager to stop, as a signal would have it.
    pub fn ask_to_stop(&self) -> StoppingView {
        self.shared.stop_asked.cancel();
        StoppingView {
            workers: u32::try_from(self.summary().borrow().running).unwrap_or(u32::MAX),
            stop_seconds: self.shared.fleet().settings.grace.as_secs_f64(),
        }
    }

    /// Waits until somebody does.
    pub async fn stop_asked(&self) {
        self.shared.stop_asked.cancelled().await;
    }
}
