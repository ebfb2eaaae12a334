//! Planned restarts, for operators: `POST /fleet/restart`, its `DELETE`, its
//! pauses, and `POST /workers/{worker_id}/restart`.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;

use super::HttpState;
use super::error::{self, Flaw, Place, Refusal};
use super::fleet::operator;
use super::number;
use super::query::Query;
use crate::manager::RestartRequest;

/// The longest time that a canary may be watched: a day.
const CANARY_SECONDS: f64 = 86_400.0;

/// One worker after the other: those that `?worker=` names and those that hold
/// a `?shard=`, or all.
pub(super) async fn begin(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    if state.manager.restart(asked(&Query::of(request.uri()))?).await? {
        Ok(error::accepted(&state.manager.fleet().restart))
    } else {
        Ok(error::no_content())
    }
}

pub(super) async fn pause(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    state.manager.hold_restart(true).await?;
    Ok(error::no_content())
}

pub(super) async fn go_on(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    state.manager.hold_restart(false).await?;
    Ok(error::no_content())
}

pub(super) async fn cancel(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    state.manager.cancel_restart().await?;
    Ok(error::no_content())
}

pub(super) async fn worker(
    State(state): State<HttpState>,
    worker: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    // A path that is no text names no worker.
    let Path(worker) = worker.map_err(|_| Refusal::WorkerNotFound)?;
    let request = RestartRequest {
        workers: vec![worker],
        ..RestartRequest::default()
    };
    state.manager.restart(request).await?;
    Ok(error::no_content())
}

fn asked(query: &Query) -> Result<RestartRequest, Refusal> {
    let flaw = |name, message, kind| Flaw::new(&[Place::Name("query"), Place::Name(name)], message, kind);
    let mut flaws = Vec::new();
    let mut shards = Vec::new();
    for text in query.all("shard") {
        match number::integer(&text).and_then(|number| u32::try_from(number).ok()) {
            Some(shard) => shards.push(shard),
            None => flaws.push(flaw(
                "shard",
                "value is not a valid integer",
                "type_error.integer",
            )),
        }
    }
    let canary = query.get("canary").map(|text| {
        let seconds = number::float(text).filter(|seconds| (0.0..=CANARY_SECONDS).contains(seconds));
        seconds.map(Duration::from_secs_f64)
    });
    if canary == Some(None) {
        let message = "value is not a number of seconds from 0 to 86400";
        flaws.push(flaw("canary", message, "type_error.float"));
    }
    if !flaws.is_empty() {
        return Err(Refusal::Invalid(flaws));
    }
    Ok(RestartRequest {
        workers: query.all("worker"),
        shards,
        canary: canary.flatten(),
    })
}
