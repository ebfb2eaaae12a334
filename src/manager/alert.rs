//! What somebody may want to be woken for.

use shardman_core::{PoolId, ShardId, WorkerId};

pub use shardman_core::alerting::AlertKind;

/// What somebody may want to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub kind: AlertKind,
    /// The shard, or the slot of `pool`, that it is about.
    pub shard: Option<ShardId>,
    pub worker: Option<WorkerId>,
    /// Another pool than the bot's.
    pub pool: Option<PoolId>,
    /// The cause in one line; what a worker printed last follows in further ones.
    pub text: String,
    /// Wall clock, milliseconds since 1970.
    pub last_beat_ms: u64,
}

impl Alert {
    pub fn new(kind: AlertKind, text: String, last_beat_ms: u64) -> Self {
        Self {
            kind,
            shard: None,
            worker: None,
            pool: None,
            text,
            last_beat_ms,
        }
    }

    /// The same, about a worker, and its pool.
    #[must_use]
    pub fn of_worker(mut self, worker: &WorkerId) -> Self {
        let pool: Option<PoolId> = worker.pool().parse().ok();
        self.pool = pool.filter(|pool| !pool.is_discord());
        self.worker = Some(worker.clone());
        self
    }
}

/// What an alert rests on that may be gone by the end of its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// One lease of a child lapsed. One word is said where many lapse together.
    Lapse,
    /// So many percent of the session starts are used.
    StartsUsed(u32),
    /// No session start may be used any more.
    StartsUsedUp,
}

impl Ground {
    pub(super) fn is_of_starts(self) -> bool {
        matches!(self, Self::StartsUsed(_) | Self::StartsUsedUp)
    }
}
