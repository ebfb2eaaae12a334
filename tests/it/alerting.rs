//! Alerts when it matters: many at once, through rate limits, to receivers that
//! are away or gone, with output that means harm.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardman_core::alerting::AlertKind;

use crate::support::{
    Connection, Hook, How, Reply, Shardman, eventually, free_port, get, let_pass, post, seconds,
};

const SECRET: &str = "test-secret";

pub(crate) const TAKEN: Reply = Reply("204 No Content", &[], "");

/// Discord's answers as it documents them ("Rate Limits", Header Format and
/// Exceeding A Rate Limit), in the order of a busy moment.
const BUSY: &[Reply] = &[
    Reply(
        "204 No Content",
        &[
            "X-RateLimit-Limit: 5",
            "X-RateLimit-Remaining: 0",
            "X-RateLimit-Reset: 1470173023.123",
            "X-RateLimit-Reset-After: 4.5",
            "X-RateLimit-Bucket: abcd1234",
        ],
        "",
    ),
    Reply(
        "429 Too Many Requests",
        &[
            "Content-Type: application/json",
            "Retry-After: 2",
            "X-RateLimit-Limit: 5",
            "X-RateLimit-Remaining: 0",
            "X-RateLimit-Reset: 1470173023.123",
            "X-RateLimit-Reset-After: 1.57",
            "X-RateLimit-Bucket: abcd1234",
            "X-RateLimit-Scope: user",
        ],
        r#"{"message": "You are being rate limited.", "retry_after": 1.57, "global": false}"#,
    ),
    Reply(
        "429 Too Many Requests",
        &[
            "Content-Type: application/json",
            "Retry-After: 3",
            "X-RateLimit-Global: true",
            "X-RateLimit-Scope: global",
        ],
        r#"{"message": "You are being rate limited.", "retry_after": 3.0, "global": true}"#,
    ),
    TAKEN,
];

/// What [`BUSY`] asks to wait after each answer.
const WAITS: &[f64] = &[4.5, 2.0, 3.0];

fn field<'a>(embed: &'a Value, name: &str) -> Option<&'a str> {
    let fields = embed["fields"].as_array().unwrap();
    let field = fields.iter().find(|field| field["name"] == name);
    field.and_then(|field| field["value"].as_str())
}

/// How many alerts an embed stands for.
fn count(embed: &Value) -> u64 {
    let count = field(embed, "Alerts").or(field(embed, "Again"));
    count.map_or(1, |text| {
        text.split(' ').next().unwrap().replace(',', "").parse().unwrap()
    })
}

pub(crate) fn shards(embed: &Value) -> BTreeSet<u32> {
    let names = field(embed, "Shard ID").unwrap();
    let range = |name: &str| {
        let (first, last) = name.split_once('–').unwrap_or((name, name));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    };
    names.split(", ").flat_map(range).collect()
}

fn of_kind(embeds: &[Value], status: &str) -> Vec<Value> {
    let fitting = embeds
        .iter()
        .filter(|embed| field(embed, "Status Type") == Some(status));
    fitting.cloned().collect()
}

/// Leases so many shards, several at a time.
pub(crate) fn lease(shardman: &Shardman, shards: u32) {
    let address = shardman.address;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                for _ in (thread..shards).step_by(8) {
                    let secret = [("Authorization", SECRET)];
                    let answer = connection.call("GET", "/connect?identify=ask", &secret, None);
                    assert_eq!(answer.unwrap().status, 200);
                }
            });
        }
    });
}

pub(crate) fn log_lines(shardman: &Shardman, words: &str) -> usize {
    shardman.log().lines().filter(|line| line.contains(words)).count()
}

#[test]
fn a_thousand_lapses_are_a_few_messages_through_every_rate_limit_and_none_is_lost() {
    let (discord, program) = (Hook::new(BUSY), Hook::new(&[TAKEN]));
    let settings = [
        ("MAX_SHARDS", "1000"),
        ("WORKERS", "0"),
        ("MAX_SECONDS", "8"),
        ("WEBHOOK_URL", &*discord.url),
        ("ALERT_URL", &*program.url),
        ("ALERT_TOKEN", "open-sesame"),
    ];
    let mut shardman = Shardman::up(&settings);
    let began = Instant::now();
    lease(&shardman, 1000);
    println!("1,000 leases in {:?}", began.elapsed());
    assert!(
        began.elapsed() < seconds(8.0),
        "this host is too slow for the test"
    );
    let told = |embeds: &[Value]| -> (u64, usize) {
        let shards: BTreeSet<u32> = embeds.iter().flat_map(shards).collect();
        (embeds.iter().map(count).sum(), shards.len())
    };
    eventually(seconds(60.0), "all lapses are told", || {
        let embeds = of_kind(&discord.entries("embeds"), "Disconnect");
        (told(&embeds).0 == 1000).then_some(())
    });
    let embeds = discord.entries("embeds");
    assert_eq!(told(&of_kind(&embeds, "Disconnect")), (1000, 1000), "and named");
    assert_eq!(told(&of_kind(&embeds, "Connect")), (1000, 1000));

    let heard = discord.heard();
    println!(
        "{} messages, {} of them taken, in {:?}",
        heard.len(),
        heard.iter().filter(|heard| heard.taken).count(),
        began.elapsed()
    );
    assert!(heard.len() <= 12, "{} messages", heard.len());
    assert!(heard.len() > WAITS.len());
    for (wait, pair) in WAITS.iter().zip(heard.windows(2)) {
        let waited = pair[1].at - pair[0].at;
        // Its answer reaches the manager a moment after it was noted here.
        assert!(waited + seconds(0.05) >= seconds(*wait), "{waited:?} of {wait} s");
    }
    assert!(
        heard
            .windows(2)
            .all(|pair| pair[1].at - pair[0].at > seconds(1.5)),
        "five in two seconds is Discord's own limit"
    );

    for kind in ["connect", "disconnect"] {
        let of_kind = || -> Vec<Value> {
            let alerts = program.entries("alerts").into_iter();
            alerts.filter(|alert| alert["kind"] == kind).collect()
        };
        let alerts = eventually(seconds(30.0), "the program is told of all", || {
            let alerts = of_kind();
            let counts = alerts.iter().map(|alert| alert["count"].as_u64().unwrap());
            (counts.sum::<u64>() == 1000).then_some(alerts)
        });
        let shards = alerts
            .iter()
            .flat_map(|alert| alert["shards"].as_array().unwrap());
        let shards: BTreeSet<_> = shards.map(|shard| shard.as_u64().unwrap()).collect();
        assert_eq!(shards, (0..1000).collect(), "{kind}");
    }
    let head = &program.heard()[0].head;
    assert!(
        head.to_ascii_lowercase()
            .contains("authorization: bearer open-sesame"),
        "{head}"
    );
    assert!(program.heard().len() <= 12);
    assert!(shardman.stop().success());
    assert!(!shardman.log().contains("hush-hush") && !shardman.log().contains("sesame"));
}

#[test]
fn a_webhook_that_was_away_is_told_all_that_happened_meanwhile() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/api/webhooks/1/hush-hush");
    let settings = [
        ("MAX_SHARDS", "2"),
        ("WORKERS", "0"),
        ("MAX_SECONDS", "1"),
        ("WEBHOOK_URL", &*url),
    ];
    let mut shardman = Shardman::up(&settings);
    for _ in 0..3 {
        lease(&shardman, 2);
        eventually(seconds(20.0), "both are lost", || {
            (shardman.fleet().leased == 0).then_some(())
        });
    }
    eventually(seconds(10.0), "the log says so", || {
        (log_lines(&shardman, "alerts do not reach WEBHOOK_URL") > 0).then_some(())
    });
    let discord = Hook::at(port, &[Reply("503 Service Unavailable", &[], "busy"), TAKEN]);
    let back = Instant::now();
    let heard = eventually(seconds(60.0), "it is told", || {
        discord.heard().into_iter().find(|heard| heard.taken)
    });
    println!("told {:?} after it was back", heard.at - back);
    let embeds: Vec<_> = heard.body["embeds"].as_array().unwrap().clone();
    for status in ["Connect", "Disconnect"] {
        let of_kind = of_kind(&embeds, status);
        assert_eq!(of_kind.len(), 1, "{embeds:#?}");
        assert_eq!((count(&of_kind[0]), shards(&of_kind[0]).len()), (6, 2));
    }
    eventually(seconds(10.0), "the log says so", || {
        (log_lines(&shardman, "alerts reach WEBHOOK_URL again") == 1).then_some(())
    });
    assert_eq!(log_lines(&shardman, "alerts do not reach"), 1, "once");
    assert!(shardman.stop().success());
    assert!(!shardman.log().contains("hush-hush"));
}

#[test]
fn a_deleted_webhook_is_left_alone_until_it_is_changed() {
    let deleted = Hook::new(&[Reply(
        "404 Not Found",
        &["Content-Type: application/json"],
        r#"{"message": "Unknown Webhook", "code": 10015}"#,
    )]);
    let folder = tempfile::tempdir().unwrap();
    let dotenv = folder.path().join(".env");
    let write = |url: &str| std::fs::write(&dotenv, format!("WEBHOOK_URL={url}\n")).unwrap();
    write(&deleted.url);
    let settings = [("MAX_SHARDS", "3"), ("WORKERS", "0"), ("MAX_SECONDS", "60")];
    let mut shardman = Shardman::up_as(folder, &settings, How::default());
    lease(&shardman, 1);
    eventually(seconds(10.0), "it is given up", || {
        (log_lines(&shardman, "WEBHOOK_URL takes no alerts any more") == 1).then_some(())
    });
    lease(&shardman, 1);
    // Longer than any pause that a message waits for.
    let_pass(seconds(5.0));
    assert_eq!(deleted.heard().len(), 1, "nothing more is sent there");
    let log = shardman.log();
    let line = log
        .lines()
        .find(|line| line.contains("takes no alerts any more"))
        .unwrap();
    for words in ["404", "10015", "shardman reload"] {
        assert!(line.contains(words), "{line}");
    }

    let new = Hook::new(&[TAKEN]);
    write("discord.com/api/webhooks/1/hush-hush");
    let refused = post(shardman.address, "/reload", SECRET, "");
    assert!((400..500).contains(&refused.status), "{}", refused.body);
    assert!(refused.body.contains("WEBHOOK_URL"), "{}", refused.body);
    assert!(!refused.body.contains("hush"), "{}", refused.body);
    write(&new.url);
    assert_eq!(post(shardman.address, "/reload", SECRET, "").status, 200);
    lease(&shardman, 1);
    eventually(seconds(15.0), "what was missed is told", || {
        let embeds = of_kind(&new.entries("embeds"), "Connect");
        let told: BTreeSet<u32> = embeds.iter().flat_map(shards).collect();
        (told == BTreeSet::from([0, 1, 2])).then_some(())
    });
    assert_eq!(deleted.heard().len(), 1);
    let fleet = get(shardman.address, "/fleet", SECRET).body;
    assert!(shardman.stop().success());
    assert!(!shardman.log().contains("hush-hush") && !fleet.contains("hush-hush"));
}

/// As Discord counts, or more.
fn length(text: &Value) -> usize {
    text.as_str().unwrap().encode_utf16().count()
}

#[test]
fn output_that_means_harm_stays_in_its_block_and_within_discords_limits() {
    let (discord, program) = (Hook::new(&[TAKEN]), Hook::new(&[TAKEN]));
    let folder = tempfile::tempdir().unwrap();
    let script = "import sys\n\
        for line in ['x' * 10000, '\\U0001f980' * 5000, '```', '`` ` ``', '@everyone <@1> <@&2>',\n\
        '\\x1b[31mred\\x1b[0m', '\"quotes\\\\\"', '``````'] * 8:\n    print(line)\n\
        sys.stdout.flush()\n\
        sys.stdout.buffer.write(b'\\xff\\xfe not text\\n```\\nthe end @here\\n')\nsys.exit(78)\n";
    let path = folder.path().join("hostile.py");
    std::fs::write(&path, script).unwrap();
    let settings = [
        ("MAX_SHARDS", "12"),
        (
            "WORKER_COMMAND",
            &*format!("exec python3 -X utf8 '{}'", path.display()),
        ),
        ("WEBHOOK_URL", &*discord.url),
        ("WEBHOOK_CONTENT", "<@42> please"),
        ("ALERT_URL", &*program.url),
    ];
    let mut shardman = Shardman::up(&settings);
    let embed = eventually(seconds(30.0), "all are told to be halted", || {
        let embeds = discord.entries("embeds");
        let halted = of_kind(&embeds, "Worker");
        let told: u64 = halted.iter().map(count).sum();
        (told == 12).then(|| halted[0].clone())
    });
    for heard in discord.heard() {
        let embeds = heard.body["embeds"].as_array().unwrap();
        assert!(embeds.len() <= 10);
        let mut all = 0;
        for embed in embeds {
            let fields = embed["fields"].as_array().unwrap();
            let values = fields.iter().map(|field| length(&field["value"]));
            assert!(values.clone().all(|length| (1..=1024).contains(&length)));
            let names = fields.iter().map(|field| length(&field["name"]));
            assert!(length(&embed["description"]) <= 4096);
            all += values.sum::<usize>()
                + names.sum::<usize>()
                + length(&embed["title"])
                + length(&embed["description"]);
        }
        assert!((1..=6000).contains(&all), "{all}");
        assert_eq!(
            heard.body["allowed_mentions"],
            json!({"parse": [], "users": ["42"], "roles": []})
        );
        assert_eq!(heard.body["content"], "<@42> please");
    }
    let description = embed["description"].as_str().unwrap();
    assert_eq!(description.matches('`').count(), 6, "{description}");
    assert!(description.ends_with("'''\nthe end @here\n```"), "{description}");
    assert_eq!(
        field(&embed, "What to do"),
        Some(AlertKind::Misconfigured.action())
    );

    let alert = eventually(seconds(10.0), "the program is told", || {
        let alerts = program.entries("alerts");
        alerts.into_iter().find(|alert| alert["kind"] == "misconfigured")
    });
    let lines = alert["last_lines"].as_array().unwrap();
    assert_eq!(lines.last().unwrap(), "the end @here");
    assert!(lines.iter().any(|line| line == "@everyone <@1> <@&2>"));
    assert_eq!(
        (&alert["severity"], &alert["pool"], &alert["again"]),
        (&json!("critical"), &json!("discord"), &json!(false))
    );
    let cause = alert["cause"].as_str().unwrap();
    assert!(cause.ends_with("is halted: exit code 78"), "{cause}");
    assert!(shardman.stop().success());
}

#[test]
fn the_end_of_an_incident_is_told_once() {
    let discord = Hook::new(&[TAKEN]);
    let settings = [
        ("MAX_SHARDS", "2"),
        ("WORKERS", "0"),
        ("MAX_SECONDS", "2"),
        ("WEBHOOK_URL", &*discord.url),
    ];
    let mut shardman = Shardman::up(&settings);
    lease(&shardman, 2);
    eventually(seconds(20.0), "both are lost", || {
        (shardman.fleet().leased == 0).then_some(())
    });
    let sessions: Vec<String> = (0..2)
        .map(|_| {
            let answer = get(shardman.address, "/connect?identify=ask", SECRET).json();
            answer["session_id"].as_str().unwrap().to_owned()
        })
        .collect();
    let over = eventually(seconds(40.0), "the end is told", || {
        for session in &sessions {
            assert_eq!(shardman.beat(session).status, 204);
        }
        let_pass(Duration::from_millis(200));
        of_kind(&discord.entries("embeds"), "Recovered").pop()
    });
    let cause = field(&over, "Cause").unwrap();
    assert!(cause.starts_with("all shards (2) are ready again, "), "{cause}");
    assert!(cause.ends_with("after the first of 2 alerts"), "{cause}");
    assert!(shardman.stop().success());
    assert_eq!(of_kind(&discord.entries("embeds"), "Recovered").len(), 1);
}
