//! Which web pages of other origins may call the API, as `CORS_ORIGINS` says:
//! with a secret of their own, never with the cookie of whoever is signed in.

use axum::http::{HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

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
    use shardman_serve::parse_origins;

    use super::*;

    #[test]
    fn without_origins_there_is_no_layer() {
        assert!(layer(&[]).is_none());
        assert!(layer(&parse_origins("*").unwrap()).is_some());
    }
}
