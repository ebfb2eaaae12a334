//! A gateway session: its sequence, what it may still replay, and what was
//! delivered of it.

use std::collections::VecDeque;
use std::fmt;

use shardman_core::id::ShardId;
use shardman_core::tick::Tick;

use super::{ConnId, Event, REPLAY_LIMIT};

/// A session's name: 32 hexadecimal digits on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(u128);

impl SessionKey {
    pub(super) fn random(rng: &mut fastrand::Rng) -> Self {
        Self(rng.u128(..))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) event: Event,
    /// Another session of the same shard was there to take it as well.
    pub(super) covered: bool,
}

/// What became of the dispatches that [`Session::deliver`] was told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) delivered: u64,
    pub(super) replayed: u64,
    pub(super) doubled: u64,
    pub(super) ready: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) shard: ShardId,
    pub(super) intents: u64,
    pub(super) conn: Option<ConnId>,
    /// When it can no longer be resumed; `None` while it is connected.
    pub(super) dies_at: Option<Tick>,
    /// Entry 0 has the sequence `forgotten + 1`.
    entries: VecDeque<Entry>,
    forgotten: u64,
    /// The last sequence written to the present connection.
    written: u64,
    /// The last sequence ever written to a connection.
    delivered: u64,
}

impl Session {
    pub(super) fn new(shard: ShardId, intents: u64, conn: ConnId) -> Self {
        Self {
            shard,
            intents,
            conn: Some(conn),
            dies_at: None,
            entries: VecDeque::new(),
            forgotten: 0,
            written: 0,
            delivered: 0,
        }
    }

    pub(super) fn sequence(&self) -> u64 {
        self.forgotten + self.entries.len() as u64
    }

    /// Appends a dispatch. False when the buffer had to forget one that the
    /// present connection has not seen: the session is broken then.
    pub(super) fn push(&mut self, event: Event, covered: bool) -> bool {
        self.entries.push_back(Entry { event, covered });
        if self.entries.len() <= REPLAY_LIMIT {
            return true;
        }
        if self.forgotten + 1 > self.written {
            return false;
        }
        self.entries.pop_front();
        self.forgotten += 1;
        true
    }

    /// Goes back to what the client has; false if that was forgotten.
    pub(super) fn rewind(&mut self, sequence: u64) -> bool {
        if sequence < self.forgotten {
            return false;
        }
        self.written = sequence;
        true
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = (u64, &Entry)> {
        let skip = usize::try_from(self.written - self.forgotten).expect("a buffer fits into memory");
        (self.written + 1..).zip(self.entries.iter().skip(skip))
    }

    /// Notes that everything up to `sequence` was written.
    pub(super) fn deliver(&mut self, sequence: u64, mut first_time: impl FnMut(u64)) -> Delivery {
        let mut delivery = Delivery::default();
        let already = self.delivered;
        for (at, entry) in self.pending().take_while(|(at, _)| *at <= sequence) {
            delivery.ready |= matches!(entry.event, Event::Ready | Event::Resumed);
            if !entry.event.is_load() {
                continue;
            }
            if at <= already {
                delivery.replayed += 1;
            } else {
                entry.event.message().into_iter().for_each(&mut first_time);
                delivery.delivered += 1;
                delivery.doubled += u64::from(entry.covered);
            }
        }
        self.written = sequence.clamp(self.written, self.sequence());
        self.delivered = self.delivered.max(self.written);
        delivery
    }

    /// The numbers of messages that were never delivered.
    pub(super) fn undelivered_messages(&self) -> impl Iterator<Item = u64> {
        let skip = usize::try_from(self.delivered.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        self.entries
            .iter()
            .skip(skip)
            .filter_map(|entry| entry.event.message())
    }

    /// Load events that were never delivered: those that nobody else could have
    /// taken, and those that another session took.
    pub(super) fn undelivered(&self) -> (u64, u64) {
        let skip = usize::try_from(self.delivered.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        let (mut alone, mut covered) = (0, 0);
        for entry in self
            .entries
            .iter()
            .skip(skip)
            .filter(|entry| entry.event.is_load())
        {
            if entry.covered { covered += 1 } else { alone += 1 }
        }
        (alone, covered)
    }

    pub(super) fn pending_messages(&self) -> u64 {
        self.undelivered().0
    }
}
