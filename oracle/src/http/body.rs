//! Request bodies: JSON, bounded in size, in time, and in how many large ones
//! arrive at once.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::sync::Semaphore;

use super::error::Refusal;

/// The longest body. A prompt of 16,000 characters takes 12 bytes each where
/// every one of them is a pair of `\u` escapes.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Bodies up to this size need no place: a connection may buffer as much.
const SMALL_BODY_BYTES: usize = 64 * 1024;

/// How long a whole body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Reads a body that must be JSON. `large` has the places for large ones.
pub(super) async fn read(headers: &HeaderMap, body: Body, large: &Semaphore) -> Result<Bytes, Refusal> {
    if !is_json(headers) {
        return Err(Refusal::NoJson);
    }
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(Refusal::Encoded);
    }
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(Refusal::BodyTooLarge);
    }
    tokio::time::timeout(BODY_TIME, collect(body, large))
        .await
        .unwrap_or(Err(Refusal::BodyTooSlow))
}

async fn collect(mut body: Body, large: &Semaphore) -> Result<Bytes, Refusal> {
    let mut place = None;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::UnreadableBody)?;
        let Ok(data) = frame.into_data() else { continue };
        let length = whole.len() + data.len();
        if length > MAX_BODY_BYTES {
            return Err(Refusal::BodyTooLarge);
        }
        if length > SMALL_BODY_BYTES && place.is_none() {
            place = Some(large.try_acquire().map_err(|_| Refusal::TooManyBodies)?);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// A page of another origin could send anything else without being asked (CORS).
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let media_type = value.as_bytes().split(|&byte| byte == b';').next();
    media_type.is_some_and(|media_type| media_type.trim_ascii().eq_ignore_ascii_case(b"application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_type: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())])
    }

    async fn size_of(bytes: usize, places: usize) -> Result<usize, Refusal> {
        let pieces = vec![vec![b' '; 1024]; bytes / 1024]
            .into_iter()
            .chain([vec![b' '; bytes % 1024]])
            .map(Ok::<_, std::convert::Infallible>);
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let read = read(&headers("application/json"), body, &Semaphore::new(places)).await;
        read.map(|body| body.len())
    }

    #[tokio::test]
    async fn a_body_has_at_most_a_mebibyte() {
        assert_eq!(size_of(MAX_BODY_BYTES, 1).await.unwrap(), MAX_BODY_BYTES);
        assert!(matches!(
            size_of(MAX_BODY_BYTES + 1, 1).await,
            Err(Refusal::BodyTooLarge)
        ));
    }

    #[tokio::test]
    async fn a_large_body_needs_a_place_and_a_small_one_does_not() {
        assert_eq!(size_of(SMALL_BODY_BYTES, 0).await.unwrap(), SMALL_BODY_BYTES);
        assert!(matches!(
            size_of(SMALL_BODY_BYTES + 1, 0).await,
            Err(Refusal::TooManyBodies)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = Body::from_stream(futures_util::stream::pending::<
            Result<Bytes, std::convert::Infallible>,
        >());
        let read = read(&headers("application/json"), never, &Semaphore::new(1)).await;
        assert!(matches!(read, Err(Refusal::BodyTooSlow)));
    }

    #[test]
    fn only_json_is_json() {
        for json in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(is_json(&headers(json)), "{json}");
        }
        for other in ["text/plain", "application/jsonp", "multipart/form-data", ""] {
            assert!(!is_json(&headers(other)), "{other}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
