//! `shardman events`: what happened and why, and with `-f` what happens.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use form_urlencoded::Serializer;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use shardman_core::timeline::{Event, EventsView};
use shardman_core::wall::{about, rfc3339_micros};

use super::manager::{self, refusal};
use super::out::print;
use super::terminal;
use super::text::{self, PLAIN};
use crate::config::{EventsArgs, ManagerArgs};

/// How long the manager may be away, restarted itself, before we give up.
const AWAY: Duration = Duration::from_secs(60);

/// Between two tries to reach it.
const TRY_EVERY: Duration = Duration::from_millis(300);

/// The most bytes of one line of a stream; the manager's are shorter.
const LONGEST_LINE: usize = 64 << 10;

pub(super) async fn events(args: EventsArgs) -> anyhow::Result<ExitCode> {
    let mut query = Serializer::new(String::new());
    for (name, value) in [
        ("shard", &args.shard),
        ("worker", &args.worker),
        ("pool", &args.pool),
        ("kind", &args.kind),
    ] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.append_pair("limit", &args.events.to_string());
    let path = format!("/events?{}", query.finish());
    if args.follow {
        return follow(&args, &path).await;
    }
    let view = get(&args.manager, &path).await?;
    let mut lines = String::new();
    for event in &view.events {
        lines.push_str(&match args.json {
            true => format!("{}\n", serde_json::to_string(event)?),
            false => line(&format!("{:>10}", ago(view.now_ms, event.at_ms)), event),
        });
    }
    if view.events.is_empty() && !args.json {
        lines.push_str("nothing happened that is kept\n");
    }
    print(&lines)?;
    Ok(ExitCode::SUCCESS)
}

/// What the manager answers, with a malformed filter in plain words.
pub(super) async fn get(args: &ManagerArgs, path: &str) -> anyhow::Result<EventsView> {
    let answer = manager::get(args, path).await?;
    if !answer.status.is_success() {
        return Err(not_understood(answer.status, &answer.body).unwrap_or_else(|| refusal(&answer)));
    }
    serde_json::from_slice(&answer.body).with_context(|| manager::nonsense(args))
}

fn not_understood(status: StatusCode, body: &[u8]) -> Option<anyhow::Error> {
    if status != StatusCode::UNPROCESSABLE_ENTITY {
        return None;
    }
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let flaw = body["detail"].get(0)?;
    let (name, flaw) = (flaw["loc"].get(1)?.as_str()?, flaw["msg"].as_str()?);
    Some(anyhow::anyhow!("--{name}: {flaw}"))
}

async fn follow(args: &EventsArgs, path: &str) -> anyhow::Result<ExitCode> {
    let mut seen = None;
    let mut heard = Instant::now();
    let mut first = true;
    loop {
        let mut body = match manager::follow(&args.manager, path, seen).await {
            Ok(Ok(body)) => body,
            Ok(Err(answer)) if answer.status != StatusCode::SERVICE_UNAVAILABLE => {
                return Err(not_understood(answer.status, &answer.body).unwrap_or_else(|| refusal(&answer)));
            }
            Err(error) if first || heard.elapsed() > AWAY => return Err(error),
            Ok(_) | Err(_) => {
                tokio::time::sleep(TRY_EVERY).await;
                continue;
            }
        };
        first = false;
        let mut waiting = Vec::new();
        // Ends with the manager; then it is asked again.
        while let Some(Ok(frame)) = body.frame().await {
            heard = Instant::now();
            waiting.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = waiting.drain(..=end).collect();
                if !told(&line, args.json, &mut seen)? {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            anyhow::ensure!(
                waiting.len() < LONGEST_LINE,
                "the manager's answer makes no sense"
            );
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Prints what a line of the stream tells. False when nobody reads any more.
fn told(text: &[u8], json: bool, seen: &mut Option<u64>) -> anyhow::Result<bool> {
    let text = text.trim_ascii_end();
    if text == b"event: lagged" {
        say_lagged();
        return Ok(true);
    }
    let event = text
        .strip_prefix(b"data: ")
        .and_then(|data| Some((data, Event::parse(data)?)));
    let Some((data, event)) = event else {
        return Ok(true);
    };
    *seen = Some(event.number);
    Ok(print(&match json {
        true => format!("{}\n", String::from_utf8_lossy(data)),
        // The hour, in UTC: an age would be wrong in a moment.
        false => line(
            rfc3339_micros(event.at_ms).get(11..19).unwrap_or_default(),
            &event,
        ),
    })?)
}

#[expect(clippy::print_stderr, reason = "standard output is for events alone")]
fn say_lagged() {
    eprintln!("shardman: some events were missed: they are kept no more");
}

/// One event in a table.
fn line(time: &str, event: &Event) -> String {
    let kind = serde_json::to_value(event.kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default();
    let head = format!("{time}  {kind:<18}  ");
    let text = match place(event) {
        Some(place) => format!("{place}: {}", event.cause),
        None => event.cause.clone(),
    };
    wrapped(&head, &text)
}

/// The shard, or the slot of another pool, that it happened to.
pub(super) fn place(event: &Event) -> Option<String> {
    let shard = event.shard?;
    Some(match &event.pool {
        Some(pool) => format!("slot {} of {pool}", shard.number()),
        None => format!("shard {shard}"),
    })
}

/// A text behind its head; on a terminal it goes on below itself.
pub(super) fn wrapped(head: &str, text: &str) -> String {
    text::wrap(head, text, terminal::width(), PLAIN)
}

/// How long ago something was, in its largest unit.
pub(super) fn ago(now_ms: u64, at_ms: u64) -> String {
    format!("{} ago", about(now_ms.saturating_sub(at_ms) as f64 / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_one_unit() {
        assert_eq!(ago(5_000, 9_000), "0 s ago");
        assert_eq!(ago(240_000, 0), "4 min ago");
        assert_eq!(about(7200.0), "2 h");
    }
}
