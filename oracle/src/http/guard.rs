//! The door: whose key is good, and who has asked too often. Everything below
//! `/v1` is behind it, but for the scouts' own door, where a lease is shown.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use shardman_serve::Peer;
use tracing::debug;

use super::Api;
use super::auth::Entry;
use super::error::Refusal;
use super::limit::{Client, Standing, seconds_up};
use crate::scouts;

/// Whether a path asks for a key, and counts against the limit. Scouts prove
/// themselves by their leases, and are no clients.
pub(super) fn is_guarded(path: &str) -> bool {
    path.starts_with("/v1/") && path != scouts::PATH
}

/// Lets a request in, or refuses it; either way the answer tells what is left.
pub(super) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let entry = api.0.settings.keys.entry(request.headers());
    let client = match entry {
        Entry::Key(place) => Client::Key(place),
        Entry::Open | Entry::Refused => by_address(&request),
    };
    if !is_guarded(request.uri().path()) {
        let standing = api.standing(client);
        return told(next.run(request).await, standing);
    }
    // Who guesses keys is limited as well.
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
    if entry == Entry::Refused {
        api.0.metrics.auth_failures.inc();
        debug!("a request without a good key was refused");
        return told(Refusal::WrongKey.into_response(), standing);
    }
    request.extensions_mut().insert(client);
    told(next.run(request).await, standing)
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
