//! The commands that ask a manager: JSON for scripts, colours for people, and
//! errors that say what to do.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;

use crate::support::{Program, Shardman, Sim, eventually, seconds};

fn run(url: &str, args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let mut all = args.to_vec();
    all.extend(["--url", url]);
    let mut program = Program::shardman(&all).env("SECRET", "test-secret");
    for (name, value) in env {
        program = program.env(name, value);
    }
    program.run()
}

#[track_caller]
fn json(text: &str) -> Vec<Value> {
    let lines = text.lines();
    let values =
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    values.collect()
}

#[test]
fn every_command_that_prints_has_json_for_scripts() {
    let sim = Sim::start(2, 2, &[]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "1"),
    ]);
    shardman.wait_ready(seconds(60.0));
    let url = format!("http://{}", shardman.address);
    let told = |args: &[&str], code: i32| {
        let mut all = args.to_vec();
        all.push("--json");
        let (found, text, errors) = run(&url, &all, &[]);
        assert_eq!(found, code, "{args:?}: {errors}{text}");
        json(&text)
    };
    assert_eq!(told(&["status"], 0)[0]["ready"], 2);
    assert_eq!(told(&["why", "0"], 0)[0]["state"], "ready");
    assert!(told(&["events", "-n", "3"], 0).len() == 3);
    let log = eventually(seconds(20.0), "the worker has printed", || {
        let lines = told(&["logs", "discord-0"], 0);
        lines.first().cloned()
    });
    assert_eq!(log["worker"], "discord-0");
    assert!(log["line"].is_string());
    assert_eq!(told(&["plan"], 0)[0]["live"]["2"], 2);
    assert_eq!(told(&["plan", "4"], 0)[0]["to"], 4);
    assert!(told(&["reload"], 0)[0]["changes"].is_array());
    assert_eq!(
        told(&["start", "--spend-reserve"], 0)[0]["reserve_released"],
        true
    );
    assert_eq!(told(&["start", "discord-0"], 0)[0]["started"][0], "discord-0");
    assert!(told(&["resume"], 1).is_empty(), "a refusal is on standard error");
    assert!(told(&["restart", "--pause"], 1).is_empty());
    assert_eq!(
        told(&["restart", "discord-0", "--no-wait"], 0)[0]["state"],
        "running"
    );
    eventually(seconds(60.0), "it is restarted", || {
        let restart = shardman.fleet().restart?;
        (restart.state == "done").then_some(())
    });
    let rescaled = told(&["rescale", "4"], 0);
    assert_eq!(
        (&rescaled[0]["to"], &rescaled[1]["state"]),
        (&Value::from(4), &Value::from("done"))
    );
    assert_eq!(told(&["stop", "discord-0"], 0)[0]["stopped"][0], "discord-0");
    assert_eq!(told(&["restart", "discord-0"], 0)[0]["state"], "started");
    let stopped = told(&["stop"], 0);
    assert_eq!((stopped.len(), &stopped[0]["stopped"]), (1, &Value::from(true)));
    assert!(shardman.running().wait(seconds(10.0)).success());

    let check = |env: &[(&str, &str)]| {
        let mut program = Program::shardman(&["check", "--json"]);
        for (name, value) in env {
            program = program.env(name, value);
        }
        let (code, text, _) = program.run();
        (code, json(&text).remove(0))
    };
    let (code, verdict) = check(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    assert_eq!((code, &verdict["ok"]), (0, &Value::from(true)));
    assert_eq!(verdict["discord"]["max_concurrency"], 2);
    let (code, verdict) = check(&[]);
    assert_eq!((code, &verdict["ok"]), (78, &Value::from(false)));
    assert!(verdict["error"].as_str().unwrap().contains("BOT_TOKEN"));
}

#[test]
fn colours_are_for_terminals_and_for_who_asks_for_them() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0")]);
    let url = format!("http://{}", shardman.address);
    let coloured = |env: &[(&str, &str)]| {
        let (_, text, _) = run(&url, &["status"], env);
        assert!(text.contains("free"), "the word is always there: {text}");
        text.contains('\x1b')
    };
    assert!(!coloured(&[]), "into a pipe");
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]) || !coloured(&[("NO_COLOR", "1")]));
    assert!(shardman.stop().success());
}

/// Answers every request like this.
fn answers(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn an_error_says_what_to_do() {
    let mut shardman = Shardman::up(&[
        ("MAX_SHARDS", "1"),
        ("WORKERS", "0"),
        ("OPERATOR_SECRET", "operators"),
    ]);
    let url = format!("http://{}", shardman.address);
    #[track_caller]
    fn fails((code, _, errors): (i32, String, String), expected: i32, words: &[&str]) {
        assert_eq!(code, expected, "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        for word in words {
            assert!(errors.contains(word), "{word}: {errors}");
        }
    }
    let absent = "http://127.0.0.1:1";
    let words = [absent, "`shardman up`", "--url", "SHARDMAN_URL"];
    fails(run(absent, &["status"], &[]), 1, &words);
    let wrong = run(&url, &["status"], &[("SECRET", "wrong")]);
    fails(
        wrong,
        1,
        &[&url, "refused the secret in SECRET", "OPERATOR_SECRET"],
    );
    let worker = run(&url, &["resume"], &[]);
    fails(worker, 1, &["only operators", "set OPERATOR_SECRET"]);
    let operator = run(&url, &["resume"], &[("OPERATOR_SECRET", "operators")]);
    fails(
        operator,
        1,
        &["the fleet is not halted"].map(|_| "The fleet is not halted"),
    );
    let old = answers("404 Not Found", r#"{"detail":"Not Found"}"#);
    fails(
        run(&old, &["stop"], &[]),
        1,
        &[&old, "older than this shardman", "SIGUSR2"],
    );
    let other = answers("200 OK", "<html>hello</html>");
    fails(run(&other, &["status"], &[]), 1, &[&other, "--url is right"]);
    let folder = tempfile::tempdir().unwrap();
    let nowhere = Program::shardman(&["status", "--url", &url])
        .dir(folder.path())
        .run();
    fails(nowhere, 78, &["SECRET is not set", "DATA_DIR"]);
    let piped = run(&url, &["status", "--watch"], &[("OPERATOR_SECRET", "operators")]);
    fails(piped, 1, &["--watch needs a terminal", "--json"]);
    assert!(shardman.stop().success());
}
