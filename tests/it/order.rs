//! One identify order for bots of three fleets: in Python, in JavaScript, with
//! permits and with sleep alone, on one bot account.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{
    Program, Running, Shardman, Sim, eventually, get, let_pass, post, seconds, signal, tools,
};

const SHARDS: u32 = 12;
const BUCKETS: u32 = 3;

/// Who brings the bots: program and script.
const ASKS_PYTHON: (&str, &str) = ("python3", "examples/discordpy/bot.py");
const ASKS_JAVASCRIPT: (&str, &str) = ("node", "examples/discordjs/bot.js");
const SLEEPS_PLAIN: (&str, &str) = ("python3", "tests/it/clients/plain.py");
const SLEEPS_PYTHON: (&str, &str) = ("python3", "tests/it/clients/sleeper.py");
const SLEEPS_JAVASCRIPT: (&str, &str) = ("node", "tests/it/clients/sleeper.mjs");

struct Bots {
    manager: String,
    discord: String,
    folder: tempfile::TempDir,
    started: usize,
}

impl Bots {
    fn start(&mut self, (program, script): (&str, &str)) -> Running {
        self.started += 1;
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(script);
        Program::new(program)
            .arg(script.to_str().unwrap())
            .env("SHARDMAN_URL", &self.manager)
            .env("SECRET", "test-secret")
            .env("BOT_TOKEN", "t")
            .env("DISCORD_API_URL", &self.discord)
            .spawn(&self.folder.path().join(format!("{}.log", self.started)))
    }
}

/// The shards that have a ready session now.
fn live(sim: &Sim) -> BTreeSet<u32> {
    let ready = sim.report().ready;
    ready
        .iter()
        .filter(|shard| shard.live)
        .map(|shard| shard.shard)
        .collect()
}

/// The shortest time between two IDENTIFYs of each bucket, from the lines
/// themselves.
fn gaps(sim: &Sim) -> BTreeMap<u32, u64> {
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    let mut gaps = BTreeMap::new();
    for identify in sim.report().identifies {
        if let Some(before) = last.insert(identify.bucket, identify.at_ms) {
            let gap = identify.at_ms - before;
            gaps.entry(identify.bucket)
                .and_modify(|shortest: &mut u64| *shortest = gap.min(*shortest))
                .or_insert(gap);
        }
    }
    gaps
}

#[test]
fn three_fleets_of_bots_share_one_identify_order() {
    let probes: [&[&str]; 2] = [
        &["python3", "-c", "import discord"],
        &["node", "-e", "require('discord.js')"],
    ];
    if !tools("three fleets in one identify order", &probes) {
        return;
    }
    let sim = Sim::start(SHARDS, BUCKETS, &["--guilds", "120"]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("WORKERS", "0"),
        ("MAX_SECONDS", "10"),
    ];
    let mut shardman = Shardman::up(&settings);
    eventually(seconds(10.0), "the plan is there", || {
        (shardman.fleet().planned == SHARDS).then_some(())
    });
    let mut bots = Bots {
        manager: format!("http://{}", shardman.address),
        discord: sim.url(),
        folder: tempfile::tempdir().unwrap(),
        started: 0,
    };
    let kinds = [
        [ASKS_PYTHON, ASKS_JAVASCRIPT, SLEEPS_PLAIN],
        [ASKS_PYTHON, ASKS_JAVASCRIPT, SLEEPS_PYTHON],
        [ASKS_PYTHON, ASKS_JAVASCRIPT, SLEEPS_JAVASCRIPT],
        [ASKS_PYTHON, ASKS_JAVASCRIPT, SLEEPS_PLAIN],
    ];
    let mut running: Vec<_> = kinds
        .concat()
        .into_iter()
        .map(|kind| (kind, bots.start(kind)))
        .collect();

    // Amid the start, four of them die or are stopped, and start again.
    for (ready, index, how) in [
        (2, 0, Signal::KILL),
        (3, 1, Signal::KILL),
        (4, 2, Signal::KILL),
        (5, 3, Signal::TERM),
    ] {
        eventually(seconds(60.0), "more shards are ready", || {
            (live(&sim).len() >= ready).then_some(())
        });
        let (kind, bot) = &mut running[index];
        signal(bot.pid(), how);
        bot.wait(seconds(15.0));
        *bot = bots.start(*kind);
    }

    eventually(seconds(150.0), "all shards are ready", || {
        (live(&sim).len() == SHARDS as usize).then_some(())
    });
    // Whoever thought that it had another's shard would have said so by now.
    let_pass(seconds(3.0));
    assert_eq!(live(&sim), (0..SHARDS).collect());
    let status = get(shardman.address, "/status", "test-secret").json();
    let held: Vec<_> = status["shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|shard| shard["shard_id"].as_u64())
        .collect();
    assert_eq!(held, (0..u64::from(SHARDS)).map(Some).collect::<Vec<_>>());

    let report = sim.report();
    eprintln!(
        "{} identifies of {} bots; all ready {} ms after the first; shortest gaps {:?} ms",
        report.identify_count,
        bots.started,
        report.ready.iter().map(|shard| shard.at_ms).max().unwrap() - report.started_at_ms.unwrap(),
        gaps(&sim)
    );
    sim.assert_clean();
    assert!(report.identifies.iter().all(|identify| identify.ok));
    assert_eq!(report.max_holders.values().max(), Some(&1));
    assert_eq!(report.closes, BTreeMap::new(), "Discord closed nobody");
    assert_eq!(gaps(&sim), report.min_gap_ms);
    assert!(gaps(&sim).values().all(|gap| *gap >= 5000), "{:?}", gaps(&sim));
    assert_eq!(gaps(&sim).len(), BUCKETS as usize);
    drop(running);
    assert!(shardman.stop().success());
}

/// Seconds until a bot that asks may identify, behind one that has just slept
/// and beats like this.
fn wait_behind_a_sleeper(beat: serde_json::Value) -> f64 {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0")]);
    let began = Instant::now();
    let sleeper = shardman.connect().json();
    assert_eq!(sleeper["sleep_duration"], 0.0);
    let asker = get(shardman.address, "/connect?identify=ask", "test-secret").json();
    let mut body = beat;
    body["session_id"] = sleeper["session_id"].clone();
    let answer = post(shardman.address, "/beat", "test-secret", &body.to_string());
    assert!(answer.status < 300, "{answer:?}");
    let body = json!({"session_id": asker["session_id"]});
    let permit = post(shardman.address, "/identify", "test-secret", &body.to_string());
    assert_eq!(permit.status, 200, "{permit:?}");
    let waited = began.elapsed().as_secs_f64();
    assert!(shardman.stop().success());
    waited
}

#[test]
fn a_permit_waits_until_the_sleeper_before_it_shows_that_it_has_identified() {
    for beat in [json!({"latency": 0.04}), json!({"state": "identifying"})] {
        let waited = wait_behind_a_sleeper(beat);
        assert!((5.0..7.0).contains(&waited), "{waited}");
    }
    let waited = wait_behind_a_sleeper(json!({"guild_count": 0}));
    assert!(
        (10.0..12.0).contains(&waited),
        "it may be on its way for five seconds: {waited}"
    );
}
