//! `GET /fleet`: every planned shard and every worker.

use axum::extract::{Request, State};
use axum::response::Response;

use super::error::{self, Refusal};
use super::{HttpState, secret};

pub(super) async fn fleet(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    match secret::from_header(&state.manager, request.headers())? {
        Some(_) => Ok(error::ok(&state.manager.fleet())),
        None => Err(Refusal::Invalid(vec![secret::missing_header()])),
    }
}
