//! What somebody may want to be woken for.

use shardman_core::ShardId;

/// What somebody may want to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub kind: AlertKind,
    pub shard: Option<ShardId>,
    /// The cause in one line; what a worker printed last follows in further ones.
    pub text: String,
    /// Wall clock, milliseconds since 1970.
    pub last_beat_ms: u64,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertKind {
    /// A shard was leased.
    Connect,
    /// A shard was lost.
    Disconnect,
    /// Session starts run low.
    Budget,
    /// The number of shards changes, or should.
    Plan,
    /// A worker needs an operator.
    Worker,
}
