//! A worker whose loop is blocked beats on, late, and serves nobody.

use std::time::Instant;

use crate::support::{Shardman, eventually, seconds, tools, webhook};

#[test]
fn a_blocked_loop_is_seen_and_told_once_and_only_in_the_end_restarted() {
    if !tools("a blocked loop", &[&["python3", "-c", "import asyncio"]]) {
        return;
    }
    let bot = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/blocked_bot.py");
    let (url, messages) = webhook(&["204 No Content"]);
    let settings = [
        ("MAX_SHARDS", "3"),
        ("MAX_SECONDS", "3"),
        ("WORKER_COMMAND", &*format!("exec python3 '{bot}'")),
        ("WEBHOOK_URL", &*url),
    ];
    let mut shardman = Shardman::up(&settings);
    let began = Instant::now();
    let worker = |name: &str| {
        let mut workers = shardman.fleet().workers.into_iter();
        workers.find(|worker| worker.worker == name)
    };
    let blocked = eventually(seconds(30.0), "the first worker is blocked", || {
        worker("discord-0").filter(|worker| worker.condition == "blocked")
    });
    let seen = began.elapsed();
    let held = eventually(seconds(10.0), "and so is its shard", || {
        let mut shards = shardman.fleet().shards.into_iter();
        shards.find(|shard| shard.worker.as_deref() == Some("discord-0") && shard.condition == "blocked")
    });
    assert!(held.deadline_in.is_some_and(|left| left <= 15.0), "{held:?}");
    assert!(held.loop_lag.is_some_and(|lag| lag > 0.25), "{held:?}");

    let next = eventually(seconds(60.0), "it is restarted", || {
        worker("discord-0").filter(|worker| worker.pid.is_some() && worker.pid != blocked.pid)
    });
    println!(
        "a blocked loop: seen {seen:?} after the start, restarted after {:?}",
        began.elapsed()
    );
    assert_eq!(next.exits, 0, "no crash of its own");
    let log = shardman.log();
    assert_eq!(
        log.matches("worker discord-0 is restarted: its loop is blocked")
            .count(),
        1,
        "{log}"
    );
    assert!(!log.contains("worker discord-1 is restarted") && !log.contains("worker discord-2 is restarted"));
    let begins = "worker discord-0 is blocked: its loop has lagged behind";
    assert!(
        (1..=2).contains(&log.matches(begins).count()),
        "once for each of its runs: {log}"
    );
    let mut alerts = String::new();
    eventually(seconds(15.0), "an alert", || {
        alerts.extend(messages.try_iter().map(|message| message.to_string()));
        alerts.contains("worker discord-0 is blocked").then_some(())
    });
    assert!(shardman.stop().success());
}
