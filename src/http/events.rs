//! `GET /events`: what happened and why, as a list, or as a stream of
//! server-sent events for whoever accepts `text/event-stream`.
//!
//! A stream reads from what the manager keeps, so a slow reader has no buffer
//! to fill: it is told that it lags, and [`super::serve`] cuts off one that
//! takes nothing at all.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use shardman_core::ShardId;
use shardman_core::timeline::{Event, Filter, Kind};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::error::{self, Flaw, Place, Refusal};
use super::query::Query;
use super::who::{self, Watcher};
use super::{HttpState, number};
use crate::manager::{MAX_READERS, ManagerHandle, Summary};

/// Events of one answer unless told otherwise, and at most.
const EVENTS: u64 = 100;
const MAX_EVENTS: u64 = 1000;

/// Events that a stream takes out at once.
const AT_ONCE: usize = 256;

/// Seconds after which one stream less may be open.
const RETRY_SECONDS: u64 = 5;

/// A stream on which nothing happens says so: proxies close what is silent for
/// a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How soon a reader that was cut off comes back.
const RECONNECT: Duration = Duration::from_secs(1);

/// The header with which a reader says what it has seen.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) async fn events(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    let watcher = who::watcher(&state.manager, request.method(), request.headers())?;
    let asked = Asked::of(&Query::of(request.uri()), request.headers())?;
    let mut response = if accepts_stream(request.headers()) {
        let place = state
            .manager
            .follow_events()
            .ok_or_else(|| Refusal::Unavailable {
                reason: format!("{MAX_READERS} streams of events are open already"),
                retry_seconds: RETRY_SECONDS,
            })?;
        stream(Follow::new(state.manager, asked, place), watcher).into_response()
    } else {
        let limit = asked.limit.unwrap_or(EVENTS);
        let page = match asked.after {
            Some(number) => state.manager.events_after(number, &asked.filter, most(limit)),
            None => state.manager.latest_events(&asked.filter, most(limit)),
        };
        error::ok(&state.manager.events_view(page, asked.causes))
    };
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}

fn most(limit: u64) -> usize {
    usize::try_from(limit.min(MAX_EVENTS)).unwrap_or(usize::MAX)
}

fn accepts_stream(headers: &HeaderMap) -> bool {
    let names = |value: &HeaderValue| {
        value
            .to_str()
            .is_ok_and(|value| value.to_ascii_lowercase().contains("text/event-stream"))
    };
    headers.get_all(ACCEPT).iter().any(names)
}

/// What is asked for.
#[derive(Debug, PartialEq)]
struct Asked {
    filter: Filter,
    after: Option<u64>,
    limit: Option<u64>,
    /// Whether to add what led to these events.
    causes: bool,
}

impl Asked {
    fn of(query: &Query, headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut flaws = Vec::new();
        let shard = query.get("shard").and_then(|text| {
            let shard = shard(text);
            if shard.is_none() {
                let msg = "value is not a shard: NUMBER or NUMBER/TOTAL";
                flaws.push(Flaw::new(&at("query", "shard"), msg, "value_error.shard"));
            }
            shard
        });
        let kind = query.get("kind").and_then(|text| {
            let kind = kind(text);
            if kind.is_none() {
                let msg = "value is not a kind of event";
                flaws.push(Flaw::new(&at("query", "kind"), msg, "value_error.kind"));
            }
            kind
        });
        let mut natural = |place, name, text: Option<&str>| {
            let text = text?;
            let number = number::integer(text).and_then(|number| u64::try_from(number).ok());
            if number.is_none() {
                let msg = "value is not a valid integer";
                flaws.push(Flaw::new(&at(place, name), msg, "type_error.integer"));
            }
            number
        };
        let after = natural("query", "after", query.get("after"));
        let limit = natural("query", "limit", query.get("limit"));
        // The header is the younger word: a reader that comes back repeats its
        // first address.
        let seen = headers
            .get(LAST_EVENT_ID)
            .map(|seen| seen.to_str().unwrap_or("?"));
        let seen = natural("header", "last-event-id", seen.filter(|seen| !seen.is_empty()));
        query.check_bool("causes", &mut flaws);
        if !flaws.is_empty() {
            return Err(Refusal::Invalid(flaws));
        }
        let yes = |value: &str| ["1", "on", "t", "true", "y", "yes"].contains(&&*value.to_lowercase());
        Ok(Self {
            filter: Filter {
                shard,
                worker: query.get("worker").map(ToOwned::to_owned),
                pool: query.get("pool").map(ToOwned::to_owned),
                kind,
            },
            after: seen.or(after),
            limit,
            causes: query.get("causes").is_some_and(yes),
        })
    }
}

fn at(place: &'static str, name: &'static str) -> [Place; 2] {
    [Place::Name(place), Place::Name(name)]
}

/// `3` is shard 3 of whatever total, `3/8` that one alone.
fn shard(text: &str) -> Option<(u32, Option<u32>)> {
    if text.contains('/') {
        let shard: ShardId = text.parse().ok()?;
        return Some((shard.number(), Some(shard.total())));
    }
    let number = number::integer(text)?;
    Some((u32::try_from(number).ok()?, None))
}

fn kind(text: &str) -> Option<Kind> {
    let text = serde_json::Value::String(text.to_owned());
    let kind: Kind = serde_json::from_value(text.clone()).ok()?;
    // What is unknown is read as `other`.
    (serde_json::to_value(kind).ok()? == text).then_some(kind)
}

/// A reader that stays.
struct Follow {
    manager: ManagerHandle,
    filter: Filter,
    /// The number that it has seen everything up to.
    seen: u64,
    ready: VecDeque<Sent>,
    newest: watch::Receiver<u64>,
    fleet: watch::Receiver<Summary>,
    _place: OwnedSemaphorePermit,
}

impl Follow {
    fn new(manager: ManagerHandle, asked: Asked, place: OwnedSemaphorePermit) -> Self {
        // From now on, unless told where it was, or how much to begin with.
        let mut ready = VecDeque::from([Sent::default().retry(RECONNECT)]);
        let seen = asked.after.unwrap_or_else(|| {
            let limit = asked.limit.unwrap_or(0);
            let page = manager.latest_events(&asked.filter, most(limit));
            ready.extend(page.events.iter().map(|event| sent(event)));
            page.next
        });
        Self {
            filter: asked.filter,
            seen,
            ready,
            newest: manager.newest_event(),
            fleet: manager.summary(),
            manager,
            _place: place,
        }
    }

    /// The next one; `None` once the fleet has stopped and all is told.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(sent) = self.ready.pop_front() {
                return Some(sent);
            }
            let stopped = is_over(&self.fleet.borrow());
            self.newest.mark_unchanged();
            let page = self.manager.events_after(self.seen, &self.filter, AT_ONCE);
            if page.lagged {
                // So that it can ask for the whole picture anew.
                let lost = format!("{{\"after\":{}}}", self.seen);
                self.ready.push_back(Sent::default().event("lagged").data(lost));
            }
            let all = page.next == self.seen || page.events.is_empty();
            self.seen = page.next;
            self.ready.extend(page.events.iter().map(|event| sent(event)));
            if !self.ready.is_empty() || !all {
                continue;
            }
            if stopped {
                return None;
            }
            tokio::select! {
                _ = self.newest.changed() => {}
                _ = self.fleet.wait_for(is_over) => {}
            }
        }
    }
}

/// Nothing more will happen that is worth to wait for.
fn is_over(fleet: &Summary) -> bool {
    fleet.stopping && fleet.running == 0
}

fn sent(event: &Event) -> Sent {
    let json = serde_json::to_string(event).expect("an event is plain data with string keys");
    Sent::default().id(event.number.to_string()).data(json)
}

fn stream(follow: Follow, watcher: Watcher) -> Sse<impl stream::Stream<Item = Result<Sent, Infallible>>> {
    let events = stream::unfold(follow, |mut follow| async move {
        let event = follow.next().await?;
        Some((Ok(event), follow))
    });
    let events = events.take_until(Box::pin(watcher.over()));
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

#[cfg(test)]
mod tests;
