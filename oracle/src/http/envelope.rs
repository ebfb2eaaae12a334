//! What every answer has, whoever gives it: the request's id, what is left of
//! the client's requests, and a place in the metrics. A handler that panics is
//! a 500 like any other refusal.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use tracing::{Instrument as _, debug, error, info_span};

use super::chat::PATH as CHAT;
use super::error::Refusal;
use super::{Api, guard, request_id};

/// What paths without a route are counted as.
const UNKNOWN: &str = "unknown";

/// The request's id alone, where there is nothing to count yet.
pub(super) async fn named(request: Request, next: Next) -> Response {
    let id = request_id::of(request.headers());
    let mut response = next.run(request).await;
    response.headers_mut().insert(request_id::NAME, id);
    response
}

/// A handler that panics is answered for, before anything is put around its answer.
pub(super) async fn caught(State(api): State<Api>, request: Request, next: Next) -> Response {
    let is_chat = request.uri().path() == CHAT && request.method() == Method::POST;
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answer.unwrap_or_else(|_| {
        error!("a request failed: its handler panicked");
        if is_chat {
            api.0.metrics.chat_failures.inc();
        }
        Refusal::Unexpected.into_response()
    })
}

pub(super) async fn envelope(State(api): State<Api>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id::of(request.headers());
    let client = guard::by_address(&request);
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let span = info_span!("request", request.id = id.to_str().unwrap_or_default());
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Some(standing) = api.standing(client) {
        guard::tell(response.headers_mut(), standing);
    }
    response.headers_mut().insert(request_id::NAME, id);
    let route = path.as_ref().map_or(UNKNOWN, MatchedPath::as_str);
    let (status, took) = (response.status().as_u16(), began.elapsed());
    debug!(parent: &span, http.status = status, "{method} {route}: {status}");
    api.0.metrics.answered(route, &method, status, took);
    response
}
