//! The two published versions of the API, row by row and body by body.

use std::time::Instant;

use serde_json::json;

use crate::support::{Response, Shardman, call, eventually, get, let_pass, post, seconds};

const SECRET: &str = "test-secret";

fn leases_only(shards: &str, more: &[(&str, &str)]) -> Shardman {
    let mut settings = vec![("MAX_SHARDS", shards), ("WORKERS", "0")];
    settings.extend(more);
    Shardman::up(&settings)
}

#[track_caller]
fn expect(answer: &Response, status: u16, body: &str) {
    assert_eq!((answer.status, answer.body.as_str()), (status, body));
}

/// The names of the members, in the order of the answer.
fn keys(answer: &Response) -> Vec<String> {
    let members = answer.body.trim_matches(['{', '}']).split(',');
    members
        .map(|member| member.split('"').nth(1).unwrap().to_owned())
        .collect()
}

#[test]
fn the_current_version_answers_as_published() {
    let mut shardman = leases_only("1", &[]);
    let at = shardman.address;

    let connected = shardman.connect();
    assert_eq!(connected.status, 200);
    assert_eq!(
        keys(&connected)[..4],
        ["shard_id", "max_shards", "session_id", "sleep_duration"]
    );
    let body = connected.json();
    assert_eq!(
        (&body["shard_id"], &body["max_shards"], &body["sleep_duration"]),
        (&json!(0), &json!(1), &json!(0.0))
    );
    let session = body["session_id"].as_str().unwrap().to_owned();

    expect(&shardman.connect(), 401, r#"{"detail":"No Shards Available"}"#);
    expect(&shardman.beat(&session), 204, "");
    let bearer = call(
        at,
        "POST",
        "/beat",
        &[("Authorization", "Bearer test-secret")],
        Some(&format!(r#"{{"session_id":"{session}"}}"#)),
    );
    expect(&bearer, 204, "");
    expect(
        &post(at, "/beat", SECRET, r#"{"session_id":"nobody"}"#),
        404,
        r#"{"detail":"Session Not Found"}"#,
    );
    expect(
        &get(at, "/connect", "wrong"),
        403,
        r#"{"detail":"Invalid Token"}"#,
    );
    expect(
        &post(at, "/beat", "wrong", "{}"),
        403,
        r#"{"detail":"Invalid Token"}"#,
    );
    let missing = r#"{"detail":[{"loc":["header","authorization"],"msg":"field required","type":"value_error.missing"}]}"#;
    expect(&call(at, "GET", "/connect", &[], None), 422, missing);

    expect(
        &get(at, "/disconnect?session_id=nobody", SECRET),
        404,
        r#"{"detail":"Session Not Found"}"#,
    );
    expect(
        &get(at, &format!("/disconnect?session_id={session}"), SECRET),
        204,
        "",
    );
    expect(&shardman.beat(&session), 404, r#"{"detail":"Session Not Found"}"#);
    assert!(shardman.stop().success());
}

#[test]
fn the_older_version_answers_as_published() {
    let mut shardman = leases_only("1", &[]);
    let at = shardman.address;
    let plain = |path: &str| call(at, "GET", path, &[], None);

    let connected = plain("/connect?token=test-secret");
    assert_eq!(connected.status, 200);
    assert_eq!(keys(&connected), ["shard", "max_shards", "session_id"]);
    let session = connected.json()["session_id"].as_str().unwrap().to_owned();

    expect(
        &plain("/connect?token=test-secret"),
        401,
        r#"{"detail":"Too Many Shards"}"#,
    );
    expect(
        &plain(&format!("/beat?token=test-secret&session_id={session}")),
        204,
        "",
    );
    expect(
        &plain("/beat?token=test-secret&session_id=nobody"),
        404,
        r#"{"detail":"Session Not Found"}"#,
    );
    expect(
        &plain("/connect?token=wrong"),
        403,
        r#"{"detail":"Invalid Token"}"#,
    );
    expect(
        &plain("/beat?token=wrong&session_id=x"),
        403,
        r#"{"detail":"Invalid Token"}"#,
    );
    let both = r#"{"detail":[{"loc":["query","token"],"msg":"field required","type":"value_error.missing"},{"loc":["query","session_id"],"msg":"field required","type":"value_error.missing"}]}"#;
    expect(&plain("/beat"), 422, both);
    assert!(shardman.stop().success());
}

#[test]
fn a_beat_is_refused_in_the_published_words() {
    let mut shardman = leases_only("1", &[]);
    let at = shardman.address;
    let one = |loc: &str, msg: &str, kind: &str| {
        format!(r#"{{"detail":[{{"loc":[{loc}],"msg":"{msg}","type":"{kind}"}}]}}"#)
    };
    let beat = |body: &str| post(at, "/beat", SECRET, body);
    let missing = |loc: &str| one(loc, "field required", "value_error.missing");
    expect(
        &call(at, "POST", "/beat", &[("Authorization", SECRET)], None),
        422,
        &missing(r#""body""#),
    );
    expect(&beat("{}"), 422, &missing(r#""body","session_id""#));
    let integer = one(
        r#""body","guild_count""#,
        "value is not a valid integer",
        "type_error.integer",
    );
    expect(&beat(r#"{"session_id":"x","guild_count":"many"}"#), 422, &integer);
    let float = one(
        r#""body","latency""#,
        "value is not a valid float",
        "type_error.float",
    );
    expect(&beat(r#"{"session_id":"x","latency":{}}"#), 422, &float);
    let text = one(r#""body","session_id""#, "str type expected", "type_error.str");
    expect(&beat(r#"{"session_id":[]}"#), 422, &text);
    assert_eq!(beat(r#"{"session_id":"#).status, 422);
    assert_eq!(beat(r#"{"session_id":"x","latency":NaN}"#).status, 422);
    assert_eq!(
        beat(&format!(
            r#"{{"session_id":"x","extra":{}}}"#,
            "[".repeat(100_000)
        ))
        .status,
        413
    );
    assert_eq!(
        beat(&format!(
            r#"{{"session_id":"x","extra":{}1{}}}"#,
            "[".repeat(2000),
            "]".repeat(2000)
        ))
        .status,
        422
    );
    // What the published server took is taken: the session alone is at fault.
    let lenient = r#"{"session_id":"x","guild_count":"12","latency":true,"unknown":[1]}"#;
    expect(&beat(lenient), 404, r#"{"detail":"Session Not Found"}"#);
    let untyped = call(at, "POST", "/beat", &[("Authorization", SECRET)], Some(lenient));
    expect(&untyped, 404, r#"{"detail":"Session Not Found"}"#);
    assert!(shardman.stop().success());
}

#[test]
fn unknown_routes_and_wrong_verbs_are_refused_in_the_same_shape() {
    let mut shardman = leases_only("1", &[]);
    let at = shardman.address;
    expect(&get(at, "/nothing", SECRET), 404, r#"{"detail":"Not Found"}"#);
    let wrong = call(at, "DELETE", "/beat", &[("Authorization", SECRET)], None);
    expect(&wrong, 405, r#"{"detail":"Method Not Allowed"}"#);
    assert!(wrong.header("allow").is_some_and(|allow| allow.contains("POST")));
    assert_eq!(call(at, "GET", "/health", &[], None).status, 200);
    assert_eq!(call(at, "GET", "/ready", &[], None).status, 200);
    assert_eq!(call(at, "GET", "/docs", &[], None).status, 200);
    let openapi = call(at, "GET", "/openapi.json", &[], None).json();
    assert!(openapi["paths"].as_object().unwrap().contains_key("/connect"));
    assert!(shardman.stop().success());
}

#[test]
fn status_shows_what_the_beats_said_and_keeps_what_they_do_not_mention() {
    let mut shardman = leases_only("2", &[]);
    let at = shardman.address;
    let session = shardman.connect().json()["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = json!({"session_id": session, "guild_count": 7, "latency": 0.25, "extra": {"a": [1, null]}});
    assert_eq!(post(at, "/beat", SECRET, &body.to_string()).status, 204);
    assert_eq!(shardman.beat(&session).status, 204);
    let status = get(at, "/status", SECRET).json();
    assert_eq!(status["total_shards"], 2);
    let shard = &status["shards"][0];
    assert_eq!(shard["shard_id"], 0);
    assert_eq!(
        (&shard["guild_count"], &shard["latency"], &shard["extra"]),
        (&json!(7), &json!(0.25), &json!({"a": [1, null]}))
    );
    assert!(shard["last_beat"].as_str().unwrap().ends_with("+00:00"));
    assert_eq!(
        call(at, "GET", "/status", &[], None).status,
        422,
        "a secret is asked for"
    );
    assert!(shardman.stop().success());

    let mut public = leases_only("1", &[("PUBLIC_STATUS", "true")]);
    expect(
        &call(public.address, "GET", "/status", &[], None),
        200,
        r#"{"total_shards":1,"shards":[]}"#,
    );
    assert!(public.stop().success());
}

#[test]
fn sleepers_are_told_their_own_slot_however_long_the_line() {
    let mut shardman = leases_only("4", &[]);
    let slots: Vec<_> = (0..4)
        .map(|_| shardman.connect().json()["sleep_duration"].as_f64().unwrap())
        .collect();
    for (number, slot) in slots.iter().enumerate() {
        let expected = 6.0 * number as f64;
        assert!((slot - expected).abs() < 0.5, "{slots:?}");
    }
    assert!(shardman.stop().success());
}

#[test]
fn a_lease_lapses_in_time_and_its_shard_is_handed_on() {
    let mut shardman = leases_only("1", &[("MAX_SECONDS", "3")]);
    let session = shardman.connect().json()["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let_pass(seconds(2.0));
    assert_eq!(shardman.beat(&session).status, 204);
    let beaten = Instant::now();
    let_pass(seconds(2.0));
    assert_eq!(shardman.connect().status, 401, "a beat came in time");
    eventually(seconds(2.5), "the shard is handed on", || {
        (shardman.connect().status == 200).then_some(())
    });
    let after = beaten.elapsed();
    assert!(after >= seconds(3.0), "not before its time: {after:?}");
    assert!(after < seconds(4.3), "within a second after its time: {after:?}");
    assert_eq!(shardman.beat(&session).status, 404, "a late beat revives nothing");
    assert!(shardman.stop().success());
}

#[test]
fn a_repeated_request_gets_the_same_lease() {
    let mut shardman = leases_only("3", &[]);
    let connect = |key: &str| {
        call(
            shardman.address,
            "GET",
            "/connect",
            &[("Authorization", SECRET), ("Idempotency-Key", key)],
            None,
        )
        .json()
    };
    let (first, again, other) = (connect("a"), connect("a"), connect("b"));
    assert_eq!(
        (&first["session_id"], &first["shard_id"]),
        (&again["session_id"], &again["shard_id"])
    );
    assert_ne!(first["session_id"], other["session_id"]);
    shardman.kill();
    shardman.start();
    let after = call(
        shardman.address,
        "GET",
        "/connect",
        &[("Authorization", SECRET), ("Idempotency-Key", "a")],
        None,
    );
    assert_eq!(
        after.json()["session_id"],
        first["session_id"],
        "also after a crash"
    );
    assert!(shardman.stop().success());
}

#[test]
fn web_pages_of_the_named_origins_may_call() {
    let mut shardman = leases_only("1", &[("CORS_ORIGINS", "https://a.example,https://b.example")]);
    let ask = |origin: &str| {
        call(shardman.address, "GET", "/health", &[("Origin", origin)], None)
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    assert_eq!(ask("https://b.example").as_deref(), Some("https://b.example"));
    assert_eq!(ask("https://c.example"), None);
    assert!(shardman.stop().success());
}

#[test]
fn a_beat_that_was_overtaken_brings_back_no_old_resume_point() {
    let mut shardman = leases_only("1", &[]);
    let session = shardman.connect().json()["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let beat = |number: u32, sequence: u32| {
        let gateway = json!({"session_id": "g", "sequence": sequence, "resume_url": "wss://r"});
        let body = json!({"session_id": session, "state": "ready", "number": number, "gateway": gateway});
        post(shardman.address, "/beat", SECRET, &body.to_string())
    };
    expect(&beat(2, 10), 200, r#"{"directive":"carry_on"}"#);
    expect(&beat(1, 5), 200, r#"{"directive":"carry_on"}"#);
    let path = format!("/disconnect?session_id={session}");
    expect(&get(shardman.address, &path, SECRET), 204, "");
    assert_eq!(shardman.connect().json()["resume"]["sequence"], 10);
    assert!(shardman.stop().success());
}
