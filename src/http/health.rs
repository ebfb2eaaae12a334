//! `GET /health` says that the process answers; `GET /ready` says that it can
//! do its work.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::HttpState;
use super::error::{self, Refusal};

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

pub(super) async fn health() -> Response {
    error::ok(&Health { status: "ok" })
}

pub(super) async fn ready(State(state): State<HttpState>) -> Result<Response, Refusal> {
    state
        .manager
        .readiness()
        .map_err(|reason| Refusal::NotReady { reason })?;
    Ok(error::ok(&Health { status: "ready" }))
}
