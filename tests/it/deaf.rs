//! Shards that are connected and hear nothing: noticed, resumed, and nothing is
//! lost.

use std::time::Instant;

use crate::support::{Program, Shardman, Sim, eventually, post, seconds, webhook};

#[test]
fn a_deaf_shard_is_noticed_and_resumed_without_an_identify_or_a_lost_event() {
    let sim = Sim::start(4, 4, &["--events-per-second", "200"]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "2"),
        ("MAX_SECONDS", "3"),
        ("DEAF_SECONDS", "2"),
    ];
    let mut shardman = Shardman::up(&settings);
    shardman.wait_ready(seconds(40.0));
    let workers = shardman.workers();
    let shard = || shardman.fleet().shards.remove(2);
    let after = eventually(seconds(60.0), "enough is known of the shard to judge it", || {
        shard().deaf_after.filter(|after| *after < 8.0)
    });

    let deaf = Instant::now();
    sim.fault(r#"{"kind":"deaf","shard":2}"#);
    eventually(seconds(60.0), "it is seen to be deaf", || {
        (shard().condition == "deaf").then_some(())
    });
    let noticed = deaf.elapsed();
    eventually(seconds(20.0), "it resumes", || {
        (sim.report().resume_count == 1).then_some(())
    });
    let resumed = deaf.elapsed();
    eventually(seconds(20.0), "it is ready and hears", || {
        let shard = shard();
        (shard.condition == "ready" && shard.state == "ready").then_some(())
    });
    println!(
        "a deaf shard: judged after {after:.1} s of silence; noticed {noticed:?}, resumed {resumed:?} after it fell deaf"
    );
    assert!(noticed >= seconds(1.5), "not before the floor");

    let log = shardman.log();
    assert_eq!(log.matches("its holder is asked to reconnect").count(), 1, "once");
    assert!(shardman.fleet().trouble.is_empty());
    sim.load(0.0);
    eventually(seconds(10.0), "everything is delivered", || {
        (sim.report().events_total.pending == 0).then_some(())
    });
    let report = sim.report();
    assert_eq!(
        (report.identify_count, report.resume_failures),
        (4, 0),
        "no identify"
    );
    assert_eq!(report.events_total.lost, 0, "{:?}", report.events_total);
    assert_eq!(shardman.workers(), workers, "no worker was restarted");
    sim.assert_clean();
    assert!(shardman.stop().success());
}

/// A bot that registers by itself, tells how old its last event is, and no
/// state: it cannot be asked to reconnect.
#[test]
fn a_deaf_shard_of_a_plain_client_is_shown_and_told() {
    let (url, messages) = webhook(&["204 No Content"]);
    let settings = [
        ("MAX_SHARDS", "2"),
        ("WORKERS", "0"),
        ("DEAF_SECONDS", "1"),
        ("WEBHOOK_URL", &*url),
    ];
    let mut shardman = Shardman::up(&settings);
    let connect = || {
        shardman.connect().json()["session_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let sessions = [connect(), connect()];
    let beat = |session: &str, age: f64| {
        let body = format!(r#"{{"session_id":"{session}","latency":0.05,"last_event_age":{age}}}"#);
        assert_eq!(post(shardman.address, "/beat", "test-secret", &body).status, 204);
    };
    let shard = || shardman.fleet().shards.remove(1);
    eventually(seconds(60.0), "both are known", || {
        sessions.iter().for_each(|session| beat(session, 0.0));
        shardman
            .fleet()
            .shards
            .iter()
            .all(|shard| shard.deaf_after.is_some())
            .then_some(())
    });
    let last = Instant::now();
    eventually(seconds(60.0), "the second falls deaf", || {
        beat(&sessions[0], 0.0);
        beat(&sessions[1], last.elapsed().as_secs_f64());
        (shard().condition == "deaf").then_some(())
    });
    println!("a plain client: deaf after {:?}", last.elapsed());
    let mut alerts = String::new();
    eventually(seconds(15.0), "an alert", || {
        alerts.extend(messages.try_iter().map(|message| message.to_string()));
        alerts.contains("shard 1/2 is deaf").then_some(())
    });
    assert!(shardman.fleet().trouble[0].contains("shard 1/2 is deaf"));
    eventually(seconds(10.0), "it hears again", || {
        sessions.iter().for_each(|session| beat(session, 0.0));
        (shard().condition == "registered").then_some(())
    });
    assert!(shardman.stop().success());
}

#[test]
fn zero_judges_nobody() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "1"), ("WORKERS", "0"), ("DEAF_SECONDS", "0")]);
    let session = shardman.connect().json()["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(shardman.beat(&session).status, 204);
    let shard = shardman.fleet().shards.remove(0);
    assert_eq!((&*shard.condition, &*shard.state), ("registered", "leased"));
    assert!(shard.deaf_after.is_none() && shard.deadline_in.is_none());
    let table = Program::shardman(&["status", "--url", &format!("http://{}", shardman.address)])
        .env("SECRET", "test-secret")
        .run();
    assert!(table.1.contains("0/1    registered"), "{table:?}");
    assert!(shardman.stop().success());
}
