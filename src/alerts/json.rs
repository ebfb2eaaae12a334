//! Alerts for programs: what docs/ALERTS.md describes.

use serde_json::{Value, json};
use shardman_core::alerting::Entry;
use shardman_core::wall::rfc3339_micros;

pub(super) fn message(entries: &[&Entry]) -> Value {
    let alerts: Vec<_> = entries.iter().map(|entry| alert(entry)).collect();
    json!({ "alerts": alerts })
}

fn alert(entry: &Entry) -> Value {
    let workers = entry.workers();
    let only = workers.first().filter(|_| workers.len() == 1);
    let shards: Vec<u32> = entry.shards().iter().map(|shard| shard.number()).collect();
    let lines: Vec<&str> = entry.last_lines.lines().collect();
    json!({
        "kind": entry.kind.as_str(),
        "severity": entry.severity(),
        "title": title(entry),
        "cause": entry.causes.first(),
        "causes": entry.causes,
        "worker": only,
        "workers": workers,
        "shards": shards,
        "pool": entry.pool,
        "at": rfc3339_micros(entry.first_ms),
        "count": entry.count,
        "first_at": rfc3339_micros(entry.again_since_ms.unwrap_or(entry.first_ms)),
        "last_at": rfc3339_micros(entry.last_ms),
        "again": entry.again_since_ms.is_some(),
        "last_lines": lines,
        "last_lines_of": entry.last_lines_of,
        "done": entry.kind.done(),
        "action": entry.kind.action(),
    })
}

/// Tells enough where nothing else is shown.
fn title(entry: &Entry) -> String {
    let title = entry.kind.title();
    match (entry.count, entry.again_since_ms) {
        (1, None) => title.to_owned(),
        (count, None) => format!("{title} ({count} times)"),
        (count, Some(since)) => {
            let since = rfc3339_micros(since);
            let (minute, _) = since.split_at("2026-01-01T00:00".len().min(since.len()));
            format!("{title}, again ({count} times since {minute} UTC)")
        }
    }
}
