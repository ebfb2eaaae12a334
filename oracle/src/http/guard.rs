//! The door: whose key is good, and who has asked too often. Everything below
//! `/v1` is behind it, but for the scouts' own door, where a lease is shown.

use std::sync::PoisonError;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use shardman_serve::Peer;
use tracing::debug;

use super::Api;
use super::auth::{Entry, presents_one};
use super::error::Refusal;
use super::limit::{Client, Exceeded, Standing, seconds_up};
use crate::scouts;

/// Whether a path asks for a key, and counts against the limit. Scouts prove
/// themselves by their leases, and are no clients.
pub(super) fn is_guarded(path: &str) -> bool {
    path.starts_with("/v1/") && path != scouts::PATH
}

/// Lets a request in, or refuses it; either way the answer tells what is left.
/// Where nobody needs a key, none is looked at: what is left would tell whether
/// it is good.
pub(super) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let address = by_address(&request);
    if !is_guarded(request.uri().path()) {
        return told(next.run(request).await, api.standing(address));
    }
    let client = match entry(&api, request.headers(), address) {
        Ok(Entry::Key(place)) => Client::Key(place),
        Ok(Entry::Open | Entry::Missing) => address,
        Ok(Entry::Wrong) => {
            api.0.metrics.auth_failures.inc();
            debug!("a request with a wrong key was refused");
            return told(Refusal::WrongKey.into_response(), api.standing(address));
        }
        Err(Exceeded { retry_after, .. }) => {
            api.0.metrics.auth_failures.inc();
            api.0.metrics.rate_limited.inc();
            let refusal = Refusal::RateLimited { retry_after };
            return told(refusal.into_response(), api.standing(address));
        }
    };
    let taken = api.with_limiter(|limiter, now| limiter.take(client, now));
    let standing = match taken {
        None => None,
        Some(Ok(standing)) => Some(standing),
        Some(Err(exceeded)) => {
            api.0.metrics.rate_limited.inc();
            let retry_after = exceeded.retry_after;
            let refusal = Refusal::RateLimited { retry_after };
            return told(refusal.into_response(), Some(exceeded.standing));
        }
    };
    if client == address && !api.0.settings.keys.is_empty() {
        api.0.metrics.auth_failures.inc();
        debug!("a request without a key was refused");
        return told(Refusal::WrongKey.into_response(), standing);
    }
    request.extensions_mut().insert(client);
    told(next.run(request).await, standing)
}

/// Whose key a request brings. An address that presented too many wrong ones is
/// refused before any of its keys is looked at, good ones as well: an answer
/// that differed would tell which is which.
fn entry(api: &Api, headers: &HeaderMap, address: Client) -> Result<Entry, Exceeded> {
    let keys = &api.0.settings.keys;
    if keys.is_empty() || !presents_one(headers) {
        return Ok(keys.entry(headers));
    }
    let now = api.0.began.elapsed();
    let wrong = &api.0.wrong_keys;
    // Held all the while, so that no two guesses share the last place.
    let mut wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
    wrong.look(address, now)?;
    let entry = keys.entry(headers);
    if entry == Entry::Wrong {
        wrong.take(address, now)?;
    }
    Ok(entry)
}

/// The client that a request without a good key counts as.
pub(super) fn by_address(request: &Request) -> Client {
    Client::of_address(request.extensions().get::<Peer>().map(|peer| peer.0))
}

fn told(mut response: Response, standing: Option<Standing>) -> Response {
    if let Some(standing) = standing {
        tell(response.headers_mut(), standing);
    }
    response
}

/// Writes what is left into an answer that does not tell it yet.
pub(super) fn tell(headers: &mut HeaderMap, standing: Standing) {
    let reset = if standing.reset.is_zero() {
        0
    } else {
        seconds_up(standing.reset)
    };
    for (name, value) in [
        ("x-ratelimit-limit", HeaderValue::from(standing.limit)),
        ("x-ratelimit-remaining", HeaderValue::from(standing.remaining)),
        ("x-ratelimit-reset", HeaderValue::from(reset)),
    ] {
        headers.entry(name).or_insert(value);
    }
}
