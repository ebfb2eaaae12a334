//! Commands of somebody else's that know nothing of Shardman: they are given
//! their shards, and named when they never ask for any.

use std::time::Instant;

use rustix::process::Signal;

use crate::support::{Program, Shardman, Sim, eventually, get, post, seconds, signal, tools, webhook};

const PYTHON: &[&[&str]] = &[&["python3", "-c", "import discord"]];
const NODE: &[&[&str]] = &[&["node", "-e", "require('discord.js')"]];

/// A bot as the first page of discord.js' guide has it; only where Discord is
/// differs.
const DISCORD_JS: &str = "
const { Client, GatewayIntentBits } = require('discord.js');
const rest = { api: `${process.env.DISCORD_API_URL}/api` };
const client = new Client({ intents: [GatewayIntentBits.Guilds], rest });
client.login();
";

/// The same of discord.py, which learns its shards from its arguments.
const DISCORD_PY: &str = "
import os, sys
import discord, yarl
api = os.environ['DISCORD_API_URL']
discord.http.Route.BASE = f'{api}/api/v10'
discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(api).with_scheme('ws')
shards = [int(shard) for shard in sys.argv[1].split(',')]
client = discord.AutoShardedClient(
    intents=discord.Intents(guilds=True), shard_ids=shards, shard_count=int(sys.argv[2])
)
client.run(os.environ['BOT_TOKEN'])
";

/// Writes down what it is given, and sleeps.
const SHELL: &str = "{ echo argv {shards} {shard} {total} {worker}; env; } > {worker}.$$; exec sleep 1000";

/// The shards of each worker that runs, by its name, and its pid.
fn held(shardman: &Shardman) -> Vec<(String, i32, Vec<u32>)> {
    let fleet = shardman.fleet();
    let of_worker = |name: &str| {
        let mine = fleet
            .shards
            .iter()
            .filter(|shard| shard.worker.as_deref() == Some(name));
        mine.map(|shard| shard.shard.number()).collect()
    };
    let workers = fleet.workers.iter();
    workers
        .filter_map(|worker| Some((worker.worker.clone(), worker.pid?, of_worker(&worker.worker))))
        .collect()
}

/// What the shell of this worker wrote down.
fn given(shardman: &Shardman, worker: &str, pid: i32) -> Vec<String> {
    let path = shardman.folder().join(format!("{worker}.{pid}"));
    eventually(seconds(10.0), "it has written down what it is given", || {
        let text = std::fs::read_to_string(&path).ok()?;
        let whole = text.contains("SHARD_COUNT=") && text.contains("SHARDMAN_SESSIONS=");
        whole.then(|| text.lines().map(str::to_owned).collect())
    })
}

#[test]
fn a_command_is_given_its_shards_and_keeps_them_while_it_runs() {
    let sim = Sim::start(4, 4, &[]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("MAX_SECONDS", "2"),
        ("SHARDS_PER_WORKER", "2"),
        ("LOGIN_SECONDS", "1"),
        ("WORKER_COMMAND", SHELL),
        ("SHARDING_MANAGER", "true"),
    ]);
    let before = eventually(seconds(15.0), "both run", || {
        Some(held(&shardman)).filter(|held| held.len() == 2)
    });
    assert_eq!(before[0].2, [0, 1]);
    assert_eq!(before[1].2, [2, 3]);
    let (worker, pid, _) = &before[1];
    let lines = given(&shardman, worker, *pid);
    assert_eq!(lines[0], "argv 2,3 2 4 discord-1");
    for line in [
        "SHARDS=[2,3]",
        "SHARD_COUNT=4",
        "SHARDMAN_SHARD_IDS=2,3",
        "SHARDMAN_TOTAL_SHARDS=4",
        "SHARDMAN_WORKER_ID=discord-1",
        "DISCORD_TOKEN=t",
    ] {
        assert!(lines.iter().any(|other| other == line), "{line}: {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("SHARDING_MANAGER")));
    let fleet = shardman.fleet();
    assert!(
        fleet
            .shards
            .iter()
            .all(|shard| shard.state == "assigned" && shard.beat_age.is_none())
    );

    // Four times MAX_SECONDS, and no lease lapses; a manager comes and goes.
    shardman.wait_ready(seconds(15.0));
    let epochs = |shardman: &Shardman| {
        shardman
            .fleet()
            .shards
            .into_iter()
            .map(|shard| shard.epoch)
            .collect::<Vec<_>>()
    };
    let epochs_before = epochs(&shardman);
    shardman.kill();
    shardman.start();
    eventually(seconds(10.0), "they are adopted", || {
        (held(&shardman) == before && epochs(&shardman) == epochs_before).then_some(())
    });
    shardman.wait_ready(seconds(10.0));
    crate::support::let_pass(seconds(4.0));
    assert_eq!(
        (held(&shardman), epochs(&shardman)),
        (before.clone(), epochs_before)
    );

    // What it says all the same is shown.
    let sessions = lines
        .iter()
        .find_map(|line| line.strip_prefix("SHARDMAN_SESSIONS="))
        .unwrap();
    let session = sessions.split(',').next().unwrap();
    let beat = format!(r#"{{"session_id":"{session}","guild_count":77,"latency":0.05}}"#);
    assert_eq!(post(shardman.address, "/beat", "test-secret", &beat).status, 204);
    assert_eq!(shardman.fleet().shards[2].guild_count, Some(77));

    // A crash: back with the same shards, under new leases.
    signal(*pid, Signal::KILL);
    let after = eventually(seconds(20.0), "the killed one is back", || {
        let held = held(&shardman);
        (held.len() == 2 && held[1].1 != *pid).then_some(held)
    });
    assert_eq!(after[0], before[0]);
    assert_eq!((&after[1].0, &after[1].2), (&before[1].0, &before[1].2));
    assert_eq!(given(&shardman, worker, after[1].1)[0], "argv 2,3 2 4 discord-1");
    let starts = shardman.fleet().starts.by_worker;
    let spent = |name: &str| {
        starts
            .iter()
            .find(|spender| spender.worker == name)
            .unwrap()
            .starts
    };
    assert_eq!((spent("discord-0"), spent("discord-1")), (2, 4));
    assert!(shardman.stop().success());
}

#[test]
fn commands_of_one_bucket_are_started_one_after_the_other() {
    let sim = Sim::start(2, 1, &[]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("LOGIN_SECONDS", "2"),
        ("WORKER_COMMAND", "exec sleep 1000"),
        ("WORKER_REGISTER", "assigned"),
    ]);
    let running = |count| {
        eventually(seconds(20.0), "so many run", || {
            (held(&shardman).len() == count).then(Instant::now)
        })
    };
    let between = running(1);
    let between = running(2) - between;
    eprintln!("the second one was started {between:?} after the first");
    // Two seconds to log in, five between two identifies.
    assert!(between > seconds(6.9), "{between:?}");
    assert_eq!(held(&shardman)[1].2, [1]);
    assert!(shardman.stop().success());
}

#[test]
fn a_command_that_never_asks_for_a_shard_is_named_with_the_remedy() {
    let (url, alerts) = webhook(&["204 No Content"]);
    let mut shardman = Shardman::up(&[
        ("MAX_SHARDS", "1"),
        ("REGISTER_SECONDS", "1"),
        ("WEBHOOK_URL", &url),
        ("WORKER_COMMAND", "exec sleep 1000"),
    ]);
    let url = format!("http://{}", shardman.address);
    let named = format!(
        "worker discord-0 (`exec sleep 1000`) never called GET /connect at {url} within 1 s of its start; \
         if your bot knows nothing of Shardman, put {{shards}} into WORKER_COMMAND or set WORKER_REGISTER=assigned"
    );
    eventually(seconds(20.0), "the fourth run backs off", || {
        let worker = shardman.fleet().workers.pop()?;
        (worker.exits >= 4 && worker.restart_in.is_some_and(|pause| pause > 0.5)).then_some(())
    });
    assert_eq!(shardman.fleet().trouble, std::slice::from_ref(&named));
    let stops = shardman.log().matches(&named).count();
    assert!(stops >= 4, "{stops} times in the log");
    let (_, status, _) = Program::shardman(&["status", "--url", &url])
        .env("SECRET", "test-secret")
        .run();
    assert!(status.contains(&format!("! {named}")), "{status}");
    let told = alerts
        .try_iter()
        .filter(|alert| alert.to_string().contains("never called"))
        .count();
    assert_eq!(told, 1, "one alert, however often it is tried");
    assert!(shardman.stop().success());
}

#[test]
fn another_number_of_shards_is_another_set_of_processes() {
    let sim = Sim::start(2, 8, &[]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "2"),
        ("LOGIN_SECONDS", "1"),
        ("WORKER_COMMAND", SHELL),
    ]);
    shardman.wait_ready(seconds(30.0));
    let old = held(&shardman).remove(0);
    let answer = post(shardman.address, "/plan", "test-secret", r#"{"shards":4}"#);
    assert_eq!(answer.status, 202, "{}", answer.body);
    eventually(seconds(10.0), "the new ones are started beside the old", || {
        let held = held(&shardman);
        (held.len() == 3 && held[0] == old).then_some(())
    });
    assert_eq!(
        shardman.fleet().rescale.unwrap().steps,
        1,
        "both of its shards leave together"
    );
    let after = eventually(seconds(40.0), "the old one is gone", || {
        let fleet = shardman.fleet();
        (fleet.rescale.is_none() && fleet.planned == 4).then(|| held(&shardman))
    });
    assert_eq!(
        after.iter().map(|(_, _, shards)| shards.len()).sum::<usize>(),
        4,
        "{after:?}"
    );
    assert!(after.iter().all(|(_, pid, _)| *pid != old.1), "{after:?}");
    for (worker, pid, shards) in &after {
        let numbers: Vec<_> = shards.iter().map(u32::to_string).collect();
        let line = format!("argv {} {} 4 {worker}", numbers.join(","), numbers[0]);
        assert_eq!(given(&shardman, worker, *pid)[0], line);
    }

    // A planned restart goes through all of them, each with its own shards.
    shardman.wait_ready(seconds(20.0));
    assert_eq!(
        post(shardman.address, "/fleet/restart", "test-secret", "").status,
        202
    );
    eventually(seconds(60.0), "all are restarted", || {
        shardman.fleet().restart.filter(|restart| restart.state == "done")
    });
    let restarted = held(&shardman);
    assert!(
        restarted
            .iter()
            .zip(&after)
            .all(|(new, old)| new.0 == old.0 && new.1 != old.1 && new.2 == old.2)
    );
    assert!(shardman.stop().success());
}

#[test]
fn what_contradicts_itself_is_refused() {
    let refused = |settings: &[(&str, &str)], word: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut program = Program::shardman(&["up"])
            .dir(folder.path())
            .env("LISTEN", "127.0.0.1:0");
        for (name, value) in settings {
            program = program.env(name, value);
        }
        let (code, _, errors) = program.env("MAX_SHARDS", "1").env("BOT_TOKEN", "t").run();
        assert_eq!(code, 78, "{errors}");
        assert!(errors.contains(word), "{errors}");
    };
    refused(
        &[("WORKER_REGISTER", "assigned")],
        "WORKER_REGISTER is 'assigned'",
    );
    refused(
        &[("WORKER_REGISTER", "connect"), ("WORKER_COMMAND", "bot {shards}")],
        "WORKER_REGISTER is 'connect'",
    );
    refused(&[("WORKER_REGISTER", "no")], "WORKER_REGISTER is 'no'");
    refused(&[("LOGIN_SECONDS", "0")], "LOGIN_SECONDS is '0'");
}

/// Four shards of a bot that knows nothing of Shardman.
fn unmodified(max_concurrency: u32, each: &str, settings: &[(&str, &str)], file: &str, text: &str) {
    let sim = Sim::start(4, max_concurrency, &["--guilds", "20"]);
    let bots = tempfile::tempdir().unwrap();
    let path = bots.path().join(file);
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let url = sim.url();
    let mut all = vec![
        ("DISCORD_API_URL", &*url),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", each),
        ("LOGIN_SECONDS", "6"),
    ];
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.replace("BOT", &path)))
        .collect();
    all.extend(settings.iter().map(|(name, value)| (*name, &**value)));
    let mut shardman = Shardman::up(&all);
    let began = Instant::now();
    let all_there = |identifies| {
        let report = sim.report();
        (report.connections.live == 4 && report.identify_count == identifies).then_some(())
    };
    eventually(seconds(70.0), "four shards are connected", || all_there(4));
    eprintln!(
        "{file}, max_concurrency {max_concurrency}: connected after {:?}",
        began.elapsed()
    );
    shardman.wait_ready(seconds(40.0));
    sim.assert_clean();

    let before = held(&shardman);
    shardman.kill();
    shardman.start();
    eventually(seconds(10.0), "they are adopted", || {
        (held(&shardman) == before).then_some(())
    });
    assert_eq!(sim.report().identify_count, 4);

    let (worker, pid, shards) = before[0].clone();
    signal(pid, Signal::KILL);
    // All shards of one of two processes, or the first of all four.
    let back = if shards.len() == 2 { 2 } else { 1 };
    eventually(seconds(70.0), "the killed one is back", || {
        let report = sim.report();
        let live = 4 - shards.len() as u64 + back;
        (report.connections.live >= live && report.identify_count >= 4 + back).then_some(())
    });
    let after = held(&shardman).remove(0);
    assert_eq!((&after.0, &after.2), (&worker, &shards));
    let status = get(shardman.address, "/status", "test-secret").json();
    assert_eq!(status["shards"].as_array().unwrap().len(), 4);
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn an_unmodified_discord_js_bot_runs_all_shards_in_one_process() {
    if tools("an unmodified discord.js bot", NODE) {
        let settings = [
            ("WORKER_COMMAND", "exec node BOT"),
            ("WORKER_REGISTER", "assigned"),
        ];
        unmodified(1, "4", &settings, "bot.js", DISCORD_JS);
    }
}

#[test]
fn an_unmodified_discord_js_bot_runs_in_several_processes() {
    if tools("an unmodified discord.js bot in processes", NODE) {
        let settings = [
            ("WORKER_COMMAND", "exec node BOT"),
            ("WORKER_REGISTER", "assigned"),
        ];
        unmodified(2, "2", &settings, "bot.js", DISCORD_JS);
    }
}

#[test]
fn an_unmodified_discord_py_bot_runs_all_shards_in_one_process() {
    if tools("an unmodified discord.py bot", PYTHON) {
        let settings = [("WORKER_COMMAND", "exec python3 BOT {shards} {total}")];
        unmodified(1, "4", &settings, "bot.py", DISCORD_PY);
    }
}

#[test]
fn an_unmodified_discord_py_bot_runs_in_several_processes() {
    if tools("an unmodified discord.py bot in processes", PYTHON) {
        let settings = [("WORKER_COMMAND", "exec python3 BOT {shards} {total}")];
        unmodified(2, "2", &settings, "bot.py", DISCORD_PY);
    }
}
