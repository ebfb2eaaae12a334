//! Which web pages of other origins may call the API, as `CORS_ORIGINS` says:
//! with a secret of their own, never with the cookie of whoever is signed in.

use axum::http::{HeaderValue, Method, Uri};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// Why a text is no list of origins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("'{0}' is not an origin: write it as https://example.org or http://localhost:3000")]
    Malformed(String),
    #[error("'*' stands for every origin, so it must stand alone")]
    AnyAndOthers,
}

/// Reads a comma-separated list of origins. `*` alone allows every origin.
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

/// The layer for these origins; none at all where there are none.
pub(super) fn layer(origins: &[HeaderValue]) -> Option<CorsLayer> {
    let origins = match origins {
        [] => return None,
        [any] if any == "*" => AllowOrigin::mirror_request(),
        origins => AllowOrigin::list(origins.iter().cloned()),
    };
    let layer = CorsLayer::new()
        .allow_origin(origins)
        // As the published server did. A cookie of ours is refused all the same
        // when a page of another origin brings it.
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request());
    Some(layer)
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

    #[test]
    fn without_origins_there_is_no_layer() {
        assert!(layer(&[]).is_none());
        assert!(layer(&parse_origins("*").unwrap()).is_some());
    }
}
