//! `openapi.json` against what the oracle answers, and against the published
//! document's tables.

use serde_json::{Value, json};

use super::support::{Oracle, Response};

#[path = "../../../tests/it/openapi/schema.rs"]
mod schema;

use schema::{flaws, resolve};

fn description() -> Value {
    serde_json::from_str(include_str!("../../openapi.json")).unwrap()
}

#[track_caller]
fn is_as_described(all: &Value, method: &str, path: &str, response: &Response) {
    let answers = &all["paths"][path][method]["responses"];
    let answer = answers.get(response.status.to_string());
    let answer = resolve(
        all,
        answer.unwrap_or_else(|| panic!("{path}: {} is not described", response.status)),
    );
    for (name, _) in answer["headers"].as_object().unwrap() {
        let may_miss = ["X-Accel-Buffering", "Retry-After", "x-should-retry"].contains(&name.as_str());
        assert!(may_miss || response.header(name).is_some(), "{path}: no {name}");
    }
    let media_type = response
        .header("content-type")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let schema = &answer["content"][media_type]["schema"];
    assert!(schema.is_object(), "{path}: {media_type} is not described");
    if media_type == "application/json" {
        let found = flaws(all, schema, &response.json());
        assert!(found.is_empty(), "{path}: {found:?} in {}", response.body);
    }
}

#[test]
fn every_answer_is_as_described() {
    let all = description();
    let oracle = Oracle::start(&[("SHARD_API_KEYS", "alpha"), ("SHARD_RATE_LIMIT_PER_MINUTE", "14")]);
    let key = [("X-API-Key", "alpha"), ("Content-Type", "application/json")];
    let get = |path: &str| oracle.connect().call("GET", path, &key, None);
    for path in all["paths"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|path| !path.contains("chat"))
    {
        let asked = path.replace("{id}", "shard-hybrid");
        let response = get(&asked);
        assert_eq!(response.status, 200, "{path}");
        is_as_described(&all, "get", path, &response);
    }
    is_as_described(&all, "get", "/v1/models/{id}", &get("/v1/models/x"));
    is_as_described(&all, "get", "/v1/system/peers", &oracle.get("/v1/system/peers"));
    let chat = |body: Value| {
        let response = oracle
            .connect()
            .call("POST", "/v1/chat/completions", &key, Some(&body.to_string()));
        is_as_described(&all, "post", "/v1/chat/completions", &response);
        response.status
    };
    let asking = |fields: Value| {
        let mut body = json!({"model": "shard-hybrid", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3});
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        body
    };
    assert_eq!(chat(asking(json!({}))), 200);
    assert_eq!(
        chat(asking(json!({"logprobs": true, "top_logprobs": 2, "n": 2}))),
        200
    );
    assert_eq!(chat(asking(json!({"stream": true}))), 200);
    assert_eq!(chat(asking(json!({"audio": {}}))), 400);
    assert_eq!(chat(asking(json!({"model": "x"}))), 404);
    assert_eq!(
        chat(asking(
            json!({"messages": [{"role": "user", "content": "x".repeat(16_001)}]})
        )),
        413
    );
    assert_eq!(
        chat(asking(
            json!({"messages": [{"role": "user", "content": "!fail-after=0!"}]})
        )),
        503
    );
    // 4 and 1 and 7 were taken; 14 there are.
    let statuses: Vec<u16> = (0..4).map(|_| chat(asking(json!({})))).collect();
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
}

#[test]
fn every_event_of_a_stream_is_as_described() {
    let all = description();
    let oracle = Oracle::start(&[]);
    let fields = json!({
        "max_tokens": 5, "n": 2, "logprobs": true, "top_logprobs": 1, "stream_options": {"include_usage": true},
    });
    let events = oracle.stream("!long!", fields).events();
    let (done, chunks) = events.split_last().unwrap();
    assert_eq!(done, "[DONE]");
    for chunk in chunks {
        let chunk: Value = serde_json::from_str(chunk).unwrap();
        let found = flaws(&all, &all["components"]["schemas"]["Chunk"], &chunk);
        assert!(found.is_empty(), "{found:?} in {chunk}");
    }
    let events = oracle.stream("!fail-after=2!", json!({})).events();
    let error: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    let found = flaws(&all, &all["components"]["schemas"]["Error"], &error);
    assert!(found.is_empty(), "{found:?} in {error}");
}

#[test]
fn every_field_of_the_published_tables_is_described() {
    let all = description();
    for (schema, fields) in [
        ("ChatRequest", "model messages temperature max_tokens stream"),
        ("Message", "role content"),
        ("Completion", "id object choices usage"),
        ("Choice", "index message finish_reason"),
        ("Usage", "prompt_tokens completion_tokens total_tokens"),
        ("Chunk", "id object created model choices"),
        ("ModelList", "object data"),
        ("Model", "id object owned_by permission"),
        (
            "Topology",
            "status source oracle_peer_id oracle_webrtc_multiaddr oracle_ws_multiaddr listen_addrs known_peer_count",
        ),
        ("Peers", "peers count"),
        (
            "Peer",
            "peer_id connected_at last_seen_at addrs verified handshake_failures",
        ),
        (
            "Health",
            "status idle accepting_swarm_jobs rust_sidecar rust_url bitnet_loaded cors_origins",
        ),
        ("Error", "error detail"),
    ] {
        let properties = &all["components"]["schemas"][schema]["properties"];
        for field in fields.split(' ') {
            assert!(properties[field].is_object(), "{schema}.{field}");
        }
    }
    let chat = &all["components"]["schemas"]["ChatRequest"]["properties"];
    let of = |field: &str, name: &str| chat[field][name].clone();
    assert_eq!(of("temperature", "default"), 0.7);
    assert_eq!(
        (of("temperature", "minimum"), of("temperature", "maximum")),
        (json!(0), json!(2))
    );
    assert_eq!(of("max_tokens", "default"), 256);
    assert_eq!(
        (of("max_tokens", "minimum"), of("max_tokens", "maximum")),
        (json!(1), json!(2048))
    );
    assert_eq!(of("stream", "default"), false);
    let answers = all["paths"]["/v1/chat/completions"]["post"]["responses"]
        .as_object()
        .unwrap();
    for status in ["200", "400", "401", "413", "429", "500", "503"] {
        assert!(answers.contains_key(status), "{status}");
    }
}
