//! `GET /connect`, in both versions.
//!
//! An `Authorization` header makes it the current version, whatever the query
//! says. Without that header, `?token=` makes it the older one. With neither,
//! the answer is the current version's refusal of a missing header.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use shardman_core::wire::{Connected, ConnectedOlder};

use super::error::{self, Context, Flaw, Place, Refusal, Version};
use super::query::Query;
use super::{HttpState, secret};
use crate::manager::{ConnectRequest, Connection, IdentifyPlan};

/// The longest `Idempotency-Key`; a uuid has 36 characters.
const MAX_KEY_BYTES: usize = 255;

pub(super) async fn connect(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    let query = Query::of(request.uri());
    let headers = request.headers();
    let (caller, version) = match (secret::from_header(&state.manager, headers)?, query.get("token")) {
        (Some(caller), _) => (caller, Version::Current),
        (None, Some(token)) => (secret::from_token(&state.manager, token)?, Version::Older),
        (None, None) => return Err(Refusal::flaw(secret::missing_header())),
    };
    let identify = match query.get("identify") {
        Some("ask") => IdentifyPlan::Ask,
        Some(_) | None => IdentifyPlan::Sleep,
    };
    let request = ConnectRequest {
        caller,
        identify,
        idempotency_key: idempotency_key(headers)?,
    };
    let lease = state
        .manager
        .connect_to(query.get("pool"), request)
        .await
        .map_err(|error| Refusal::connect(error, version))?;
    Ok(match version {
        Version::Current => error::ok(&current(lease)),
        Version::Older => error::ok(&older(&lease)),
    })
}

fn current(lease: Connection) -> Connected {
    Connected {
        shard_id: lease.shard.number(),
        max_shards: lease.shard.total(),
        session_id: lease.session.reveal(),
        sleep_duration: lease.sleep_seconds,
        epoch: Some(lease.epoch),
        heartbeat_seconds: Some(lease.heartbeat_seconds),
        max_seconds: Some(lease.max_seconds),
        gateway_url: lease.gateway_url,
        resume: lease.resume,
    }
}

fn older(lease: &Connection) -> ConnectedOlder {
    ConnectedOlder {
        shard: lease.shard.number(),
        max_shards: lease.shard.total(),
        session_id: lease.session.reveal(),
    }
}

/// The key that makes a repeated request the same request; an empty one is none.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(key) = headers.get("idempotency-key").filter(|key| !key.is_empty()) else {
        return Ok(None);
    };
    if key.len() > MAX_KEY_BYTES {
        let loc = [Place::Name("header"), Place::Name("idempotency-key")];
        let msg = format!("ensure this value has at most {MAX_KEY_BYTES} characters");
        let flaw = Flaw::new(&loc, msg, "value_error.any_str.max_length");
        return Err(Refusal::flaw(flaw.with(Context::Limit {
            limit_value: MAX_KEY_BYTES.into(),
        })));
    }
    Ok(Some(String::from_utf8_lossy(key.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn an_idempotency_key_is_bounded() {
        let mut headers = HeaderMap::new();
        assert_eq!(idempotency_key(&headers).unwrap(), None);
        headers.insert("idempotency-key", HeaderValue::from_static("k1"));
        assert_eq!(idempotency_key(&headers).unwrap().as_deref(), Some("k1"));
        headers.insert("idempotency-key", HeaderValue::try_from("k".repeat(256)).unwrap());
        assert!(matches!(idempotency_key(&headers), Err(Refusal::Invalid(_))));
    }
}
