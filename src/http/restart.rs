//! Planned restarts, for operators: `POST /fleet/restart` and its `DELETE`, and
//! `POST /workers/{worker_id}/restart`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;

use super::HttpState;
use super::error::{self, Refusal};
use super::fleet::operator;
use super::query::Query;

/// One worker after the other: those that `?worker=` names, or all.
pub(super) async fn begin(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    let workers = Query::of(request.uri()).all("worker");
    if state.manager.restart(workers).await? {
        Ok(error::accepted(&state.manager.fleet().restart))
    } else {
        Ok(error::no_content())
    }
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
