//! `docs/openapi.json` against itself, and against what a manager answers.

use std::collections::BTreeSet;

use serde_json::Value;
use shardman::http::OPENAPI;

use crate::support::{How, Response, SECRET, Shardman, call, get, post, seconds};

mod schema;

use schema::{flaws, resolve};

fn description() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// Every operation: its method in capitals, its path and what is said of it.
fn operations(all: &Value) -> impl Iterator<Item = (String, &str, &Value)> {
    let paths = all["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (method.to_uppercase(), path.as_str(), operation))
    })
}

/// Who may call it: names of ways in, `none` where nobody has to show one.
fn ways<'a>(all: &'a Value, operation: &'a Value) -> BTreeSet<&'a str> {
    let security = operation.get("security").unwrap_or(&all["security"]);
    let ways = security.as_array().unwrap();
    let open = ways.is_empty() || ways.iter().any(|way| way.as_object().unwrap().is_empty());
    let names = ways
        .iter()
        .flat_map(|way| way.as_object().unwrap().keys().map(String::as_str));
    names.chain(open.then_some("none")).collect()
}

/// The example of a parameter, a header or a body.
fn example<'a>(all: &'a Value, about: &'a Value) -> Option<&'a Value> {
    let schema = resolve(all, &about["schema"]);
    about.get("example").or_else(|| schema["examples"].get(0))
}

#[test]
fn every_operation_says_what_it_is_for_and_what_can_come() {
    let all = description();
    assert!(all["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(all["info"]["version"], env!("CARGO_PKG_VERSION"));
    let schemes = all["components"]["securitySchemes"].as_object().unwrap();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&all) {
        let name = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap_or_default();
        assert!(!id.is_empty() && ids.insert(id), "{name}: {id:?}");
        assert!(
            !operation["summary"].as_str().unwrap_or_default().is_empty(),
            "{name}"
        );
        let ways = ways(&all, operation);
        for way in &ways {
            assert!(*way == "none" || schemes.contains_key(*way), "{name}: {way}");
        }
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2')), "{name}");
        let mut must = BTreeSet::new();
        if !ways.contains("none") {
            must.extend(["403", "422"]);
        }
        // A session that ended is another matter than a wrong secret.
        if ways.contains("session") && id != "standing" {
            must.insert("401");
        }
        if !operation["requestBody"].is_null() {
            must.extend(["400", "408", "413", "422"]);
        }
        for status in must {
            assert!(answers.contains_key(status), "{name}: {status} is not described");
        }
        for (status, answer) in answers {
            let answer = resolve(&all, answer);
            let what = format!("{name}, {status}");
            assert!(
                !answer["description"].as_str().unwrap_or_default().is_empty(),
                "{what}"
            );
            let media = answer["content"].as_object();
            assert_eq!(
                media.is_none(),
                ["204", "304"].contains(&status.as_str()),
                "{what}"
            );
            if status.starts_with(['4', '5']) {
                let schema = answer.pointer("/content/application~1json/schema/$ref");
                let expected = if status == "422" {
                    "HTTPValidationError"
                } else {
                    "Refusal"
                };
                assert!(
                    schema.unwrap().as_str().unwrap().ends_with(expected),
                    "{what}: {schema:?}"
                );
            }
        }
    }
}

#[test]
fn every_parameter_body_and_answer_has_an_example_that_is_as_described() {
    fn walk<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
        if value.get("schema").is_some_and(Value::is_object) {
            found.push(value);
        }
        let members = value.as_object().into_iter().flat_map(|map| map.values());
        for inner in members.chain(value.as_array().into_iter().flatten()) {
            walk(inner, found);
        }
    }
    let all = description();
    let mut checked = 0;
    let mut check = |what: &str, schema, example: &Value| {
        checked += 1;
        let found = flaws(&all, schema, example);
        assert!(found.is_empty(), "{what}: {found:#?}");
    };
    for (name, schema) in all["components"]["schemas"].as_object().unwrap() {
        let examples = schema["examples"].as_array();
        for example in examples.unwrap_or_else(|| panic!("{name} has no example")) {
            check(name, schema, example);
        }
    }
    let mut told = Vec::new();
    walk(&all["paths"], &mut told);
    walk(&all["components"]["headers"], &mut told);
    for about in told {
        if let Some(example) = about.get("example") {
            check(&about.to_string(), &about["schema"], example);
        }
    }
    println!("{checked} examples are as described");

    let json = "application/json";
    for (method, path, operation) in operations(&all) {
        let name = format!("{method} {path}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(example(&all, parameter).is_some(), "{name}: {parameter}");
        }
        let answers = operation["responses"].as_object().unwrap().values();
        for told in answers.chain(operation.get("requestBody")) {
            let Some(content) = resolve(&all, told)["content"].get(json) else {
                continue;
            };
            let mut one = vec![&content["schema"]];
            for choice in ["anyOf", "oneOf"] {
                if let Some(schemas) = content["schema"][choice].as_array() {
                    one = schemas.iter().collect();
                }
            }
            let schema_has = |schema| resolve(&all, schema)["examples"].is_array();
            assert!(
                content.get("example").is_some() || one.into_iter().all(schema_has),
                "{name}: {content}"
            );
        }
        let required = |name: &&str| path.contains(&format!("{{{name}}}"));
        let in_path = operation["parameters"].as_array().into_iter().flatten();
        let in_path: Vec<_> = in_path.filter(|it| it["in"] == "path").collect();
        assert_eq!(in_path.len(), path.matches('{').count(), "{name}");
        assert!(
            in_path
                .iter()
                .all(|it| it["required"] == true && it["name"].as_str().as_ref().is_some_and(required)),
            "{name}"
        );
    }
}

/// The call that the examples of an operation make: what must be there, and
/// nothing else.
fn ask(
    shardman: &Shardman,
    all: &Value,
    (method, path, operation): (&str, &str, &Value),
    secret: Option<&str>,
) -> Response {
    let mut target = path.to_owned();
    let mut query = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["required"] != true {
            continue;
        }
        let sample = example(all, parameter).unwrap().as_str().unwrap();
        let name = parameter["name"].as_str().unwrap();
        match parameter["in"].as_str().unwrap() {
            "path" => target = target.replace(&format!("{{{name}}}"), sample),
            _ => query.push(format!("{name}={sample}")),
        }
    }
    let ways = ways(all, operation);
    let mut headers = vec![("Content-Type", "application/json")];
    if let Some(secret) = secret {
        if ways.contains("secret") {
            headers.push(("Authorization", secret));
        } else if ways.contains("token") {
            query.push(format!("token={secret}"));
        }
    }
    if !query.is_empty() {
        target = format!("{target}?{}", query.join("&"));
    }
    let body = operation["requestBody"]["content"].get("application/json");
    let body = body.map(|body| example(all, body).unwrap().to_string());
    call(shardman.address, method, &target, &headers, body.as_deref())
}

/// The status is among those that are told, and the body is as told for it.
#[track_caller]
fn assert_told(all: &Value, name: &str, operation: &Value, answer: &Response) {
    let status = answer.status;
    let told = operation["responses"].get(status.to_string());
    let told = told.unwrap_or_else(|| panic!("{name}: {status} is not told of: {}", answer.body));
    let content = &resolve(all, told)["content"];
    let kind = answer.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap();
    if content.is_null() {
        assert_eq!(answer.body, "", "{name}: {status}");
        return;
    }
    let about = content
        .get(kind)
        .unwrap_or_else(|| panic!("{name}: {status} comes as {kind}"));
    if kind == "application/json" {
        let found = flaws(all, &about["schema"], &answer.json());
        assert!(found.is_empty(), "{name}: {status}: {found:#?}\n{}", answer.body);
    }
}

#[test]
fn whatever_a_fleet_answers_is_told_of() {
    let all = description();
    let script = "exec \"$0\" up --sim 4 --sim-max-concurrency 4".to_owned();
    let how = How {
        script: Some(script),
        ..How::default()
    };
    let settings = [
        ("POOLS", "web"),
        ("POOL_WEB_COMMAND", "exec tail -f /dev/null"),
        ("POOL_WEB_REGISTER", "process"),
    ];
    let mut shardman = Shardman::up_as(tempfile::tempdir().unwrap(), &settings, how);
    shardman.wait_ready(seconds(60.0));
    let mut seen = BTreeSet::new();
    for secret in [None, Some("wrong"), Some(SECRET)] {
        // The one that ends the fleet comes last.
        let mut operations: Vec<_> = operations(&all).collect();
        operations.sort_by_key(|(_, path, _)| *path == "/fleet/stop");
        for (method, path, operation) in operations {
            let answer = ask(&shardman, &all, (&method, path, operation), secret);
            let name = format!("{method} {path}");
            assert_told(&all, &name, operation, &answer);
            if !ways(&all, operation).contains("none") {
                let refused = [403, 422].contains(&answer.status);
                assert_eq!(refused, secret != Some(SECRET), "{name}: {}", answer.status);
            }
            seen.insert((name, answer.status));
        }
    }
    println!("{} pairs of a call and a status are as told", seen.len());
    assert!(shardman.running().wait(seconds(25.0)).success());
}

#[test]
fn whatever_a_bot_is_answered_is_told_of() {
    let all = description();
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "3"), ("WORKERS", "0")]);
    let at = shardman.address;
    let told = |method: &str, path: &str, answer: &Response, status: u16| {
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert_told(&all, path, &all["paths"][path][method], answer);
    };
    let lease = get(at, "/connect", SECRET);
    told("get", "/connect", &lease, 200);
    let session = lease.json()["session_id"].as_str().unwrap().to_owned();
    let older = call(at, "GET", &format!("/connect?token={SECRET}"), &[], None);
    told("get", "/connect", &older, 200);
    let session_of_older = older.json()["session_id"].as_str().unwrap().to_owned();
    let asked = serde_json::json!({"session_id": session}).to_string();
    told("post", "/identify", &post(at, "/identify", SECRET, &asked), 200);
    told("post", "/beat", &post(at, "/beat", SECRET, &asked), 204);
    let mut beat = all["components"]["schemas"]["Heartbeat"]["examples"][0].clone();
    beat["session_id"] = session.clone().into();
    told(
        "post",
        "/beat",
        &post(at, "/beat", SECRET, &beat.to_string()),
        200,
    );
    let path = format!("/beat?session_id={session_of_older}&token={SECRET}");
    told("get", "/beat", &call(at, "GET", &path, &[], None), 204);
    for path in ["/status", "/fleet", "/plan", "/events", "/history"] {
        told("get", path, &get(at, path, SECRET), 200);
    }
    told("get", "/plan", &get(at, "/plan?shards=8", SECRET), 200);
    told("get", "/history", &get(at, "/history?shard=0", SECRET), 200);
    told("post", "/beat", &post(at, "/beat", SECRET, "{"), 422);
    told(
        "post",
        "/beat",
        &post(at, "/beat", SECRET, &" ".repeat(70_000)),
        413,
    );
    let path = format!("/disconnect?session_id={session_of_older}");
    told("get", "/disconnect", &get(at, &path, SECRET), 204);
    let path = format!("/sessions/{session}");
    let headers = [("Authorization", SECRET)];
    let given_back = call(at, "DELETE", &path, &headers, None);
    told("delete", "/sessions/{session_id}", &given_back, 204);
    for _ in 0..3 {
        told("get", "/connect", &get(at, "/connect", SECRET), 200);
    }
    told("get", "/connect", &get(at, "/connect", SECRET), 401);
    assert!(shardman.stop().success());
}
