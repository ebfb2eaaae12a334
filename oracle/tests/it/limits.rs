//! Every bound at its edge: taken at it, refused past it.

use serde_json::{Value, json};

use super::support::{Oracle, Response, asking, eventually, let_pass, seconds};

fn left(response: &Response) -> (u64, u64) {
    (
        response.number("x-ratelimit-limit"),
        response.number("x-ratelimit-remaining"),
    )
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back_and_then_served() {
    let oracle = Oracle::start(&[("SHARD_RATE_LIMIT_PER_MINUTE", "60")]);
    let mut connection = oracle.connect();
    let mut ask = || connection.call("GET", "/v1/models", &[], None);
    let first = ask();
    assert_eq!((first.status, left(&first)), (200, (60, 59)));
    assert!(first.number("x-ratelimit-reset") >= 1);
    let mut served = 1;
    let refused = loop {
        let answer = ask();
        if answer.status == 429 {
            break answer;
        }
        served += 1;
        assert!(served < 200, "there is no limit");
    };
    // A bucket fills while it is emptied.
    println!("{served} requests were served before one was refused");
    assert!(served >= 60);
    assert_eq!(
        (refused.code().as_str(), left(&refused)),
        ("rate_limit_exceeded", (60, 0))
    );
    assert_eq!(refused.json()["detail"], "Rate limit exceeded");
    assert_eq!(refused.number("retry-after"), 1);
    assert!((58..=60).contains(&refused.number("x-ratelimit-reset")));
    let_pass(seconds(1.0));
    assert_eq!(ask().status, 200);
    assert!(oracle.metric("shard_rate_limited_total") >= 1.0);
}

#[test]
fn every_answer_tells_what_is_left_and_looking_costs_nothing() {
    let oracle = Oracle::start(&[
        ("SHARD_API_KEYS", "alpha,beta"),
        ("SHARD_RATE_LIMIT_PER_MINUTE", "3"),
    ]);
    let call = |method: &str, path: &str, headers: &[(&str, &str)]| {
        oracle.connect().call(method, path, headers, None)
    };
    for path in ["/health", "/ready", "/metrics", "/openapi.json", "/none"] {
        for _ in 0..5 {
            assert_eq!(left(&call("GET", path, &[])), (3, 3), "{path}");
        }
    }
    let preflight = [
        ("Origin", "http://localhost:3000"),
        ("Access-Control-Request-Method", "POST"),
    ];
    assert_eq!(left(&call("OPTIONS", "/v1/models", &preflight)), (3, 3));
    // Keys and strangers do not share.
    let alpha = [("X-API-Key", "alpha")];
    let beta = [("Authorization", "Bearer beta")];
    assert_eq!(left(&call("GET", "/v1/models", &alpha)), (3, 2));
    assert_eq!(left(&call("PUT", "/v1/models", &alpha)), (3, 1));
    assert_eq!(left(&call("GET", "/v1/nothing", &alpha)), (3, 0));
    assert_eq!(call("GET", "/v1/models", &alpha).status, 429);
    // Where no key is asked for, a good one shows nothing.
    assert_eq!(left(&call("GET", "/health", &alpha)), (3, 3));
    assert_eq!(left(&call("GET", "/v1/models", &beta)), (3, 2));
    // Without a key it is the address that is counted.
    let statuses: Vec<u16> = (0..4).map(|_| call("GET", "/v1/models", &[]).status).collect();
    assert_eq!(statuses, [401, 401, 401, 429]);
    assert_eq!(left(&call("GET", "/v1/models", &beta)), (3, 1));
}

#[test]
fn who_guesses_keys_is_not_told_which_one_is_good() {
    for limit in ["2", "0"] {
        let oracle = Oracle::start(&[
            ("SHARD_API_KEYS", "alpha,long-enough"),
            ("SHARD_RATE_LIMIT_PER_MINUTE", limit),
        ]);
        let try_key = |key: &str| {
            oracle
                .connect()
                .call("GET", "/v1/models", &[("X-API-Key", key)], None)
        };
        let mut wrong = 0;
        let stopped = loop {
            let answer = try_key("guess");
            if answer.status == 429 {
                break answer;
            }
            assert_eq!(answer.status, 401);
            wrong += 1;
            assert!(wrong < 50, "there is no limit");
        };
        println!("{wrong} wrong keys were looked at");
        assert!(wrong >= 10);
        // Past the limit a good key looks like any other.
        let told = |answer: &Response| {
            let headers = ["x-ratelimit-limit", "x-ratelimit-remaining"];
            let headers = headers.map(|name| answer.header(name).map(str::to_owned));
            (answer.status, answer.body.clone(), headers)
        };
        let good = try_key("alpha");
        assert_eq!(told(&good), told(&stopped));
        let retry_after = good.number("retry-after");
        assert!((1..=6).contains(&retry_after), "{retry_after}");
        let bearer = [("Authorization", "Bearer long-enough")];
        assert_eq!(
            oracle.connect().call("GET", "/v1/models", &bearer, None).status,
            429
        );
        let looked = oracle.metric("shard_auth_failures_total");
        assert!(looked >= f64::from(wrong + 3), "{looked}");
        assert_eq!(oracle.get("/health").status, 200);
        let served = || (try_key("alpha").status == 200).then_some(());
        eventually(seconds(20.0), "a good key is good again", served);
        assert!(oracle.log().contains("1 of the keys in SHARD_API_KEYS"));
    }
}

#[test]
fn without_a_limit_nothing_is_told_of_it() {
    let oracle = Oracle::start(&[]);
    for _ in 0..100 {
        assert_eq!(oracle.get("/v1/models").header("x-ratelimit-limit"), None);
    }
}

#[test]
fn a_prompt_has_sixteen_thousand_characters_however_they_are_written() {
    let oracle = Oracle::start(&[]);
    let messages = |chars: usize, escaped: &str| {
        let content = |count: usize| escaped.repeat(count);
        let (first, rest) = (content(8000), content(chars - 8000));
        let messages =
            format!(r#"[{{"role":"user","content":"{first}"}},{{"role":"user","content":"{rest}"}}]"#);
        oracle.post(&format!(
            r#"{{"model":"shard-hybrid","max_tokens":1,"messages":{messages}}}"#
        ))
    };
    for letter in ["x", "é", "🦀", r"\ud83e\udd80"] {
        // The model's context is smaller than that, so it says so; the limit of
        // characters has been passed.
        let fits = messages(16_000, letter);
        assert!(
            fits.status == 200 || fits.code() == "context_length_exceeded",
            "{letter}: {fits:?}"
        );
        let large = messages(16_001, letter);
        assert_eq!(
            (large.status, large.code().as_str()),
            (413, "prompt_too_large"),
            "{letter}"
        );
        assert_eq!(large.json()["detail"], "Prompt too large (>16000 chars)");
    }
    let small = Oracle::start(&[("SHARD_MAX_PROMPT_CHARS", "10")]);
    assert_eq!(small.ask(&"x".repeat(10), json!({"max_tokens": 1})).status, 200);
    let large = small.ask(&"x".repeat(11), json!({}));
    assert_eq!(
        (large.status, &large.json()["detail"]),
        (413, &json!("Prompt too large (>10 chars)"))
    );
}

#[test]
fn every_limit_of_a_request_holds_at_its_edge() {
    let oracle = Oracle::start(&[]);
    let one = json!({"role": "user", "content": "x"});
    let many = |count: usize| json!({"messages": vec![one.clone(); count]});
    let content = |count: usize| json!({"messages": [{"role": "user", "content": "x ".repeat(count / 2)}]});
    let stops = |count: usize| json!({"stop": vec!["!"; count]});
    for (taken, refused, param) in [
        (many(64), many(65), "messages"),
        (many(1), many(0), "messages"),
        (
            content(2),
            json!({"messages": [{"role": "user", "content": ""}]}),
            "messages[0].content",
        ),
        (content(2), content(8002), "messages[0].content"),
        (json!({"max_tokens": 1}), json!({"max_tokens": 0}), "max_tokens"),
        (
            json!({"max_tokens": 2048}),
            json!({"max_tokens": 2049}),
            "max_tokens",
        ),
        (
            json!({"temperature": 2}),
            json!({"temperature": 2.01}),
            "temperature",
        ),
        (
            json!({"temperature": 0}),
            json!({"temperature": -0.01}),
            "temperature",
        ),
        (
            json!({"temperature": 1e-45}),
            json!({"temperature": 1e300}),
            "temperature",
        ),
        (json!({"top_p": 1e-300}), json!({"top_p": 0}), "top_p"),
        (json!({"n": 4}), json!({"n": 5}), "n"),
        (stops(4), stops(5), "stop"),
        (
            json!({"logprobs": true, "top_logprobs": 20}),
            json!({"logprobs": true, "top_logprobs": 21}),
            "top_logprobs",
        ),
        (
            json!({"presence_penalty": -2}),
            json!({"presence_penalty": -2.01}),
            "presence_penalty",
        ),
        (
            json!({"frequency_penalty": 2}),
            json!({"frequency_penalty": 2.01}),
            "frequency_penalty",
        ),
        (json!({"seed": i64::MIN}), json!({"seed": u64::MAX}), "seed"),
    ] {
        let ask = |fields: &Value| {
            let mut body: Value = serde_json::from_str(&asking("!short!", json!({"max_tokens": 3}))).unwrap();
            body.as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            oracle.post(&body.to_string())
        };
        let answer = ask(&taken);
        assert_eq!(answer.status, 200, "{taken}: {}", answer.body);
        let answer = ask(&refused);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid_value"),
            "{refused:.80}"
        );
        assert_eq!(answer.json()["error"]["param"], param);
    }
}

#[test]
fn a_body_has_a_mebibyte() {
    let oracle = Oracle::start(&[]);
    let body = asking("hi", json!({"max_tokens": 1}));
    let padded = |bytes: usize| format!("{body}{}", " ".repeat(bytes - body.len()));
    assert_eq!(oracle.post(&padded(1 << 20)).status, 200);
    let large = oracle.post(&padded((1 << 20) + 1));
    assert_eq!((large.status, large.code().as_str()), (413, "body_too_large"));
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let oracle = Oracle::start(&[("ORACLE_QUEUE", "1"), ("ORACLE_ANSWERS", "1")]);
    let slow = asking("!long! !slow=20ms!", json!({"max_tokens": 2000}));
    let metric_is = |name: &str, value: f64| {
        eventually(seconds(20.0), name, || {
            (oracle.metric(name) == value).then_some(())
        });
    };
    let mut running = oracle.connect();
    running.send_post(&slow);
    metric_is("oracle_active_answers", 1.0);
    let mut waiting = oracle.connect();
    waiting.send_post(&slow);
    metric_is("oracle_queue_requests", 1.0);
    for fields in [json!({}), json!({"stream": true})] {
        let refused = oracle.ask("hi", fields);
        assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
        let retry_after = refused.number("retry-after");
        println!("told to come back in {retry_after} s");
        assert!(retry_after >= 1);
    }
    assert_eq!(
        oracle.get("/health").json()["requests"],
        json!({"active": 1, "queued": 1})
    );
    assert_eq!(oracle.get("/ready").status, 200);
    drop(running);
    drop(waiting);
    let served = || (oracle.ask("hi", json!({"max_tokens": 1})).status == 200).then_some(());
    eventually(seconds(20.0), "a free place", served);
}

#[test]
fn who_waits_too_long_is_told_so() {
    // Longer than a reader would wait for a first word.
    let oracle = Oracle::start(&[("ORACLE_ANSWERS", "1"), ("ORACLE_QUEUE_SECONDS", "4")]);
    let slow = "!long! !slow=20ms!";
    let _running = oracle.stream(slow, json!({"max_tokens": 2000}));
    for fields in [json!({}), json!({"stream": true})] {
        let refused = oracle.ask("hi", fields);
        assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
        assert!(refused.number("retry-after") >= 1);
    }
}
