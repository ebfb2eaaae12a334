//! The API's description, as JSON for programs and as a page for people.
//!
//! The page is made from the JSON when it is first asked for. It may run the
//! script that lies beside the dashboard's, with which calls can be tried, and
//! asks no other host for anything. Without scripts it is still to be read.

use std::sync::LazyLock;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse as _, Response};

mod page;

/// The OpenAPI 3.1 description of every route.
pub const OPENAPI: &str = include_str!("../../docs/openapi.json");

static PAGE: LazyLock<String> = LazyLock::new(|| page::render(OPENAPI));

pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

pub(super) async fn page() -> Response {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                          form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, PAGE.as_str()).into_response()
}
