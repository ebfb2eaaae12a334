//! Planned restarts, for operators: `POST /fleet/restart`, its `DELETE`, its
//! pauses, and `POST /workers/{worker_id}/restart`.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use shardman_core::wire::{FleetView, RestartView};

use super::error::{self, Flaw, Place, Refusal};
use super::fleet::operator;
use super::json::Value;
use super::number;
use super::query::Query;
use super::{HttpState, body, json};
use crate::manager::{RestartError, RestartRequest};

/// The longest time that a canary may be watched: a day.
const CANARY_SECONDS: f64 = 86_400.0;

/// One worker after the other: those that `?worker=` names and those that hold
/// a `?shard=`, or those of one pool, or all. The pool stands in the query or in
/// the body.
pub(super) async fn begin(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    let (head, content) = request.into_parts();
    let query = Query::of(&head.uri);
    let asked = asked(&query)?;
    let (mut pool, mut place) = (query.get("pool").map(str::to_owned), "query");
    if body::missing(&content).is_none() {
        let bytes = body::read(&head.headers, content).await?;
        if let Some(named) = pool_in(&bytes)? {
            (pool, place) = (Some(named), "body");
        }
    }
    let begins = state.manager.restart_in(pool.as_deref(), asked).await;
    let begins = begins.map_err(|error| {
        if let RestartError::UnknownPool { pools } = &error {
            return Refusal::no_pool_of(Place::Name(place), pools);
        }
        error.into()
    })?;
    if begins {
        Ok(error::accepted(&begun(&state.manager.fleet(), pool.as_deref())))
    } else {
        Ok(error::no_content())
    }
}

/// The pool that a body names. What else stands there would be left out, and
/// more restarted than was meant.
fn pool_in(bytes: &[u8]) -> Result<Option<String>, Refusal> {
    let document = json::read(bytes)?;
    if !matches!(document.root.value, Value::Map(_)) {
        let msg = "value is not a valid dict";
        return Err(Refusal::flaw(Flaw::new(&body::BODY, msg, "type_error.dict")));
    }
    let mut fields = body::fields(&document.source, document.root)?;
    fields.nothing_but(&["pool"]);
    let named = fields.text("pool");
    fields.finish(Some(named)).map_err(Refusal::Invalid)
}

pub(super) async fn pause(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    state.manager.hold_restarts(true).await?;
    Ok(error::no_content())
}

pub(super) async fn go_on(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    state.manager.hold_restarts(false).await?;
    Ok(error::no_content())
}

/// The restart that has begun; where there are several, that of the first pool.
fn begun(fleet: &FleetView, pool: Option<&str>) -> Option<RestartView> {
    let others = fleet.pools.iter().map(|seen| (&*seen.pool, &seen.restart));
    let all = std::iter::once(("discord", &fleet.restart)).chain(others);
    let mut asked = all.filter(|(name, _)| pool.is_none_or(|pool| pool == *name));
    let active = |restart: &RestartView| matches!(&*restart.state, "running" | "paused");
    asked
        .find_map(|(_, restart)| restart.clone().filter(active))
        .or_else(|| fleet.restart.clone().filter(|_| pool.is_none()))
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
