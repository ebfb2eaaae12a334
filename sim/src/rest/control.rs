//! `/sim`: the report, faults, load and budget, for whoever runs a rehearsal.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::faults::Fault;
use crate::report::Report;
use crate::server::Shared;

/// The body of `POST /sim/load`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    events_per_second: f64,
}

/// The body of `POST /sim/budget`. Also brings a reset token back to life.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    #[serde(default)]
    total: Option<u32>,
    remaining: u32,
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/report", get(report))
        .route("/report/reset", post(reset))
        .route("/faults", post(fault).delete(clear))
        .route("/load", post(load))
        .route("/budget", post(budget))
}

async fn report(State(shared): State<Arc<Shared>>) -> Json<Report> {
    let now = shared.now();
    Json(shared.lock().rules.report(now))
}

async fn reset(State(shared): State<Arc<Shared>>) -> StatusCode {
    let now = shared.now();
    shared.lock().rules.reset_report(now);
    StatusCode::NO_CONTENT
}

async fn fault(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let hit = parse::<Fault>(&body).and_then(|fault| shared.fault(&fault));
    answer(hit.map(|hit| json!({"connections": hit})))
}

async fn clear(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.clear_faults();
    StatusCode::NO_CONTENT
}

async fn load(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    answer(parse::<Load>(&body).and_then(|load| {
        if !(0.0..=1_000_000.0).contains(&load.events_per_second) {
            return Err("events_per_second has to be from 0 to 1000000".to_owned());
        }
        shared.lock().events_per_second = load.events_per_second;
        Ok(json!({"events_per_second": load.events_per_second}))
    }))
}

async fn budget(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    answer(parse::<Budget>(&body).map(|budget| {
        shared.lock().rules.set_budget(budget.total, budget.remaining);
        json!({"remaining": budget.remaining})
    }))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn answer(outcome: Result<serde_json::Value, String>) -> Response {
    match outcome {
        Ok(body) => Json(body).into_response(),
        Err(detail) => (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"detail": detail}))).into_response(),
    }
}
