//! `GET /status`: who holds what, by shard number.

use axum::extract::{Request, State};
use axum::response::Response;

use super::error::{self, Refusal};
use super::query::Query;
use super::{HttpState, secret, who};

pub(super) async fn status(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    let query = Query::of(request.uri());
    let mut flaws = Vec::new();
    let headers = request.headers();
    if !state.public_status && secret::from_either(&state.manager, headers, &query)?.is_none() {
        if who::has_session(&state.manager, headers) {
            who::reader(&state.manager, request.method(), headers)?;
        } else {
            flaws.push(secret::missing_header());
        }
    }
    // It changes nothing any more, but what was refused stays refused.
    query.check_bool("extra", &mut flaws);
    if !flaws.is_empty() {
        return Err(Refusal::Invalid(flaws));
    }
    let mut status = state.manager.status();
    status.shards.sort_by_key(|shard| shard.shard_id);
    Ok(error::ok(&status))
}
