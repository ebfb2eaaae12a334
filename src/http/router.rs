//! Every route, and what is answered where there is none.
//!
//! `HEAD` is refused as the published server refused it: a `GET /connect` takes
//! a shard, so none of these may be asked for in passing.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, any, get, post};

use super::error::{self, Refusal};
use super::measure::Measure;
use super::{
    HttpState, beat, connect, cors, dashboard, docs, events, fleet, health, history, identify, live, logs,
    metrics, plan, reload, restart, session, sign_in, status, stop,
};

/// What paths without a route are counted as.
const UNKNOWN: &str = "unknown";

/// One path, its methods as the `Allow` header names them, and who answers.
struct Route {
    path: &'static str,
    allow: &'static str,
    methods: MethodRouter<HttpState>,
}

fn routes() -> Vec<Route> {
    let route = |path, allow, methods| Route { path, allow, methods };
    vec![
        route("/connect", "GET", get(connect::connect)),
        route("/beat", "GET, POST", post(beat::post).get(beat::get)),
        route("/disconnect", "GET", get(session::disconnect)),
        route(
            "/sessions/{session_id}",
            "GET, DELETE",
            get(session::get).delete(session::delete),
        ),
        route("/status", "GET", get(status::status)),
        route("/fleet", "GET", get(fleet::fleet)),
        route("/fleet/live", "GET", get(live::live)),
        route("/history", "GET", get(history::history)),
        route("/events", "GET", get(events::events)),
        route("/metrics", "GET", get(metrics::metrics)),
        route("/fleet/resume", "POST", post(fleet::resume)),
        route("/plan", "GET, POST", get(plan::get).post(plan::post)),
        route(
            "/fleet/restart",
            "POST, DELETE",
            post(restart::begin).delete(restart::cancel),
        ),
        route("/fleet/restart/pause", "POST", post(restart::pause)),
        route("/fleet/restart/continue", "POST", post(restart::go_on)),
        route("/fleet/stop", "POST", post(stop::fleet)),
        route("/fleet/spend-reserve", "POST", post(fleet::spend_reserve)),
        route("/reload", "POST", post(reload::reload)),
        route("/workers/{worker_id}/restart", "POST", post(restart::worker)),
        route("/workers/{worker_id}/stop", "POST", post(stop::worker)),
        route("/workers/{worker_id}/start", "POST", post(stop::start)),
        route("/workers/{worker_id}/logs", "GET", get(logs::worker)),
        route("/identify", "POST", post(identify::identify)),
        route("/health", "GET", get(health::health)),
        route("/ready", "GET", get(health::ready)),
        route("/openapi.json", "GET", get(docs::openapi)),
        route("/docs", "GET", get(docs::page)),
        route(
            "/sign-in",
            "GET, POST",
            get(sign_in::standing).post(sign_in::sign_in),
        ),
        route("/sign-out", "POST", post(sign_in::sign_out)),
        route("/share", "POST", post(sign_in::share)),
        route("/", "GET", get(dashboard::page)),
        route("/assets/{name}", "GET", get(dashboard::asset)),
    ]
}

/// Each method of each route.
#[cfg(test)]
pub(super) fn every_route() -> Vec<(&'static str, &'static str)> {
    let methods = |route: Route| route.allow.split(", ").map(move |method| (method, route.path));
    routes().into_iter().flat_map(methods).collect()
}

/// The whole API. `cors_origins` come from [`shardman_serve::parse_origins`]; without
/// any, no answer speaks of other origins.
pub fn router(state: HttpState, cors_origins: &[HeaderValue]) -> Router {
    let counted = state.manager.metrics();
    let measure = |route| Measure(Arc::new(counted.route(route)));
    let mut router = Router::new();
    for Route { path, allow, methods } in routes() {
        let refuse = move || async move { Refusal::WrongMethod { allow } };
        let methods = methods.head(refuse).fallback(refuse);
        router = router.route(path, methods.layer(measure(path)));
    }
    let unknown = any(unknown_path).layer(measure(UNKNOWN));
    let router = router.fallback(unknown).with_state(state);
    match cors::layer(cors_origins) {
        Some(layer) => router.layer(layer),
        None => router,
    }
}

/// A path with slashes too many is sent to the right one, as it always was.
async fn unknown_path(request: Request) -> Response {
    let path = request.uri().path();
    let trimmed = path.trim_end_matches('/');
    if trimmed == path || !routes().iter().any(|route| route.path == trimmed) {
        return Refusal::UnknownPath.into_response();
    }
    match request.uri().query() {
        Some(query) => error::moved(&format!("{trimmed}?{query}")),
        None => error::moved(trimmed),
    }
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
