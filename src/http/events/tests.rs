//! What is asked for, and a reader that is slow.

use axum::body::Body;
use axum::http::Uri;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::http::manager_tests;
use crate::manager::{Caller, ConnectRequest, IdentifyPlan};

fn asked(query: &str, seen: Option<&str>) -> Result<Asked, Refusal> {
    let mut headers = HeaderMap::new();
    if let Some(seen) = seen {
        headers.insert(LAST_EVENT_ID, HeaderValue::from_bytes(seen.as_bytes()).unwrap());
    }
    let uri: Uri = format!("/?{query}").parse().unwrap();
    Asked::of(&Query::of(&uri), &headers)
}

#[test]
fn what_is_asked_for_is_read_from_the_query() {
    let all = asked(
        "shard=3&worker=discord-0&pool=web&kind=worker_ended&after=7&limit=5&causes=true",
        None,
    )
    .unwrap();
    let filter = Filter {
        shard: Some((3, None)),
        worker: Some("discord-0".to_owned()),
        pool: Some("web".to_owned()),
        kind: Some(Kind::WorkerEnded),
    };
    assert_eq!(
        (all.filter, all.after, all.limit, all.causes),
        (filter, Some(7), Some(5), true)
    );
    assert_eq!(asked("shard=3/8", None).unwrap().filter.shard, Some((3, Some(8))));
    assert_eq!(asked("after=7", Some("9")).unwrap().after, Some(9));
    assert_eq!(asked("after=7", Some("")).unwrap().after, Some(7));
    for wrong in [
        "shard=",
        "shard=x",
        "shard=-1",
        "shard=8/8",
        "shard=3/",
        "shard=1/2/3",
        "kind=moon",
        "kind=",
        "after=-1",
        "after=x",
        "limit=",
        "limit=1.5",
        "after=99999999999999999999",
        "causes=maybe",
    ] {
        assert!(matches!(asked(wrong, None), Err(Refusal::Invalid(_))), "{wrong}");
    }
    for seen in ["x", "-1", "\u{e9}"] {
        assert!(
            matches!(asked("", Some(seen)), Err(Refusal::Invalid(_))),
            "{seen}"
        );
    }
    let both = asked("limit=x&after=y", None);
    assert!(matches!(both, Err(Refusal::Invalid(flaws)) if flaws.len() == 2));
}

/// Takes a shard and gives it back: two events.
async fn come_and_go(manager: &ManagerHandle) {
    let connection = manager
        .connect(ConnectRequest {
            caller: Caller::External,
            identify: IdentifyPlan::Ask,
            idempotency_key: None,
        })
        .await
        .unwrap();
    manager
        .disconnect(&Caller::External, connection.session)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_so_and_gets_what_is_kept() {
    let manager = manager_tests::manager();
    let state = HttpState {
        manager: manager.clone(),
        public_status: false,
    };
    let request = Request::get("/events")
        .header("authorization", "s3cret")
        .header(ACCEPT, "text/event-stream")
        .body(Body::empty())
        .unwrap();
    let answer = crate::http::router(state, &[]).oneshot(request).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let mut body = answer.into_body();
    let before = *manager.newest_event().borrow();
    for _ in 0..500 {
        come_and_go(&manager).await;
    }
    let mut read = Vec::new();
    while !read
        .iter()
        .any(|part: &String| part.contains(&format!("id: {}\n", before + 1000)))
    {
        let frame = body.frame().await.unwrap().unwrap();
        read.push(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap());
    }
    let lagged = format!("event: lagged\ndata: {{\"after\":{before}}}\n\n");
    assert_eq!(read[1], lagged, "before anything else, but when to come back");
    assert_eq!(read.len(), 2 + 24, "of one shard so many are kept");
    // From then on it misses nothing.
    come_and_go(&manager).await;
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(frame.windows(8).any(|word| word == b"\"leased\""));
}
