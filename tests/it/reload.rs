//! A changed `.env` is applied while the fleet runs, or refused as a whole.

use std::fs;

use rustix::process::Signal;
use shardman_core::reload::{ReloadEffect, ReloadView};

use crate::support::{How, Program, Shardman, Sim, call, eventually, post, seconds, signal, webhook};

/// A manager whose `.env` says so.
fn up(dotenv: &str, variables: &[(&str, &str)]) -> Shardman {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), dotenv).unwrap();
    Shardman::up_as(folder, variables, How::default())
}

fn write(manager: &Shardman, dotenv: &str) {
    fs::write(manager.folder().join(".env"), dotenv).unwrap();
}

fn command(manager: &Shardman, args: &[&str]) -> (i32, String, String) {
    let mut program = Program::shardman(&["reload", "--url", &format!("http://{}", manager.address)]);
    for arg in args {
        program = program.arg(arg);
    }
    // Elsewhere: only the manager is to read the file.
    program
        .dir(std::path::Path::new("/"))
        .env("SECRET", "test-secret")
        .run()
}

#[track_caller]
fn reload(manager: &Shardman) -> ReloadView {
    let (code, json, error) = command(manager, &["--json"]);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&json).unwrap()
}

fn effects(view: &ReloadView) -> Vec<(&str, ReloadEffect)> {
    let changes = view.changes.iter();
    changes
        .map(|change| (change.variable.as_str(), change.effect))
        .collect()
}

fn status_without_secret(manager: &Shardman) -> u16 {
    call(manager.address, "GET", "/status", &[], None).status
}

#[test]
fn each_changed_variable_is_listed_with_what_becomes_of_it() {
    let before = "PUBLIC_STATUS=false\nMAX_SHARDS=2\nWORKERS=0\nSTOP_SECONDS=9\n";
    let mut manager = up(before, &[("WORKERS", "0")]);
    assert_eq!(status_without_secret(&manager), 422);
    assert!(reload(&manager).changes.is_empty());

    let (url, messages) = webhook(&["204 No Content"]);
    let mut kept = crate::support::Connection::open(manager.address).unwrap();
    assert_eq!(kept.call("GET", "/status", &[], None).unwrap().status, 422);
    write(
        &manager,
        &format!(
            "PUBLIC_STATUS=true\nMAX_SHARDS=3\nWORKERS=5\nSTOP_SECONDS=9\nMAX_SECONDS=30\nINTENTS=guilds\n\
             OPERATOR_SECRET=boss\nWEBHOOK_URL={url}\nDATABASE_URL=postgres://u:hush@db\nCORS_ORIGINS=https://a.example\n"
        ),
    );
    let view = reload(&manager);
    use ReloadEffect::{Applied, ManagerRestart, NewWorkers, Overruled};
    assert_eq!(
        effects(&view),
        [
            ("CORS_ORIGINS", Applied),
            ("DATABASE_URL", NewWorkers),
            ("INTENTS", NewWorkers),
            ("MAX_SECONDS", ManagerRestart),
            ("MAX_SHARDS", Applied),
            ("OPERATOR_SECRET", ManagerRestart),
            ("PUBLIC_STATUS", Applied),
            ("WEBHOOK_URL", Applied),
            ("WORKERS", Overruled),
        ]
    );
    let text = serde_json::to_string(&view).unwrap() + &manager.log();
    assert!(
        !text.contains("boss") && !text.contains("hush") && !text.contains(&url),
        "{text}"
    );
    let count = view
        .changes
        .iter()
        .find(|change| change.variable == "MAX_SHARDS")
        .unwrap();
    assert_eq!(
        (count.before.as_deref(), count.now.as_deref()),
        (Some("2"), Some("3"))
    );

    // At once, also on a connection that was open before.
    assert_eq!(status_without_secret(&manager), 200);
    assert_eq!(kept.call("GET", "/status", &[], None).unwrap().status, 200);
    let from_page = call(
        manager.address,
        "GET",
        "/health",
        &[("Origin", "https://a.example")],
        None,
    );
    assert_eq!(
        from_page.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    assert_eq!(manager.fleet().planned, 3);
    let told = eventually(seconds(5.0), "it is told", || {
        let told = crate::timeline::events(&manager, "kind=reloaded");
        (!told.is_empty()).then_some(told)
    });
    assert_eq!(told.len(), 1, "the one in which something changed: {told:?}");
    let words = told[0]["cause"].as_str().unwrap();
    for part in [
        "the configuration was read again: CORS_ORIGINS (applied), DATABASE_URL (applies to workers",
        "MAX_SHARDS (applied), OPERATOR_SECRET (needs a restart of the manager)",
    ] {
        assert!(words.contains(part), "{words}");
    }
    assert!(!words.contains("boss") && !words.contains("hush"), "{words}");
    // The operators' secret is not in force, so the shared one still operates.
    let view = reload(&manager);
    assert_eq!(
        effects(&view),
        [
            ("MAX_SECONDS", ManagerRestart),
            ("OPERATOR_SECRET", ManagerRestart)
        ],
        "what waits for a restart is said again"
    );
    let connected = manager.connect().json();
    assert_eq!(connected["max_seconds"], 60.0, "{connected}");
    eventually(seconds(15.0), "the new webhook is told of the connect", || {
        messages
            .try_iter()
            .find(|message| message.to_string().contains("Connect"))
    });

    write(&manager, "PUBLIC_STATUS=false\nMAX_SHARDS=3\n");
    let (code, table, _) = command(&manager, &[]);
    assert_eq!(code, 0);
    assert!(
        table.contains("VARIABLE") && table.contains("PUBLIC_STATUS"),
        "{table}"
    );
    assert!(table.contains("shardman restart --all"), "{table}");
    assert_eq!(kept.call("GET", "/status", &[], None).unwrap().status, 422);
    assert!(manager.stop().success());
}

#[test]
fn one_bad_value_changes_nothing() {
    let mut manager = up("MAX_SHARDS=2\nWORKERS=0\n", &[]);
    for (bad, parts) in [
        ("MAX_SHARDS=many", ["MAX_SHARDS is 'many'", "whole number"]),
        ("MAX_SHARDS=2\nCORS_ORIGINS=nowhere", ["CORS_ORIGINS", "https://"]),
        ("INTENTS=everything", ["INTENTS is 'everything'", ""]),
        ("MAX_SECONDS=soon", ["MAX_SECONDS is 'soon'", "give seconds"]),
        ("BOT_TOKEN=abc def", ["BOT_TOKEN", "quote"]),
        ("SECRET=a\nSECRET_KEY=b", ["SECRET", ""]),
        ("STOP_SECONDS=1", ["BOT_TOKEN is not set", "MAX_SHARDS"]),
        (
            "POOLS=web\nPOOL_WEB_SIZE=0",
            ["POOL_WEB_SIZE is '0'", "whole number"],
        ),
        (
            "MAX_SHARDS=2\nPOOL_WEB_COMMAND=x",
            ["POOL_WEB_COMMAND", "POOLS is not set"],
        ),
        (
            "MAX_SHARDS=2\nWORKER_REGISTER=assigned",
            ["WORKER_REGISTER is 'assigned'", "set WORKER_COMMAND"],
        ),
    ] {
        // Of the bundled worker's settings only who starts some needs good ones.
        let workers = if bad.contains("INTENTS") { "auto" } else { "0" };
        write(
            &manager,
            &format!("WORKERS={workers}\nPUBLIC_STATUS=true\n{bad}\n"),
        );
        let answer = post(manager.address, "/reload", "test-secret", "");
        assert_eq!(answer.status, 409, "{bad}: {}", answer.body);
        let line = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(!line.contains("abc"), "{line}");
        eventually(seconds(5.0), "the same line in the log", || {
            manager.log().contains(&line).then_some(())
        });
        let (code, _, error) = command(&manager, &[]);
        assert_eq!((code, error.contains(&line)), (1, true), "{error}");
        // What a worker alone reads is checked by a worker, not at the start.
        if !bad.starts_with("INTENTS") {
            let up = Program::shardman(&["up", "--listen", "127.0.0.1:0"]).dir(manager.folder());
            let (code, _, error) = up.run();
            assert_eq!((code, error.contains(&line)), (78, true), "at the start: {error}");
        }
    }
    assert_eq!(status_without_secret(&manager), 422, "the old settings hold");
    assert_eq!(manager.fleet().planned, 2);

    write(&manager, "MAX_SHARDS=2\nWORKERS=0\nPUBLIC_STATUS=true\n");
    signal(manager.pid(), Signal::HUP);
    eventually(seconds(5.0), "SIGHUP is enough", || {
        (status_without_secret(&manager) == 200).then_some(())
    });
    assert!(manager.stop().success());
}

#[test]
fn only_an_operator_reloads() {
    let mut manager = up("MAX_SHARDS=1\nWORKERS=0\n", &[("OPERATOR_SECRET", "boss")]);
    assert_eq!(post(manager.address, "/reload", "test-secret", "").status, 403);
    assert_eq!(post(manager.address, "/reload", "wrong", "").status, 403);
    assert_eq!(call(manager.address, "POST", "/reload", &[], None).status, 422);
    assert_eq!(post(manager.address, "/reload", "boss", "").status, 200);
    assert!(manager.stop().success());
}

/// A worker command that ends with 78 unless `GREETING` is right.
const PICKY: &str =
    r#"WORKER_COMMAND='[ "$GREETING" = hello ] || exit 78; echo said $GREETING $FAREWELL; exec sleep 1000'"#;

#[test]
fn a_worker_that_was_halted_for_its_configuration_starts_with_a_new_one() {
    let dotenv = |more: &str| format!("MAX_SHARDS=1\nWORKERS=1\n{PICKY}\nFAREWELL=bye\n{more}\n");
    let mut manager = up(&dotenv("GREETING=no"), &[]);
    eventually(seconds(10.0), "the worker is halted", || {
        (manager.fleet().workers.first()?.state == "halted").then_some(())
    });
    write(&manager, &dotenv("GREETING=no\nSTOP_SECONDS=1"));
    let view = reload(&manager);
    assert_eq!(view.freed, ["discord-0"], "what was corrected may be elsewhere");
    eventually(seconds(10.0), "it is halted again: nothing was", || {
        (manager.fleet().workers.first()?.state == "halted").then_some(())
    });

    write(
        &manager,
        &dotenv("GREETING=hello\nSTOP_SECONDS=1").replace("FAREWELL=bye\n", ""),
    );
    let view = reload(&manager);
    assert_eq!(view.freed, ["discord-0"]);
    let log = manager.folder().join("data/logs/discord-0.log");
    eventually(seconds(10.0), "it starts with what the file says now", || {
        fs::read_to_string(&log)
            .unwrap()
            .lines()
            .any(|line| line.trim_end() == "said hello")
            .then_some(())
    });
    let pid = eventually(seconds(5.0), "its pid is known", || {
        Some(manager.workers().first()?.1)
    });

    // Who runs is left alone, and gets the new value when it is restarted.
    write(&manager, &dotenv("GREETING=hello\nSTOP_SECONDS=1\nNOISE=1"));
    let view = reload(&manager);
    assert!(view.freed.is_empty() && view.workers_lag());
    assert_eq!(manager.workers()[0].1, pid);
    let url = format!("http://{}", manager.address);
    let (code, _, error) = Program::shardman(&["restart", "discord-0", "--no-wait", "--url", &url])
        .env("SECRET", "test-secret")
        .run();
    assert_eq!(code, 0, "{error}");
    eventually(seconds(10.0), "the farewell is back", || {
        let text = fs::read_to_string(&log).unwrap();
        text.contains("said hello bye").then_some(())
    });
    assert!(manager.stop().success());
}

#[test]
fn the_number_of_shards_changes_without_a_restart() {
    let sim = Sim::start(1, 16, &[]);
    let url = sim.url();
    let dotenv = |more: &str| format!("DISCORD_API_URL={url}\nBOT_TOKEN=t\nSHARDS_PER_WORKER=1\n{more}\n");
    let mut manager = up(&dotenv("MAX_SHARDS=1\nWORKERS=1"), &[]);
    manager.wait_ready(seconds(30.0));
    let first = manager.workers();
    write(&manager, &dotenv("MAX_SHARDS=2\nWORKERS=2"));
    let view = reload(&manager);
    let applied = ReloadEffect::Applied;
    assert_eq!(effects(&view), [("MAX_SHARDS", applied), ("WORKERS", applied)]);
    eventually(seconds(40.0), "two shards run", || {
        let fleet = manager.fleet();
        (fleet.planned == 2 && fleet.ready == 2 && fleet.rescale.is_none()).then_some(())
    });
    sim.assert_clean();
    let workers = manager.workers();
    assert!(workers.contains(&first[0]), "{first:?} {workers:?}");
    assert!(manager.stop().success());
}

/// The environment of a process.
fn environ(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let entries = bytes.split(|byte| *byte == 0);
    entries
        .map(|entry| String::from_utf8_lossy(entry).into_owned())
        .collect()
}

#[test]
fn pools_are_told_of_what_changed_and_of_nothing_that_belongs_to_others() {
    let dotenv = |more: &str| {
        format!(
            "BOT_TOKEN=hush\nDISCORD_API_URL=http://127.0.0.1:9\nMAX_SHARDS=1\nWORKERS=0\nWORKER_COMMAND=other\n\
             POOLS=web,jobs\nPOOL_WEB_REGISTER=process\nPOOL_JOBS_COMMAND='exec sleep 1000'\n\
             POOL_WEB_COMMAND='[ \"$GREETING\" = hello ] || exit 78; trap \"\" TERM; while :; do sleep 0.1; done'\n\
             {more}\n"
        )
    };
    let mut manager = up(&dotenv("GREETING=no\nSTOP_SECONDS=300"), &[]);
    let web = |manager: &Shardman| {
        let pools = manager.fleet().pools.into_iter();
        let workers = pools
            .filter(|pool| pool.pool == "web")
            .flat_map(|pool| pool.workers);
        workers.map(|worker| (worker.state, worker.pid)).next()
    };
    eventually(seconds(10.0), "the pool's worker is halted", || {
        (web(&manager)?.0 == "halted").then_some(())
    });
    write(&manager, &dotenv("GREETING=hello\nSTOP_SECONDS=300"));
    assert_eq!(reload(&manager).freed, ["web-0"]);
    let pid = eventually(seconds(10.0), "it runs with what the file says now", || {
        let pid = web(&manager)?.1?;
        environ(pid).contains(&"GREETING=hello".to_owned()).then_some(pid)
    });
    let seen = environ(pid);
    let strange = |name: &&str| seen.iter().any(|entry| entry.starts_with(name));
    let names = [
        "BOT_TOKEN=",
        "DISCORD_TOKEN=",
        "POOL_",
        "POOLS=",
        "WORKER_COMMAND=",
    ];
    assert_eq!(names.iter().find(|name| strange(name)), None, "{seen:?}");
    assert!(seen.contains(&"SHARDMAN_POOL=web".to_owned()), "{seen:?}");

    // It does not listen to TERM, and its pool has the patience of all others.
    write(&manager, &dotenv("GREETING=hello\nSTOP_SECONDS=0.5"));
    reload(&manager);
    let url = format!("http://{}", manager.address);
    let (code, _, error) = Program::shardman(&["restart", "web-0", "--no-wait", "--url", &url])
        .env("SECRET", "test-secret")
        .run();
    assert_eq!(code, 0, "{error}");
    eventually(seconds(20.0), "it is killed after the new time", || {
        web(&manager)?.1.filter(|next| *next != pid)
    });
    assert!(manager.stop().success());
}

#[test]
fn a_file_that_was_refused_breaks_no_worker_that_starts_later() {
    let sim = Sim::start(1, 16, &[]);
    let dotenv = format!(
        "DISCORD_API_URL={}\nBOT_TOKEN=t\nMAX_SHARDS=1\nWORKERS=1\n",
        sim.url()
    );
    let mut manager = up(&dotenv, &[]);
    manager.wait_ready(seconds(30.0));
    write(&manager, &format!("{dotenv}this makes no sense\n"));
    assert_eq!(post(manager.address, "/reload", "test-secret", "").status, 409);
    let (_, pid) = manager.workers().remove(0);
    signal(pid, Signal::KILL);
    eventually(seconds(30.0), "its next run is ready", || {
        let fleet = manager.fleet();
        let next = fleet.workers.first()?.pid.filter(|next| *next != pid);
        (next.is_some() && fleet.ready == 1).then_some(())
    });
    assert!(manager.stop().success());
}
