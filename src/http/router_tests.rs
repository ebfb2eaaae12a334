//! The router's own refusals, against what the published server answered.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Method, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::http::docs::OPENAPI;
use crate::http::manager_tests;
use crate::http::reference::{self, Case};
use shardman_serve::parse_origins;

/// No request of these tests gets as far as the manager.
fn unasked_router(origins: &str) -> Router {
    let state = HttpState {
        manager: manager_tests::manager(),
        public_status: true,
    };
    super::router(state, &parse_origins(origins).unwrap())
}

async fn ask(
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> (u16, HeaderMap, String) {
    let mut request = Request::new(Body::from(body.to_vec()));
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
    *request.uri_mut() = target.parse().unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let response = unasked_router("").oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        head.status.as_u16(),
        head.headers,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

/// Whether the case is refused before anybody's secret is looked at.
fn is_refused_at_the_door(case: &Case) -> bool {
    // A lone `/connect` is now the current version's.
    let is_ambiguous = case.version == "older" && case.target.starts_with("/connect");
    let needs_manager =
        case.method == "GET" && case.target.starts_with("/disconnect") && !case.headers.is_empty();
    let is_beat = case.method == "POST" && case.target == "/beat" && !case.headers.is_empty();
    !is_ambiguous && !needs_manager && !is_beat
}

#[tokio::test]
async fn what_the_published_server_refused_at_the_door_is_refused_in_the_same_words() {
    let cases = reference::load();
    let mut replayed = 0;
    for case in cases.same.iter().filter(|case| is_refused_at_the_door(case)) {
        let (status, headers, answer) = ask(&case.method, &case.target, &case.headers, &case.bytes()).await;
        assert_eq!(status, case.status, "{case:?}");
        // The answer to a `HEAD` has no body.
        let expected = case
            .answer
            .as_deref()
            .filter(|_| case.method != "HEAD")
            .unwrap_or_default();
        assert_eq!(answer, expected, "{case:?}");
        assert_eq!(
            headers.get(header::ALLOW).map(|allow| allow.to_str().unwrap()),
            case.allow.as_deref()
        );
        let location = case
            .location
            .as_deref()
            .map(|at| at.strip_prefix("http://127.0.0.1").unwrap());
        assert_eq!(
            headers.get(header::LOCATION).map(|at| at.to_str().unwrap()),
            location
        );
        replayed += 1;
    }
    assert!(replayed >= 40, "only {replayed} cases were replayed");
}

#[tokio::test]
async fn a_missing_header_is_named_before_a_missing_body() {
    let (status, _, answer) = ask("POST", "/identify", &[], b"").await;
    assert_eq!(status, 422);
    assert_eq!(
        answer,
        r#"{"detail":[{"loc":["header","authorization"],"msg":"field required","type":"value_error.missing"},{"loc":["body"],"msg":"field required","type":"value_error.missing"}]}"#
    );
    // A body that is there is not looked at.
    let (status, _, answer) = ask("POST", "/beat", &[], b"{").await;
    assert_eq!((status, answer.contains("body")), (422, false));
}

#[tokio::test]
async fn every_path_refuses_foreign_methods_with_its_own() {
    for route in routes() {
        let path = route
            .path
            .replace("{session_id}", "x")
            .replace("{worker_id}", "x")
            .replace("{name}", "x");
        for method in ["HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let (status, headers, answer) = ask(method, &path, &[], b"").await;
            assert_eq!(status, 405, "{method} {path}");
            assert_eq!(headers[header::ALLOW], route.allow);
            let expected = if method == "HEAD" {
                ""
            } else {
                r#"{"detail":"Method Not Allowed"}"#
            };
            assert_eq!(answer, expected);
        }
    }
}

#[tokio::test]
async fn a_redirect_stays_on_this_host() {
    for target in [
        "//connect/",
        "//example.org/",
        "/\\example.org/",
        "/connect/%2e%2e/",
    ] {
        assert_eq!(ask("GET", target, &[], b"").await.0, 404, "{target}");
    }
    assert_eq!(ask("POST", "/beat/", &[], b"").await.1[header::LOCATION], "/beat");
}

#[tokio::test]
async fn health_and_the_descriptions_need_no_secret() {
    let (status, headers, answer) = ask("GET", "/health", &[], b"").await;
    assert_eq!((status, answer.as_str()), (200, r#"{"status":"ok"}"#));
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(ask("GET", "/openapi.json", &[], b"").await.2, OPENAPI);
    let (status, headers, page) = ask("GET", "/docs", &[], b"").await;
    assert_eq!(status, 200);
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';")
    );
    assert!(!policy.contains("unsafe"));
    assert!(page.starts_with("<!doctype html>"));
}

#[tokio::test]
async fn the_dashboard_needs_no_secret_and_runs_only_its_own_scripts() {
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/assets/app.js", "text/javascript; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
    ] {
        let (status, headers, _) = ask("GET", path, &[], b"").await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(headers[header::CONTENT_TYPE], kind);
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        assert!(!policy.contains("unsafe"));
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
    }
    for path in [
        "/assets/index.html",
        "/assets/x",
        "/assets/%ff",
        "/assets/..%2fapp.js",
        "/assets/",
    ] {
        assert_eq!(ask("GET", path, &[], b"").await.0, 404, "{path}");
    }
}

#[test]
fn the_description_has_exactly_the_routes() {
    let description: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
    let mut described = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.insert((path.clone(), method.to_uppercase()));
        }
    }
    let mut routed = BTreeSet::new();
    for route in routes() {
        for method in route.allow.split(", ") {
            routed.insert((route.path.to_owned(), method.to_owned()));
        }
    }
    assert_eq!(described, routed);
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    fn walk<'a>(value: &'a serde_json::Value, references: &mut Vec<&'a str>) {
        if let Some(reference) = value.get("$ref").and_then(|reference| reference.as_str()) {
            references.push(reference);
        }
        let members = value.as_object().into_iter().flat_map(|map| map.values());
        for inner in members.chain(value.as_array().into_iter().flatten()) {
            walk(inner, references);
        }
    }
    let description = serde_json::from_str(OPENAPI).unwrap();
    let mut references = Vec::new();
    walk(&description, &mut references);
    for reference in references {
        assert!(
            description
                .pointer(reference.strip_prefix('#').unwrap())
                .is_some(),
            "{reference}"
        );
    }
}

#[tokio::test]
async fn other_origins_are_spoken_of_only_where_they_are_configured() {
    let preflight = || {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::OPTIONS;
        *request.uri_mut() = "/status".parse().unwrap();
        request
            .headers_mut()
            .insert(header::ORIGIN, "https://a.example".parse().unwrap());
        request
            .headers_mut()
            .insert(header::ACCESS_CONTROL_REQUEST_METHOD, "GET".parse().unwrap());
        request
    };
    let allowed = |response: &Response| {
        response
            .headers()
            .get(header::ACCESS_CONTROL_ALLOW_ORIGIN)
            .cloned()
    };
    let silent = unasked_router("").oneshot(preflight()).await.unwrap();
    assert_eq!((silent.status().as_u16(), allowed(&silent)), (405, None));
    let open = unasked_router("https://a.example")
        .oneshot(preflight())
        .await
        .unwrap();
    assert_eq!(open.status().as_u16(), 200);
    assert_eq!(allowed(&open).unwrap(), "https://a.example");
    assert_eq!(open.headers()[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    let other = unasked_router("https://b.example")
        .oneshot(preflight())
        .await
        .unwrap();
    assert_eq!(allowed(&other), None);
}
