//! `GET /openapi.json`: the description of this API.

use axum::response::Response;

use super::error::ok_text;

/// As it is checked in. A test compares it with the routes and their answers.
pub(super) const TEXT: &str = include_str!("../../openapi.json");

pub(super) async fn openapi() -> Response {
    ok_text("application/json", TEXT)
}
