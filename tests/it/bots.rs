//! Bots of others: discord.py and discord.js hold shards over the two calls.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::support::{Program, Shardman, Sim, eventually, get, let_pass, seconds, signal, tools};

const PYTHON: &[&[&str]] = &[&["python3", "-c", "import discord"]];
const NODE: &[&[&str]] = &[&["node", "-e", "require('discord.js')"]];

fn example(path: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(path)
        .to_str()
        .unwrap()
        .to_owned()
}

/// What `/status` says of each shard: id, guilds, whether it has a latency.
fn status(shardman: &Shardman) -> Vec<(u64, u64)> {
    let status = get(shardman.address, "/status", "test-secret").json();
    let shards = status["shards"].as_array().unwrap();
    shards
        .iter()
        .filter_map(|shard| Some((shard["shard_id"].as_u64()?, shard["guild_count"].as_u64()?)))
        .collect()
}

/// Two bots that Shardman starts: seen in the status, one killed and replaced.
fn supervised(command: &str) {
    let sim = Sim::start(2, 2, &["--guilds", "20"]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("WORKER_COMMAND", command),
        ("MAX_SECONDS", "10"),
    ];
    let mut shardman = Shardman::up(&settings);
    let both = || {
        let status = status(&shardman);
        (status.len() == 2 && status.iter().map(|(_, guilds)| guilds).sum::<u64>() == 20).then_some(())
    };
    eventually(
        seconds(40.0),
        "both bots are ready and say how many guilds they see",
        both,
    );
    let (name, pid) = shardman.workers().remove(0);
    let identifies = sim.report().identify_count;
    assert_eq!(identifies, 2);
    signal(pid, Signal::KILL);
    eventually(seconds(40.0), "the killed bot is replaced and identified", || {
        let replaced = shardman
            .workers()
            .iter()
            .any(|(other, new)| *other == name && *new != pid);
        (replaced && sim.report().connections.live == 2 && sim.report().identify_count == 3).then_some(())
    });
    eventually(seconds(30.0), "and seen again", both);
    sim.assert_clean();
    assert!(shardman.stop().success());
}

/// A bot that is started by hand registers by itself and gives its shard back.
fn by_itself(program: &str, script: &str) {
    let sim = Sim::start(1, 1, &["--guilds", "5"]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("WORKERS", "0"),
    ];
    let mut shardman = Shardman::up(&settings);
    let log = shardman.folder().join("bot.log");
    let mut bot = Program::new(program)
        .arg(script)
        .env("SHARDMAN_URL", &format!("http://{}", shardman.address))
        .env("SECRET", "test-secret")
        .env("BOT_TOKEN", "t")
        .env("DISCORD_API_URL", &sim.url())
        .spawn(&log);
    eventually(seconds(40.0), "the bot is in the status", || {
        (status(&shardman) == [(0, 5)]).then_some(())
    });
    assert!(bot.log().contains("is ready"), "{}", bot.log());
    sim.fault(r#"{"kind":"drop","shard":0}"#);
    eventually(seconds(40.0), "it resumes after a dropped connection", || {
        (sim.report().resume_count == 1).then_some(())
    });
    assert_eq!(sim.report().identify_count, 1);
    signal(bot.pid(), Signal::TERM);
    assert!(bot.wait(seconds(15.0)).success());
    eventually(seconds(5.0), "its shard is free", || {
        status(&shardman).is_empty().then_some(())
    });
    sim.assert_clean();
    assert!(shardman.stop().success());
}

/// Bots that Discord refuses for good halt the fleet, as the bundled worker does.
fn refused(program: &str, script: &str) {
    let sim = Sim::start(1, 1, &[]);
    sim.fault(r#"{"kind":"deny_intents","intents":512}"#);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("WORKERS", "0"),
    ];
    let mut shardman = Shardman::up(&settings);
    let bot = Program::new(program)
        .arg(script)
        .env("SHARDMAN_URL", &format!("http://{}", shardman.address))
        .env("SECRET", "test-secret")
        .env("BOT_TOKEN", "t")
        .env("DISCORD_API_URL", &sim.url())
        .spawn(&shardman.folder().join("bot.log"));
    eventually(seconds(30.0), "the fleet is halted", || {
        let trouble = shardman.fleet().trouble;
        trouble.iter().any(|line| line.contains("4014")).then_some(())
    });
    let_pass(seconds(7.0));
    assert_eq!(sim.report().closes, [(4014, 1)].into(), "it does not try again");
    drop(bot);
    assert!(shardman.stop().success());
}

#[test]
fn a_discord_py_bot_that_is_refused_halts_the_fleet() {
    if tools("a discord.py bot that is refused", PYTHON) {
        refused("python3", &example("discordpy/bot.py"));
    }
}

#[test]
fn a_discord_js_bot_that_is_refused_halts_the_fleet() {
    if tools("a discord.js bot that is refused", NODE) {
        refused("node", &example("discordjs/bot.js"));
    }
}

#[test]
fn discord_py_bots_run_as_supervised_children() {
    if tools("discord.py bots as children", PYTHON) {
        supervised(&format!("python3 {}", example("discordpy/bot.py")));
    }
}

#[test]
fn a_discord_py_bot_runs_on_its_own() {
    if tools("a discord.py bot on its own", PYTHON) {
        by_itself("python3", &example("discordpy/bot.py"));
    }
}

#[test]
fn discord_js_bots_run_as_supervised_children() {
    if tools("discord.js bots as children", NODE) {
        supervised(&format!("node {}", example("discordjs/bot.js")));
    }
}

#[test]
fn a_discord_js_bot_runs_on_its_own() {
    if tools("a discord.js bot on its own", NODE) {
        by_itself("node", &example("discordjs/bot.js"));
    }
}
