//! `shardman up --sim 4 --oracle fake`: a bot's fleet, an oracle and two scouts
//! side by side, from one command.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::fleet::program;
use crate::support::{eventually, signal, tools};

mod manager;

use manager::{Manager, SECRET, call};

const SOON: Duration = Duration::from_secs(40);

/// How many of a pool hold their slots and say that they are ready.
fn ready(fleet: &Value, pool: &str) -> Option<(u64, u64)> {
    let pools = fleet["pools"].as_array()?;
    let found = pools.iter().find(|found| found["pool"] == pool)?;
    Some((found["ready"].as_u64()?, found["size"].as_u64()?))
}

#[track_caller]
fn whole(manager: &Manager) {
    eventually(SOON, "shards, oracle and scouts are ready", || {
        let fleet = manager.fleet()?;
        let good = fleet["ready"] == 4
            && ready(&fleet, "oracle") == Some((1, 1))
            && ready(&fleet, "scouts") == Some((2, 2));
        good.then_some(())
    });
}

/// What is said to a question with a seed: the same whoever drafts.
fn ask(manager: &Manager) -> Option<String> {
    let body = json!({
        "model": "shard-hybrid",
        "messages": [{"role": "user", "content": "Say something."}],
        "max_tokens": 24,
        "seed": 7,
    });
    let path = "/v1/chat/completions";
    let (status, body) = call(manager.oracle, "POST", path, &[], &body.to_string()).ok()?;
    // While it starts.
    if status == 503 {
        return None;
    }
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["object"], "chat.completion", "{body}");
    assert!(answer["usage"]["completion_tokens"].as_u64() > Some(0), "{body}");
    let text = answer["choices"][0]["message"]["content"].as_str();
    Some(text.unwrap_or_else(|| panic!("{body}")).to_owned())
}

/// The scouts that hold a lease and are connected.
fn connected(manager: &Manager) -> Option<usize> {
    let (_, body) = call(manager.oracle, "GET", "/v1/system/peers", &[], "").ok()?;
    let told: Value = serde_json::from_str(&body).ok()?;
    let peers = told["peers"].as_array()?;
    assert_eq!(told["count"].as_u64(), u64::try_from(peers.len()).ok(), "{body}");
    Some(peers.iter().filter(|peer| peer["verified"] == true).count())
}

#[track_caller]
fn two_scouts(manager: &Manager) {
    eventually(SOON, "two scouts are connected", || {
        (connected(manager)? == 2).then_some(())
    });
}

/// Shards, their holders and epochs: none of it changes where nothing happens.
fn shards(manager: &Manager) -> Vec<String> {
    let fleet = manager.fleet().unwrap();
    let shards = fleet["shards"].as_array().unwrap().iter();
    let mut told: Vec<_> = shards
        .map(|shard| {
            format!(
                "{} {} {} {}",
                shard["shard"], shard["worker"], shard["epoch"], shard["state"]
            )
        })
        .collect();
    let bots = manager
        .pids()
        .into_iter()
        .filter(|(name, _)| name.starts_with("discord-"));
    told.extend(bots.map(|(name, pid)| format!("{name} {pid}")));
    told
}

#[test]
fn a_bot_an_oracle_and_two_scouts_run_from_one_command_and_outlive_the_death_of_each() {
    let args = ["--sim", "4", "--sim-max-concurrency", "4", "--oracle", "fake"];
    let Some(program) = program("up") else { return };
    let mut manager = Manager::up(&program, &args, &[]);
    whole(&manager);
    two_scouts(&manager);
    let answer = eventually(SOON, "the oracle answers", || ask(&manager));
    assert!(!answer.is_empty());
    let before = shards(&manager);
    assert!(before.len() > 4, "{before:?}");

    for victim in ["oracle-0", "scouts-1"] {
        let pid = eventually(SOON, "its pid is known", || manager.pid(victim));
        let killed = Instant::now();
        signal(pid, Signal::KILL);
        eventually(SOON, &format!("{victim} runs again"), || {
            manager.pid(victim).filter(|new| *new != pid)
        });
        whole(&manager);
        two_scouts(&manager);
        let again = eventually(SOON, "the oracle answers", || ask(&manager));
        assert_eq!(again, answer, "after the death of {victim}");
        println!("{victim} is back, with all others, after {:?}", killed.elapsed());
        assert_eq!(shards(&manager), before, "after the death of {victim}");
    }

    assert!(manager.left().len() >= 4);
    assert!(manager.stop().success());
    assert_eq!(manager.left(), Vec::<i32>::new());
}

#[test]
fn without_a_bot_the_oracle_and_its_scouts_are_all_that_is_run() {
    let Some(program) = program("up") else { return };
    let mut manager = Manager::up(&program, &["--oracle", "fake", "--scouts", "1"], &[]);
    eventually(SOON, "the oracle answers", || ask(&manager));
    eventually(SOON, "its scout is connected", || {
        (connected(&manager)? == 1).then_some(())
    });
    let names: Vec<_> = manager.pids().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["oracle-0", "scouts-0"]);
    assert!(manager.stop().success());
    assert_eq!(manager.left(), Vec::<i32>::new());
}

/// A scout of another host: it was started by nobody here, and takes a slot that
/// local scouts leave.
#[test]
fn a_scout_that_was_started_by_hand_takes_a_slot_and_drafts() {
    let Some(program) = program("up") else { return };
    let args = ["--oracle", "fake", "--scouts", "0"];
    let mut manager = Manager::up(&program, &args, &[("POOLS", "scouts"), ("POOL_SCOUTS_SIZE", "3")]);
    eventually(SOON, "the oracle answers", || ask(&manager));
    assert_eq!(connected(&manager), Some(0));
    let mut scout = crate::support::program(
        &["scout"],
        &[
            ("SHARDMAN_URL", &format!("http://{}", manager.address)),
            ("ORACLE_URL", &format!("http://{}", manager.oracle)),
            ("ORACLE_MODEL", "fake"),
            ("SECRET", SECRET),
            // It goes with the manager, whatever becomes of this test.
            ("SHARDMAN_TEST_MARK", &manager.mark),
        ],
    )
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let arrived = eventually(SOON, "it is connected, or ended", || {
        let ended = scout.try_wait().unwrap().is_some();
        (ended || connected(&manager)? == 1).then_some(!ended)
    });
    signal(i32::try_from(scout.id()).unwrap(), Signal::TERM);
    assert!(eventually(SOON, "the scout has ended", || scout.try_wait().unwrap()).success());
    assert!(arrived);
    eventually(SOON, "its slot is free again", || {
        (connected(&manager)? == 0).then_some(())
    });
    assert!(manager.stop().success());
}

/// A fenced block of the book's page: its words behind the fence, and its text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let page = include_str!("../../../docs/ORACLE.md");
    let parts = page.split("\n```").skip(1).step_by(2);
    parts.map(|part| part.split_once('\n').unwrap()).collect()
}

/// The commands of the book that need the program, and the clients in it.
#[test]
fn what_the_book_says_of_the_oracle_works() {
    let Some(program) = program("up") else { return };
    let mut manager = Manager::up(&program, &["--oracle", "fake", "--scouts", "0"], &[]);
    eventually(SOON, "the oracle answers", || ask(&manager));
    let mut ran = Vec::new();
    for (info, text) in blocks() {
        let text = text.replace(":8000", &format!(":{}", manager.oracle.port()));
        let line = match info {
            "sh oracle" => format!("set -e\n{}", text.replace("curl -s", "curl --fail-with-body -sS")),
            "python ask.py" if tools("the book, in part", &[&["python3", "-c", "import openai"]]) => {
                "python3 ask.py".to_owned()
            }
            "js ask.mjs" if tools("the book, in part", &[&["node", "-e", "require('openai')"]]) => {
                "node ask.mjs".to_owned()
            }
            _ => continue,
        };
        let file = info.split(' ').nth(1).unwrap();
        std::fs::write(manager.folder.path().join(file), &text).unwrap();
        let done = sh(&line).current_dir(manager.folder.path()).output().unwrap();
        let (out, error) = (
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr),
        );
        println!("{info}:\n{out}");
        assert!(done.status.success(), "{info}: {out}{error}");
        assert!(out.trim().len() > 10, "{info}: {out}");
        ran.push(file);
    }
    assert!(ran.contains(&"oracle"), "{ran:?}");
    assert!(manager.stop().success());
}

fn sh(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::null());
    command
}
