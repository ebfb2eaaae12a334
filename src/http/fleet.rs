//! `GET /fleet`: every planned shard and every worker; `POST /fleet/resume`:
//! the cause of a halt is gone.

use axum::extract::{Request, State};
use axum::response::Response;

use super::error::{self, Refusal};
use super::{HttpState, who};

pub(super) async fn fleet(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    who::reader(&state.manager, request.method(), request.headers())?;
    Ok(error::ok(&state.manager.fleet()))
}

pub(super) async fn resume(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    let resumed = state.manager.resume_fleet().await?;
    if resumed {
        Ok(error::no_content())
    } else {
        Err(Refusal::NotHalted)
    }
}

/// The operator's word that the reserve of session starts may be used.
pub(super) async fn spend_reserve(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    state.manager.spend_reserve().await;
    Ok(error::no_content())
}

/// Only whoever may steer the fleet comes past here.
pub(super) fn operator(state: &HttpState, request: &Request) -> Result<(), Refusal> {
    who::operator(&state.manager, request.method(), request.headers())
}
