//! The oracle's own slot: where a manager runs it, it holds one of the pool
//! that it was started for. It says nothing while the engine is stuck or fails,
//! so that the manager replaces it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use shardman_core::wire::ShardState;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, ManagerArgs};
use crate::scheduler::Handle;
use crate::slot::{Holder, Place, SlotError};

/// An engine that finishes no pass for so long is stuck.
const STUCK: Duration = Duration::from_secs(10);

/// A slot that is held, or none to hold.
pub(super) struct Hold(Option<Held>);

struct Held {
    state: watch::Sender<ShardState>,
    engine: Arc<OnceLock<Handle>>,
    release: CancellationToken,
    task: JoinHandle<Result<(), SlotError>>,
}

impl Hold {
    /// Begins to hold a slot, where a pool is named.
    ///
    /// # Errors
    ///
    /// If the manager cannot be asked for it.
    pub(super) fn begin(args: &ManagerArgs) -> Result<Self, ConfigError> {
        let Some(pool) = args.shardman_pool.clone() else {
            return Ok(Self(None));
        };
        let place = Place {
            manager: Arc::new(args.client()?),
            pool,
            is_child: args.is_child(),
        };
        let (state, told) = watch::channel(ShardState::Starting);
        let engine = Arc::new(OnceLock::<Handle>::new());
        let release = CancellationToken::new();
        let (watched, stop) = (Arc::clone(&engine), release.clone());
        let task = tokio::spawn(async move {
            // Nobody asks here which slot it is.
            let (held, _) = watch::channel(None);
            let healthy = || watched.get().is_none_or(is_well);
            Holder::new(&place, told, healthy, &held).run(&stop).await
        });
        Ok(Self(Some(Held {
            state,
            engine,
            release,
            task,
        })))
    }

    /// From now on it is this engine that must be well.
    pub(super) fn watch(&self, engine: &Handle) {
        if let Some(held) = &self.0 {
            // There is one engine, so that it is set once.
            let _ = held.engine.set(engine.clone());
        }
    }

    /// Requests can be answered.
    pub(super) fn ready(&self) {
        if let Some(held) = &self.0 {
            held.state.send_replace(ShardState::Ready);
        }
    }

    /// Resolves when it makes no sense to go on.
    pub(super) async fn lost(&mut self) -> SlotError {
        if let Some(held) = &mut self.0 {
            let ended = (&mut held.task).await;
            self.0 = None;
            if let Ok(Err(error)) = ended {
                return error;
            }
        }
        std::future::pending().await
    }

    /// No more requests are taken.
    pub(super) fn stopping(&self) {
        if let Some(held) = &self.0 {
            held.state.send_replace(ShardState::Stopping);
        }
    }

    /// Gives the slot back.
    pub(super) async fn release(self) {
        if let Some(held) = self.0 {
            held.release.cancel();
            // What becomes of it is told by whoever holds it.
            let _ = held.task.await;
        }
    }
}

fn is_well(engine: &Handle) -> bool {
    let standing = engine.standing();
    !standing.broken && !standing.failing && standing.stalled_for < STUCK
}
