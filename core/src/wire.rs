//! What goes over HTTP between the manager and those who talk to it.
//!
//! The two published calls keep their published shapes; everything else is an
//! addition that a client of the two calls never has to know.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::Epoch;

mod fleet;
mod plan;
mod session;
mod status;
mod stopping;

pub use fleet::{FleetView, PoolView, RestartView, ShardView, StartsView, WorkerStarts, WorkerView};
pub use plan::{PlanReport, PlanRequest, PlanView, RescaleView};
pub use session::SessionView;
pub use status::{Status, StatusShard};
pub use stopping::StoppingView;

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
