use proptest::prelude::*;
use shardman_core::alerting::{Notice, Outbox};
use shardman_core::{PoolId, ShardId, Tick, WorkerId};

use super::*;

fn notice(kind: AlertKind, cause: &str, last_lines: &str) -> Notice {
    Notice {
        kind,
        pool: PoolId::discord(),
        worker: Some(WorkerId::from("discord-0")),
        shard: None,
        cause: cause.to_owned(),
        last_lines: last_lines.to_owned(),
        at_ms: 1_000,
        last_beat_ms: 1_000,
    }
}

fn entries(notices: Vec<Notice>) -> Vec<Entry> {
    let mut outbox = Outbox::new(Tick(0));
    notices
        .into_iter()
        .for_each(|notice| outbox.raise(notice, Tick(0)));
    outbox.take(EMBEDS, Tick(1_000)).into_iter().cloned().collect()
}

fn told(content: Option<&str>, notices: Vec<Notice>) -> Value {
    let entries = entries(notices);
    message(content, &entries.iter().collect::<Vec<_>>())
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap()
}

/// Asserts what Discord asserts, on every text that it counts.
#[track_caller]
fn assert_within_limits(message: &Value) {
    let mut all = 0;
    let embeds = message["embeds"].as_array().unwrap();
    assert!((1..=EMBEDS).contains(&embeds.len()));
    let mut check = |text: &Value, most: usize| {
        let text = text.as_str().unwrap();
        assert!(!text.trim().is_empty(), "an empty one is refused");
        assert!(length(text) <= most, "{} > {most}: {text}", length(text));
        all += length(text);
    };
    for embed in embeds {
        check(&embed["title"], 256);
        check(&embed["description"], 4096);
        let fields = embed["fields"].as_array().unwrap();
        assert!(fields.len() <= 25);
        for field in fields {
            check(&field["name"], 256);
            check(&field["value"], 1024);
        }
        let description = text(embed, "/description");
        let fences = description.matches("```").count();
        assert!(
            fences == 0 || fences == 2 && description.ends_with("\n```"),
            "{description}"
        );
    }
    assert!(all <= 6000, "{all}");
    assert!(length(message["content"].as_str().unwrap_or("")) <= 2000);
    assert_eq!(message["allowed_mentions"]["users"], json!([]));
    assert_eq!(message["allowed_mentions"]["parse"], json!([]));
}

#[test]
fn an_alert_holds_the_cause_the_last_lines_and_what_to_do() {
    let lines: Vec<_> = (1..=50).map(|line| format!("line {line} ``` x")).collect();
    let message = told(
        None,
        vec![notice(AlertKind::CrashLoop, "it ended", &lines.join("\n"))],
    );
    let embed = &message["embeds"][0];
    let field = |name: &str| {
        let fields = embed["fields"].as_array().unwrap();
        let field = fields.iter().find(|field| field["name"] == name);
        field.unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(field("Worker"), "discord-0");
    assert_eq!(field("Cause"), "it ended");
    assert_eq!(field("What was done"), AlertKind::CrashLoop.done());
    assert_eq!(field("What to do"), AlertKind::CrashLoop.action());
    let description = text(embed, "/description");
    assert!(description.starts_with("A worker is crash looping\n```\nline 1 ''' x\n"));
    assert!(description.ends_with("\nline 50 ''' x\n```"), "{description}");
    assert_within_limits(&message);
}

#[test]
fn a_thousand_shards_are_one_embed() {
    let lost = |number: u32| Notice {
        shard: Some(ShardId::new(number, 1003).unwrap()),
        worker: None,
        ..notice(AlertKind::Disconnect, "no beat for 60 s", "")
    };
    let message = told(None, (0..1000).chain([1002]).map(lost).collect());
    let embed = &message["embeds"][0];
    assert_eq!(text(embed, "/description"), "1,001 shards have changed status!");
    assert_eq!(text(embed, "/fields/1/value"), "0–999, 1002");
    assert_eq!(text(embed, "/fields/3/value"), "1,001 since <t:1:f>");
    assert_within_limits(&message);
    // Of too many names to show the first are.
    let message = told(None, (0..1000).step_by(2).map(lost).collect());
    let names = text(&message, "/embeds/0/fields/1/value");
    let (shown, more) = names.rsplit_once(" and ").unwrap();
    let shown = shown.split(", ").count();
    assert_eq!(more, format!("{} more", 500 - shown));
    assert_within_limits(&message);
}

#[test]
fn only_what_the_operator_wrote_may_ping() {
    let output = "@everyone <@1> <@&2> @here";
    let hostile = || vec![notice(AlertKind::CrashLoop, output, output)];
    assert_eq!(
        told(None, hostile())["allowed_mentions"],
        json!({"parse": [], "users": [], "roles": []})
    );
    let content = "<@12> <@!34> <@&56> <@&x> <@";
    assert_eq!(
        told(Some(content), hostile())["allowed_mentions"],
        json!({"parse": [], "users": ["12", "34"], "roles": ["56"]})
    );
    assert_eq!(
        told(Some("hey @here"), hostile())["allowed_mentions"]["parse"],
        json!(["everyone"])
    );
    assert_eq!(told(Some("hey"), hostile())["content"], "hey");
}

#[test]
fn what_a_terminal_would_obey_is_taken_out() {
    assert_eq!(
        plain("\u{1b}[1;31mred\u{1b}[0m\r\n\u{7}\u{202e}ab\tc\u{1b}"),
        "red\nab\tc"
    );
}

#[test]
fn of_too_long_an_output_the_end_is_kept() {
    assert_eq!(last("one\ntwo\nthree", 9), "two\nthree");
    assert_eq!(last("one\ntwo\nthree", 8), "three");
    assert_eq!(last("one\ntwo\nthree", 2), "ee");
    assert_eq!(last("one", 3), "one");
    assert_eq!(last("one", 0), "");
    assert_eq!(first("one", 2), "on");
    assert_eq!(grouped(1_234_567), "1,234,567");
}

fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("```".to_owned()),
        Just("`".to_owned()),
        Just("@everyone <@1>".to_owned()),
        Just("\u{1f980}".repeat(300)),
        Just("x".repeat(10_000)),
        Just("\n".to_owned()),
        Just("\u{1b}[31m\r\n".to_owned()),
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_output_exceeds_a_limit_or_leaves_its_block(
        alerts in prop::collection::vec((0..AlertKind::ALL.len(), hostile(), hostile()), 1..14),
        content in prop::option::of("[a-z ]{0,3000}"),
    ) {
        // An end of nothing is told to nobody.
        let recovered = |(kind, ..): &(usize, _, _)| AlertKind::ALL[*kind] == AlertKind::Recovered;
        prop_assume!(!alerts.iter().all(recovered));
        let notices = alerts
            .iter()
            .map(|(kind, cause, output)| notice(AlertKind::ALL[*kind], cause, output))
            .collect();
        assert_within_limits(&told(content.as_deref(), notices));
    }
}
