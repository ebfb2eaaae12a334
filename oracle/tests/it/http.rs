//! What the API answers: the published document's endpoints, OpenAI's fields,
//! keys, methods and origins.

use serde_json::{Value, json};

use super::support::{Oracle, text_of};

#[test]
fn a_chat_is_answered_with_every_field_and_true_counts() {
    let oracle = Oracle::start(&[]);
    let response = oracle.ask("Hello!", json!({"max_tokens": 8, "temperature": 0}));
    assert_eq!(response.status, 200, "{}", response.body);
    let body = response.json();
    assert_eq!(
        (&body["object"], &body["model"]),
        (&json!("chat.completion"), &json!("shard-hybrid"))
    );
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    assert!(!body["system_fingerprint"].as_str().unwrap().is_empty());
    let choice = &body["choices"][0];
    assert_eq!((&choice["index"], &choice["logprobs"]), (&json!(0), &Value::Null));
    assert_eq!(choice["message"]["role"], "assistant");
    let usage = |name: &str| body["usage"][name].as_u64().unwrap();
    assert!(usage("prompt_tokens") > 0);
    assert_eq!(
        usage("total_tokens"),
        usage("prompt_tokens") + usage("completion_tokens")
    );
    // A longer prompt has more tokens.
    let longer = oracle
        .ask("Hello! Hello! Hello!", json!({"max_tokens": 8}))
        .json();
    assert!(longer["usage"]["prompt_tokens"].as_u64().unwrap() > usage("prompt_tokens"));
}

#[test]
fn an_answer_ends_at_its_limit_or_at_a_stop_and_says_which() {
    let oracle = Oracle::start(&[]);
    let whole = oracle.ask("!long! Hello!", json!({"max_tokens": 40, "seed": 3}));
    assert_eq!(whole.json()["choices"][0]["finish_reason"], "length");
    assert_eq!(whole.json()["usage"]["completion_tokens"], 40);
    let text = whole.text();
    // A stop that begins in one token and ends in another.
    let stop: String = text.chars().skip(20).take(6).collect();
    let stopped = oracle.ask(
        "!long! Hello!",
        json!({"max_tokens": 40, "seed": 3, "stop": [&stop]}),
    );
    assert_eq!(stopped.json()["choices"][0]["finish_reason"], "stop");
    assert_eq!(stopped.text(), text.split(&stop).next().unwrap());
    // The newer name of the limit wins.
    let limits = json!({"max_tokens": 40, "max_completion_tokens": 2});
    assert_eq!(
        oracle.ask("!long!", limits).json()["usage"]["completion_tokens"],
        2
    );
}

#[test]
fn the_same_seed_gets_the_same_answer_whole_or_streamed() {
    let oracle = Oracle::start(&[]);
    let fields = json!({"max_tokens": 40, "temperature": 1});
    let first = oracle.ask("Hello!", fields.clone());
    let mut again = fields.clone();
    again["seed"] = first.json()["shard"]["seed"].clone();
    assert_eq!(oracle.ask("Hello!", again.clone()).text(), first.text());
    let events = oracle.stream("Hello!", again.clone()).events();
    assert_eq!(text_of(&events), first.text());
    let other = oracle.ask("Hello!", fields);
    assert_ne!(other.json()["shard"]["seed"], first.json()["shard"]["seed"]);
    assert_ne!(other.text(), first.text());
    again["seed"] = json!(-1);
    assert_ne!(oracle.ask("Hello!", again).text(), first.text());
}

#[test]
fn several_choices_and_their_probabilities_are_told() {
    let oracle = Oracle::start(&[]);
    let fields =
        json!({"max_tokens": 6, "n": 3, "seed": 1, "logprobs": true, "top_logprobs": 2, "temperature": 1});
    let body = oracle.ask("!long!", fields).json();
    let choices = body["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 3);
    assert_eq!(body["usage"]["completion_tokens"], 18);
    let texts: Vec<_> = choices
        .iter()
        .map(|choice| &choice["message"]["content"])
        .collect();
    assert!(texts[0] != texts[1] && texts[1] != texts[2], "{texts:?}");
    // The first is the one that a request for one gets.
    let one = oracle.ask("!long!", json!({"max_tokens": 6, "seed": 1, "temperature": 1}));
    assert_eq!(one.text(), texts[0].as_str().unwrap());
    for choice in choices {
        let content = choice["logprobs"]["content"].as_array().unwrap();
        assert_eq!(content.len(), 6);
        for token in content {
            assert!(token["logprob"].as_f64().unwrap() <= 0.0);
            let top = token["top_logprobs"].as_array().unwrap();
            assert_eq!(top.len(), 2);
            assert!(top[0]["logprob"].as_f64().unwrap() >= top[1]["logprob"].as_f64().unwrap());
            assert!(token["bytes"].is_array() && token["token"].is_string());
        }
    }
}

#[test]
fn a_bias_forbids_or_forces_a_token() {
    let oracle = Oracle::start(&[]);
    let fields = json!({"max_tokens": 5, "logit_bias": {"97": 100}, "logprobs": true});
    let forced = oracle.ask("!long!", fields).json();
    let content = forced["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let tokens: Vec<_> = content.iter().map(|token| token["bytes"].clone()).collect();
    assert_eq!(tokens.len(), 5);
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
}

#[test]
fn the_models_are_listed_and_found() {
    let oracle = Oracle::start(&[]);
    let list = oracle.get("/v1/models").json();
    assert_eq!(list["object"], "list");
    let model = &list["data"][0];
    assert_eq!(model["id"], "shard-hybrid");
    assert_eq!(
        (&model["owned_by"], &model["permission"]),
        (&json!("shard-network"), &json!([]))
    );
    assert_eq!(&oracle.get("/v1/models/shard-hybrid").json(), model);
    // Whatever is asked for, text or not.
    for other in ["gpt-4", "%ff", "%00", "%", "a%20b"] {
        let unknown = oracle.get(&format!("/v1/models/{other}"));
        assert_eq!(
            (unknown.status, unknown.code().as_str()),
            (404, "model_not_found"),
            "{other}"
        );
    }
    let unknown = oracle.ask("hi", json!({"model": "gpt-4"}));
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (404, "model_not_found")
    );
    let missing = oracle.ask("hi", json!({"model": null}));
    assert_eq!(
        (missing.status, &missing.json()["error"]["param"]),
        (400, &json!("model"))
    );
}

#[test]
fn whoever_has_no_key_is_told_so() {
    let oracle = Oracle::start(&[("SHARD_API_KEYS", "alpha,beta")]);
    let guarded = [
        "/v1/models",
        "/v1/models/shard-hybrid",
        "/v1/system/topology",
        "/v1/system/peers",
        "/v1/none",
    ];
    let as_header = |name: &'static str, value: &'static str, path: &str| {
        oracle.connect().call("GET", path, &[(name, value)], None)
    };
    for path in guarded {
        for refused in [oracle.get(path), as_header("Authorization", "Bearer gamma", path)] {
            assert_eq!(
                (refused.status, refused.code().as_str()),
                (401, "invalid_api_key"),
                "{path}"
            );
            assert_eq!(refused.json()["detail"], "Missing or invalid API key");
            assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"));
        }
        for (name, value) in [("Authorization", "bearer alpha"), ("X-API-Key", "beta")] {
            assert_ne!(as_header(name, value, path).status, 401, "{path} {name}");
        }
    }
    assert_eq!(oracle.ask("hi", json!({})).status, 401);
    for path in ["/health", "/ready", "/metrics", "/openapi.json"] {
        assert_eq!(oracle.get(path).status, 200, "{path}");
    }
    assert_eq!(oracle.metric("shard_auth_failures_total"), 11.0);
    assert!(!oracle.log().contains("alpha"));
}

#[test]
fn a_wrong_method_and_an_unknown_path_are_refused_in_the_documented_shape() {
    let oracle = Oracle::start(&[]);
    let call = |method: &str, path: &str| oracle.connect().call(method, path, &[], None);
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("BREW", "/metrics", "GET, HEAD"),
    ] {
        let refused = call(method, path);
        assert_eq!(
            (refused.status, refused.header("allow")),
            (405, Some(allow)),
            "{method} {path}"
        );
        refused.code();
    }
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/completions",
        "/v1/models/",
        "/v1/models/a/b",
        "/%00",
        "/health/",
    ] {
        let refused = call("GET", path);
        assert_eq!(refused.status, 404, "{path}");
        refused.code();
    }
    assert_eq!(call("HEAD", "/health").status, 200);
}

#[test]
fn every_answer_names_its_request() {
    let oracle = Oracle::start(&[]);
    let with_id = |id: &str| {
        oracle
            .connect()
            .call("GET", "/health", &[("X-Request-Id", id)], None)
    };
    assert_eq!(with_id("mine-1.2:3").header("x-request-id"), Some("mine-1.2:3"));
    for bad in ["a b", "", &"x".repeat(129)] {
        let id = with_id(bad);
        assert!(id.header("x-request-id").unwrap().starts_with("req_"), "{bad}");
    }
    for answer in [
        oracle.get("/none"),
        oracle.get("/v1/models"),
        oracle.post("{"),
        oracle.ask("hi", json!({})),
    ] {
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    }
}

#[test]
fn pages_of_the_configured_origins_may_ask() {
    let ask = |oracle: &Oracle, origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            (
                "Access-Control-Request-Headers",
                "authorization,content-type,x-stainless-lang",
            ),
        ];
        oracle
            .connect()
            .call("OPTIONS", "/v1/chat/completions", &headers, None)
    };
    let oracle = Oracle::start(&[("SHARD_API_KEYS", "alpha")]);
    for origin in ["http://localhost:3000", "http://127.0.0.1:3000"] {
        let allowed = ask(&oracle, origin);
        assert_eq!(allowed.status, 200);
        assert_eq!(allowed.header("access-control-allow-origin"), Some(origin));
        assert!(
            allowed
                .header("access-control-allow-methods")
                .unwrap()
                .contains("POST")
        );
        let headers = allowed.header("access-control-allow-headers").unwrap();
        assert!(
            headers.contains("authorization") && headers.contains("x-stainless-lang"),
            "{headers}"
        );
        // A page can read a refusal too.
        let refused = oracle
            .connect()
            .call("GET", "/v1/models", &[("Origin", origin)], None);
        assert_eq!(refused.status, 401);
        assert_eq!(refused.header("access-control-allow-origin"), Some(origin));
        assert!(
            refused
                .header("access-control-expose-headers")
                .unwrap()
                .contains("x-request-id")
        );
    }
    assert_eq!(
        ask(&oracle, "http://evil.example").header("access-control-allow-origin"),
        None
    );
    let anybody = Oracle::start(&[("SHARD_CORS_ORIGINS", "*")]);
    let allowed = ask(&anybody, "http://any.example");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("*"));
}

#[test]
fn prometheus_can_read_the_metrics() {
    let oracle = Oracle::start(&[]);
    for _ in 0..3 {
        assert_eq!(oracle.ask("hi", json!({"max_tokens": 2})).status, 200);
    }
    assert_eq!(oracle.post("{").status, 400);
    let response = oracle.get("/metrics");
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for (name, help) in [
        ("shard_chat_requests_total", "Total chat completion requests"),
        ("shard_chat_failures_total", "Total inference failures"),
        ("shard_auth_failures_total", "Total authentication failures"),
        ("shard_rate_limited_total", "Total rate-limited requests"),
    ] {
        let lines = format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} ");
        assert!(response.body.contains(&lines), "{lines}");
    }
    for line in response.body.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(
            series.starts_with("shard_") || series.starts_with("oracle_"),
            "{line}"
        );
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert_eq!(oracle.metric("shard_chat_requests_total"), 4.0);
    assert_eq!(oracle.metric("shard_chat_failures_total"), 0.0);
    assert!(response.body.contains("oracle_http_request_duration_seconds_count{method=\"POST\",route=\"/v1/chat/completions\",status=\"200\"} 3"));
}
