//! The manager as a worker sees it: the public HTTP API and nothing else.
//!
//! hyper's own pooled client is enough for five small calls. It is in the tree
//! anyway, and trusts compiled-in roots, so it also starts where a host has no
//! certificate store.

use std::pin::pin;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shardman_core::wire::{
    Beat, BeatAnswer, Connected, Detail, Directive, FleetView, IdentifyAnswer, IdentifyRequest, SessionView,
};
use shardman_core::{PoolId, Tick};
use tokio_util::sync::CancellationToken;

use crate::Secret;
use crate::deadline::now;
use crate::tls;

/// No answer of the manager is larger, but for the fleet's.
const ANSWER_LIMIT_BYTES: usize = 64 << 10;
/// Thousands of shards and workers, at less than a KiB each.
const FLEET_LIMIT_BYTES: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// `/identify` is answered late on purpose.
const LONG_POLL_TIMEOUT: Duration = Duration::from_secs(90);
/// What is durable may wait for a disk, but a stopping worker waits little.
const LAST_CALL: Duration = Duration::from_millis(400);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the manager cannot be reached: {0}")]
    Unreachable(String),
    #[error("the manager answered {status}{}", retry_after.map_or(String::new(), |after| format!(", asks to wait {} s", after.as_secs())))]
    Refused {
        status: StatusCode,
        retry_after: Option<Duration>,
        /// The manager's own words, empty where it used none.
        detail: String,
    },
    #[error("the manager's answer makes no sense: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl CallError {
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unreachable(_) | Self::Malformed(_) => None,
        }
    }

    /// Whether the manager says that the caller's lease is no more: unknown or
    /// lapsed, or for a shard that left the plan.
    pub fn is_lease_lost(&self) -> bool {
        matches!(
            self.status(),
            Some(StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED)
        )
    }
}

/// What a lease is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A shard, by who calls `/identify` before it identifies: no slot in the
    /// identify line has to be kept for it.
    Shard,
    /// A slot of another pool.
    Slot(PoolId),
}

impl Ask {
    fn path(&self) -> String {
        match self {
            Self::Shard => "/connect?identify=ask".to_owned(),
            Self::Slot(pool) => format!("/connect?pool={pool}"),
        }
    }
}

#[derive(Debug)]
pub struct Manager {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    secret: HeaderValue,
    /// When the first of the calls failed that failed in a row.
    unreachable_since: Mutex<Option<Tick>>,
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Manager {
    /// `None` when the secret cannot be put into a header.
    pub fn new(url: &Uri, secret: &Secret) -> Option<Self> {
        let mut secret = HeaderValue::from_str(secret.reveal()).ok()?;
        secret.set_sensitive(true);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls().ok()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        let base = url.to_string().trim_end_matches('/').to_owned();
        Some(Self {
            client,
            base,
            secret,
            unreachable_since: Mutex::new(None),
        })
    }

    /// Where it is, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The same manager, called with another's `Authorization` header.
    #[must_use]
    pub fn on_behalf_of(&self, mut authorization: HeaderValue) -> Self {
        authorization.set_sensitive(true);
        Self {
            client: self.client.clone(),
            base: self.base.clone(),
            secret: authorization,
            unreachable_since: Mutex::new(None),
        }
    }

    /// Asks for a lease. The same `key` gets the same lease, if the answer to
    /// an earlier call with it was lost.
    ///
    /// # Errors
    ///
    /// If there is none to be had now, or the manager cannot be reached.
    pub async fn connect(&self, ask: &Ask, key: &str) -> Result<Connected, CallError> {
        let request = self
            .request(Method::GET, &ask.path())
            .header("Idempotency-Key", key)
            .body(Full::default());
        self.json(request, ANSWER_TIMEOUT).await
    }

    /// The same until `stop`, which is `None`: what is granted meanwhile is given
    /// back, or it would be nobody's until it lapses.
    pub async fn connect_until(
        &self,
        stop: &CancellationToken,
        ask: &Ask,
        key: &str,
    ) -> Option<Result<Connected, CallError>> {
        if stop.is_cancelled() {
            return None;
        }
        let mut asking = pin!(self.connect(ask, key));
        tokio::select! {
            biased;
            answer = asking.as_mut() => return Some(answer),
            () = stop.cancelled() => {}
        }
        if let Ok(Ok(granted)) = tokio::time::timeout(LAST_CALL, asking).await {
            // Should it fail, the lease lapses.
            let _ = self.release(&granted.session_id).await;
        }
        None
    }

    pub async fn beat(&self, beat: &Beat, timeout: Duration) -> Result<BeatAnswer, CallError> {
        let answer = self.post("/beat", beat, timeout).await?;
        if answer.status == StatusCode::NO_CONTENT {
            return Ok(BeatAnswer {
                directive: Directive::CarryOn,
                heartbeat_seconds: None,
            });
        }
        Ok(serde_json::from_slice::<BeatAnswer>(&answer.body)?)
    }

    /// One round of waiting for an identify permit; `None` asks for another.
    pub async fn identify(&self, session_id: &str) -> Result<Option<IdentifyAnswer>, CallError> {
        let request = IdentifyRequest {
            session_id: session_id.to_owned(),
        };
        let answer = self.post("/identify", &request, LONG_POLL_TIMEOUT).await?;
        if answer.status == StatusCode::ACCEPTED {
            return Ok(None);
        }
        let answer: IdentifyAnswer = serde_json::from_slice(&answer.body)?;
        Ok(answer.permit.is_some().then_some(answer))
    }

    /// Every pool with its slots, as they are now.
    pub async fn fleet(&self) -> Result<FleetView, CallError> {
        let request = self.request(Method::GET, "/fleet").body(Full::default());
        let answer = self
            .bounded_call(request, ANSWER_TIMEOUT, FLEET_LIMIT_BYTES)
            .await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// What this session holds now; nothing is kept by asking. `session_id` may
    /// be anything that somebody says.
    ///
    /// # Errors
    ///
    /// [`CallError::is_lease_lost`] where it holds nothing.
    pub async fn session(&self, session_id: &str, timeout: Duration) -> Result<SessionView, CallError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if session_id.is_empty() || !session_id.bytes().all(is_plain) {
            return Err(CallError::Refused {
                status: StatusCode::NOT_FOUND,
                retry_after: None,
                detail: String::new(),
            });
        }
        let path = format!("/sessions/{session_id}");
        let request = self.request(Method::GET, &path).body(Full::default());
        self.json(request, timeout).await
    }

    /// Gives the lease back.
    pub async fn release(&self, session_id: &str) -> Result<(), CallError> {
        let path = format!("/sessions/{session_id}");
        let request = self.request(Method::DELETE, &path).body(Full::default());
        self.call(request, LAST_CALL).await.map(drop)
    }

    /// How long every call has failed by now; zero when the last one did not.
    pub fn unreachable_for(&self) -> Duration {
        let since = *self
            .unreachable_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| now().since(since))
    }

    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, &self.secret)
    }

    async fn post<T: Serialize>(&self, path: &str, body: &T, timeout: Duration) -> Result<Answer, CallError> {
        let body = Full::from(serde_json::to_vec(body)?);
        let request = self
            .request(Method::POST, path)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        self.call(request, timeout).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        request: hyper::http::Result<Request<Full<Bytes>>>,
        timeout: Duration,
    ) -> Result<T, CallError> {
        let answer = self.call(request, timeout).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    async fn call(
        &self,
        request: hyper::http::Result<Request<Full<Bytes>>>,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        self.bounded_call(request, timeout, ANSWER_LIMIT_BYTES).await
    }

    async fn bounded_call(
        &self,
        request: hyper::http::Result<Request<Full<Bytes>>>,
        timeout: Duration,
        limit_bytes: usize,
    ) -> Result<Answer, CallError> {
        let request = request.map_err(|error| CallError::Unreachable(error.to_string()))?;
        let exchange = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| chain(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limit_bytes)
                .collect()
                .await
                .map_err(|error| error.to_string())?;
            Ok((head, body.to_bytes()))
        };
        let outcome = tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")));
        self.note(outcome.is_ok());
        let (head, body) = outcome.map_err(CallError::Unreachable)?;
        if head.status.is_success() {
            return Ok(Answer {
                status: head.status,
                body,
            });
        }
        let retry_after = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        Err(CallError::Refused {
            status: head.status,
            retry_after,
            detail: serde_json::from_slice::<Detail>(&body)
                .map_or_else(|_| String::new(), |body| body.detail),
        })
    }

    fn note(&self, reached: bool) {
        let mut since = self
            .unreachable_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *since = if reached {
            None
        } else {
            since.or_else(|| Some(now()))
        };
    }
}

/// The error with its causes, in one line: hyper's own text says too little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
