//! Every status code that this server answers with, and the body of every
//! refusal. No other file knows a status code, and no refusal ever repeats a
//! secret.

mod access;
mod of_manager;

use std::borrow::Cow;

use axum::http::header::{ALLOW, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shardman_core::wire::Detail;

pub(super) use access::Access;

/// Which of the two published versions a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Current,
    Older,
}

/// Why a request gets no success.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Input that is missing or malformed: every flaw at once.
    Invalid(Vec<Flaw>),
    /// A body that is no text, or that ended before its announced length.
    UnreadableBody,
    BodyTooLarge,
    BodyTooSlow,
    WrongSecret,
    NoShardFree(Version),
    SessionNotFound,
    /// The secret is that of another pool's worker.
    OtherPool(String),
    /// Nobody takes a slot of that pool by asking.
    SlotsAreAssigned(String),
    /// What is asked for is Discord's, and the pool is not.
    NoGateway,
    /// The secret is good, and not an operator's.
    NotAnOperator,
    /// There is no halt to end.
    NotHalted,
    /// A change that is not safe, with every reason.
    Unsafe(String),
    /// A configuration that cannot be used, in one line.
    BadConfiguration(String),
    WorkerNotFound,
    ShardNotFound,
    /// Nobody that we started holds the shard.
    ShardNotHeld(String),
    /// There is no worker to restart.
    NoWorkerRuns,
    RestartUnderWay,
    NoRestartUnderWay,
    /// Some pools do it, and some do not; which, in words.
    Partly(String),
    /// The manager cannot do it now.
    Unavailable {
        reason: String,
        retry_seconds: u64,
    },
    NotReady {
        reason: String,
    },
    /// Of somebody with a browser.
    Access(Access),
    UnknownPath,
    /// The path exists, and has these methods.
    WrongMethod {
        allow: &'static str,
    },
}

/// Seconds after which what could not be stored may be asked for again.
pub(super) const RELEASE_RETRY_SECONDS: u64 = 5;

impl Refusal {
    /// A request with one flaw.
    pub(super) fn flaw(flaw: Flaw) -> Self {
        Self::Invalid(vec![flaw])
    }

    /// The status and, where the body is a plain sentence, that sentence.
    fn status_and_detail(&self) -> (StatusCode, &str) {
        match self {
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid input"),
            Self::UnreadableBody => (StatusCode::BAD_REQUEST, "There was an error parsing the body"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Body Too Large"),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "Body Too Slow"),
            Self::WrongSecret => (StatusCode::FORBIDDEN, "Invalid Token"),
            Self::NoShardFree(Version::Current) => (StatusCode::UNAUTHORIZED, "No Shards Available"),
            Self::NoShardFree(Version::Older) => (StatusCode::UNAUTHORIZED, "Too Many Shards"),
            Self::SessionNotFound => (StatusCode::NOT_FOUND, "Session Not Found"),
            Self::OtherPool(reason) => (StatusCode::FORBIDDEN, reason),
            Self::NoGateway => (
                StatusCode::CONFLICT,
                "Nothing identifies in this pool: only the pool discord has a gateway",
            ),
            Self::NotAnOperator => (StatusCode::FORBIDDEN, "Operators Only: use OPERATOR_SECRET"),
            Self::NotHalted => (StatusCode::CONFLICT, "The fleet is not halted"),
            Self::Unsafe(reason) | Self::BadConfiguration(reason) | Self::SlotsAreAssigned(reason) => {
                (StatusCode::CONFLICT, reason)
            }
            Self::WorkerNotFound => (StatusCode::NOT_FOUND, "Worker Not Found"),
            Self::ShardNotFound => (StatusCode::NOT_FOUND, "Shard Not Found"),
            Self::ShardNotHeld(reason) | Self::Partly(reason) => (StatusCode::CONFLICT, reason),
            Self::NoWorkerRuns => (StatusCode::CONFLICT, "No worker runs"),
            Self::RestartUnderWay => (
                StatusCode::CONFLICT,
                "A restart is under way: wait for its end, or cancel it",
            ),
            Self::NoRestartUnderWay => (StatusCode::CONFLICT, "No restart is under way"),
            Self::Unavailable { reason, .. } | Self::NotReady { reason } => {
                (StatusCode::SERVICE_UNAVAILABLE, reason)
            }
            Self::Access(access) => access.status_and_detail(),
            Self::UnknownPath => (StatusCode::NOT_FOUND, "Not Found"),
            Self::WrongMethod { .. } => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
        }
    }

    /// The header that belongs to this refusal.
    fn header(&self) -> Option<(axum::http::HeaderName, HeaderValue)> {
        match self {
            Self::Unavailable { retry_seconds, .. } => Some((RETRY_AFTER, (*retry_seconds).into())),
            Self::Access(access) => Some((RETRY_AFTER, access.retry_seconds()?.into())),
            Self::WrongMethod { allow } => Some((ALLOW, HeaderValue::from_static(allow))),
            Self::Invalid(_)
            | Self::UnreadableBody
            | Self::BodyTooLarge
            | Self::BodyTooSlow
            | Self::WrongSecret
            | Self::NoShardFree(_)
            | Self::SessionNotFound
            | Self::OtherPool(_)
            | Self::SlotsAreAssigned(_)
            | Self::NoGateway
            | Self::NotAnOperator
            | Self::NotHalted
            | Self::Unsafe(_)
            | Self::BadConfiguration(_)
            | Self::WorkerNotFound
            | Self::ShardNotFound
            | Self::ShardNotHeld(_)
            | Self::NoWorkerRuns
            | Self::RestartUnderWay
            | Self::NoRestartUnderWay
            | Self::Partly(_)
            | Self::NotReady { .. }
            | Self::UnknownPath => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, detail) = self.status_and_detail();
        let body = if let Self::Invalid(flaws) = &self {
            to_json(&Flaws { detail: flaws })
        } else {
            to_json(&Detail {
                detail: detail.to_owned(),
            })
        };
        let mut response = json_response(status, body);
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<Access> for Refusal {
    fn from(access: Access) -> Self {
        Self::Access(access)
    }
}

/// 200 with a JSON body.
pub(super) fn ok(body: &impl Serialize) -> Response {
    json_response(StatusCode::OK, to_json(body))
}

/// 202 with a JSON body: not yet, ask again.
pub(super) fn accepted(body: &impl Serialize) -> Response {
    json_response(StatusCode::ACCEPTED, to_json(body))
}

/// 204.
pub(super) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 304: the reader has it already.
pub(super) fn not_modified() -> Response {
    StatusCode::NOT_MODIFIED.into_response()
}

/// 307: the same request belongs at `location`.
pub(super) fn moved(location: &str) -> Response {
    match HeaderValue::try_from(location) {
        Ok(location) => (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]).into_response(),
        Err(_) => Refusal::UnknownPath.into_response(),
    }
}

fn json_response(status: StatusCode, body: String) -> Response {
    (
        status,
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body,
    )
        .into_response()
}

fn to_json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("every answer has string keys and is plain data")
}

#[derive(Serialize)]
struct Flaws<'a> {
    detail: &'a [Flaw],
}

/// One thing that is wrong with the input: an entry of a 422's `detail`.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Flaw {
    loc: Vec<Place>,
    msg: Cow<'static, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Context>,
}

/// One step of the way to a flaw.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Place {
    Name(&'static str),
    /// A character's index in the body.
    Index(usize),
}

/// What a client needs to know beside the message.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Context {
    Syntax {
        msg: &'static str,
        doc: String,
        pos: usize,
        lineno: usize,
        colno: usize,
    },
    Limit {
        limit_value: serde_json::Number,
    },
    Members {
        enum_values: Vec<&'static str>,
    },
}

impl Flaw {
    pub(super) fn new(loc: &[Place], msg: impl Into<Cow<'static, str>>, kind: &'static str) -> Self {
        Self {
            loc: loc.to_vec(),
            msg: msg.into(),
            kind,
            ctx: None,
        }
    }

    /// Something required is not there.
    pub(super) fn missing(loc: &[Place]) -> Self {
        Self::new(loc, "field required", "value_error.missing")
    }

    #[must_use]
    pub(super) fn with(mut self, ctx: Context) -> Self {
        self.ctx = Some(ctx);
        self
    }
}

#[cfg(test)]
mod tests;
