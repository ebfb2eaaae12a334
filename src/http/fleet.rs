//! `GET /fleet`: every planned shard and every worker; `POST /fleet/resume`:
//! the cause of a halt is gone.

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

pub(super) fn operator(state: &HttpState, request: &Request) -> Result<(), Refusal> {
    match secret::from_header(&state.manager, request.headers())? {
        Some(caller) if state.manager.may_operate(&caller) => Ok(()),
        Some(_) => Err(Refusal::NotAnOperator),
        None => Err(Refusal::Invalid(vec![secret::missing_header()])),
    }
}
