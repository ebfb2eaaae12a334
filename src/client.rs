//! A small HTTP client for what the manager's own programs call: another
//! manager's API, and webhooks.
//!
//! hyper's pooled client is in the tree anyway, and with compiled-in roots it
//! works where a host has no certificate store.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// No answer that we read is larger: the view of 65,536 shards is not.
const ANSWER_LIMIT: usize = 64 << 20;

/// In the form that Discord asks for (Discord, "API Reference", User Agent).
const AGENT: &str = concat!(
    "DiscordBot (",
    env!("CARGO_PKG_REPOSITORY"),
    ", ",
    env!("CARGO_PKG_VERSION"),
    ")"
);

/// The header that says where a log goes on.
pub const LOG_NEXT: &str = "shardman-log-next";

/// Who looks every second gives an answer this long.
pub const SLOWEST_LOOK: Duration = Duration::from_secs(3);

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{0}")]
    Unreachable(String),
    #[error("the address is not a URL")]
    BadUrl,
    #[error("the secret cannot be sent in a header")]
    BadSecret,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Seconds, where the answer says when to try again.
    pub retry_after: Option<f64>,
    /// Requests that may follow at once, and seconds until there are more
    /// (Discord, "Rate Limits", Header Format).
    pub remaining: Option<u64>,
    pub reset_after: Option<f64>,
    /// Where a log goes on behind this part of it.
    pub log_next: Option<u64>,
    pub body: Bytes,
}

#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// # Errors
    ///
    /// If the TLS library refuses its own defaults.
    pub fn new() -> Result<Self, CallError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| CallError::Unreachable(error.to_string()))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
        })
    }

    pub async fn get(&self, url: &str, secret: &str) -> Result<Answer, CallError> {
        self.ask(Method::GET, url, secret).await
    }

    /// A stream of server-sent events, from behind event `seen` on, or the answer
    /// of who has none. Only its beginning must come in time.
    pub async fn follow(
        &self,
        url: &str,
        secret: &str,
        seen: Option<u64>,
    ) -> Result<Result<Incoming, Answer>, CallError> {
        let mut secret = HeaderValue::from_str(secret).map_err(|_| CallError::BadSecret)?;
        secret.set_sensitive(true);
        let mut request = Request::get(url)
            .header(AUTHORIZATION, secret)
            .header(ACCEPT, "text/event-stream");
        if let Some(seen) = seen {
            request = request.header("last-event-id", seen);
        }
        let request = request.body(Full::default()).map_err(|_| CallError::BadUrl)?;
        let begin = async {
            let answer = self.pool.request(request).await;
            let answer = answer.map_err(|error| unreachable(&error))?;
            if answer.status().is_success() {
                return Ok(Ok(answer.into_body()));
            }
            whole(answer).await.map(Err)
        };
        in_time(begin).await
    }

    pub async fn post(&self, url: &str, secret: &str) -> Result<Answer, CallError> {
        self.ask(Method::POST, url, secret).await
    }

    pub async fn delete(&self, url: &str, secret: &str) -> Result<Answer, CallError> {
        self.ask(Method::DELETE, url, secret).await
    }

    async fn ask(&self, method: Method, url: &str, secret: &str) -> Result<Answer, CallError> {
        let mut secret = HeaderValue::from_str(secret).map_err(|_| CallError::BadSecret)?;
        secret.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(AUTHORIZATION, secret);
        self.call(request.body(Full::default()).map_err(|_| CallError::BadUrl)?)
            .await
    }

    pub async fn post_json(
        &self,
        url: &str,
        secret: Option<&str>,
        json: Vec<u8>,
    ) -> Result<Answer, CallError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(CONTENT_TYPE, "application/json");
        if let Some(secret) = secret {
            let mut secret = HeaderValue::from_str(secret).map_err(|_| CallError::BadSecret)?;
            secret.set_sensitive(true);
            request = request.header(AUTHORIZATION, secret);
        }
        self.call(request.body(Full::from(json)).map_err(|_| CallError::BadUrl)?)
            .await
    }

    async fn call(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, CallError> {
        request
            .headers_mut()
            .insert(USER_AGENT, HeaderValue::from_static(AGENT));
        in_time(async {
            let answer = self.pool.request(request).await;
            whole(answer.map_err(|error| unreachable(&error))?).await
        })
        .await
    }
}

/// An answer, read to its end.
async fn whole(answer: Response<Incoming>) -> Result<Answer, CallError> {
    let (head, body) = answer.into_parts();
    let header = |name: &str| head.headers.get(name)?.to_str().ok();
    let retry_after = header(RETRY_AFTER.as_str()).and_then(|value| value.parse().ok());
    let remaining = header("x-ratelimit-remaining").and_then(|value| value.parse().ok());
    let reset_after = header("x-ratelimit-reset-after").and_then(|value| value.parse().ok());
    let log_next = header(LOG_NEXT).and_then(|value| value.parse().ok());
    let body = Limited::new(body, ANSWER_LIMIT).collect().await;
    let body = body
        .map_err(|error| CallError::Unreachable(error.to_string()))?
        .to_bytes();
    Ok(Answer {
        status: head.status,
        retry_after,
        remaining,
        reset_after,
        log_next,
        body,
    })
}

async fn in_time<T>(call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    let timed = tokio::time::timeout(TIMEOUT, call).await;
    timed.unwrap_or_else(|_| {
        Err(CallError::Unreachable(format!(
            "no answer in {} s",
            TIMEOUT.as_secs()
        )))
    })
}

/// The innermost cause says most: "connection refused".
fn unreachable(error: &dyn std::error::Error) -> CallError {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    CallError::Unreachable(innermost.to_string())
}
