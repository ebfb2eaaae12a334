//! REST: what client libraries ask at their start, and the simulator's own
//! routes under `/sim`.

mod control;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::server::Shared;
use crate::{gateway, payload};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route(
            "/api/{version}/{*path}",
            get(answer).fallback(async || refusal(StatusCode::NOT_FOUND)),
        )
        .nest("/sim", control::routes())
        .fallback(async || refusal(StatusCode::NOT_FOUND))
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path((version, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let response = respond(&shared, &version, &path, &headers);
    shared.lock().rules.rest_answered(response.status().as_u16());
    response
}

/// Faults come first, then the token, then the route.
fn respond(shared: &Shared, version: &str, path: &str, headers: &HeaderMap) -> Response {
    let fault = shared.lock().standing.take_rest();
    if let Some((status, retry_after)) = fault
        && let Ok(status) = StatusCode::from_u16(status)
    {
        return if status == StatusCode::TOO_MANY_REQUESTS {
            rate_limited(retry_after)
        } else {
            refusal(status)
        };
    }
    let known_version = version
        .strip_prefix('v')
        .is_some_and(|number| number.parse::<u8>().is_ok());
    if !known_version {
        return refusal(StatusCode::NOT_FOUND);
    }
    if path == "gateway" {
        return Json(json!({"url": gateway::url(shared, headers)})).into_response();
    }
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|token| token.to_str().ok())
        .unwrap_or_default();
    if !token.starts_with("Bot ") || !shared.lock().rules.token_is_good(token) {
        return refusal(StatusCode::UNAUTHORIZED);
    }
    match path {
        "gateway/bot" => Json(gateway_bot(shared, headers)).into_response(),
        "users/@me" => Json(payload::bot_user()).into_response(),
        "applications/@me" | "oauth2/applications/@me" => Json(payload::application()).into_response(),
        _ => refusal(StatusCode::NOT_FOUND),
    }
}

fn gateway_bot(shared: &Shared, headers: &HeaderMap) -> Value {
    let now = shared.now();
    let state = shared.lock();
    let (total, remaining, reset_after) = state.rules.budget(now);
    json!({
        "url": gateway::url(shared, headers),
        "shards": state.rules.legal_total(state.standing.recommended.unwrap_or(shared.shards)),
        "session_start_limit": {
            "total": total,
            "remaining": remaining,
            "reset_after": reset_after,
            "max_concurrency": state.rules.limits().max_concurrency,
        },
    })
}

fn rate_limited(seconds: u32) -> Response {
    let body =
        json!({"message": "You are being rate limited.", "retry_after": f64::from(seconds), "global": false});
    let header = [(header::RETRY_AFTER, seconds.to_string())];
    (StatusCode::TOO_MANY_REQUESTS, header, Json(body)).into_response()
}

/// An error in Discord's shape.
fn refusal(status: StatusCode) -> Response {
    let reason = status.canonical_reason().unwrap_or("Error");
    let message = format!("{}: {reason}", status.as_u16());
    (status, Json(json!({"message": message, "code": 0}))).into_response()
}
