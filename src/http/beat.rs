//! `POST /beat`, and the older version's `GET /beat`. This is the hot path.

mod body;
#[cfg(test)]
mod tests;

use axum::extract::{Request, State};
use axum::response::Response;

use super::error::{self, Refusal, Version};
use super::query::Query;
use super::{HttpState, secret};
use crate::manager::BeatReport;

/// The current version: the body is read only when the secret holds.
pub(super) async fn post(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    let (head, content) = request.into_parts();
    let Some(caller) = secret::from_header(&state.manager, &head.headers)? else {
        let flaws = [Some(secret::missing_header()), super::body::missing(&content)];
        return Err(Refusal::Invalid(flaws.into_iter().flatten().collect()));
    };
    let bytes = super::body::read(&head.headers, content).await?;
    let beat = body::read(&bytes)?;
    let session = beat.session.ok_or(Refusal::SessionNotFound)?;
    let wants_directive = beat.report.state.is_some();
    let answer = state
        .manager
        .beat(&caller, session, beat.report)
        .map_err(|error| Refusal::beat(error, Version::Current))?;
    Ok(if wants_directive {
        error::ok(&answer)
    } else {
        error::no_content()
    })
}

/// The older version: everything is in the query, and there are no figures.
pub(super) async fn get(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    let query = Query::of(request.uri());
    let mut flaws = Vec::new();
    let token = query.required("token", &mut flaws);
    let session = query.required("session_id", &mut flaws);
    let Some((token, session)) = token.zip(session) else {
        return Err(Refusal::Invalid(flaws));
    };
    let caller = secret::from_token(&state.manager, token)?;
    let session = shardman_core::SessionId::parse(session).ok_or(Refusal::SessionNotFound)?;
    state
        .manager
        .beat(&caller, session, BeatReport::default())
        .map_err(|error| Refusal::beat(error, Version::Older))?;
    Ok(error::no_content())
}
