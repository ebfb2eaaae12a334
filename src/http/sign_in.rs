//! `POST /sign-in` and `POST /sign-out` for the dashboard, `GET /sign-in` for
//! what this browser may do, and `POST /share` for links to look on.

use std::net::Ipv6Addr;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use serde::Serialize;
use shardman_serve::Peer;

use super::error::{self, Access, Flaw, Place, Refusal};
use super::who::{self, Who};
use super::{HttpState, body, json, secret};
use crate::manager::{Credential, MAX_SHARE_DAYS, Role};

#[derive(Serialize)]
struct SignedIn {
    role: &'static str,
    /// Seconds since 1970.
    expires_at: Option<u64>,
}

#[derive(Serialize)]
struct Standing {
    /// What this request's sender may do; none where it is not signed in.
    role: Option<&'static str>,
    version: &'static str,
    /// Whether anybody may operate. There is always a secret.
    open: bool,
}

#[derive(Serialize)]
struct Shared {
    token: String,
    path: String,
    expires_at: u64,
}

pub(super) async fn sign_in(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    let (head, content) = request.into_parts();
    // Nobody else is to choose as whom a browser is signed in.
    if who::is_of_another_origin(&head.headers) {
        return Err(Access::CrossSite.into());
    }
    let bytes = body::read(&head.headers, content).await?;
    let document = json::read(&bytes)?;
    let mut fields = body::fields(&document.source, document.root)?;
    let (secret, share) = (fields.text("secret"), fields.text("share"));
    let (secret, share) = fields.finish(Some((secret, share))).map_err(Refusal::Invalid)?;
    let with = match (&secret, &share) {
        (Some(secret), _) => Credential::Secret(secret),
        (None, Some(share)) => Credential::Share(share),
        (None, None) => return Err(flaw("secret", "field required", "value_error.missing")),
    };
    let peer = head.extensions.get::<Peer>().copied();
    let from = peer.map_or(Ipv6Addr::UNSPECIFIED.into(), |Peer(address)| address);
    let signed = state.manager.sign_in(from, with).map_err(Access::SignIn)?;
    let answer = error::ok(&SignedIn {
        role: signed.role.as_str(),
        expires_at: Some(signed.expires_at),
    });
    Ok(with_cookie(
        &state,
        answer,
        &head.headers,
        &signed.token,
        signed.seconds,
    ))
}

pub(super) async fn sign_out(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    if who::is_of_another_origin(request.headers()) {
        return Err(Access::CrossSite.into());
    }
    Ok(with_cookie(&state, error::no_content(), request.headers(), "", 0))
}

pub(super) async fn standing(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    let headers = request.headers();
    let role = match secret::from_header(&state.manager, headers)? {
        Some(caller) if state.manager.may_operate(&caller) => Some(Role::Operator),
        Some(_) => Some(Role::Viewer),
        None => match who::of(&state.manager, request.method(), headers) {
            Ok(Who::SignedIn(session)) => Some(session.role),
            Ok(Who::Caller(_)) | Err(_) => None,
        },
    };
    let answer = error::ok(&Standing {
        role: role.map(Role::as_str),
        version: env!("CARGO_PKG_VERSION"),
        open: false,
    });
    Ok(not_stored(answer))
}

pub(super) async fn share(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    who::operator(&state.manager, request.method(), request.headers())?;
    let (head, content) = request.into_parts();
    let bytes = body::read(&head.headers, content).await?;
    let document = json::read(&bytes)?;
    let mut fields = body::fields(&document.source, document.root)?;
    let days = fields.required_u64("days");
    let days = fields.finish(days).map_err(Refusal::Invalid)?;
    if !(1..=MAX_SHARE_DAYS).contains(&days) {
        let msg = "value is not a number of days from 1 to 90";
        return Err(flaw("days", msg, "value_error.days"));
    }
    let shared = state.manager.share(days);
    Ok(not_stored(error::ok(&Shared {
        path: format!("/#share={}", shared.token),
        token: shared.token,
        expires_at: shared.expires_at,
    })))
}

fn flaw(name: &'static str, msg: &'static str, kind: &'static str) -> Refusal {
    let loc = [Place::Name("body"), Place::Name(name)];
    Refusal::flaw(Flaw::new(&loc, msg, kind))
}

fn with_cookie(
    state: &HttpState,
    answer: Response,
    headers: &HeaderMap,
    token: &str,
    seconds: u64,
) -> Response {
    let secure = if came_encrypted(headers) { "; Secure" } else { "" };
    let name = state.manager.session_cookie();
    let cookie = format!("{name}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}");
    let mut cookie = HeaderValue::try_from(cookie).expect("a token has the characters of a header");
    cookie.set_sensitive(true);
    let mut answer = not_stored(answer);
    answer.headers_mut().insert(SET_COOKIE, cookie);
    answer
}

fn not_stored(mut answer: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(CACHE_CONTROL, no_store);
    answer
}

/// Whether the browser spoke TLS with a proxy before us; the first one counts.
fn came_encrypted(headers: &HeaderMap) -> bool {
    let proto = headers
        .get("x-forwarded-proto")
        .and_then(|proto| proto.to_str().ok());
    let first = proto.and_then(|proto| proto.split(',').next());
    first.is_some_and(|first| first.trim().eq_ignore_ascii_case("https"))
}
