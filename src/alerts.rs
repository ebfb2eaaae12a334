//! Alerts to a Discord webhook, in the form the published server sent them.
//!
//! They are told, never waited for: what the webhook cannot take in time is
//! counted and dropped, and no lease ever hangs on it.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use crate::client::{Answer, CallError, Client};
use crate::manager::{Alert, AlertKind};
use crate::metrics::{AlertEnd, Metrics};

/// Alerts that may wait. More at once are a storm of one cause.
pub const QUEUE: usize = 256;

/// Embeds in one message (Discord, "Webhook", Execute Webhook).
const EMBEDS: usize = 10;

/// Characters in all embeds of one message (Discord, "Message", Embed Limits),
/// less some for what is the same in each.
const CHARACTERS: usize = 6000 - EMBEDS * 150;

/// Characters in one embed's field; it may hold 1,024.
const CAUSE: usize = 1000;

/// Characters of output in one embed's description, which may hold 4,096.
const OUTPUT: usize = 4000;

/// A webhook takes five messages in two seconds; one every two stays clear of
/// that (Discord, "Rate Limits").
const PAUSE: Duration = Duration::from_secs(2);

/// Tries for one message.
const TRIES: u32 = 4;

/// Where alerts go, and what goes with each. Hides itself from `Debug`: the URL
/// is a secret.
#[derive(Clone, Default)]
pub struct Webhook {
    /// `WEBHOOK_URL`.
    pub url: Option<String>,
    /// `WEBHOOK_CONTENT`.
    pub content: Option<String>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Webhook(…)")
    }
}

/// Sends what comes until the sender is gone, each to the webhook of that moment.
/// What becomes of them is counted.
pub async fn run(
    webhook: watch::Receiver<Webhook>,
    mut alerts: mpsc::Receiver<Alert>,
    metrics: Arc<Metrics>,
) {
    let client = match Client::new() {
        Ok(client) => client,
        Err(error) => return warn!("alerts cannot be sent: {error}"),
    };
    let mut batch = Vec::new();
    while alerts.recv_many(&mut batch, EMBEDS).await > 0 {
        let Webhook { url, content } = webhook.borrow().clone();
        if let Some(url) = url {
            let message = message(content.as_deref(), &batch);
            let end = match send(&client, &url, &message).await {
                true => AlertEnd::Sent,
                false => AlertEnd::Failed,
            };
            metrics.alerts(end, batch.len());
            tokio::time::sleep(PAUSE).await;
        } else {
            metrics.alerts(AlertEnd::NoWebhook, batch.len());
        }
        batch.clear();
    }
}

fn message(content: Option<&str>, alerts: &[Alert]) -> Vec<u8> {
    let share = CHARACTERS / alerts.len().max(1);
    let embeds: Vec<_> = alerts.iter().map(|alert| embed(alert, share)).collect();
    let message = json!({"content": content, "embeds": embeds, "username": "Shardman Alerts"});
    message.to_string().into_bytes()
}

/// One alert in at most `share` characters beside its fixed text.
fn embed(alert: &Alert, share: usize) -> serde_json::Value {
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
    let (cause, output) = alert.text.split_once('\n').unwrap_or((&alert.text, ""));
    let cause = first(cause, CAUSE.min(share));
    let output = last(output, OUTPUT.min(share - length(cause)));
    fields.push(json!({"name": "Cause", "value": cause, "inline": false}));
    let description = match alert.kind {
        AlertKind::Connect | AlertKind::Disconnect => "A shard has changed status!",
        AlertKind::Budget => "Session starts run low!",
        AlertKind::Plan => "The number of shards",
        AlertKind::Worker => "A worker needs you!",
    };
    let description = if output.is_empty() {
        description.to_owned()
    } else {
        // Backticks would end the block early.
        format!("{description}\n```\n{}\n```", output.replace("```", "'''"))
    };
    json!({"title": "NOTICE", "description": description, "color": color, "fields": fields})
}

/// As Discord counts: whatever lies beyond the first plane counts twice.
fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

fn first(text: &str, limit: usize) -> &str {
    let mut left = limit;
    let cut = text
        .char_indices()
        .find(|(_, character)| !fits(*character, &mut left));
    &text[..cut.map_or(text.len(), |(cut, _)| cut)]
}

/// Whole lines, as many as fit; the end of the last one where it alone does not.
fn last(text: &str, limit: usize) -> &str {
    let mut left = limit;
    let mut backwards = text.char_indices().rev();
    let Some((cut, character)) = backwards.find(|(_, character)| !fits(*character, &mut left)) else {
        return text;
    };
    let end = &text[cut + character.len_utf8()..];
    if character == '\n' {
        return end;
    }
    end.split_once('\n').map_or(end, |(_, whole)| whole)
}

/// Takes the room for a character, if there is any.
fn fits(character: char, left: &mut usize) -> bool {
    let fitting = left.checked_sub(character.len_utf16());
    *left = fitting.unwrap_or(0);
    fitting.is_some()
}

/// Whether the webhook took it.
async fn send(client: &Client, url: &str, message: &[u8]) -> bool {
    for attempt in 1..=TRIES {
        let pause = match client.post_json(url, None, message.to_vec()).await {
            Ok(answer) if answer.status.is_success() => return true,
            Ok(answer) => match pause_after(&answer, attempt) {
                Some(pause) => pause,
                None => {
                    warn!("the webhook refused an alert: {}", answer.status);
                    return false;
                }
            },
            Err(CallError::Unreachable(reason)) => {
                debug!("the webhook cannot be reached: {reason}");
                backoff(attempt)
            }
            Err(error @ (CallError::BadUrl | CallError::BadSecret)) => {
                warn!("WEBHOOK_URL cannot be used: {error}");
                return false;
            }
        };
        tokio::time::sleep(pause).await;
    }
    warn!("an alert was dropped: the webhook took none in {TRIES} tries");
    false
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

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(text: String) -> Alert {
        Alert {
            kind: AlertKind::Worker,
            shard: None,
            text,
            last_beat_ms: 0,
        }
    }

    /// Every text that Discord counts, of all embeds.
    fn counted(message: &serde_json::Value) -> usize {
        let texts = |embed: &serde_json::Value| {
            let fields = embed["fields"].as_array().unwrap().iter();
            let fields = fields.flat_map(|field| [field["name"].clone(), field["value"].clone()]);
            let own = [embed["title"].clone(), embed["description"].clone()];
            own.into_iter().chain(fields).collect::<Vec<_>>()
        };
        let texts = message["embeds"].as_array().unwrap().iter().flat_map(texts);
        texts.map(|text| length(text.as_str().unwrap())).sum()
    }

    #[test]
    fn an_alert_holds_the_cause_and_the_last_lines() {
        let lines: Vec<_> = (1..=50).map(|line| format!("line {line} ``` x")).collect();
        let embed = embed(&crash(format!("it ended\n{}", lines.join("\n"))), 4500);
        assert_eq!(embed["fields"][1]["value"], "it ended");
        let description = embed["description"].as_str().unwrap();
        assert!(description.starts_with("A worker needs you!\n```\nline 1 ''' x\n"));
        assert!(description.ends_with("\nline 50 ''' x\n```"), "{description}");
    }

    #[test]
    fn a_message_stays_within_what_discord_takes() {
        let output = "\u{1f980} and more\n".repeat(5000);
        for alerts in [1, 2, EMBEDS] {
            let alerts = vec![crash(format!("{}\n{output}the end", "why ".repeat(2000))); alerts];
            let message: serde_json::Value = serde_json::from_slice(&message(None, &alerts)).unwrap();
            assert!(counted(&message) <= 6000, "{}", counted(&message));
            let embed = &message["embeds"][0];
            assert!(length(embed["fields"][1]["value"].as_str().unwrap()) <= 1024);
            assert!(length(embed["description"].as_str().unwrap()) <= 4096);
        }
    }

    #[test]
    fn of_too_long_an_output_the_end_is_kept() {
        assert_eq!(last("one\ntwo\nthree", 9), "two\nthree");
        assert_eq!(last("one\ntwo\nthree", 8), "three");
        assert_eq!(last("one\ntwo\nthree", 2), "ee");
        assert_eq!(last("one", 3), "one");
        assert_eq!(last("one", 0), "");
        assert_eq!(first("one", 2), "on");
    }
}
