//! `GET /metrics`: all metrics of this process, in the text format 0.0.4 that
//! every version of Prometheus reads. The four names of the published document,
//! and how long requests take until their answer begins.

use std::time::Duration;

use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use prometheus::{HistogramOpts, HistogramVec, IntCounter, Registry, TextEncoder};
use tracing::error;

use super::Api;
use super::error::{Refusal, ok_text};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Seconds; a whole answer may take minutes.
const BUCKETS: [f64; 12] = [
    0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0,
];

pub(super) struct Metrics {
    pub(super) chat_requests: IntCounter,
    pub(super) chat_failures: IntCounter,
    pub(super) auth_failures: IntCounter,
    pub(super) rate_limited: IntCounter,
    durations: HistogramVec,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "oracle_http_request_duration_seconds",
                "Time until the answer of a request begins",
            )
            .buckets(BUCKETS.to_vec()),
            &["route", "method", "status"],
        )?;
        registry.register(Box::new(durations.clone()))?;
        Ok(Self {
            chat_requests: counter("shard_chat_requests_total", "Total chat completion requests")?,
            chat_failures: counter("shard_chat_failures_total", "Total inference failures")?,
            auth_failures: counter("shard_auth_failures_total", "Total authentication failures")?,
            rate_limited: counter("shard_rate_limited_total", "Total rate-limited requests")?,
            durations,
        })
    }

    /// An answer has begun. Methods that nobody defined share a label.
    pub(super) fn answered(&self, route: &str, method: &Method, status: u16, took: Duration) {
        let known = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
            Method::PATCH,
        ];
        let method = if known.contains(method) {
            method.as_str()
        } else {
            "other"
        };
        let labels = [route, method, &status.to_string()];
        self.durations
            .with_label_values(&labels)
            .observe(took.as_secs_f64());
    }
}

pub(super) async fn metrics(State(api): State<Api>) -> Response {
    of(&api.0.parts.registry)
}

/// Whatever is counted so far.
pub(super) fn of(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ok_text(TEXT, text),
        Err(error) => {
            error!(error = %error, "the metrics cannot be told: {error}");
            Refusal::Unexpected.into_response()
        }
    }
}
