//! Every status code that this server answers with, and the body of every
//! refusal. No other file knows a status code, and no refusal repeats a key.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

use super::health::LOADING;
use super::limit::seconds_up;
use crate::openai::{ErrorBody, Invalid, Kind};
use crate::scheduler;
use crate::scouts::NotHeard;

/// The SDKs' own header: whether the same request may succeed later.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a request gets no success.
#[derive(Debug)]
pub(super) enum Refusal {
    Invalid(Invalid),
    /// A body that ended before its announced length.
    UnreadableBody,
    BodyTooLarge,
    BodyTooSlow,
    /// As many large bodies arrive already as there is memory for.
    TooManyBodies,
    /// As many prompts wait to be made into tokens as there is time for.
    TooManyPrompts,
    NoJson,
    Encoded,
    WrongKey,
    RateLimited {
        retry_after: Duration,
    },
    /// The model's chat template takes no such conversation.
    Template(String),
    NotTaken(scheduler::Refusal),
    InferenceFailed(String),
    NotReady(&'static str),
    /// A caller on the scouts' path that is none, or not now.
    NotHeard(NotHeard),
    UnknownPath,
    /// The path exists, and has these methods.
    WrongMethod {
        allow: &'static str,
    },
    /// Something that should not happen.
    Unexpected,
}

/// What a refusal is, in OpenAI's words.
struct Account<'a> {
    status: StatusCode,
    kind: &'static str,
    code: &'static str,
    param: Option<&'a str>,
    message: Cow<'a, str>,
}

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

impl Refusal {
    fn account(&self) -> Account<'_> {
        let told = |status, kind, code, message: &'static str| Account {
            status,
            kind,
            code,
            param: None,
            message: message.into(),
        };
        match self {
            Self::Invalid(invalid) => Account {
                status: status_of(invalid.kind),
                kind: INVALID,
                code: invalid.kind.code(),
                param: invalid.param.as_deref(),
                message: invalid.message.as_str().into(),
            },
            Self::UnreadableBody => told(
                StatusCode::BAD_REQUEST,
                INVALID,
                "unreadable_body",
                "The body ended before its announced length",
            ),
            Self::BodyTooLarge => told(
                StatusCode::PAYLOAD_TOO_LARGE,
                INVALID,
                "body_too_large",
                "Body too large (>1 MiB)",
            ),
            Self::BodyTooSlow => told(
                StatusCode::REQUEST_TIMEOUT,
                INVALID,
                "body_too_slow",
                "The body did not arrive in time",
            ),
            Self::TooManyBodies => told(
                StatusCode::SERVICE_UNAVAILABLE,
                SERVER,
                "overloaded",
                "Too many large requests arrive at once",
            ),
            Self::TooManyPrompts => told(
                StatusCode::SERVICE_UNAVAILABLE,
                SERVER,
                "overloaded",
                "Too many requests arrive at once",
            ),
            Self::NoJson => told(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                INVALID,
                "unsupported_media_type",
                "Content-Type must be application/json",
            ),
            Self::Encoded => told(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                INVALID,
                "unsupported_media_type",
                "The body must be sent without a Content-Encoding",
            ),
            Self::WrongKey => told(
                StatusCode::UNAUTHORIZED,
                INVALID,
                "invalid_api_key",
                "Missing or invalid API key",
            ),
            Self::RateLimited { .. } => told(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "rate_limit_exceeded",
                "Rate limit exceeded",
            ),
            Self::Template(reason) => Account {
                status: StatusCode::BAD_REQUEST,
                kind: INVALID,
                code: Kind::Value.code(),
                param: Some("messages"),
                message: reason.as_str().into(),
            },
            Self::NotTaken(refusal) => not_taken(refusal),
            Self::InferenceFailed(reason) => Account {
                status: StatusCode::SERVICE_UNAVAILABLE,
                kind: SERVER,
                code: "inference_failed",
                param: None,
                message: format!("Inference failed: {reason}").into(),
            },
            Self::NotReady(reason) => told(StatusCode::SERVICE_UNAVAILABLE, SERVER, "not_ready", reason),
            Self::NotHeard(reason) => not_heard(*reason),
            Self::UnknownPath => told(StatusCode::NOT_FOUND, INVALID, "unknown_url", "Not Found"),
            Self::WrongMethod { .. } => told(
                StatusCode::METHOD_NOT_ALLOWED,
                INVALID,
                "method_not_allowed",
                "Method Not Allowed",
            ),
            Self::Unexpected => told(
                StatusCode::INTERNAL_SERVER_ERROR,
                SERVER,
                "internal_error",
                "An unexpected error occurred",
            ),
        }
    }

    /// The header that belongs to this refusal.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::RateLimited { retry_after } => Some((RETRY_AFTER, seconds_up(*retry_after).into())),
            Self::NotTaken(
                scheduler::Refusal::Full { retry_after } | scheduler::Refusal::Waited { retry_after },
            ) => Some((RETRY_AFTER, seconds_up(*retry_after).into())),
            Self::TooManyBodies
            | Self::NotHeard(NotHeard::Full | NotHeard::Failing | NotHeard::ManagerAway) => {
                Some((RETRY_AFTER, 1.into()))
            }
            Self::TooManyPrompts | Self::NotReady(LOADING) => Some((RETRY_AFTER, 5.into())),
            Self::NotTaken(scheduler::Refusal::Stopping) => {
                Some((SHOULD_RETRY, HeaderValue::from_static("true")))
            }
            Self::WrongKey => Some((
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"shard\""),
            )),
            Self::WrongMethod { allow } => Some((ALLOW, HeaderValue::from_static(allow))),
            Self::NotTaken(
                scheduler::Refusal::ContextExceeded { .. }
                | scheduler::Refusal::MemoryExceeded { .. }
                | scheduler::Refusal::Empty
                | scheduler::Refusal::Broken,
            )
            | Self::Invalid(_)
            | Self::UnreadableBody
            | Self::BodyTooLarge
            | Self::BodyTooSlow
            | Self::NoJson
            | Self::Encoded
            | Self::Template(_)
            | Self::InferenceFailed(_)
            | Self::NotReady(_)
            | Self::NotHeard(
                NotHeard::NoManager | NotHeard::NoSecret | NotHeard::WrongSecret | NotHeard::NoWebSocket,
            )
            | Self::UnknownPath
            | Self::Unexpected => None,
        }
    }

    /// Whether the model failed, and not the client.
    pub(super) fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::InferenceFailed(_) | Self::NotTaken(scheduler::Refusal::Broken) | Self::Unexpected
        )
    }

    /// The body alone, for where the status has been sent long ago.
    pub(super) fn body(&self) -> String {
        let account = self.account();
        to_json(&ErrorBody::new(
            &account.message,
            account.kind,
            account.param,
            Some(account.code),
        ))
    }
}

fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Syntax | Kind::Missing | Kind::WrongType | Kind::Value | Kind::Unsupported | Kind::Unknown => {
            StatusCode::BAD_REQUEST
        }
        Kind::ModelNotFound => StatusCode::NOT_FOUND,
        Kind::PromptTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

fn not_taken(refusal: &scheduler::Refusal) -> Account<'_> {
    let (status, kind, code, param) = match refusal {
        scheduler::Refusal::ContextExceeded { .. } => (
            StatusCode::BAD_REQUEST,
            INVALID,
            "context_length_exceeded",
            Some("messages"),
        ),
        scheduler::Refusal::MemoryExceeded { .. } => (
            StatusCode::BAD_REQUEST,
            INVALID,
            "memory_exceeded",
            Some("max_tokens"),
        ),
        scheduler::Refusal::Empty => (
            StatusCode::BAD_REQUEST,
            INVALID,
            Kind::Value.code(),
            Some("messages"),
        ),
        scheduler::Refusal::Full { .. } | scheduler::Refusal::Waited { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, SERVER, "overloaded", None)
        }
        scheduler::Refusal::Stopping => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "stopping", None),
        scheduler::Refusal::Broken => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "inference_failed", None),
    };
    Account {
        status,
        kind,
        code,
        param,
        message: if code == "inference_failed" {
            format!("Inference failed: {refusal}").into()
        } else {
            sentence(refusal.to_string()).into()
        },
    }
}

fn not_heard(reason: NotHeard) -> Account<'static> {
    let (status, kind, code) = match reason {
        NotHeard::NoManager => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "no_manager"),
        NotHeard::NoSecret => (StatusCode::UNAUTHORIZED, INVALID, "missing_secret"),
        NotHeard::WrongSecret => (StatusCode::FORBIDDEN, INVALID, "invalid_secret"),
        NotHeard::NoWebSocket => (StatusCode::BAD_REQUEST, INVALID, "not_a_websocket"),
        NotHeard::Full => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "overloaded"),
        NotHeard::Failing => (
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            "rate_limit_exceeded",
        ),
        NotHeard::ManagerAway => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "manager_away"),
    };
    Account {
        status,
        kind,
        code,
        param: None,
        message: reason.to_string().into(),
    }
}

/// A fragment of ours as the beginning of a sentence.
fn sentence(mut text: String) -> String {
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json_response(self.account().status, self.body());
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl IntoResponse for NotHeard {
    fn into_response(self) -> Response {
        Refusal::NotHeard(self).into_response()
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<scheduler::Refusal> for Refusal {
    fn from(refusal: scheduler::Refusal) -> Self {
        Self::NotTaken(refusal)
    }
}

/// 200 with a JSON body.
pub(super) fn ok(body: &impl Serialize) -> Response {
    json_response(StatusCode::OK, to_json(body))
}

/// 200 with a text that does not change.
pub(super) fn ok_text(content_type: &'static str, text: impl Into<Bytes>) -> Response {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(content_type))];
    (StatusCode::OK, headers, text.into()).into_response()
}

/// 200 with a body that is still being written.
pub(super) fn ok_stream(content_type: &'static str, body: Body) -> Response {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(content_type))];
    (StatusCode::OK, headers, body).into_response()
}

fn json_response(status: StatusCode, body: String) -> Response {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, headers, body).into_response()
}

pub(super) fn to_json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("every answer has string keys and finite numbers")
}

#[cfg(test)]
mod tests;
