//! What goes over HTTP between the manager and those who talk to it.
//!
//! The two published calls keep their published shapes; everything else is an
//! addition that a client of the two calls never has to know.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::Epoch;

mod plan;
mod status;

pub use plan::{PlanReport, PlanRequest, PlanView, RescaleView};
pub use status::{Status, StatusShard};

/// The answer to `GET /connect` in the current version of the API, with the
/// native additions behind the four published fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connected {
    pub shard_id: u32,
    pub max_shards: u32,
    pub session_id: String,
    /// Seconds until this shard's own identify slot; 0 when it may start now.
    pub sleep_duration: f64,
    /// The lease's fencing token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Seconds between beats that the manager would like to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_seconds: Option<f64>,
    /// Seconds without a beat after which the lease is lost (`MAX_SECONDS`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<f64>,
    /// Where Discord's gateway is, as `GET /gateway/bot` said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_url: Option<String>,
    /// Enough to RESUME where the last holder of this shard stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<ResumePoint>,
}

/// The answer to `GET /connect?token=` in the older version of the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConnectedOlder {
    pub shard: u32,
    pub max_shards: u32,
    pub session_id: String,
}

/// Enough to RESUME a gateway session instead of identifying anew.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumePoint {
    /// Discord's own session id, from READY.
    pub session_id: String,
    /// The last sequence that the sink has taken.
    pub sequence: u64,
    /// READY's `resume_gateway_url`.
    pub resume_url: String,
    /// In the answer to `/connect`: how many guilds the last holder counted,
    /// because a resumed session does not list them again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guild_count: Option<i64>,
}

impl std::fmt::Debug for ResumePoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResumePoint")
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

/// The body of `POST /beat`. `guild_count`, `latency` and `extra` are the
/// published figures; a beat keeps the ones that it does not mention.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Beat {
    pub session_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guild_count: Option<i64>,
    /// Seconds, as the client libraries report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Box<RawValue>>,
    /// Where the shard is on its way. A beat that carries it is answered with a
    /// [`Directive`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ShardState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<ResumePoint>,
    /// Seconds since the last gateway event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_age: Option<f64>,
    /// Seconds that the worker's own loop lags behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_lag: Option<f64>,
    /// Gateway events that this lease has had so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_count: Option<u64>,
    /// The close code with which Discord ended the gateway connection, in the
    /// `disconnected` beat that follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_code: Option<u16>,
    /// Counts the beats of one lease, so that one that was under way too long
    /// is not taken for news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}

/// Where a shard is on its way to being ready, as its holder reports it. It is
/// also how an identify permit is reported on: `identifying` says it was just
/// used, `ready` that it worked, `disconnected` that it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardState {
    /// Leased; no gateway connection yet.
    Starting,
    /// Connected or connecting; waits for an identify permit.
    Waiting,
    /// IDENTIFY was sent within the last moments.
    Identifying,
    /// RESUME was sent; no RESUMED yet.
    Resuming,
    /// READY or RESUMED was received; the events are held back until `go_live`.
    StandingBy,
    /// READY or RESUMED was received, and events are delivered.
    Ready,
    /// The gateway connection is gone; the holder will try again.
    Disconnected,
    /// The holder is closing and will release the lease.
    Stopping,
}

impl ShardState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::Identifying => "identifying",
            Self::Resuming => "resuming",
            Self::StandingBy => "standing_by",
            Self::Ready => "ready",
            Self::Disconnected => "disconnected",
            Self::Stopping => "stopping",
        }
    }
}

impl std::fmt::Display for ShardState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the manager asks of a holder, in answer to a beat that carries `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directive {
    CarryOn,
    /// Connect and buffer, deliver nothing yet.
    StandBy,
    /// Deliver.
    GoLive,
    /// Close the gateway and release the lease.
    Drain,
    /// Leave the gateway connection such that the session can be resumed, and
    /// resume it on another one. The lease goes on.
    Reconnect,
}

/// The 200 answer to a beat that carries `state`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct BeatAnswer {
    pub directive: Directive,
    /// Seconds until the next beat that the manager would like to see, while it
    /// has more to say than usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_seconds: Option<f64>,
}

/// The body of `POST /identify`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdentifyRequest {
    pub session_id: String,
}

/// The answer to `POST /identify`: 200 with `permit` when IDENTIFY may be sent
/// now, 202 without it when the caller should ask again at once to keep its
/// place in the line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct IdentifyAnswer {
    /// The permit's number, when it was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<u64>,
    /// Seconds that the permit stays open, or that the wait is likely to last.
    pub seconds: f64,
}

/// The body of every refusal but a 422.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Detail {
    pub detail: String,
}

/// The answer to `GET /fleet`: every planned shard, every worker, and what
/// Discord allows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FleetView {
    pub planned: u32,
    pub leased: u32,
    pub ready: u32,
    pub max_concurrency: u32,
    /// Session starts left today, as far as Discord said.
    pub starts_remaining: Option<u32>,
    pub starts_total: Option<u32>,
    #[serde(default)]
    pub starts: StartsView,
    /// What keeps the fleet from being whole, in words.
    pub trouble: Vec<String>,
    /// The change of the number of shards that is under way.
    #[serde(default)]
    pub rescale: Option<RescaleView>,
    /// Another number of shards that is due, and why.
    #[serde(default)]
    pub proposal: Option<String>,
    /// The planned restart that runs, or the last one.
    #[serde(default)]
    pub restart: Option<RestartView>,
    /// How children are killed with all that they started: `cgroup`, or
    /// `process_group`.
    #[serde(default)]
    pub kill_method: String,
    /// What holds children to `WORKER_MEMORY`: `cgroup`, or `process` where it
    /// can only be each process by itself. None where it is not set.
    #[serde(default)]
    pub memory_limit: Option<String>,
    pub shards: Vec<ShardView>,
    pub workers: Vec<WorkerView>,
    /// The pools beside `discord`.
    #[serde(default)]
    pub pools: Vec<PoolView>,
}

/// A pool beside `discord` in [`FleetView`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoolView {
    pub pool: String,
    /// How many slots there are.
    pub size: u32,
    pub leased: u32,
    /// Slots whose holder is there, as far as one can tell.
    pub ready: u32,
    /// Seconds without a beat after which a slot is handed to somebody else.
    pub max_seconds: f64,
    /// The planned restart that runs, or the last one.
    #[serde(default)]
    pub restart: Option<RestartView>,
    /// The slots.
    pub shards: Vec<ShardView>,
    pub workers: Vec<WorkerView>,
}

/// Discord's session starts in [`FleetView`]. The first four are unknown where
/// Discord was not asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StartsView {
    pub total: Option<u32>,
    pub remaining: Option<u32>,
    /// The part of them that only an operator may use.
    pub reserve: Option<u32>,
    /// Seconds until Discord gives new ones.
    pub resets_in: Option<f64>,
    /// Seconds until all but the reserve are used up at the rate of the last
    /// hour, if that is before Discord gives new ones.
    pub used_up_in: Option<f64>,
    /// Who spent them within the last 24 hours, the most first.
    pub by_worker: Vec<WorkerStarts>,
}

/// What one worker spent, over all its runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerStarts {
    /// `external` for all external workers together.
    pub worker: String,
    pub starts: u32,
    /// Why, most often: `first start`, `crash`, `silence`, `restart`,
    /// `session lost` or `unknown`.
    pub cause: String,
    /// The most that it may spend within 24 hours; none for external workers,
    /// whose shares go by shard, and where nothing limits it.
    pub share: Option<u32>,
}

/// One planned shard in [`FleetView`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardView {
    pub shard: crate::id::ShardId,
    /// `free`, `held_back` (its lapsed child is not gone yet), `draining` (it is
    /// out of the plan and its holder still there), `leased` (its holder reports
    /// no state), or a [`ShardState`].
    pub state: String,
    /// What it is, in one word: [`crate::health::Condition`].
    #[serde(default)]
    pub condition: String,
    /// Seconds since that began.
    #[serde(default)]
    pub condition_age: Option<f64>,
    /// Seconds until something follows if it goes on; none where somebody else
    /// is waited for.
    #[serde(default)]
    pub deadline_in: Option<f64>,
    /// The seconds of silence after which it counts as deaf, beside shards that
    /// hear; none while too little is known of it.
    #[serde(default)]
    pub deaf_after: Option<f64>,
    pub epoch: Option<Epoch>,
    /// The child that holds it; none for an external holder.
    pub worker: Option<String>,
    /// Seconds since the last beat.
    pub beat_age: Option<f64>,
    pub guild_count: Option<i64>,
    pub latency: Option<f64>,
    pub last_event_age: Option<f64>,
    pub loop_lag: Option<f64>,
    /// As far as its holder counts them.
    #[serde(default)]
    pub events_per_second: Option<f64>,
    pub close_code: Option<u16>,
}

/// A planned restart of workers, one at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestartView {
    /// RFC 3339, UTC, microseconds: when it was asked for.
    pub asked_at: String,
    /// `running`, `paused`, `done` or `cancelled`.
    pub state: String,
    /// Workers restarted so far, or gone before their turn.
    pub done: u32,
    pub total: u32,
    /// The worker that was stopped and is not back yet.
    pub current: Option<String>,
    /// What it waits for, in words.
    pub waiting_for: Option<String>,
    /// Why it is paused: what became of the worker that was restarted last, or
    /// that an operator holds it.
    pub paused: Option<String>,
    /// An operator holds it.
    #[serde(default)]
    pub on_hold: bool,
    /// Seconds for which the first worker has to stay healthy.
    #[serde(default)]
    pub canary: Option<f64>,
    /// Workers whose turn is still to come, in order.
    pub queue: Vec<String>,
}

/// One place for a child in [`FleetView`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerView {
    pub worker: String,
    /// `running`, `lapsed` (a lease of it lapsed, and it is not stopped yet),
    /// `stopping`, `backing_off`, `halted`, or `resting`: it has done its work.
    pub state: String,
    /// What it is, in one word: [`crate::health::WorkerCondition`].
    #[serde(default)]
    pub condition: String,
    /// Seconds until something follows if it goes on.
    #[serde(default)]
    pub deadline_in: Option<f64>,
    pub pid: Option<i32>,
    pub shards: u32,
    pub holding: u32,
    /// Exits in a row.
    pub exits: u32,
    pub last_exit: Option<String>,
    /// Seconds until it is started again, while it backs off.
    pub restart_in: Option<f64>,
    pub uptime: Option<f64>,
    /// The memory of it and all that it started, in bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// What they use of one core, in percent.
    #[serde(default)]
    pub cpu_percent: Option<f64>,
}
