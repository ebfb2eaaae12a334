//! `GET /metrics`: the manager's metrics in the text format 0.0.4, which every
//! version of Prometheus reads.

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};

use super::error::{RELEASE_RETRY_SECONDS, Refusal};
use super::{HttpState, who};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(super) async fn metrics(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    who::reader(&state.manager, request.method(), request.headers())?;
    // It reads of every process: no thread that serves others waits for that.
    let read = tokio::task::spawn_blocking(move || state.manager.metrics_text());
    let text = read.await.map_err(|_| Refusal::Unavailable {
        reason: "the metrics cannot be read now".to_owned(),
        retry_seconds: RELEASE_RETRY_SECONDS,
    })?;
    let no_store = HeaderValue::from_static("no-store");
    Ok(([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, no_store)], text).into_response())
}
