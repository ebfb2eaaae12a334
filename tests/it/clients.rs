//! The client helpers: a plain bot adopts Shardman in a few lines, and is then
//! as good a citizen as the bundled worker.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

mod directives;
mod ends;
mod figures;
mod handover;
mod install;

use crate::support::{Program, Running, Shardman, Sim, eventually, get, let_pass, seconds, signal, tools};

/// A library, and a bot that uses it, before and after.
struct Library {
    name: &'static str,
    program: &'static str,
    probe: &'static [&'static str],
    before: &'static str,
    after: &'static str,
}

const DISCORD_PY: Library = Library {
    name: "discord.py",
    program: "python3",
    probe: &["python3", "-c", "import discord"],
    before: "tests/it/clients/before.py",
    after: "examples/discordpy/bot.py",
};
const DISCORD_JS: Library = Library {
    name: "discord.js",
    program: "node",
    probe: &["node", "-e", "require('discord.js')"],
    before: "tests/it/clients/before.js",
    after: "examples/discordjs/bot.js",
};

/// Bots of other kinds; the lines that adopt Shardman are the same.
const AUTO_SHARDED: Library = Library {
    name: "discord.py, AutoShardedClient",
    after: "tests/it/clients/auto_sharded.py",
    ..DISCORD_PY
};
const HIKARI: Library = Library {
    name: "hikari",
    probe: &["python3", "-c", "import hikari"],
    after: "tests/it/clients/hikari_bot.py",
    ..DISCORD_PY
};
const GATEWAY_JS: Library = Library {
    name: "@discordjs/ws",
    after: "tests/it/clients/gateway.js",
    ..DISCORD_JS
};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What the documentation shows for a bot: the lines before, the lines after,
/// and how many of them are new.
fn shown(after: &str) -> (String, String, usize) {
    let docs = text("docs/CLIENTS.md");
    let diff = docs
        .split("```diff\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .find(|diff| diff.contains(&format!("+++ {after}\n")))
        .unwrap_or_else(|| panic!("docs/CLIENTS.md has no diff of {after}"));
    let (mut old, mut new, mut added) = (String::new(), String::new(), 0);
    for line in diff
        .lines()
        .filter(|line| !line.starts_with("---") && !line.starts_with("+++"))
    {
        // An empty line may have lost the space before it.
        let (mark, content) = line.split_at(usize::from(!line.is_empty()));
        let line = format!("{content}\n");
        match mark {
            "-" => old += &line,
            "+" => {
                new += &line;
                added += 1;
            }
            _ => {
                old += &line;
                new += &line;
            }
        }
    }
    (old, new, added)
}

#[test]
fn a_plain_bot_adopts_shardman_in_three_lines_at_most_as_the_docs_show() {
    for library in [&DISCORD_PY, &DISCORD_JS] {
        let (old, new, added) = shown(library.after);
        assert_eq!(old, text(library.before), "{}", library.before);
        assert_eq!(new, text(library.after), "{}", library.after);
        assert!((1..=3).contains(&added), "{}: {added} lines", library.name);
    }
}

/// hikari looks at its form.
const TOKEN: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4.simulated.token";

/// A simulated Discord, a manager that starts no workers, and a bot.
struct Bench {
    sim: Sim,
    shardman: Shardman,
    bots: usize,
}

impl Bench {
    fn new(shards: u32, max_seconds: &str) -> Self {
        let sim = Sim::start(shards, 1, &["--guilds", "20", "--events-per-second", "40"]);
        let settings = [
            ("DISCORD_API_URL", &*sim.url()),
            ("BOT_TOKEN", TOKEN),
            ("WORKERS", "0"),
            ("MAX_SECONDS", max_seconds),
        ];
        let shardman = Shardman::up(&settings);
        Self {
            sim,
            shardman,
            bots: 0,
        }
    }

    fn bot(&mut self, library: &Library, script: &str) -> Running {
        self.bot_of(library, script, self.shardman.address)
    }

    fn bot_of(&mut self, library: &Library, script: &str, manager: SocketAddr) -> Running {
        self.bots += 1;
        let log = self.shardman.folder().join(format!("bot-{}.log", self.bots));
        Program::new(library.program)
            .arg(path(script).to_str().unwrap())
            .env("SHARDMAN_URL", &format!("http://{manager}"))
            .env("SECRET", "test-secret")
            .env("BOT_TOKEN", TOKEN)
            .env("DISCORD_API_URL", &self.sim.url())
            .spawn(&log)
    }

    /// Waits until the manager counts this many shards as ready.
    fn wait_ready(&self, shards: u32) {
        eventually(seconds(40.0), "the bots are ready", || {
            (self.shardman.fleet().ready == shards).then_some(())
        });
    }

    fn held(&self) -> usize {
        let status = get(self.shardman.address, "/status", "test-secret").json();
        status["shards"].as_array().unwrap().len()
    }
}

/// How many messages a bot has printed.
fn messages(bot: &Running) -> usize {
    bot.log().matches("a message in Guild").count()
}

#[track_caller]
fn wait_for_more_messages(bot: &Running) {
    let before = messages(bot);
    eventually(seconds(15.0), "more events arrive", || {
        (messages(bot) > before + 5).then_some(())
    });
}

/// Leased, ready, events arrive; killed, and replaced by another in order.
fn lives(library: &Library) {
    let mut bench = Bench::new(2, "3");
    let mut first = bench.bot(library, library.after);
    let second = bench.bot(library, library.after);
    bench.wait_ready(2);
    wait_for_more_messages(&first);
    wait_for_more_messages(&second);
    bench.wait_for_figures(20);

    signal(first.pid(), Signal::KILL);
    first.wait(seconds(5.0));
    let third = bench.bot(library, library.after);
    eventually(seconds(30.0), "the next bot identifies", || {
        (bench.sim.report().identify_count == 3).then_some(())
    });
    bench.wait_ready(2);
    wait_for_more_messages(&third);
    let report = bench.sim.report();
    eprintln!(
        "{}: gaps between identifies {:?} ms",
        library.name, report.min_gap_ms
    );
    assert!(report.min_gap_ms[&0] >= 5000);

    for mut bot in [second, third] {
        signal(bot.pid(), Signal::TERM);
        assert!(bot.wait(seconds(15.0)).success());
    }
    assert_eq!(bench.held(), 0, "their shards are given back");
    bench.sim.assert_clean();
    assert!(bench.shardman.stop().success());
}

/// Without a manager a bot leaves its gateway in time, and resumes when the
/// manager is back.
fn fails_safe(library: &Library) {
    const MAX_SECONDS: f64 = 4.0;
    let mut bench = Bench::new(1, "4");
    let mut bot = bench.bot(library, library.after);
    bench.wait_ready(1);
    wait_for_more_messages(&bot);
    bench.wait_for_figures(20);
    let killed = std::time::Instant::now();
    bench.shardman.kill();
    eventually(seconds(15.0), "it leaves the gateway", || {
        (bench.sim.report().connections.live == 0).then_some(())
    });
    let left = killed.elapsed().as_secs_f64();
    eprintln!(
        "{}: left the gateway {left:.1} s after the manager died",
        library.name
    );
    // 0.8 of the time, less a beat's distance, from the last one that was answered.
    assert!(left < MAX_SECONDS, "{left}");
    assert!(left > 0.5 * MAX_SECONDS, "it does not give up early: {left}");
    let_pass(seconds(2.0));
    assert_eq!(bench.sim.report().connections.live, 0, "it stays away");

    bench.shardman.start();
    bench.wait_ready(1);
    wait_for_more_messages(&bot);
    let report = bench.sim.report();
    assert_eq!((report.identify_count, report.resume_count), (1, 1));
    assert_eq!(report.events_total.lost, 0);

    signal(bot.pid(), Signal::TERM);
    assert!(bot.wait(seconds(15.0)).success());
    bench.sim.assert_clean();
    assert!(bench.shardman.stop().success());
}

/// A bot that stood still while its shard went to another one uses it no more,
/// and waits for a shard of its own.
fn lets_go(library: &Library) {
    let mut bench = Bench::new(1, "2");
    let mut frozen = bench.bot(library, library.after);
    bench.wait_ready(1);
    wait_for_more_messages(&frozen);
    signal(frozen.pid(), Signal::STOP);
    eventually(seconds(20.0), "its shard is free", || {
        (bench.held() == 0).then_some(())
    });
    // Discord sees the end of a connection whose process is gone, not of one
    // that stands still.
    bench.sim.fault(r#"{"kind":"drop","shard":0}"#);
    let mut heir = bench.bot(library, library.after);
    bench.wait_ready(1);
    wait_for_more_messages(&heir);
    let before = messages(&frozen);
    signal(frozen.pid(), Signal::CONT);
    let_pass(seconds(4.0));
    assert_eq!(
        bench.sim.report().connections.live,
        1,
        "only the heir is connected"
    );
    assert!(
        messages(&frozen) <= before + 1,
        "no event is used without a lease"
    );

    signal(heir.pid(), Signal::TERM);
    assert!(heir.wait(seconds(15.0)).success());
    bench.wait_ready(1);
    wait_for_more_messages(&frozen);
    let report = bench.sim.report();
    // With a session that is handed on, nobody identifies again.
    let hands_on = library.after == GATEWAY_JS.after;
    assert_eq!(
        (report.identify_count, report.resume_count),
        if hands_on { (1, 2) } else { (3, 0) }
    );
    signal(frozen.pid(), Signal::TERM);
    assert!(frozen.wait(seconds(15.0)).success());
    bench.sim.assert_clean();
    assert!(bench.shardman.stop().success());
}

#[test]
fn an_adopted_discord_py_bot_lives_and_is_replaced() {
    if tools("an adopted discord.py bot", &[DISCORD_PY.probe]) {
        lives(&DISCORD_PY);
    }
}

#[test]
fn an_adopted_discord_js_bot_lives_and_is_replaced() {
    if tools("an adopted discord.js bot", &[DISCORD_JS.probe]) {
        lives(&DISCORD_JS);
    }
}

#[test]
fn an_adopted_discord_py_bot_leaves_the_gateway_when_the_manager_is_gone() {
    if tools("a discord.py bot without a manager", &[DISCORD_PY.probe]) {
        fails_safe(&DISCORD_PY);
    }
}

#[test]
fn an_adopted_discord_js_bot_leaves_the_gateway_when_the_manager_is_gone() {
    if tools("a discord.js bot without a manager", &[DISCORD_JS.probe]) {
        fails_safe(&DISCORD_JS);
    }
}

#[test]
fn an_adopted_discord_py_bot_lets_go_of_a_shard_that_it_lost() {
    if tools("a discord.py bot that stood still", &[DISCORD_PY.probe]) {
        lets_go(&DISCORD_PY);
    }
}

#[test]
fn an_adopted_discord_js_bot_lets_go_of_a_shard_that_it_lost() {
    if tools("a discord.js bot that stood still", &[DISCORD_JS.probe]) {
        lets_go(&DISCORD_JS);
    }
}

#[test]
fn an_adopted_auto_sharded_bot_leaves_the_gateway_when_the_manager_is_gone() {
    if tools("an AutoShardedClient without a manager", &[AUTO_SHARDED.probe]) {
        fails_safe(&AUTO_SHARDED);
    }
}

#[test]
fn an_adopted_auto_sharded_bot_lets_go_of_a_shard_that_it_lost() {
    if tools("an AutoShardedClient that stood still", &[AUTO_SHARDED.probe]) {
        lets_go(&AUTO_SHARDED);
    }
}

#[test]
fn an_adopted_hikari_bot_lives_and_is_replaced() {
    if tools("an adopted hikari bot", &[HIKARI.probe]) {
        lives(&HIKARI);
    }
}

#[test]
fn an_adopted_hikari_bot_leaves_the_gateway_when_the_manager_is_gone() {
    if tools("a hikari bot without a manager", &[HIKARI.probe]) {
        fails_safe(&HIKARI);
    }
}

#[test]
fn an_adopted_hikari_bot_lets_go_of_a_shard_that_it_lost() {
    if tools("a hikari bot that stood still", &[HIKARI.probe]) {
        lets_go(&HIKARI);
    }
}

#[test]
fn a_bare_gateway_leaves_when_the_manager_is_gone() {
    if tools("@discordjs/ws without a manager", &[GATEWAY_JS.probe]) {
        fails_safe(&GATEWAY_JS);
    }
}

#[test]
fn a_bare_gateway_lets_go_of_a_shard_that_it_lost() {
    if tools("@discordjs/ws that stood still", &[GATEWAY_JS.probe]) {
        lets_go(&GATEWAY_JS);
    }
}
