//! `GET /health` tells how this server is, as the published document has it;
//! `GET /ready` says by its status whether to send requests here. Neither waits
//! for anything.

use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::response::Response;
use serde::Serialize;

use super::error::{Refusal, ok};
use super::{Api, MODEL_ID};
use crate::network::Manager;
use crate::scheduler::Standing;

/// Longer than any pass: an engine that has finished none for so long, while
/// work waits, is stuck.
const STUCK: Duration = Duration::from_secs(30);

/// Why nothing is answered yet.
pub(super) const LOADING: &str = "the model is being loaded";

#[derive(Serialize)]
struct Health<'a> {
    /// `ok`, or `error` if the model does not compute, or not yet.
    status: &'static str,
    /// Whether nothing is being answered, and nothing waits.
    idle: bool,
    /// Whether scouts may connect.
    accepting_swarm_jobs: bool,
    /// How the manager was last reached: `connected`, `disconnected`, or `none`
    /// if this oracle knows no manager.
    rust_sidecar: &'static str,
    rust_url: Option<String>,
    /// Whether a model is loaded; it need not be a BitNet.
    bitnet_loaded: bool,
    cors_origins: Vec<&'a str>,
    /// Nothing while it is being loaded.
    model: Option<Model<'a>>,
    requests: Requests,
    /// Why it is not ready, if it is not.
    detail: Option<&'static str>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'static str,
    name: &'a str,
    fingerprint: &'a str,
    context_tokens: usize,
}

#[derive(Serialize)]
struct Requests {
    active: usize,
    queued: usize,
}

pub(super) async fn health(State(api): State<Api>) -> Response {
    let shared = &api.0;
    let standing = shared.parts.scheduler.standing();
    let manager = shared.parts.network.manager();
    let flaw = flaw(&standing, api.is_draining());
    let is_well = !matches!(flaw, Some(Flaw::Broken | Flaw::Failing | Flaw::Stuck));
    ok(&Health {
        status: if is_well { "ok" } else { "error" },
        idle: standing.active == 0 && standing.queued == 0,
        accepting_swarm_jobs: flaw.is_none() && shared.parts.network.accepts_scouts(),
        rust_sidecar: connection(manager.as_ref()),
        rust_url: manager.map(|manager| manager.url),
        bitnet_loaded: !standing.broken,
        cors_origins: in_words(&shared.settings.cors_origins),
        model: Some(Model {
            id: MODEL_ID,
            name: &shared.parts.facts.name,
            fingerprint: &shared.parts.facts.fingerprint,
            context_tokens: shared.parts.facts.context_tokens,
        }),
        requests: Requests {
            active: standing.active,
            queued: standing.queued,
        },
        detail: flaw.map(Flaw::in_words),
    })
}

/// How it is before there is a model.
pub(super) fn loading(cors_origins: &[HeaderValue], manager: Option<Manager>) -> Response {
    ok(&Health {
        status: "error",
        idle: true,
        accepting_swarm_jobs: false,
        rust_sidecar: connection(manager.as_ref()),
        rust_url: manager.map(|manager| manager.url),
        bitnet_loaded: false,
        cors_origins: in_words(cors_origins),
        model: None,
        requests: Requests { active: 0, queued: 0 },
        detail: Some(LOADING),
    })
}

const fn connection(manager: Option<&Manager>) -> &'static str {
    match manager {
        None => "none",
        Some(manager) if manager.is_reachable => "connected",
        Some(_) => "disconnected",
    }
}

fn in_words(origins: &[HeaderValue]) -> Vec<&str> {
    origins.iter().filter_map(|origin| origin.to_str().ok()).collect()
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
}

pub(super) async fn ready(State(api): State<Api>) -> Result<Response, Refusal> {
    match flaw(&api.0.parts.scheduler.standing(), api.is_draining()) {
        None => Ok(ok(&Ready { status: "ready" })),
        Some(flaw) => Err(Refusal::NotReady(flaw.in_words())),
    }
}

/// Why no request should be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Broken,
    Failing,
    Stuck,
    Stopping,
}

impl Flaw {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Broken => "the model has stopped computing",
            Self::Failing => "one pass of the model after the other fails",
            Self::Stuck => "the model has not finished a pass for 30 seconds, and requests wait",
            Self::Stopping => "the server is stopping",
        }
    }
}

/// What is wrong; the worst comes first.
fn flaw(standing: &Standing, is_draining: bool) -> Option<Flaw> {
    if standing.broken {
        Some(Flaw::Broken)
    } else if standing.failing {
        Some(Flaw::Failing)
    } else if standing.stalled_for >= STUCK {
        Some(Flaw::Stuck)
    } else if is_draining || standing.stopping || standing.stopped {
        Some(Flaw::Stopping)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_what_is_wrong_is_told() {
        let well = Standing {
            queued: 0,
            active: 0,
            rows: 0,
            kv_bytes: 0,
            kv_budget: 0,
            measured: true,
            stalled_for: Duration::ZERO,
            stopping: false,
            stopped: false,
            broken: false,
            failing: false,
            idle_for: Duration::ZERO,
        };
        assert_eq!(flaw(&well, false), None);
        assert_eq!(flaw(&well, true), Some(Flaw::Stopping));
        let mut bad = Standing {
            stopping: true,
            ..well.clone()
        };
        assert_eq!(flaw(&bad, false), Some(Flaw::Stopping));
        bad.stalled_for = STUCK - Duration::from_millis(1);
        assert_eq!(flaw(&bad, false), Some(Flaw::Stopping));
        bad.stalled_for = STUCK;
        assert_eq!(flaw(&bad, true), Some(Flaw::Stuck));
        bad.failing = true;
        assert_eq!(flaw(&bad, true), Some(Flaw::Failing));
        bad.broken = true;
        assert_eq!(flaw(&bad, true), Some(Flaw::Broken));
    }
}
