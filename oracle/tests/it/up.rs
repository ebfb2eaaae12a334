//! `shardman up --sim 4 --oracle fake`: a bot's fleet, an oracle and two scouts
//! side by side, from one command.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

mod manager;

use manager::{Manager, call, eventually, signal};

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
        .map(|shard| format!("{} {} {} {}", shard["shard"], shard["worker"], shard["epoch"], shard["state"]))
        .collect();
    let bots = manager.pids().into_iter().filter(|(name, _)| name.starts_with("discord-"));
    told.extend(bots.map(|(name, pid)| format!("{name} {pid}")));
    told
}

#[test]
fn a_bot_an_oracle_and_two_scouts_run_from_one_command_and_outlive_the_death_of_each() {
    let args = ["--sim", "4", "--sim-max-concurrency", "4", "--oracle", "fake"];
    let mut manager = Manager::up(&args, &[]);
    whole(&manager);
    two_scouts(&manager);
    let answer = eventually(SOON, "the oracle answers", || ask(&manager));
    assert!(!answer.is_empty());
    let before = shards(&manager);
    assert!(before.len() > 4, "{before:?}");

    for victim in ["oracle-0", "scouts-1"] {
        let pid = eventually(SOON, "its pid is known", || manager.pid(victim));
        signal(pid, Signal::KILL);
        eventually(SOON, &format!("{victim} runs again"), || {
            manager.pid(victim).filter(|new| *new != pid)
        });
        whole(&manager);
        two_scouts(&manager);
        let again = eventually(SOON, "the oracle answers", || ask(&manager));
        assert_eq!(again, answer, "after the death of {victim}");
        assert_eq!(shards(&manager), before, "after the death of {victim}");
    }

    assert!(manager.left().len() >= 4);
    assert!(manager.stop().success());
    assert_eq!(manager.left(), Vec::<i32>::new());
}

#[test]
fn without_a_bot_the_oracle_and_its_scouts_are_all_that_is_run() {
    let mut manager = Manager::up(&["--oracle", "fake", "--scouts", "1"], &[]);
    eventually(SOON, "the oracle answers", || ask(&manager));
    eventually(SOON, "its scout is connected", || {
        (connected(&manager)? == 1).then_some(())
    });
    let names: Vec<_> = manager.pids().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["oracle-0", "scouts-0"]);
    assert!(manager.stop().success());
    assert_eq!(manager.left(), Vec::<i32>::new());
}
