//! What a lease table is made of, takes and gives.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::{Epoch, SessionId, ShardId, WorkerId};
use crate::rate::Rate;
use crate::tick::Tick;
use crate::wire::{ResumePoint, ShardState};

/// The process on whose behalf a lease is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A process that registered by itself. It cannot be killed, only told.
    External,
    /// A process that the supervisor started. Its shards are handed on only
    /// when its process group is gone.
    Child(WorkerId),
}

impl Holder {
    pub fn child(&self) -> Option<&WorkerId> {
        match self {
            Self::External => None,
            Self::Child(worker) => Some(worker),
        }
    }
}

/// One shard handed to one holder.
#[derive(Debug)]
pub struct Lease {
    pub session: SessionId,
    pub epoch: Epoch,
    pub holder: Holder,
    /// The caller's name for its request, so that it may be repeated.
    pub key: Option<String>,
    pub granted_at: Tick,
    /// From when on its holder may have identified: its slot, or its permit;
    /// `None` while it waits for one.
    pub identify_at: Option<Tick>,
    pub last_beat: Tick,
    /// The highest number of a beat.
    pub(super) beats: u64,
    /// The time to live that its holder was told.
    pub ttl: Duration,
    /// Whether it beat at all under this manager.
    pub heard: bool,
    /// Held on behalf of a child that need not beat, until its process group is
    /// gone.
    pub assigned: bool,
    /// Without a beat until here, the lease is lost.
    pub deadline: Tick,
    /// Since when its shard is out of the plan. Kept here, because every beat
    /// asks.
    pub(super) unplanned_since: Option<Tick>,
    /// Its holder was told to leave, and leaves even if the plan comes back.
    pub(super) leaving: bool,
    /// Where its entry among the timers is.
    pub(super) timer: Tick,
    pub figures: Figures,
}

/// What the holder last said of its shard.
#[derive(Debug, Default)]
pub struct Figures {
    pub guild_count: Option<i64>,
    /// Seconds.
    pub latency: Option<f64>,
    pub extra: Option<Box<RawValue>>,
    pub state: Option<ShardState>,
    /// Seconds since the last gateway event, when the last beat was sent.
    pub last_event_age: Option<f64>,
    /// Seconds that the holder's own loop lagged behind.
    pub loop_lag: Option<f64>,
    /// Gateway events.
    pub events: Rate,
    /// The gateway close code that ended the last connection.
    pub close_code: Option<u16>,
}

/// The figures of one beat. `None` keeps what the last beat said.
#[derive(Debug, Default)]
pub struct BeatReport {
    pub guild_count: Option<i64>,
    pub latency: Option<f64>,
    pub extra: Option<Box<RawValue>>,
    pub state: Option<ShardState>,
    pub epoch: Option<Epoch>,
    pub gateway: Option<ResumePoint>,
    pub last_event_age: Option<f64>,
    pub loop_lag: Option<f64>,
    /// Gateway events so far.
    pub event_count: Option<u64>,
    pub close_code: Option<u16>,
    /// The beat's own number among those of its lease.
    pub number: Option<u64>,
}

impl Lease {
    /// Whether the child that holds it has shown no more than that it runs.
    pub fn never_beaten(&self) -> bool {
        self.assigned && self.last_beat == self.granted_at
    }

    /// Whether its shard is out of the plan.
    pub fn is_unplanned(&self) -> bool {
        self.unplanned_since.is_some()
    }

    /// Since when its shard is out of the plan.
    pub fn unplanned_since(&self) -> Option<Tick> {
        self.unplanned_since
    }

    /// Whether its holder was told to leave.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }
}

impl Figures {
    pub(super) fn merge(&mut self, report: BeatReport, now: Tick) {
        fn keep<T>(slot: &mut Option<T>, new: Option<T>) {
            if new.is_some() {
                *slot = new;
            }
        }
        keep(&mut self.guild_count, report.guild_count);
        keep(&mut self.latency, report.latency);
        keep(&mut self.extra, report.extra);
        keep(&mut self.last_event_age, report.last_event_age);
        keep(&mut self.loop_lag, report.loop_lag);
        keep(&mut self.close_code, report.close_code);
        keep(&mut self.state, report.state);
        if let Some(events) = report.event_count {
            self.events.report(events, now);
        }
    }
}

/// A request for the lowest free shard.
#[derive(Clone, Debug)]
pub struct Claim {
    pub holder: Holder,
    /// The name of the lease, if one is granted.
    pub session: SessionId,
    pub key: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("every planned shard is held")]
    NoShardFree,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeatError {
    /// Unknown or lapsed session, a stale epoch, or another child's session.
    #[error("no lease has this session")]
    UnknownSession,
    /// The lease's shard is no longer planned; the lease is over.
    #[error("the shard is out of the plan")]
    OutOfPlan,
}

/// What an accepted beat changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beaten {
    pub shard: ShardId,
    /// The state before and after, where it changed.
    pub change: Option<(Option<ShardState>, ShardState)>,
    /// The close code that ended a gateway connection, when it is news: a holder
    /// that waits repeats it.
    pub closed: Option<u16>,
    /// An older beat than one that was already seen: it tells no news.
    pub outdated: bool,
    /// Its shard is out of the plan: the holder is to leave.
    pub drain: bool,
}

/// A lease as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    pub shard: ShardId,
    pub session: SessionId,
    pub epoch: Epoch,
    pub holder: Holder,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Wall clock, milliseconds since 1970: when the holder's identify slot is.
    #[serde(default)]
    pub identify_at_ms: u64,
    /// The time to live that the holder was told, in milliseconds.
    #[serde(default)]
    pub ttl_ms: u64,
    /// Its holder is a child that need not beat.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assigned: bool,
}

/// What must be on disk before anyone is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseWrite {
    Granted {
        shard: ShardId,
        session: SessionId,
        epoch: Epoch,
        holder: Holder,
        key: Option<String>,
        wait_ms: u64,
        ttl_ms: u64,
        assigned: bool,
    },
    Ended {
        shard: ShardId,
        epoch: Epoch,
    },
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The holder gave it back.
    Released,
    /// No beat in time.
    Lapsed,
    /// Its process is gone.
    WorkerGone,
    /// Its shard left the plan.
    OutOfPlan,
    /// The grant never became durable, so nobody was told of it.
    Undone,
}

/// Something to act on or tell about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseEffect {
    Ended {
        shard: ShardId,
        epoch: Epoch,
        holder: Holder,
        cause: EndCause,
        silent_ms: u64,
    },
}

pub(super) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A child speaks for itself alone; whoever knows the shared secret may speak
/// for every lease, as in the published API.
pub(super) fn may_speak_for(caller: &Holder, holder: &Holder) -> bool {
    match caller {
        Holder::External => true,
        Holder::Child(_) => caller == holder,
    }
}
