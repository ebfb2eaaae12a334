//! Alerts to a webhook: told in the published form, and never waited for.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Instant;

use serde_json::json;
use shardman_core::alerting::AlertKind;

use crate::alerting::{TAKEN, lease, log_lines, shards};
use crate::support::{Hook, How, Program, Reply, Shardman, eventually, get, post, seconds, webhook};

#[test]
fn a_lost_shard_is_told_in_the_published_form() {
    let (url, messages) = webhook(&["204 No Content"]);
    let settings = [
        ("MAX_SHARDS", "1"),
        ("WORKERS", "0"),
        ("MAX_SECONDS", "1"),
        ("WEBHOOK_URL", &*url),
        ("WEBHOOK_CONTENT", "<@1>"),
    ];
    let mut shardman = Shardman::up(&settings);
    assert_eq!(shardman.connect().status, 200);
    let connected = messages.recv_timeout(seconds(10.0)).unwrap();
    let lost = messages.recv_timeout(seconds(10.0)).unwrap();
    for (message, kind, color) in [(&connected, "Connect", 65_280), (&lost, "Disconnect", 16_711_680)] {
        assert_eq!(message["content"], "<@1>");
        assert_eq!(message["username"], "Shardman Alerts");
        let embed = &message["embeds"][0];
        assert_eq!(
            (&embed["title"], &embed["color"]),
            (&"NOTICE".into(), &color.into())
        );
        let field = |number: usize| {
            (
                embed["fields"][number]["name"].clone(),
                embed["fields"][number]["value"].clone(),
            )
        };
        assert_eq!(field(0), ("Status Type".into(), kind.into()));
        assert_eq!(field(1), ("Shard ID".into(), "0".into()));
        assert!(field(2).1.as_str().unwrap().starts_with("<t:"), "{embed}");
    }
    assert!(shardman.stop().success());
}

#[test]
fn a_webhook_that_is_full_is_asked_again_when_it_says_and_touches_no_lease() {
    let (url, messages) = webhook(&[
        "429 Too Many Requests\r\nRetry-After: 1",
        "500 Oops",
        "204 No Content",
    ]);
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0"), ("WEBHOOK_URL", &*url)]);
    let session = shardman.connect().json()["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let first = messages.recv_timeout(seconds(10.0)).unwrap();
    for _ in 0..2 {
        assert_eq!(
            messages.recv_timeout(seconds(10.0)).unwrap(),
            first,
            "nothing is lost"
        );
        assert_eq!(shardman.beat(&session).status, 204);
    }
    assert!(shardman.stop().success());
}

#[test]
fn a_webhook_that_never_answers_touches_no_lease() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "400"), ("WORKERS", "0"), ("WEBHOOK_URL", &*url)]);
    for _ in 0..400 {
        assert_eq!(shardman.connect().status, 200);
    }
    eventually(seconds(5.0), "all are leased", || {
        (shardman.fleet().leased == 400).then_some(())
    });
    assert!(shardman.stop().success());
}

#[test]
fn what_waits_at_the_end_is_sent_once_more_and_not_for_long() {
    let discord = Hook::new(&[TAKEN]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}/", silent.local_addr().unwrap());
    let settings = [
        ("MAX_SHARDS", "2"),
        ("WORKERS", "0"),
        ("WEBHOOK_URL", &*discord.url),
        ("ALERT_URL", &*silent_url),
    ];
    let mut shardman = Shardman::up(&settings);
    lease(&shardman, 1);
    eventually(seconds(10.0), "the first is told", || {
        (!discord.heard().is_empty()).then_some(())
    });
    lease(&shardman, 1);
    let began = Instant::now();
    assert!(shardman.stop().success());
    println!("stopped within {:?}", began.elapsed());
    assert!(began.elapsed() < seconds(10.0), "{:?}", began.elapsed());
    let told: BTreeSet<u32> = discord.entries("embeds").iter().flat_map(shards).collect();
    assert_eq!(told, BTreeSet::from([0, 1]));
    assert_eq!(log_lines(&shardman, "alerts that did not reach ALERT_URL: 2"), 1);
}

#[test]
fn a_receiver_that_was_given_up_is_tried_again_at_each_reload_and_the_metrics_say_how_it_is() {
    const ANSWERS: &[Reply] = &[
        Reply("403 Forbidden", &["Content-Type: text/html"], "<html>"),
        Reply(
            "404 Not Found",
            &["Content-Type: application/json"],
            r#"{"message": "Unknown Webhook", "code": 10015}"#,
        ),
        TAKEN,
    ];
    let discord = Hook::new(ANSWERS);
    let folder = tempfile::tempdir().unwrap();
    let dotenv = folder.path().join(".env");
    let write = |content: &str| {
        let text = format!("WEBHOOK_URL={}\nWEBHOOK_CONTENT={content}\n", discord.url);
        std::fs::write(&dotenv, text).unwrap();
    };
    write("one");
    let settings = [("MAX_SHARDS", "2"), ("WORKERS", "0"), ("MAX_SECONDS", "60")];
    let mut shardman = Shardman::up_as(folder, &settings, How::default());
    let metric = |name: &str| -> f64 {
        let text = get(shardman.address, "/metrics", "test-secret").body;
        let line = format!("{name}{{receiver=\"WEBHOOK_URL\"}} ");
        let value = text.lines().find_map(|found| found.strip_prefix(&line));
        value.unwrap().parse().unwrap()
    };
    let ok = |wanted: f64| {
        eventually(seconds(15.0), "the metric says so", || {
            ((metric("shardman_alert_receiver_ok") - wanted).abs() < 1e-9).then_some(())
        });
    };
    ok(1.0);
    lease(&shardman, 1);
    ok(0.0);
    assert!(metric("shardman_alerts_waiting") > 0.5, "it is kept");
    assert_eq!(discord.heard().len(), 1);
    for (tries, content) in [(2, "one"), (3, "two")] {
        write(content);
        assert_eq!(post(shardman.address, "/reload", "test-secret", "").status, 200);
        eventually(seconds(15.0), "it is tried", || {
            (discord.heard().len() == tries).then_some(())
        });
        if tries == 2 {
            eventually(seconds(10.0), "it is given up", || {
                (log_lines(&shardman, "WEBHOOK_URL takes no alerts any more") == 1).then_some(())
            });
        }
    }
    ok(1.0);
    assert_eq!(metric("shardman_alerts_waiting").round() as u64, 0);
    assert_eq!(discord.heard()[2].body["content"], "two");
    assert!(shardman.stop().success());
}

#[test]
fn a_receiver_that_cannot_be_one_is_refused_before_anything_starts() {
    for (name, value) in [
        ("WEBHOOK_URL", "discord.com/api/webhooks/1/hush-hush"),
        ("ALERT_URL", "hush-hush"),
        ("ALERT_TOKEN", "hush-hush"),
    ] {
        for command in ["check", "up"] {
            let folder = tempfile::tempdir().unwrap();
            let (code, _, error) = Program::shardman(&[command])
                .dir(folder.path())
                .env("MAX_SHARDS", "1")
                .env("WORKERS", "0")
                .env("LISTEN", "127.0.0.1:0")
                .env(name, value)
                .run();
            assert_eq!(code, 78, "{error}");
            assert!(error.contains(name) && !error.contains("hush"), "{error}");
            assert_eq!(error.trim().lines().count(), 1, "{error}");
        }
    }
}

#[test]
fn every_kind_has_its_section() {
    let text = include_str!("../../docs/ALERTS.md");
    let sections: Vec<_> = text.split("\n### `").skip(1).collect();
    let named: Vec<_> = sections
        .iter()
        .filter_map(|section| Some(section.split_once('`')?.0))
        .collect();
    assert_eq!(named, AlertKind::ALL.map(AlertKind::as_str));
    for (kind, section) in AlertKind::ALL.into_iter().zip(sections) {
        let severity = json!(kind.severity());
        let first = section.lines().next().unwrap();
        assert!(first.ends_with(severity.as_str().unwrap()), "{first}");
        assert!(section.contains(kind.title()), "{section}");
        assert!(section.contains("**To do:**"), "{section}");
    }
}
