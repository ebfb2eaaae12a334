//! The end of workers, and of all, for operators: `POST /fleet/stop`,
//! `POST /workers/{worker_id}/stop` and its opposite, `…/start`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;

use super::HttpState;
use super::error::{self, Refusal};
use super::fleet::operator;

pub(super) async fn fleet(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    Ok(error::accepted(&state.manager.ask_to_stop()))
}

pub(super) async fn worker(
    state: State<HttpState>,
    worker: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    want(&state, worker, request, false).await
}

pub(super) async fn start(
    state: State<HttpState>,
    worker: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    want(&state, worker, request, true).await
}

async fn want(
    state: &HttpState,
    worker: Result<Path<String>, PathRejection>,
    request: Request,
    wanted: bool,
) -> Result<Response, Refusal> {
    operator(state, &request)?;
    drop(request);
    // A path that is no text names no worker.
    let Path(worker) = worker.map_err(|_| Refusal::WorkerNotFound)?;
    state.manager.want_worker(worker, wanted).await?;
    Ok(error::no_content())
}
