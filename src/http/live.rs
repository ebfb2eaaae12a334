//! `GET /fleet/live`: the fleet and then what changes, as server-sent events.
//!
//! A reader that is slow is told the whole fleet anew; [`super::serve`] cuts off
//! one that takes nothing at all.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;

use super::error::Refusal;
use super::{HttpState, who};
use crate::manager::{MAX_VIEWERS, News, Summary, Viewer};

/// Seconds after which one stream less may be open.
const RETRY_SECONDS: u64 = 5;

/// A stream on which nothing happens says so: proxies close what is silent for
/// a minute, and a reader tells a connection that is dead by its silence. Pages
/// see no comment, so it is an event.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How soon a reader that was cut off comes back.
const RECONNECT: Duration = Duration::from_secs(1);

pub(super) async fn live(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    let watcher = who::watcher(&state.manager, request.method(), request.headers())?;
    let viewer = state.manager.look(watcher.operates);
    let viewer = viewer.ok_or_else(|| Refusal::Unavailable {
        reason: format!(
            "of the {MAX_VIEWERS} pages that may look at the fleet at one time there is none left"
        ),
        retry_seconds: RETRY_SECONDS,
    })?;
    let look = Look {
        viewer,
        fleet: state.manager.summary(),
        begun: false,
    };
    let news = stream::unfold(look, |mut look| async move {
        let sent = look.next().await?;
        Some((Ok::<_, Infallible>(sent), look))
    });
    let news = news.take_until(Box::pin(watcher.over()));
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let keep_alive = keep_alive.event(Sent::default().event("beat").data("{}"));
    let mut response = Sse::new(news).keep_alive(keep_alive).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}

struct Look {
    viewer: Viewer,
    fleet: watch::Receiver<Summary>,
    begun: bool,
}

impl Look {
    /// `None` once the fleet has stopped.
    async fn next(&mut self) -> Option<Sent> {
        let over = |fleet: &Summary| fleet.stopping && fleet.running == 0;
        let news = tokio::select! { biased;
            news = self.viewer.next() => news?,
            _ = self.fleet.wait_for(over) => return None,
        };
        let sent = match news {
            News::Fleet(fleet) => Sent::default().event("fleet").data(fleet),
            News::Change(change) => Sent::default().event("change").data(change),
        };
        let first = !std::mem::replace(&mut self.begun, true);
        Some(if first { sent.retry(RECONNECT) } else { sent })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::http::manager_tests;
    use crate::manager::{Caller, ConnectRequest, IdentifyPlan, ManagerHandle, Role};
    use shardman_core::SessionId;

    async fn ask(manager: &ManagerHandle) -> Response {
        let state = HttpState {
            manager: manager.clone(),
            public_status: false,
        };
        let request = Request::get("/fleet/live").header("authorization", "s3cret");
        let request = request.body(Body::empty()).unwrap();
        crate::http::router(state, &[]).oneshot(request).await.unwrap()
    }

    async fn read(body: &mut Body) -> String {
        let frame = body.frame().await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    }

    async fn take_a_shard(manager: &ManagerHandle) -> SessionId {
        let request = ConnectRequest {
            caller: Caller::External,
            identify: IdentifyPlan::Ask,
            idempotency_key: None,
        };
        manager.connect(request).await.unwrap().session
    }

    #[tokio::test]
    async fn whoever_looks_sees_the_fleet_and_then_what_changes() {
        let manager = manager_tests::manager();
        let mut first = ask(&manager).await.into_body();
        let begin = read(&mut first).await;
        assert!(
            begin.starts_with("event: fleet\ndata: {\"planned\":4,"),
            "{begin}"
        );
        take_a_shard(&manager).await;
        // Who comes later misses nothing either.
        let mut second = ask(&manager).await.into_body();
        let whole = read(&mut second).await;
        assert!(whole.contains("\"leased\":1,"), "{whole}");
        take_a_shard(&manager).await;
        let mut changes = read(&mut first).await;
        while !changes.contains("\"leased\":2") {
            changes += &read(&mut first).await;
        }
        assert!(
            changes.starts_with("event: change\ndata: {\"fleet\":{\"leased\":"),
            "{changes}"
        );
        assert!(changes.contains("\"shards\":[{\"shard\":"), "{changes}");
        assert!(!changes.contains("max_concurrency"), "{changes}");
        let mut seen = read(&mut second).await;
        while !seen.contains("\"leased\":2") {
            seen += &read(&mut second).await;
        }
    }

    #[tokio::test]
    async fn whoever_comes_between_two_looks_is_told_what_goes_back_to_what_it_was() {
        let manager = manager_tests::manager();
        let mut first = ask(&manager).await.into_body();
        read(&mut first).await;
        take_a_shard(&manager).await;
        // Now the next look is a second away.
        assert!(read(&mut first).await.contains("\"leased\":1"));
        let session = take_a_shard(&manager).await;
        let mut late = manager.look(true).unwrap();
        let Some(News::Fleet(whole)) = late.next().await else {
            panic!("the whole fleet comes first");
        };
        assert!(whole.contains("\"leased\":2,"), "{whole}");
        manager.disconnect(&Caller::External, session).await.unwrap();
        let news = tokio::time::timeout(Duration::from_secs(10), late.next()).await;
        let Ok(Some(News::Change(change))) = news else {
            panic!("{news:?}");
        };
        assert!(change.contains("\"leased\":1"), "{change}");
    }

    #[tokio::test]
    async fn a_stream_on_which_nothing_happens_says_so() {
        let manager = manager_tests::manager();
        let mut body = ask(&manager).await.into_body();
        read(&mut body).await;
        let mut heard = String::new();
        while !heard.contains("event: beat\ndata: {}\n\n") {
            let more = tokio::time::timeout(KEEP_ALIVE * 2, read(&mut body)).await;
            heard += &more.expect("it is never silent for long");
        }
    }

    #[tokio::test]
    async fn a_viewer_that_falls_behind_gets_the_whole_fleet_anew() {
        let manager = manager_tests::manager();
        let mut viewer = manager.look(true).unwrap();
        assert!(matches!(viewer.next().await, Some(News::Fleet(_))));
        viewer.fall_behind();
        assert!(matches!(viewer.next().await, Some(News::Fleet(_))));
    }

    #[tokio::test]
    async fn whoever_only_looks_leaves_room_for_operators_and_goes_when_its_session_ends() {
        let manager = manager_tests::manager();
        let viewer = manager.session_for(Role::Viewer, 3);
        let operator = manager.session_for(Role::Operator, 600);
        let look = async |cookie: &str| {
            let state = HttpState {
                manager: manager.clone(),
                public_status: false,
            };
            let request = Request::get("/fleet/live").header("cookie", cookie);
            let request = request.body(Body::empty()).unwrap();
            crate::http::router(state, &[]).oneshot(request).await.unwrap()
        };
        let mut open = Vec::new();
        while open.len() < MAX_VIEWERS {
            let answer = look(&viewer).await;
            if answer.status() == 503 {
                break;
            }
            assert_eq!(answer.status(), 200);
            open.push(answer);
        }
        println!("{} viewers have a place", open.len());
        assert!(open.len() < MAX_VIEWERS);
        assert_eq!(look(&operator).await.status(), 200);
        let whole = open.pop().unwrap().into_body().collect();
        let ended = tokio::time::timeout(Duration::from_secs(30), whole).await;
        let told = ended
            .expect("the stream ends with the session")
            .unwrap()
            .to_bytes();
        assert!(told.starts_with(b"event: fleet"), "{told:?}");
        assert_eq!(look(&viewer).await.status(), 401);
    }

    #[tokio::test]
    async fn the_pages_that_look_are_bounded_and_a_place_is_given_back() {
        let manager = manager_tests::manager();
        let mut open = Vec::new();
        for _ in 0..MAX_VIEWERS {
            open.push(ask(&manager).await);
        }
        assert!(open.iter().all(|answer| answer.status().as_u16() == 200));
        let refused = ask(&manager).await;
        assert_eq!(refused.status().as_u16(), 503);
        assert_eq!(refused.headers()["retry-after"], "5");
        open.pop();
        assert_eq!(ask(&manager).await.status().as_u16(), 200);
    }
}
