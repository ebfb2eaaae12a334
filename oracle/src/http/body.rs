//! Request bodies: JSON, bounded in size, in time, and in how many large ones
//! arrive at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::Refusal;
use super::limit::Client;

/// The longest body. A prompt of 16,000 characters takes 12 bytes each where
/// every one of them is a pair of `\u` escapes.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Bodies up to this size need no place: a connection may buffer as much.
const SMALL_BODY_BYTES: usize = 64 * 1024;

/// How long a whole body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Places for large bodies, and who has how many: nobody can have them all by
/// sending slowly.
#[derive(Debug)]
pub(super) struct Places {
    all: Semaphore,
    each: usize,
    taken: Mutex<HashMap<Client, usize>>,
}

/// A place, which is free again when it is dropped.
struct Place<'a> {
    _of_all: SemaphorePermit<'a>,
    places: &'a Places,
    client: Client,
}

impl Places {
    /// So many in all, and so many of them for each address.
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self {
            all: Semaphore::new(all),
            each,
            taken: Mutex::default(),
        }
    }

    fn take(&self, client: Client) -> Option<Place<'_>> {
        let mut taken = self.lock();
        if taken.get(&client).is_some_and(|&count| count >= self.each) {
            return None;
        }
        let of_all = self.all.try_acquire().ok()?;
        *taken.entry(client).or_default() += 1;
        Some(Place {
            _of_all: of_all,
            places: self,
            client,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Client, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

/// Reads a body that must be JSON. `large` has the places for large ones.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    client: Client,
    large: &Places,
) -> Result<Bytes, Refusal> {
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
    tokio::time::timeout(BODY_TIME, collect(body, client, large))
        .await
        .unwrap_or(Err(Refusal::BodyTooSlow))
}

async fn collect(mut body: Body, client: Client, large: &Places) -> Result<Bytes, Refusal> {
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
            place = Some(large.take(client).ok_or(Refusal::TooManyBodies)?);
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
        let places = Places::new(places, places);
        let read = read(&headers("application/json"), body, Client::Unknown, &places).await;
        assert!(places.lock().is_empty());
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
        let places = Places::new(1, 1);
        let read = read(&headers("application/json"), never, Client::Unknown, &places).await;
        assert!(matches!(read, Err(Refusal::BodyTooSlow)));
    }

    #[test]
    fn nobody_has_all_places_for_large_bodies() {
        let [one, other] = [Client::V4([10, 0, 0, 1]), Client::V4([10, 0, 0, 2])];
        let places = Places::new(3, 2);
        let first = places.take(one).unwrap();
        let _second = places.take(one).unwrap();
        assert!(places.take(one).is_none());
        let third = places.take(other).unwrap();
        // None is left at all.
        assert!(places.take(other).is_none());
        drop(third);
        assert!(places.take(one).is_none());
        drop(first);
        assert!(places.take(one).is_some());
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
