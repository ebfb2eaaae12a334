//! Request bodies: bounded in size and in time, and taken for JSON exactly when
//! the published server took them for JSON.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use super::error::{Flaw, Place, Refusal};
use super::field::Fields;
use super::json::{Node, Value};

/// The longest body. The largest honest one, a beat with its `extra`, is a few
/// hundred bytes.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a whole body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Where every flaw of a body begins.
pub(super) const BODY: [Place; 1] = [Place::Name("body")];

/// Reads a body that must be JSON. Call it only when the secret holds.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let bytes = match tokio::time::timeout(BODY_TIME, collect(body)).await {
        Ok(bytes) => bytes?,
        Err(_) => return Err(Refusal::BodyTooSlow),
    };
    if bytes.is_empty() {
        return Err(Refusal::flaw(Flaw::missing(&BODY)));
    }
    if !is_json(headers) {
        return Err(Refusal::flaw(Flaw::new(
            &BODY,
            "value is not a valid dict",
            "type_error.dict",
        )));
    }
    Ok(bytes)
}

/// What a request without a header and without a body lacks besides the header.
pub(super) fn missing(body: &Body) -> Option<Flaw> {
    body.is_end_stream().then(|| Flaw::missing(&BODY))
}

/// The fields of a body that was read.
pub(super) fn fields(source: &str, root: Node) -> Result<Fields<'_>, Refusal> {
    if matches!(root.value, Value::Null) {
        return Err(Refusal::flaw(Flaw::missing(&BODY)));
    }
    Fields::of(source, root, &BODY).map_err(Refusal::Invalid)
}

async fn collect(mut body: Body) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(Refusal::BodyTooLarge);
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Refusal::UnreadableBody);
        };
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > MAX_BODY_BYTES {
            return Err(Refusal::BodyTooLarge);
        }
        // Nearly every body comes in one piece, which needs no copy.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    Ok([first, rest.freeze()].concat().into())
}

/// A missing or empty content type counts as JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let value = value.as_bytes();
    if value.is_empty() || value == b"application/json" {
        return true;
    }
    let media_type = value.split(|&byte| byte == b';').next().unwrap_or_default();
    let media_type = media_type.trim_ascii().to_ascii_lowercase();
    let mut parts = media_type.split(|&byte| byte == b'/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(b"application"), Some(subtype), None) => subtype == b"json" || subtype.ends_with(b"+json"),
        _ => false,
    }
}
