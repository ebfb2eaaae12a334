//! Which web pages may ask, as `SHARD_CORS_ORIGINS` says: with a key of their
//! own, since there are no cookies here.

use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::request_id;

/// How long a browser may remember what it may do.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Why a text is no list of origins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("'{0}' is not an origin: write it as https://example.org or http://localhost:3000")]
    Malformed(String),
    #[error("'*' stands for every origin, so it must stand alone")]
    AnyAndOthers,
}

/// Reads a comma-separated list of origins. `*` alone allows every origin.
///
/// # Errors
///
/// If one of them is no origin.
pub fn parse_origins(text: &str) -> Result<Vec<HeaderValue>, OriginError> {
    let parts: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    if parts.len() > 1 && parts.contains(&"*") {
        return Err(OriginError::AnyAndOthers);
    }
    parts.into_iter().map(parse_origin).collect()
}

fn parse_origin(text: &str) -> Result<HeaderValue, OriginError> {
    let malformed = || OriginError::Malformed(text.to_owned());
    if text == "*" || text == "null" {
        return HeaderValue::try_from(text).map_err(|_| malformed());
    }
    // A slash at the end is a slip that would never match; the origin is meant.
    let origin = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (scheme, host) = origin.split_once("://").ok_or_else(malformed)?;
    let is_origin = !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', '@', '*']);
    if !is_origin || origin.parse::<Uri>().is_err() {
        return Err(malformed());
    }
    HeaderValue::try_from(origin).map_err(|_| malformed())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_separated_by_commas() {
        let origins = parse_origins(" https://a.example , http://localhost:3000/,").unwrap();
        assert_eq!(origins, ["https://a.example", "http://localhost:3000"]);
        assert_eq!(parse_origins("").unwrap(), Vec::<HeaderValue>::new());
        assert_eq!(parse_origins("*").unwrap(), ["*"]);
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "example.org",
            "https://",
            "https://a/b",
            "https://a b",
            "://a",
            "https://*.a",
        ] {
            assert_eq!(
                parse_origins(text),
                Err(OriginError::Malformed(text.to_owned())),
                "{text}"
            );
        }
        assert_eq!(parse_origins("*,https://a"), Err(OriginError::AnyAndOthers));
    }
}
