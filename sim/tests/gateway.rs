//! The simulator over real sockets: what a client sees of the rules.

#[path = "gateway/client.rs"]
mod client;

use client::{Client, Inflate, gateway_bot, start};
use serde_json::json;
use shardman_sim::{Fault, SimConfig};

fn config() -> SimConfig {
    SimConfig {
        shards: 2,
        guilds: 4,
        events_per_second: 0.0,
        ..SimConfig::default()
    }
}

#[tokio::test]
async fn a_client_identifies_and_gets_ready_and_its_guilds() {
    for inflate in [Inflate::none(), Inflate::zlib(), Inflate::zstd()] {
        let sim = start(config()).await;
        let mut client = Client::connect(&sim, "", inflate).await;
        client.identify(1, 2).await;
        let ready = client.dispatch("READY").await;
        assert_eq!(ready["d"]["shard"], json!([1, 2]));
        assert_eq!(ready["d"]["guilds"].as_array().unwrap().len(), 2);
        for sequence in [2, 3] {
            let guild = client.dispatch("GUILD_CREATE").await;
            assert_eq!(guild["s"], sequence);
            let id: u64 = guild["d"]["id"].as_str().unwrap().parse().unwrap();
            assert_eq!((id >> 22) % 2, 1);
        }
        client.send(json!({"op": 1, "d": 3})).await;
        assert_eq!(client.next().await["op"], 11);
    }
}

#[tokio::test]
async fn a_resume_after_a_drop_replays_every_event() {
    let sim = start(SimConfig {
        events_per_second: 500.0,
        ..config()
    })
    .await;
    let mut client = Client::connect(&sim, "", Inflate::none()).await;
    client.identify(0, 1).await;
    let session = client.dispatch("READY").await["d"]["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut last = client.until_sequence(20).await;
    assert_eq!(sim.fault(&Fault::Drop { shard: Some(0) }), Ok(1));
    while let Some(message) = client.try_next().await {
        last = message["s"].as_u64().unwrap();
    }

    let mut client = Client::connect(&sim, "resume", Inflate::zstd()).await;
    client
        .send(json!({"op": 6, "d": {"token": "x", "session_id": session, "seq": last}}))
        .await;
    loop {
        let message = client.next().await;
        last += 1;
        assert_eq!(message["s"], last, "no gap and nothing twice");
        if message["t"] == "RESUMED" {
            break;
        }
    }
    let report = sim.report();
    assert_eq!((report.resume_count, report.identify_count), (1, 1));
    assert!(report.resumes[0].by_resume_url);
    assert_eq!((report.events_total.lost, report.double_holders.count), (0, 0));
}

#[tokio::test]
async fn an_identify_over_the_rate_gets_op_9_and_a_line_in_the_report() {
    let sim = start(config()).await;
    let mut first = Client::connect(&sim, "", Inflate::none()).await;
    first.identify(0, 2).await;
    first.dispatch("READY").await;
    let mut second = Client::connect(&sim, "", Inflate::none()).await;
    second.identify(1, 2).await;
    let answer = second.next().await;
    assert_eq!((&answer["op"], &answer["d"]), (&json!(9), &json!(false)));
    assert_eq!(sim.report().broken_rules[0].rule, "identify_rate");
}

#[tokio::test]
async fn broken_rules_end_with_discords_close_codes() {
    let bad_identify = |d| json!({"op": 2, "d": d});
    let cases = [
        (json!({"op": 99}), 4001),
        (json!("no object"), 4002),
        (json!({"op": 3, "d": {}}), 4003),
        (json!({"op": 8, "d": {"guild_id": "1"}}), 4003),
        (json!({"op": 1, "d": "x".repeat(4096)}), 4002),
        (bad_identify(json!({"token": "x"})), 4002),
        (
            bad_identify(json!({"token": "invalid", "intents": 0, "properties": {}})),
            4004,
        ),
        (
            bad_identify(json!({"token": "x", "intents": 0, "properties": {}, "shard": [2, 2]})),
            4010,
        ),
        (
            bad_identify(json!({"token": "x", "intents": -1, "properties": {}})),
            4013,
        ),
    ];
    let sim = start(config()).await;
    for (payload, code) in cases {
        let mut client = Client::connect(&sim, "", Inflate::none()).await;
        client.send(payload).await;
        assert_eq!(client.close_code().await, Some(code));
    }
    assert_eq!(sim.report().broken_rule_count, 9);
}

#[tokio::test]
async fn a_client_that_stops_heartbeating_is_closed() {
    let sim = start(SimConfig {
        heartbeat_interval_ms: 100,
        ..config()
    })
    .await;
    let mut client = Client::connect(&sim, "", Inflate::none()).await;
    assert_eq!(client.close_code().await, Some(4009));
    assert_eq!(sim.report().zombies.len(), 1);
}

#[tokio::test]
async fn an_empty_budget_closes_everyone_with_4004() {
    let sim = start(SimConfig {
        budget_remaining: Some(1),
        max_concurrency: 2,
        ..config()
    })
    .await;
    let mut first = Client::connect(&sim, "", Inflate::none()).await;
    first.identify(0, 2).await;
    first.dispatch("READY").await;
    let mut second = Client::connect(&sim, "", Inflate::none()).await;
    second.identify(1, 2).await;
    assert_eq!(second.close_code().await, Some(4004));
    assert_eq!(first.close_code().await, Some(4004));
}

#[tokio::test]
async fn faults_hit_the_shard_that_they_name() {
    let sim = start(SimConfig {
        max_concurrency: 2,
        ..config()
    })
    .await;
    let mut clients = Vec::new();
    for shard in [0, 1] {
        let mut client = Client::connect(&sim, "", Inflate::none()).await;
        client.identify(shard, 2).await;
        client.until_sequence(3).await;
        clients.push(client);
    }
    sim.fault(&Fault::Reconnect { shard: Some(1) }).unwrap();
    assert_eq!(clients[1].next().await["op"], 7);
    sim.fault(&Fault::InvalidSession {
        shard: Some(1),
        resumable: true,
    })
    .unwrap();
    let answer = clients[1].next().await;
    assert_eq!((&answer["op"], &answer["d"]), (&json!(9), &json!(true)));
    sim.fault(&Fault::Close {
        shard: Some(0),
        code: 4000,
    })
    .unwrap();
    assert_eq!(clients[0].close_code().await, Some(4000));
    assert!(
        sim.fault(&Fault::Close {
            shard: Some(0),
            code: 7
        })
        .is_err()
    );
}

#[tokio::test]
async fn what_comes_after_ready_is_judged_as_well() {
    let cases = [
        (
            json!({"op": 2, "d": {"token": "x", "intents": 0, "properties": {}}}),
            4005,
        ),
        (
            json!({"op": 6, "d": {"token": "x", "session_id": "y", "seq": 1}}),
            4005,
        ),
        (json!({"op": 10, "d": null}), 4001),
    ];
    for (payload, code) in cases {
        let sim = start(config()).await;
        let mut client = Client::connect(&sim, "", Inflate::none()).await;
        client.identify(0, 2).await;
        client.until_sequence(3).await;
        client.send(payload).await;
        assert_eq!(client.close_code().await, Some(code));
    }
    let sim = start(config()).await;
    let mut client = Client::connect(&sim, "", Inflate::none()).await;
    for _ in 0..120 {
        client.send(json!({"op": 1, "d": null})).await;
    }
    client.send(json!({"op": 1, "d": null})).await;
    assert_eq!(client.close_code().await, Some(4008));
}

#[tokio::test]
async fn a_resume_that_does_not_fit_its_session_is_refused() {
    let sim = start(config()).await;
    let mut client = Client::connect(&sim, "", Inflate::none()).await;
    client.identify(0, 2).await;
    let session = client.dispatch("READY").await["d"]["session_id"].clone();
    sim.fault(&Fault::Drop { shard: None }).unwrap();
    let resume = |token: &str, session: &serde_json::Value, sequence: u64| json!({"op": 6, "d": {"token": token, "session_id": session, "seq": sequence}});

    let mut client = Client::connect(&sim, "resume", Inflate::none()).await;
    client.send(resume("invalid", &session, 1)).await;
    assert_eq!(client.close_code().await, Some(4004));
    let mut client = Client::connect(&sim, "resume", Inflate::none()).await;
    client.send(resume("x", &json!("of somebody else"), 1)).await;
    let answer = client.next().await;
    assert_eq!((&answer["op"], &answer["d"]), (&json!(9), &json!(false)));
    // The connection stays open, and the session was not harmed.
    client.send(resume("x", &session, 1)).await;
    client.until("RESUMED").await;

    sim.fault(&Fault::Drop { shard: None }).unwrap();
    let mut client = Client::connect(&sim, "resume", Inflate::none()).await;
    client.send(resume("x", &session, 9_999)).await;
    assert_eq!(client.close_code().await, Some(4007));
    let mut client = Client::connect(&sim, "resume", Inflate::none()).await;
    client.send(resume("x", &session, 1)).await;
    assert_eq!(client.next().await["op"], 9, "a new session was asked for");
}

#[tokio::test]
async fn versions_and_encodings_that_do_not_exist_are_refused() {
    let sim = start(config()).await;
    for query in ["?v=5", "?v=11", "?v=10&encoding=etf"] {
        let mut client = Client::open(&sim, query, Inflate::none()).await;
        assert_eq!(client.close_code().await, Some(4012), "{query}");
    }
}

#[tokio::test]
async fn a_very_large_bot_has_to_run_a_multiple() {
    let sim = start(SimConfig {
        large_bot_multiple: 16,
        shards: 17,
        ..config()
    })
    .await;
    let mut client = Client::connect(&sim, "", Inflate::none()).await;
    client.identify(0, 17).await;
    assert_eq!(client.close_code().await, Some(4010));
    let mut client = Client::connect(&sim, "", Inflate::none()).await;
    client.identify(0, 32).await;
    client.dispatch("READY").await;
    assert_eq!(gateway_bot(&sim).await["shards"], 32);
    sim.fault(&Fault::Recommend { shards: 65 }).unwrap();
    assert_eq!(gateway_bot(&sim).await["shards"], 80);
}

#[tokio::test]
async fn a_bot_grows_until_its_shards_are_full() {
    let sim = start(SimConfig {
        guilds: 4_000,
        ..config()
    })
    .await;
    let mut client = Client::connect(&sim, "", Inflate::none()).await;
    client.identify(0, 2).await;
    let ready = client.dispatch("READY").await;
    assert_eq!(ready["d"]["guilds"].as_array().unwrap().len(), 2_000);
    client.until_sequence(2_001).await;
    assert_eq!(sim.fault(&Fault::Guilds { count: 4_006 }), Ok(1));
    for sequence in 2_002..2_005 {
        let joined = client.dispatch("GUILD_CREATE").await;
        assert_eq!(joined["s"], sequence);
        let id: u64 = joined["d"]["id"].as_str().unwrap().parse().unwrap();
        assert_eq!((id >> 22) % 2, 0);
    }
    sim.fault(&Fault::Guilds { count: 4_004 }).unwrap();
    assert_eq!(client.dispatch("GUILD_DELETE").await["s"], 2_005);

    // A shard that is full may stay, and may not identify again.
    sim.fault(&Fault::Guilds { count: 5_002 }).unwrap();
    client.until_sequence(2_005 + 499).await;
    let mut another = Client::connect(&sim, "", Inflate::none()).await;
    another.identify(1, 2).await;
    assert_eq!(another.close_code().await, Some(4011));
    assert_eq!(sim.report().broken_rules[0].rule, "sharding_required");
    assert!(sim.fault(&Fault::Guilds { count: u32::MAX }).is_err());
}

#[tokio::test]
async fn a_storm_of_op_9_answers_identify_and_resume() {
    let sim = start(SimConfig {
        identify_window_ms: 0,
        ..config()
    })
    .await;
    let mut client = Client::connect(&sim, "", Inflate::none()).await;
    client.identify(0, 2).await;
    let session = client.dispatch("READY").await["d"]["session_id"].clone();
    sim.fault(&Fault::Drop { shard: None }).unwrap();
    let storm = |resumable, times| Fault::InvalidSessions {
        resumable,
        times: Some(times),
        ms: None,
    };
    let resume = json!({"op": 6, "d": {"token": "x", "session_id": session, "seq": 1}});

    sim.fault(&storm(true, 2)).unwrap();
    let mut client = Client::connect(&sim, "", Inflate::none()).await;
    for payload in [
        &resume,
        &json!({"op": 2, "d": {"token": "x", "shard": [1, 2], "intents": 0, "properties": {}}}),
    ] {
        client.send(payload.clone()).await;
        let answer = client.next().await;
        assert_eq!((&answer["op"], &answer["d"]), (&json!(9), &json!(true)));
    }
    client.send(resume.clone()).await;
    client.until("RESUMED").await;

    sim.fault(&Fault::Drop { shard: None }).unwrap();
    sim.fault(&storm(false, 1)).unwrap();
    let mut client = Client::connect(&sim, "", Inflate::none()).await;
    for _ in 0..2 {
        client.send(resume.clone()).await;
        let answer = client.next().await;
        assert_eq!(
            (&answer["op"], &answer["d"]),
            (&json!(9), &json!(false)),
            "the session is gone"
        );
    }
    let report = sim.report();
    assert_eq!((report.identify_count, report.resume_failures), (2, 3));
    assert_eq!(report.budget.spent, 2, "a refused IDENTIFY costs a start");
    assert_eq!(report.broken_rule_count, 0);
}

#[tokio::test]
async fn a_rate_limit_of_rest_says_how_long_it_lasts() {
    let sim = start(config()).await;
    sim.fault(&Fault::Rest {
        status: 429,
        times: Some(1),
        retry_after: Some(7),
    })
    .unwrap();
    assert_eq!(gateway_bot(&sim).await["retry_after"], 7.0);
    assert_eq!(gateway_bot(&sim).await["shards"], 2);
    assert_eq!(sim.report().rest, [(200, 1), (429, 1)].into());
}
