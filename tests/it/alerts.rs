//! Alerts to a webhook: told in the published form, and never waited for.

use std::net::TcpListener;

use crate::support::{Shardman, eventually, seconds, webhook};

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
