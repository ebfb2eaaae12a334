//! A manager that answers as it is ordered to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Json, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::json;
use shardman_core::Epoch;
use shardman_core::wire::{Beat, BeatAnswer, Connected, Directive, IdentifyAnswer, ResumePoint};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::{Seen, Setup};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BeatMode {
    Answer(Directive),
    /// Takes the beat and never answers.
    Silent,
    Refuse(StatusCode),
    /// Something in between answers, not the manager.
    Proxy(StatusCode),
}

pub(crate) struct Orders {
    pub(crate) beats: Mutex<BeatMode>,
    /// Answers `/connect` with this status instead of a lease.
    pub(crate) refuse_connect: Mutex<Option<StatusCode>>,
    withhold_permits: AtomicBool,
    /// `/connect` is answered once there is one of these.
    grants: Semaphore,
    /// Stops listening and drops every connection.
    vanish: CancellationToken,
    connected: Connected,
    log: UnboundedSender<Seen>,
}

impl Orders {
    pub(crate) fn beats(&self, mode: BeatMode) {
        *self.beats.lock().unwrap() = mode;
    }

    pub(crate) fn refuse_connect(&self, status: StatusCode) {
        *self.refuse_connect.lock().unwrap() = Some(status);
    }

    pub(crate) fn withhold_permits(&self) {
        self.withhold_permits.store(true, Ordering::Release);
    }

    /// Answers one `/connect` that is held.
    pub(crate) fn grant(&self) {
        self.grants.add_permits(1);
    }

    pub(crate) fn vanish(&self) {
        self.vanish.cancel();
    }
}

pub(super) async fn start(
    setup: &Setup,
    gateway_url: String,
    resume: Option<ResumePoint>,
    log: UnboundedSender<Seen>,
) -> (Arc<Orders>, String) {
    let connected = Connected {
        shard_id: 1,
        max_shards: 4,
        session_id: "7d9f1d0e-0000-4000-8000-000000000000".to_owned(),
        sleep_duration: 0.0,
        epoch: Some(Epoch(9)),
        heartbeat_seconds: None,
        max_seconds: Some(setup.max_seconds),
        gateway_url: Some(gateway_url),
        resume,
    };
    let orders = Arc::new(Orders {
        beats: Mutex::new(BeatMode::Answer(Directive::CarryOn)),
        refuse_connect: Mutex::new(None),
        withhold_permits: AtomicBool::new(false),
        grants: Semaphore::new(if setup.holds_grants {
            0
        } else {
            Semaphore::MAX_PERMITS
        }),
        vanish: CancellationToken::new(),
        connected,
        log,
    });
    let router = axum::Router::new()
        .route("/connect", get(connect))
        .route("/identify", post(identify))
        .route("/beat", post(beat))
        .route("/sessions/{id}", delete(release))
        .with_state(Arc::clone(&orders));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let vanish = orders.vanish.clone();
    let answering = vanish.clone();
    let router = router.layer(axum::middleware::from_fn(
        move |request, next: axum::middleware::Next| {
            let gone = answering.clone();
            async move {
                // A kept connection outlives the listener, so it has to fall silent too.
                match gone.is_cancelled() {
                    true => std::future::pending::<Response>().await,
                    false => next.run(request).await,
                }
            }
        },
    ));
    tokio::spawn(async move {
        tokio::select! {
            _ = axum::serve(listener, router) => {}
            () = vanish.cancelled() => {}
        }
    });
    (orders, url)
}

async fn connect(State(orders): State<Arc<Orders>>, headers: HeaderMap) -> Response {
    assert_eq!(headers["authorization"], "secret");
    assert!(headers.contains_key("idempotency-key"));
    let _ = orders.log.send(Seen::Connect);
    orders.grants.acquire().await.unwrap().forget();
    match *orders.refuse_connect.lock().unwrap() {
        Some(status) => (status, Json(json!({"detail": "refused"}))).into_response(),
        None => Json(&orders.connected).into_response(),
    }
}

async fn identify(State(orders): State<Arc<Orders>>) -> Json<IdentifyAnswer> {
    let _ = orders.log.send(Seen::Identify);
    if orders.withhold_permits.load(Ordering::Acquire) {
        std::future::pending::<()>().await;
    }
    Json(IdentifyAnswer {
        permit: Some(1),
        seconds: 30.0,
    })
}

async fn beat(State(orders): State<Arc<Orders>>, Json(beat): Json<Beat>) -> Response {
    let _ = orders.log.send(Seen::Beat(Box::new(beat)));
    let mode = *orders.beats.lock().unwrap();
    match mode {
        BeatMode::Answer(directive) => Json(BeatAnswer {
            directive,
            heartbeat_seconds: None,
        })
        .into_response(),
        BeatMode::Silent => std::future::pending().await,
        BeatMode::Refuse(status) => {
            let detail = match status {
                StatusCode::NOT_FOUND => "Session Not Found",
                StatusCode::UNAUTHORIZED => "No Shards Available",
                _ => "refused",
            };
            (status, Json(json!({"detail": detail}))).into_response()
        }
        BeatMode::Proxy(status) => (status, "page not found").into_response(),
    }
}

async fn release(State(orders): State<Arc<Orders>>) -> StatusCode {
    let _ = orders.log.send(Seen::Release);
    StatusCode::NO_CONTENT
}
