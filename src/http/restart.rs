//! Planned restarts, for operators: `POST /fleet/restart` and its `DELETE`, and
//! `POST /workers/{worker_id}/restart`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use shardman_core::wire::{FleetView, RestartView};

use super::error::{self, Refusal};
use super::fleet::operator;
use super::query::Query;
use super::{HttpState, body, json};

/// One worker after the other: those that `?worker=` names, or those of one
/// pool, or all. The pool stands in the query or in the body.
pub(super) async fn begin(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    let (head, content) = request.into_parts();
    let query = Query::of(&head.uri);
    let mut pool = query.get("pool").map(str::to_owned);
    if pool.is_none() && body::missing(&content).is_none() {
        let bytes = body::read(&head.headers, content).await?;
        let document = json::read(&bytes)?;
        let mut fields = body::fields(&document.source, document.root)?;
        let named = fields.text("pool");
        pool = fields.finish(Some(named)).map_err(Refusal::Invalid)?;
    }
    let workers = query.all("worker");
    if state.manager.restart_in(pool.as_deref(), workers).await? {
        Ok(error::accepted(&begun(&state.manager.fleet(), pool.as_deref())))
    } else {
        Ok(error::no_content())
    }
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
    state.manager.restart(vec![worker]).await?;
    Ok(error::no_content())
}
