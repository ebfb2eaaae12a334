//! Who gets past which route: every route, for everybody who may come.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{HttpState, manager_tests, router, router::every_route};

const SECRET: &str = "s3cret";

/// Whom a route lets in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wall {
    /// Everybody.
    Open,
    /// Who knows a secret. A session counts for nothing.
    Workers,
    /// Whoever may look, and with a session from our own pages.
    Looks,
    /// Whoever may operate.
    Operates,
}

fn wall(method: &str, path: &str) -> Wall {
    match (method, path) {
        (_, "/sign-in" | "/sign-out" | "/health" | "/ready" | "/openapi.json" | "/docs" | "/")
        | (_, "/assets/{name}") => Wall::Open,
        (_, "/connect" | "/beat" | "/disconnect" | "/sessions/{session_id}" | "/identify") => Wall::Workers,
        ("GET", _) => Wall::Looks,
        _ => Wall::Operates,
    }
}

struct Door {
    api: Router,
    viewer: String,
    operator: String,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Door {
    async fn new() -> Self {
        let state = HttpState {
            manager: manager_tests::manager(),
            public_status: false,
        };
        let mut door = Self {
            api: router(state, &[]),
            viewer: String::new(),
            operator: String::new(),
        };
        door.operator = door.sign_in(&json!({ "secret": SECRET })).await;
        let shared = door
            .ask("POST", "/share", &[("authorization", SECRET)], r#"{"days":1}"#)
            .await;
        let token = serde_json::from_str::<Value>(&shared.text).unwrap()["token"].clone();
        door.viewer = door.sign_in(&json!({ "share": token })).await;
        door
    }

    async fn sign_in(&self, with: &Value) -> String {
        let answer = self.ask("POST", "/sign-in", &[], &with.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let path = path
            .replace("{session_id}", "x")
            .replace("{worker_id}", "x")
            .replace("{name}", "app.js");
        let mut request = Request::builder().method(method).uri(&path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let (head, body) = self.api.clone().oneshot(request).await.unwrap().into_parts();
        let streams = head
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind == "text/event-stream");
        let text = if streams {
            String::new()
        } else {
            String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
        };
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text,
        }
    }
}

/// The route's own answer, and not a refusal of whoever came.
fn got_in(answer: &Answer) -> bool {
    let refused = [401, 403].contains(&answer.status) || answer.text.contains("\"authorization\"");
    // Nobody reads the configuration again here.
    !refused && (answer.status < 500 || answer.status == 503)
}

const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

#[tokio::test]
async fn every_route_lets_in_whom_it_should_and_nobody_else() {
    let door = Door::new().await;
    let forged = format!("{}0", door.operator);
    let mut seen = 0;
    for (method, path) in every_route() {
        seen += 1;
        let wall = wall(method, path);
        let place = format!("{method} {path} ({wall:?})");
        let with = async |headers: &[(&str, &str)]| door.ask(method, path, headers, "").await;
        let nobody = with(&[]).await;
        assert_eq!(
            got_in(&nobody),
            wall == Wall::Open || nobody.text.contains("\"token\""),
            "{place}"
        );
        let viewer = with(&[("cookie", &door.viewer), OWN]).await;
        let operator = with(&[("cookie", &door.operator), OWN]).await;
        let forged = with(&[("cookie", &forged), OWN]).await;
        let cross = with(&[("cookie", &door.operator), ("sec-fetch-site", "cross-site")]).await;
        let near = with(&[("cookie", &door.operator), ("sec-fetch-site", "same-site")]).await;
        let other = [("cookie", &*door.operator), ("host", "a"), ("origin", "http://b")];
        let other = with(&other).await;
        let both = with(&[("cookie", &door.operator), OWN, ("authorization", "wrong")]).await;
        if wall == Wall::Looks || wall == Wall::Operates {
            assert_eq!(
                (nobody.status, got_in(&operator)),
                (422, true),
                "{place}: {}",
                operator.text
            );
            assert_eq!(got_in(&viewer), wall == Wall::Looks, "{place}: {}", viewer.text);
            assert!(wall == Wall::Looks || viewer.text.contains("Viewers Only Look"));
            assert_eq!(forged.status, 401, "{place}");
            for foreign in [cross, near, other] {
                let told = foreign.text.contains("Other Origin");
                assert!(foreign.status == 403 && told, "{place}: {}", foreign.text);
            }
            assert_eq!(both.status, 403, "{place}: a header counts before a cookie");
        }
        if wall == Wall::Workers {
            for session in [viewer, operator, forged] {
                assert_eq!((session.status, &session.text), (422, &nobody.text), "{place}");
            }
        }
        // Without a word about where it comes from, a request may only read.
        let unsaid = with(&[("cookie", &door.operator)]).await;
        if wall == Wall::Looks {
            assert!(got_in(&unsaid), "{place}");
        }
        if wall == Wall::Operates {
            assert_eq!(unsaid.status, 403, "{place}");
            let own = [
                ("cookie", &*door.operator),
                ("host", "a:1"),
                ("origin", "http://a:1"),
            ];
            assert!(got_in(&with(&own).await), "{place}");
        }
    }
    assert!(seen >= 28, "{seen}");
}

#[tokio::test]
async fn nobody_is_signed_in_by_a_page_of_another_origin() {
    let door = Door::new().await;
    let body = json!({ "secret": SECRET }).to_string();
    for from in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "http://evil.example"),
    ] {
        for (path, body) in [("/sign-in", &*body), ("/sign-out", "")] {
            let answer = door.ask("POST", path, &[from, ("host", "a")], body).await;
            assert_eq!(answer.status, 403, "{path} {from:?}");
            assert!(!answer.headers.contains_key(header::SET_COOKIE));
        }
    }
}

#[tokio::test]
async fn a_cookie_is_kept_from_scripts_and_other_sites_and_unencrypted_ways() {
    let door = Door::new().await;
    let body = json!({ "secret": format!(" {SECRET}\n") }).to_string();
    let cookie = async |headers: &[(&str, &str)]| {
        let answer = door.ask("POST", "/sign-in", headers, &body).await;
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap().to_owned();
        cookie.split("; ").skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=604800"];
    assert_eq!(cookie(&[]).await, plain);
    assert_eq!(cookie(&[("x-forwarded-proto", "http")]).await, plain);
    let encrypted = cookie(&[("x-forwarded-proto", "https, http")]).await;
    assert_eq!(
        (&encrypted[..4], &*encrypted[4]),
        (&plain.map(str::to_owned)[..], "Secure")
    );
    let out = door
        .ask("POST", "/sign-out", &[("cookie", &door.viewer), OWN], "")
        .await;
    assert_eq!(out.status, 204);
    let cleared = out.headers[header::SET_COOKIE].to_str().unwrap();
    let (name, _) = door.viewer.split_once('=').unwrap();
    assert!(
        cleared.starts_with(&format!("{name}=; ")) && cleared.contains("Max-Age=0"),
        "{cleared}"
    );
}

#[tokio::test]
async fn a_browser_is_told_what_it_may_do() {
    let door = Door::new().await;
    let role = async |headers: &[(&str, &str)]| {
        let answer = door.ask("GET", "/sign-in", headers, "").await;
        let standing: Value = serde_json::from_str(&answer.text).unwrap();
        assert!(standing["open"] == false && standing["version"].is_string());
        standing["role"].clone()
    };
    assert_eq!(role(&[]).await, Value::Null);
    assert_eq!(role(&[("cookie", &door.viewer)]).await, "viewer");
    assert_eq!(
        role(&[("cookie", "other=1; shardman_session=x")]).await,
        Value::Null
    );
    let (name, token) = door.operator.split_once('=').unwrap();
    let two = format!("{name}=x; {}", door.operator);
    assert_eq!(role(&[("cookie", &two)]).await, "operator");
    // A manager with another secret, on another port of this host, has cookies
    // of another name.
    let mark = name.strip_prefix("shardman_session_").unwrap();
    assert!(mark.len() == 8 && mark.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let others = format!("shardman_session_00000000={token}");
    assert_eq!(role(&[("cookie", &others)]).await, Value::Null);
    assert_eq!(role(&[("authorization", SECRET)]).await, "operator");
}

#[tokio::test]
async fn what_nobody_could_have_meant_is_refused_and_wrong_secrets_are_slowed_down() {
    let door = Door::new().await;
    let post =
        async |path: &str, body: &str| door.ask("POST", path, &[("authorization", SECRET)], body).await;
    let long = format!(r#"{{"secret":"{}"}}"#, "x".repeat(70_000));
    for (body, status) in [
        ("", 422),
        ("{", 422),
        ("[]", 422),
        ("{}", 422),
        (r#"{"secret":null}"#, 422),
        (r#"{"secret":{}}"#, 422),
        (&*long, 413),
    ] {
        assert_eq!(post("/sign-in", body).await.status, status, "{body:.40}");
    }
    for days in ["0", "91", "-1", "null", "[]", "\"x\"", "99999999999999999999"] {
        let answer = post("/share", &format!(r#"{{"days":{days}}}"#)).await;
        assert_eq!(answer.status, 422, "{days}");
    }
    // A session's token opens no link, and the other way round.
    let (_, session) = door.viewer.split_once('=').unwrap();
    let answer = post("/sign-in", &json!({ "share": session }).to_string()).await;
    assert_eq!((answer.status, answer.text.contains("link")), (401, true));
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(post("/sign-in", r#"{"secret":"guess"}"#).await);
    }
    assert_eq!(answers[0].status, 401);
    let last = answers.last().unwrap();
    assert_eq!(last.status, 429);
    let wait: u64 = last.headers[header::RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=3).contains(&wait));
    // Whoever knows it need not wait for those who guess.
    let right = post("/sign-in", &json!({ "secret": SECRET }).to_string()).await;
    assert_eq!(right.status, 200, "{}", right.text);
    assert_eq!(post("/sign-in", r#"{"secret":"guess"}"#).await.status, 429);
}
