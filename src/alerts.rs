//! Alerts to a Discord webhook, in the form the published server sent them.
//!
//! They are told, never waited for: what the webhook cannot take in time is
//! counted and dropped, and no lease ever hangs on it.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::client::{Answer, CallError, Client};
use crate::manager::{Alert, AlertKind};

/// Alerts that may wait. More at once are a storm of one cause.
pub const QUEUE: usize = 256;

/// Embeds in one message (Discord, "Webhook", Execute Webhook).
const EMBEDS: usize = 10;

/// A webhook takes five messages in two seconds; one every two stays clear of
/// that (Discord, "Rate Limits").
const PAUSE: Duration = Duration::from_secs(2);

/// Tries for one message.
const TRIES: u32 = 4;

/// Sends what comes until the sender is gone.
pub async fn run(url: Option<String>, content: Option<String>, mut alerts: mpsc::Receiver<Alert>) {
    let Some(url) = url else {
        while alerts.recv().await.is_some() {}
        return;
    };
    let client = match Client::new() {
        Ok(client) => client,
        Err(error) => return warn!("alerts cannot be sent: {error}"),
    };
    let mut batch = Vec::new();
    while alerts.recv_many(&mut batch, EMBEDS).await > 0 {
        let message = message(content.as_deref(), &batch);
        send(&client, &url, &message).await;
        batch.clear();
        tokio::time::sleep(PAUSE).await;
    }
}

fn message(content: Option<&str>, alerts: &[Alert]) -> Vec<u8> {
    let embeds: Vec<_> = alerts.iter().map(embed).collect();
    let message = json!({"content": content, "embeds": embeds, "username": "Shardman Alerts"});
    message.to_string().into_bytes()
}

fn embed(alert: &Alert) -> serde_json::Value {
    let (name, color) = match alert.kind {
        AlertKind::Connect => ("Connect", 65_280),
        AlertKind::Disconnect => ("Disconnect", 16_711_680),
        AlertKind::Budget => ("Budget", 16_753_920),
        AlertKind::Plan => ("Shards", 3_447_003),
        AlertKind::Worker => ("Worker", 16_711_680),
    };
    let field = |name: &str, value: String| json!({"name": name, "value": value, "inline": true});
    let mut fields = vec![field("Status Type", name.to_owned())];
    if let Some(shard) = alert.shard {
        fields.push(field("Shard ID", shard.number().to_string()));
        fields.push(field(
            "Last Heartbeat",
            format!("<t:{}:R>", alert.last_beat_ms / 1000),
        ));
    }
    // An embed's field holds 1,024 characters.
    let cause: String = alert.text.chars().take(1000).collect();
    fields.push(json!({"name": "Cause", "value": cause, "inline": false}));
    let description = match alert.kind {
        AlertKind::Connect | AlertKind::Disconnect => "A shard has changed status!",
        AlertKind::Budget => "Session starts run low!",
        AlertKind::Plan => "The number of shards",
        AlertKind::Worker => "A worker needs you!",
    };
    json!({"title": "NOTICE", "description": description, "color": color, "fields": fields})
}

async fn send(client: &Client, url: &str, message: &[u8]) {
    for attempt in 1..=TRIES {
        let pause = match client.post_json(url, None, message.to_vec()).await {
            Ok(answer) if answer.status.is_success() => return,
            Ok(answer) => match pause_after(&answer, attempt) {
                Some(pause) => pause,
                None => return warn!("the webhook refused an alert: {}", answer.status),
            },
            Err(CallError::Unreachable(reason)) => {
                debug!("the webhook cannot be reached: {reason}");
                backoff(attempt)
            }
            Err(error @ (CallError::BadUrl | CallError::BadSecret)) => {
                return warn!("WEBHOOK_URL cannot be used: {error}");
            }
        };
        tokio::time::sleep(pause).await;
    }
    warn!("an alert was dropped: the webhook took none in {TRIES} tries");
}

/// When to try again, if that can help.
fn pause_after(answer: &Answer, attempt: u32) -> Option<Duration> {
    let status = answer.status;
    if status == StatusCode::TOO_MANY_REQUESTS {
        let seconds = answer
            .retry_after
            .filter(|seconds| (0.0..=3600.0).contains(seconds))
            .unwrap_or(5.0);
        return Some(Duration::from_secs_f64(seconds));
    }
    status.is_server_error().then(|| backoff(attempt))
}

fn backoff(attempt: u32) -> Duration {
    Duration::from_secs(2u64.pow(attempt))
}
