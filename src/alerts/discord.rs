//! Alerts as messages of a Discord webhook, in the form the published server
//! sent them. Nothing that a worker prints can exceed Discord's limits, ping
//! anybody, or leave its code block.

use serde_json::{Value, json};
use shardman_core::alerting::{AlertKind, Entry, Severity, ranges};

use super::color;

/// Embeds in one message (Discord, "Webhook", Execute Webhook).
pub(super) const EMBEDS: usize = 10;

/// Characters of all embeds of one message together, and of their parts
/// (Discord, "Message", Embed Limits).
const ALL: usize = 6000;
const DESCRIPTION: usize = 4096;
const FIELD: usize = 1024;

/// Characters of a message's content (Discord, "Webhook", Execute Webhook).
const CONTENT: usize = 2000;

/// Mentions of one kind that may be allowed (Discord, "Message", Allowed
/// Mentions).
const MENTIONS: usize = 100;

/// Characters of a code block that are not its text.
const BLOCK: usize = "\n```\n\n```".len();

pub(super) fn message(content: Option<&str>, entries: &[&Entry]) -> Value {
    let share = ALL / entries.len().max(1);
    let embeds: Vec<_> = entries.iter().map(|entry| embed(entry, share)).collect();
    // What is only good to know wakes nobody.
    let wakes = entries.iter().any(|entry| entry.severity() < Severity::Info);
    let content = content.map(|content| first(content, CONTENT));
    json!({
        "content": content,
        "embeds": embeds,
        "username": "Shardman Alerts",
        "allowed_mentions": mentions(content.filter(|_| wakes).unwrap_or_default()),
    })
}

/// What `WEBHOOK_CONTENT` mentions, and nothing else.
fn mentions(content: &str) -> Value {
    let everyone = content.contains("@everyone") || content.contains("@here");
    let parse: &[&str] = if everyone { &["everyone"] } else { &[] };
    let ids = |marks: &[&str]| {
        let mut ids: Vec<&str> = marks
            .iter()
            .flat_map(|mark| content.split(mark).skip(1))
            .filter_map(|rest| rest.split_once('>'))
            .map(|(id, _)| id)
            .filter(|id| id.parse::<u64>().is_ok())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(MENTIONS);
        ids
    };
    json!({"parse": parse, "users": ids(&["<@", "<@!"]), "roles": ids(&["<@&"])})
}

/// An embed that grows while there is room.
struct Embed {
    left: usize,
    fields: Vec<Value>,
}

impl Embed {
    /// A field, cut where it has no room; without any it is left out, because
    /// an empty one is refused.
    fn field(&mut self, name: &str, value: &str, most: usize, inline: bool) {
        let room = self.left.saturating_sub(length(name)).min(most).min(FIELD);
        let value = first(value, room);
        if !value.trim().is_empty() {
            self.left -= length(name) + length(value);
            self.fields
                .push(json!({"name": name, "value": value, "inline": inline}));
        }
    }
}

/// Alerts of one cause, in at most `share` characters.
fn embed(entry: &Entry, share: usize) -> Value {
    let title = "NOTICE";
    let headline = headline(entry);
    let fixed = length(title) + length(&headline);
    let mut embed = Embed {
        left: share.saturating_sub(fixed),
        fields: Vec::new(),
    };
    embed.field("Status Type", status(entry.kind), 30, true);
    let shards = entry.shards();
    let names = ranges(shards.iter().map(|shard| shard.number()));
    if !names.is_empty() {
        let name = if entry.pool.is_discord() {
            "Shard ID"
        } else {
            "Slot"
        };
        let most = (embed.left / 4).min(FIELD);
        embed.field(name, &list(&names, most), most, true);
    }
    if matches!(entry.kind, AlertKind::Connect | AlertKind::Disconnect) {
        embed.field("Last Heartbeat", &moment(entry.last_beat_ms, 'R'), 30, true);
    }
    if !entry.pool.is_discord() {
        embed.field("Pool", entry.pool.as_str(), 40, true);
    }
    // Who holds what is of interest once it is lost.
    let workers: Vec<String> = entry.workers().iter().map(|worker| worker.to_string()).collect();
    if !workers.is_empty() && entry.kind != AlertKind::Connect {
        let most = embed.left / 4;
        embed.field("Worker", &list(&workers, most), most, true);
    }
    if entry.count > 1 || entry.again_since_ms.is_some() {
        let since = moment(entry.again_since_ms.unwrap_or(entry.first_ms), 'f');
        let count = grouped(entry.count);
        let (name, value) = match entry.again_since_ms {
            Some(_) => ("Again", format!("{count} more since {since}")),
            None => ("Alerts", format!("{count} since {since}")),
        };
        embed.field(name, &value, 60, true);
    }
    let causes = plain(&entry.causes.join("\n"));
    let most = embed.left / 2;
    embed.field("Cause", &causes, most, false);
    embed.field("What was done", entry.kind.done(), 200, false);
    embed.field("What to do", entry.kind.action(), 200, false);
    let room = embed.left.min(DESCRIPTION.saturating_sub(length(&headline)));
    let output = plain(&entry.last_lines).replace('`', "'");
    let output = last(output.trim_end(), room.saturating_sub(BLOCK));
    let description = match output.trim().is_empty() {
        true => headline,
        false => format!("{headline}\n```\n{output}\n```"),
    };
    json!({"title": title, "description": description, "color": color(entry.kind), "fields": embed.fields})
}

fn status(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::Connect => "Connect",
        AlertKind::Disconnect => "Disconnect",
        AlertKind::Budget | AlertKind::Share => "Budget",
        AlertKind::Plan | AlertKind::Rescaled => "Shards",
        AlertKind::Recovered => "Recovered",
        AlertKind::Halted => "Halted",
        AlertKind::TokenRefused => "Token",
        AlertKind::Disk => "Disk",
        AlertKind::Paused => "Restart",
        AlertKind::Worker
        | AlertKind::CrashLoop
        | AlertKind::Misconfigured
        | AlertKind::Unregistered
        | AlertKind::Ended
        | AlertKind::Unwell
        | AlertKind::Silent => "Worker",
    }
}

fn headline(entry: &Entry) -> String {
    if !matches!(entry.kind, AlertKind::Connect | AlertKind::Disconnect) {
        return entry.kind.title().to_owned();
    }
    match entry.shards().len() {
        0 | 1 => "A shard has changed status!".to_owned(),
        shards => format!("{} shards have changed status!", grouped(shards as u64)),
    }
}

/// As many names as fit, and how many more there are.
fn list(names: &[String], most: usize) -> String {
    let all = names.join(", ");
    if length(&all) <= most {
        return all;
    }
    let mut text = String::new();
    for (shown, name) in names.iter().enumerate() {
        let more = format!(" and {} more", names.len() - shown);
        if length(&text) + length(name) + length(&more) + 2 > most {
            text.push_str(&more);
            break;
        }
        if shown > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
    }
    text
}

/// In the time zone of who reads it (Discord, "Message Formatting", Timestamps).
fn moment(wall_ms: u64, style: char) -> String {
    format!("<t:{}:{style}>", wall_ms / 1000)
}

/// `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Without colours of terminals, and without what moves a cursor or the
/// direction of text.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.next_if_eq(&'[').is_some() => {
                let of_sequence = |next: &char| matches!(next, ' '..='?');
                while characters.next_if(of_sequence).is_some() {}
                characters.next_if(|end| matches!(end, '@'..='~'));
            }
            '\n' | '\t' => plain.push(character),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            character if character.is_control() => {}
            character => plain.push(character),
        }
    }
    plain
}

/// Discord counts code points. UTF-16 counts no fewer, as some of its clients
/// do, so both are kept.
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

#[cfg(test)]
mod tests;
