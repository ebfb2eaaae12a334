//! What is deployed beside a manager, and the document: they name metrics that
//! there are, promtool has nothing to say to them, and a real Prometheus works
//! with them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::scrape::Scrape;
use super::simulated;
use crate::support::{Program, Shardman, eventually, free_port, get, post, seconds, signal, tools};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

/// Names of metrics in a text of any form.
fn names(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    let ours = words.filter(|word| word.starts_with("shardman_") || word.starts_with("process_"));
    // A name with a joker stands for several.
    ours.filter(|word| !word.ends_with('_')).collect()
}

/// A fleet of which every metric is known: also what only a holder tells that
/// has been connected for a while.
#[track_caller]
fn complete() -> (Shardman, Scrape) {
    let shardman = simulated(&[
        ("MAX_SECONDS", "6"),
        ("POOLS", "scouts"),
        ("POOL_SCOUTS_MAX_SECONDS", "60"),
    ]);
    let slot = get(shardman.address, "/connect?pool=scouts", "test-secret").json();
    let session = slot["session_id"].as_str().unwrap();
    let beat = format!("{{\"session_id\":\"{session}\",\"latency\":0.25,\"guild_count\":7}}");
    assert_eq!(post(shardman.address, "/beat", "test-secret", &beat).status, 204);
    let scrape = eventually(seconds(20.0), "every shard has told of its events", || {
        let scrape = Scrape::of(&shardman);
        (scrape.series("shardman_shard_events_total") == 4).then_some(scrape)
    });
    let latency = scrape.sum(
        "shardman_shard_latency_seconds",
        &[("pool", "scouts"), ("shard", "0")],
    );
    assert!((latency - 0.25).abs() < 1e-9);
    (shardman, scrape)
}

#[test]
fn every_metric_is_documented_and_whatever_the_documents_and_the_deployed_files_name_is_there() {
    let (mut shardman, scrape) = complete();
    let labels = scrape.labels();
    let row = |(name, (kind, help)): (&String, &(String, String))| {
        let labels = labels[&**name].iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        format!("| `{name}` | {kind} | {labels} | {help} |").replace("|  |", "| |")
    };
    let found: BTreeSet<_> = scrape.families.iter().map(row).collect();
    let document = read("docs/METRICS.md");
    let rows = document
        .lines()
        .filter(|line| line.starts_with("| `shardman_") || line.starts_with("| `process_"));
    let documented: BTreeSet<_> = rows.map(str::to_owned).collect();
    let missing: Vec<_> = found.difference(&documented).collect();
    let too_many: Vec<_> = documented.difference(&found).collect();
    assert!(missing.is_empty(), "not in docs/METRICS.md: {missing:#?}");
    assert!(too_many.is_empty(), "only in docs/METRICS.md: {too_many:#?}");

    for (file, at_least) in [
        ("docs/METRICS.md", 40),
        ("deploy/grafana.json", 25),
        ("deploy/alerts.rules.yml", 20),
        ("tests/it/metrics/alerts.test.yml", 5),
    ] {
        let text = read(file);
        let names = names(&text);
        assert!(names.len() >= at_least, "{file}: {names:?}");
        // A document may name the family of a histogram, a query may not.
        let is_known = |name: &str| {
            scrape.family(name).is_some() || file.ends_with(".md") && scrape.families.contains_key(name)
        };
        let unknown: Vec<_> = names.iter().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{file} names what is not there: {unknown:?}");
    }
    assert!(shardman.stop().success());
}

/// The one file's words that a test changes: another manager, another secret,
/// and no patience.
fn configure(folder: &Path, manager: SocketAddr) {
    let secret = folder.join("secret");
    fs::write(&secret, "test-secret").unwrap();
    let mut text = read("deploy/prometheus.yml");
    for (theirs, ours) in [
        ("127.0.0.1:7878", manager.to_string()),
        ("/etc/prometheus/shardman.secret", secret.display().to_string()),
        ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
        ("evaluation_interval: 15s", "evaluation_interval: 1s".to_owned()),
    ] {
        assert!(text.contains(theirs), "{theirs}");
        text = text.replace(theirs, &ours);
    }
    fs::write(folder.join("prometheus.yml"), text).unwrap();
    fs::copy(
        repository("deploy/alerts.rules.yml"),
        folder.join("alerts.rules.yml"),
    )
    .unwrap();
}

#[test]
fn promtool_has_nothing_to_say_to_the_metrics_the_rules_and_the_configuration() {
    if !tools("metrics for promtool", &[&["promtool", "--version"]]) {
        return;
    }
    let (mut shardman, scrape) = complete();
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), shardman.address);
    fs::write(folder.path().join("metrics.txt"), &scrape.text).unwrap();
    let tests = read("tests/it/metrics/alerts.test.yml");
    fs::write(folder.path().join("alerts.test.yml"), &tests).unwrap();
    // What it computes of queries is computed of the dashboard's.
    let dashboard = expressions(&serde_json::from_str(&read("deploy/grafana.json")).unwrap());
    let queries = tests
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- expr: "));
    for query in queries.map(|query| query.trim_matches('\'')) {
        let same = |of: &String| of.replace("$instance", ".+").replace("$__rate_interval", "5m") == query;
        assert!(dashboard.iter().any(same), "the dashboard does not ask {query}");
    }
    for (script, says) in [
        ("promtool check metrics < metrics.txt", ""),
        ("promtool check rules --lint-fatal alerts.rules.yml", "SUCCESS"),
        ("promtool check config --lint-fatal prometheus.yml", "SUCCESS"),
        ("promtool test rules alerts.test.yml", "SUCCESS"),
    ] {
        let program = Program::new("sh").arg("-c").arg(script).dir(folder.path());
        let (code, output, error) = program.run();
        let all = format!("{output}{error}");
        assert_eq!(code, 0, "{script}: {all}");
        assert!(
            all.contains(says) && (!says.is_empty() || all.is_empty()),
            "{script}: {all}"
        );
    }
    assert!(shardman.stop().success());
}

/// What its HTTP API answers, however long that is.
#[track_caller]
fn ask(prometheus: SocketAddr, path: &str) -> serde_json::Value {
    let mut stream = TcpStream::connect(prometheus).unwrap();
    // This version knows no chunks: the answer ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {answer}"))
}

fn query_of(prometheus: SocketAddr, query: &str) -> serde_json::Value {
    let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    ask(prometheus, &format!("/api/v1/query?query={query}"))
}

/// The value that Prometheus has for this query now.
fn value(prometheus: SocketAddr, query: &str) -> Option<f64> {
    let answer = query_of(prometheus, query);
    let value = answer["data"]["result"][0]["value"][1].as_str()?.parse();
    value.ok()
}

/// Every query of a dashboard, whose data source is its variable throughout.
fn expressions(dashboard: &serde_json::Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expression = |target: &serde_json::Value| {
        assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
        target["expr"].as_str().unwrap().to_owned()
    };
    targets.map(expression).collect()
}

#[test]
fn a_real_prometheus_scrapes_a_fleet_without_a_warning_and_knows_how_many_shards_are_ready() {
    let needed: &[&[&str]] = &[&["prometheus", "--version"], &["promtool", "--version"]];
    if !tools("metrics for Prometheus", needed) {
        return;
    }
    let mut shardman = simulated(&[("MAX_SECONDS", "6")]);
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), shardman.address);
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut prometheus = Program::new("prometheus")
        .arg("--config.file=prometheus.yml")
        .arg("--storage.tsdb.path=data")
        .arg(&format!("--web.listen-address={at}"))
        .dir(folder.path())
        .spawn(&folder.path().join("prometheus.log"));
    eventually(seconds(40.0), "Prometheus is ready", || {
        let connection = crate::support::Connection::open(at).ok();
        let answer = connection?.call("GET", "/-/ready", &[], None).ok()?;
        (answer.status == 200).then_some(())
    });
    let is = |query: &str, wanted: f64| {
        eventually(seconds(40.0), query, || {
            value(at, query).filter(|value| (value - wanted).abs() < 1e-9)
        })
    };
    is("up{job=\"shardman\"}", 1.0);
    is("shardman_shards_ready{pool=\"discord\"}", 4.0);
    is("sum(shardman_shard_ready)", 4.0);
    // The rules are evaluated, and a fleet that is well gives nobody an alert.
    let rules = eventually(seconds(40.0), "every rule was evaluated", || {
        let answer = ask(at, "/api/v1/rules");
        let groups = answer["data"]["groups"].as_array()?.clone();
        let rules: Vec<_> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect();
        rules.iter().all(|rule| rule["health"] == "ok").then_some(rules)
    });
    assert!(rules.len() > 20, "{}", rules.len());
    for rule in &rules {
        assert_ne!(rule["state"], "firing", "{rule}");
    }
    let expressions = expressions(&serde_json::from_str(&read("deploy/grafana.json")).unwrap());
    assert!(expressions.len() > 30, "{}", expressions.len());
    for expression in &expressions {
        let query = expression
            .replace("$__rate_interval", "1m")
            .replace("$instance", ".+");
        assert!(!query.contains('$'), "{query}");
        let answer = query_of(at, &query);
        assert_eq!(answer["status"], "success", "{query}: {answer}");
    }
    let scraped = value(at, "scrape_duration_seconds{job=\"shardman\"}").unwrap();
    let samples = value(at, "scrape_samples_scraped{job=\"shardman\"}").unwrap();
    println!("Prometheus took {samples} samples in {scraped} s");
    assert!(shardman.stop().success());
    is("up{job=\"shardman\"}", 0.0);
    // It warns of its own end.
    let log = prometheus.log();
    signal(prometheus.pid(), Signal::TERM);
    assert!(prometheus.wait(seconds(20.0)).success());
    let complaints: Vec<_> = log
        .lines()
        .filter(|line| line.contains("level=warn") || line.contains("level=error"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(log.contains("level=info"), "{log}");
}
