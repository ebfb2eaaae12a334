//! The right to send one IDENTIFY: the manager gives it, the gateway client
//! waits for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shardman_core::Tick;
use tokio::sync::oneshot;
use tracing::{debug, warn};
use twilight_gateway_queue::Queue;

use crate::lease::Lease;
use shardman_lease::Manager;
use shardman_lease::jittered;
use shardman_lease::now;

/// A round that was answered faster is not asked again at once: a manager that
/// does not wait would be asked thousands of times a second.
const SHORTEST_ROUND: Duration = Duration::from_millis(250);

/// Where the gateway client leaves its request to identify.
///
/// The task that polls the client picks it up, so it knows to the poll when
/// IDENTIFY leaves. Nothing happens on a task of its own: a connection that ends
/// takes its request, and so its place in the manager's line, with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl Gate {
    /// The request, if there is a new one. To drop it makes the client ask again.
    pub(crate) fn take(&self) -> Option<oneshot::Sender<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Queue for Gate {
    fn enqueue(&self, _shard: u32) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }
}

/// A permit that may have waited longer than this to be read is not used: the
/// process or its host stood still, and the line has moved on.
const STALE: Duration = Duration::from_secs(3);

/// The outcome of `call`, and when this process was last seen to run before it.
async fn watched<T>(call: impl Future<Output = T>) -> (T, Tick) {
    let mut call = std::pin::pin!(call);
    let mut alive = now();
    loop {
        tokio::select! {
            biased;
            outcome = &mut call => return (outcome, alive),
            () = tokio::time::sleep(STALE / 3) => alive = now(),
        }
    }
}

/// The manager said that the lease is no more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LeaseLost;

/// Resolves when IDENTIFY may be sent. To drop it gives the place back.
pub(crate) async fn ask(manager: &Manager, lease: &Lease) -> Result<(), LeaseLost> {
    let mut failures = 0;
    loop {
        let asked = Instant::now();
        let (answer, alive) = watched(manager.identify(&lease.session_id)).await;
        match answer {
            Ok(Some(_)) if now().since(alive) > STALE => {
                warn!(shard.id = %lease.shard, "this process stood still; the permit may be old, asking for another");
            }
            Ok(Some(answer)) => {
                debug!(permit.open_seconds = answer.seconds, "may identify");
                return Ok(());
            }
            Ok(None) => {
                failures = 0;
                tokio::time::sleep(SHORTEST_ROUND.saturating_sub(asked.elapsed())).await;
            }
            Err(error) if error.is_lease_lost() => return Err(LeaseLost),
            Err(error) => {
                if failures == 0 {
                    warn!(shard.id = %lease.shard, %error, "no identify permit yet; asking again");
                }
                let wait = jittered(
                    Duration::from_millis(500),
                    Duration::from_secs(5),
                    failures,
                    fastrand::f64(),
                );
                failures += 1;
                tokio::time::sleep(wait.max(SHORTEST_ROUND)).await;
            }
        }
    }
}
