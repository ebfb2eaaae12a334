//! What a session holds: `GET /sessions/{session_id}`. Giving a lease back:
//! `DELETE` of the same, and the published `GET /disconnect?session_id=`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use shardman_core::SessionId;

use super::error::{self, Refusal};
use super::query::Query;
use super::{HttpState, secret};
use crate::manager::Caller;

pub(super) async fn disconnect(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Refusal> {
    let query = Query::of(request.uri());
    let caller = secret::from_either(&state.manager, request.headers(), &query)?;
    let mut flaws = Vec::new();
    if caller.is_none() {
        flaws.push(secret::missing_header());
    }
    let session = query.required("session_id", &mut flaws);
    let Some((caller, session)) = caller.zip(session) else {
        return Err(Refusal::Invalid(flaws));
    };
    release(&state, &caller, session).await
}

pub(super) async fn delete(
    State(state): State<HttpState>,
    session: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let caller = secret::from_header(&state.manager, request.headers())?;
    let caller = caller.ok_or_else(|| Refusal::flaw(secret::missing_header()))?;
    // A path that is no text names no session.
    let Path(session) = session.map_err(|_| Refusal::SessionNotFound)?;
    release(&state, &caller, &session).await
}

/// Nothing is kept by it, and nothing is beaten for.
pub(super) async fn get(
    State(state): State<HttpState>,
    session: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let caller = secret::from_header(&state.manager, request.headers())?;
    let caller = caller.ok_or_else(|| Refusal::flaw(secret::missing_header()))?;
    let session = session.ok().and_then(|Path(session)| SessionId::parse(&session));
    let held = session.and_then(|session| state.manager.session(&caller, session));
    Ok(error::ok(&held.ok_or(Refusal::SessionNotFound)?))
}

async fn release(state: &HttpState, caller: &Caller, session: &str) -> Result<Response, Refusal> {
    let session = SessionId::parse(session).ok_or(Refusal::SessionNotFound)?;
    state.manager.disconnect(caller, session).await?;
    Ok(error::no_content())
}
