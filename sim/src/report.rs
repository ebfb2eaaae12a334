//! The referee's report: what happened, in numbers that a test can compare. All
//! times (`at_ms` and the like) are milliseconds since the simulator started.

mod referee;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shardman_core::id::ShardId;

pub(crate) use referee::Referee;

/// The answer to `GET /sim/report`. Lists keep their latest lines, at least 10,000; the
/// counters beside them count everything. Maps by shard have keys like `3/16`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// When the first IDENTIFY came (since the last reset).
    pub started_at_ms: Option<u64>,
    /// From the first IDENTIFY until all shards of one total were ready at once.
    pub all_ready_at_ms: Option<u64>,
    /// Every IDENTIFY with a good token, shard and intents.
    pub identifies: Vec<Identified>,
    /// How many, in all.
    pub identify_count: u64,
    /// How many of them per bucket.
    pub identifies_per_bucket: BTreeMap<u32, u64>,
    /// The shortest time between two of them, per bucket that had two.
    pub min_gap_ms: BTreeMap<u32, u64>,
    pub budget: BudgetReport,
    /// How often an empty budget reset the token.
    pub token_resets: u64,
    pub resumes: Vec<ResumeReport>,
    /// RESUMEs that were answered with RESUMED, in all.
    pub resume_count: u64,
    /// RESUMEs that were refused, in all.
    pub resume_failures: u64,
    pub connections: Connections,
    /// Answers of Discord's REST, by status.
    #[serde(default)]
    pub rest: BTreeMap<u16, u64>,
    /// Close codes sent to clients: how often each.
    pub closes: BTreeMap<u16, u64>,
    /// Per shard, when READY (or RESUMED) was last written.
    pub ready: Vec<ReadyShard>,
    /// Times at which a shard that had been ready had no connection.
    pub absences: Vec<Absence>,
    /// The longest of them per shard, the one that lasts included.
    pub longest_absence_ms: BTreeMap<ShardId, u64>,
    /// Most sessions of one shard that were connected at once.
    pub max_holders: BTreeMap<ShardId, u32>,
    pub double_holders: DoubleHolders,
    /// RESUMEs that took the session from a connection that was still open.
    pub takeovers: Vec<ShardMoment>,
    /// Connections closed because no heartbeat came for two intervals.
    pub zombies: Vec<ShardMoment>,
    /// Load events (MESSAGE_CREATE) per shard.
    pub events: BTreeMap<ShardId, EventCounts>,
    /// The sum of `events`.
    pub events_total: EventCounts,
    /// The same messages, each counted once, whichever shards of whichever
    /// totals route its guild.
    pub messages: MessageCounts,
    /// Load events generated, whether or not a session was there.
    pub generated: u64,
    /// Load events in guilds whose shard had no session at all, not even a
    /// resumable one: no bot will ever see them.
    pub unheard: u64,
    pub broken_rules: Vec<BrokenRule>,
    /// How many broken rules, in all.
    pub broken_rule_count: u64,
}

/// One IDENTIFY.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identified {
    pub shard: u32,
    pub total: u32,
    pub bucket: u32,
    pub at_ms: u64,
    /// False when it was over the rate or over the budget.
    pub ok: bool,
}

/// The session start limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetReport {
    pub total: u32,
    pub remaining: u32,
    /// Starts spent since the last reset of the report.
    pub spent: u64,
}

/// One RESUME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeReport {
    /// `None` when the session was unknown.
    pub shard: Option<u32>,
    pub total: Option<u32>,
    pub at_ms: u64,
    pub ok: bool,
    /// Dispatches written again or for the first time because of it.
    pub replayed: u64,
    /// Whether it came by READY's `resume_gateway_url`.
    pub by_resume_url: bool,
}

/// Gateway connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    pub opened: u64,
    pub live: u64,
    pub max_live: u64,
}

/// A shard and when it last became ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyShard {
    pub shard: u32,
    pub total: u32,
    pub at_ms: u64,
    /// Whether that session is connected now.
    pub live: bool,
}

/// From the end of a ready shard's connection to the next READY or RESUMED.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    pub shard: u32,
    pub total: u32,
    pub from_ms: u64,
    /// `None` while it lasts.
    pub to_ms: Option<u64>,
}

/// Times at which two sessions of one shard were connected at once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DoubleHolders {
    pub count: u64,
    pub list: Vec<DoubleHold>,
}

/// One such time. Shorter than a millisecond does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoubleHold {
    pub shard: u32,
    pub total: u32,
    pub from_ms: u64,
    /// `None` while it lasts.
    pub to_ms: Option<u64>,
}

/// Something that happened to a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMoment {
    pub at_ms: u64,
    /// As in `3/16`; `None` before authentication.
    pub shard: Option<ShardId>,
}

/// Load events of one shard, by (session, sequence).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCounts {
    /// Dispatched: got a sequence in a session.
    pub sent: u64,
    /// Written to a connection of the session for the first time.
    pub delivered: u64,
    /// Written again by a replay.
    pub replayed: u64,
    /// The session died before it was ever written, and no other session of the
    /// shard was connected to take it.
    pub lost: u64,
    /// Delivered although another session of the shard had it, too.
    pub doubled: u64,
    /// Died with its session, but another session of the shard had it.
    pub superseded: u64,
    /// Waiting in a session that is alive or resumable.
    pub pending: u64,
}

/// Messages that some session was there to take, by their fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageCounts {
    /// Written to a connection at least once.
    pub delivered: u64,
    /// By more than one session: what a rescale costs.
    pub doubled: u64,
    /// Every session that had it died before it was written.
    pub lost: u64,
    /// A session that has it is alive or resumable.
    pub pending: u64,
}

/// A rule of Discord's that a client broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenRule {
    pub at_ms: u64,
    /// `identify_rate`, or the close code in words, such as `invalid_shard`.
    pub rule: String,
    /// As in `3/16`; `None` when no shard was known.
    pub shard: Option<ShardId>,
    pub detail: String,
}
