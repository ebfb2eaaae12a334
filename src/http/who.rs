//! Who is behind a request that a browser may make too: the secret's bearer, or
//! somebody who is signed in.
//!
//! A header counts before a cookie. A cookie counts only for requests of our own
//! pages, and never for the calls of workers: a `GET /connect` takes a shard.

use std::time::Duration;

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};

use super::error::{Access, Refusal};
use super::secret;
use crate::manager::{Caller, ManagerHandle, Role, Session};

/// Cookies of that name that are looked at: others of the host may set some.
const MOST_SESSIONS: usize = 4;

#[derive(Debug, PartialEq)]
pub(super) enum Who {
    Caller(Caller),
    SignedIn(Session),
}

/// Who this is.
pub(super) fn of(manager: &ManagerHandle, method: &Method, headers: &HeaderMap) -> Result<Who, Refusal> {
    if let Some(caller) = secret::from_header(manager, headers)? {
        return Ok(Who::Caller(caller));
    }
    if sessions(manager, headers).next().is_none() {
        return Err(Refusal::flaw(secret::missing_header()));
    }
    if !is_ours(method, headers) {
        return Err(Access::CrossSite.into());
    }
    let session = signed_in(manager, headers).ok_or(Access::SignedOut)?;
    Ok(Who::SignedIn(session))
}

/// Whoever may look comes past here.
pub(super) fn reader(manager: &ManagerHandle, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    of(manager, method, headers).map(drop)
}

/// Somebody who looks for as long as it may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watcher {
    pub(super) operates: bool,
    /// Until its session ends; none where it has the secret.
    pub(super) left: Option<Duration>,
}

/// Whoever may look comes past here, and stays.
pub(super) fn watcher(
    manager: &ManagerHandle,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Watcher, Refusal> {
    Ok(match of(manager, method, headers)? {
        Who::Caller(caller) => Watcher {
            operates: manager.may_operate(&caller),
            left: None,
        },
        Who::SignedIn(session) => Watcher {
            operates: session.role == Role::Operator,
            left: Some(session.left),
        },
    })
}

impl Watcher {
    /// Waits until its time is over.
    pub(super) async fn over(self) {
        match self.left {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    }
}

/// Only whoever may steer the fleet comes past here.
pub(super) fn operator(manager: &ManagerHandle, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    match of(manager, method, headers)? {
        Who::Caller(caller) if manager.may_operate(&caller) => Ok(()),
        Who::Caller(_) => Err(Refusal::NotAnOperator),
        Who::SignedIn(session) if session.role == Role::Operator => Ok(()),
        Who::SignedIn(_) => Err(Access::OnlyLooks.into()),
    }
}

/// Whoever may steer the fleet, and whoever was let in to look. Workers, whose
/// secret it is not, do not.
pub(super) fn operator_or_viewer(
    manager: &ManagerHandle,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    match of(manager, method, headers)? {
        Who::Caller(caller) if !manager.may_operate(&caller) => Err(Refusal::NotAnOperator),
        Who::Caller(_) | Who::SignedIn(_) => Ok(()),
    }
}

/// What the cookies let this request do.
pub(super) fn signed_in(manager: &ManagerHandle, headers: &HeaderMap) -> Option<Session> {
    sessions(manager, headers).find_map(|token| manager.signed_in(token))
}

/// Whether a session came, good or not, and nothing that counts before it.
pub(super) fn has_session(manager: &ManagerHandle, headers: &HeaderMap) -> bool {
    !headers.contains_key(AUTHORIZATION) && sessions(manager, headers).next().is_some()
}

fn sessions<'a>(manager: &'a ManagerHandle, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
    named(manager.session_cookie(), headers)
}

/// The values of the cookies of this name.
fn named<'a>(name: &'a str, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let named = pairs.filter_map(|pair| pair.trim().split_once('='));
    named
        .filter(move |(other, _)| *other == name)
        .map(|(_, token)| token)
        .take(MOST_SESSIONS)
}

/// Whether our own page is behind a request with a cookie. What changes
/// something must say so; what only reads must not say otherwise, because a
/// browser that names no origin may have been given the address by hand.
fn is_ours(method: &Method, headers: &HeaderMap) -> bool {
    match origin(headers) {
        Origin::Same => true,
        Origin::Other => false,
        Origin::Unsaid => method.is_safe(),
    }
}

/// Whether another page may be behind a request that needs no cookie.
pub(super) fn is_of_another_origin(headers: &HeaderMap) -> bool {
    origin(headers) == Origin::Other
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Same,
    Other,
    Unsaid,
}

/// Which page is behind a request (W3C, "Fetch Metadata Request Headers";
/// RFC 6454, section 7).
fn origin(headers: &HeaderMap) -> Origin {
    if let Some(site) = headers.get("sec-fetch-site") {
        return match site.as_bytes() {
            b"same-origin" => Origin::Same,
            // Somebody typed the address, or followed a bookmark.
            b"none" => Origin::Unsaid,
            _ => Origin::Other,
        };
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return Origin::Unsaid;
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host) => Origin::Same,
        _ => Origin::Other,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn a_page_is_ours_by_what_the_browser_says() {
        let own = |lines: &[_]| origin(&headers(lines));
        assert_eq!(own(&[]), Origin::Unsaid);
        assert_eq!(own(&[("sec-fetch-site", "same-origin")]), Origin::Same);
        assert_eq!(own(&[("sec-fetch-site", "none")]), Origin::Unsaid);
        for site in ["same-site", "cross-site", "", "x"] {
            let lines = [("sec-fetch-site", site), ("origin", "http://a"), ("host", "a")];
            assert_eq!(own(&lines), Origin::Other, "{site}");
        }
        let from = |origin, host| own(&[("origin", origin), ("host", host)]);
        assert_eq!(from("http://localhost:7878", "localhost:7878"), Origin::Same);
        assert_eq!(from("https://A.example", "a.example"), Origin::Same);
        for other in [
            "null",
            "",
            "http://localhost:3000",
            "http://localhost:7878.evil.example",
            "localhost:7878",
            "http://evil.example",
        ] {
            assert_eq!(from(other, "localhost:7878"), Origin::Other, "{other}");
        }
        assert_eq!(own(&[("origin", "http://a")]), Origin::Other);
    }

    #[test]
    fn of_all_cookies_only_sessions_count_and_few_of_them() {
        let found = |line| {
            let headers = headers(&[("cookie", line)]);
            named("shardman_session", &headers)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(found("a=b; shardman_session=x; c"), ["x"]);
        assert_eq!(found("shardman_session=a=b;shardman_session="), ["a=b", ""]);
        for none in [
            "",
            ";;;",
            "=",
            "xshardman_session=x",
            "shardman_session",
            "SHARDMAN_SESSION=x",
        ] {
            assert!(found(none).is_empty(), "{none}");
        }
        let many = headers(
            &[(
                "cookie",
                "shardman_session=x;shardman_session=x;shardman_session=x",
            ); 9],
        );
        assert_eq!(named("shardman_session", &many).count(), MOST_SESSIONS);
    }
}
