//! Which web pages may ask, as `SHARD_CORS_ORIGINS` says: with a key of their
//! own, since there are no cookies here.

use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::request_id;

/// How long a browser may remember what it may do.
const MAX_AGE: Duration = Duration::from_secs(600);

pub(super) fn layer(origins: &[HeaderValue]) -> CorsLayer {
    let origins = match origins {
        [any] if any == "*" => AllowOrigin::any(),
        origins => AllowOrigin::list(origins.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        // The SDKs send a dozen of their own.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            request_id::NAME,
            RETRY_AFTER,
            HeaderName::from_static("x-ratelimit-limit"),
            HeaderName::from_static("x-ratelimit-remaining"),
            HeaderName::from_static("x-ratelimit-reset"),
            HeaderName::from_static("x-should-retry"),
        ])
        .max_age(MAX_AGE)
}
