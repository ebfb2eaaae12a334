//! Pools beside `discord`: what follows the end of a process, of a pool, and
//! of a configuration; and planned restarts of them.

use std::collections::BTreeMap;
use std::path::Path;

use shardman_core::wire::{PoolView, WorkerView};

use crate::support::{Program, Shardman, eventually, get, let_pass, post, seconds, webhook};

const SECRET: &str = "test-secret";
const LOOP: &str = "while :; do sleep 0.1; done";

fn pool(shardman: &Shardman, name: &str) -> Option<PoolView> {
    let pools = shardman.fleet().pools;
    pools.into_iter().find(|pool| pool.pool == name)
}

fn worker(shardman: &Shardman, name: &str) -> Option<WorkerView> {
    let pools = shardman.fleet().pools.into_iter();
    let mut workers = pools.flat_map(|pool| pool.workers);
    workers.find(|worker| worker.worker == name)
}

fn pids(shardman: &Shardman, name: &str) -> BTreeMap<String, i32> {
    let workers = pool(shardman, name).map_or_else(Vec::new, |pool| pool.workers);
    let pid = |worker: WorkerView| Some((worker.worker, worker.pid?));
    workers.into_iter().filter_map(pid).collect()
}

#[track_caller]
fn wait_for(shardman: &Shardman, name: &str, what: &str, is: impl Fn(&WorkerView) -> bool) -> WorkerView {
    eventually(seconds(30.0), &format!("{name}: {what}"), || {
        worker(shardman, name).filter(|worker| is(worker))
    })
}

fn command(shardman: &Shardman, args: &[&str]) -> (i32, String, String) {
    let mut program = Program::shardman(args).dir(shardman.folder());
    for (name, value) in [
        ("SECRET", SECRET),
        ("SHARDMAN_URL", &format!("http://{}", shardman.address)),
    ] {
        program = program.env(name, value);
    }
    program.run()
}

/// How often a command ran that adds a line each time.
fn runs(folder: &Path, name: &str) -> usize {
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    text.lines().count()
}

#[test]
fn the_rule_of_a_pool_says_what_follows_an_end_also_for_the_next_manager() {
    let mut shardman = Shardman::up(&[
        ("POOLS", "done,once,again"),
        ("POOL_DONE_COMMAND", "echo run >> done; exit 0"),
        ("POOL_DONE_REGISTER", "process"),
        ("POOL_DONE_RESTART", "on-failure"),
        ("POOL_ONCE_COMMAND", "echo run >> once; exit 5"),
        ("POOL_ONCE_REGISTER", "process"),
        ("POOL_ONCE_RESTART", "never"),
        // Fails once, and is done then.
        (
            "POOL_AGAIN_COMMAND",
            "echo run >> again; test $(wc -l < again) -gt 1",
        ),
        ("POOL_AGAIN_REGISTER", "process"),
        ("POOL_AGAIN_RESTART", "on-failure"),
    ]);
    let rests = |worker: &WorkerView| worker.state == "resting";
    let ends = |shardman: &Shardman| {
        ["done-0", "once-0", "again-0"]
            .map(|name| wait_for(shardman, name, "rests", rests).last_exit.unwrap())
    };
    let expected = ["exit code 0", "exit code 5", "exit code 0"];
    assert_eq!(ends(&shardman), expected);
    assert!(
        shardman
            .log()
            .contains("worker once-0 ended: exit code 5; it is not started again")
    );
    // What is seen is made durable within the same turn.
    let_pass(seconds(1.0));
    shardman.kill();
    shardman.start();
    assert_eq!(ends(&shardman), expected);
    let_pass(seconds(1.0));
    let counted = |shardman: &Shardman| ["done", "once", "again"].map(|name| runs(shardman.folder(), name));
    assert_eq!(counted(&shardman), [1, 1, 2]);
    assert_eq!(command(&shardman, &["status"]).0, 0, "nothing is missing");

    // An operator, or another command, starts it again.
    let (code, text, _) = command(&shardman, &["restart", "once-0"]);
    assert_eq!((code, text.contains("it starts now")), (0, true), "{text}");
    eventually(seconds(10.0), "it ran again", || {
        (counted(&shardman)[1] == 2).then_some(())
    });
    wait_for(&shardman, "once-0", "rests again", rests);
    assert!(shardman.stop().success());
    shardman.set("POOL_DONE_COMMAND", "echo another >> done; exit 0");
    shardman.start();
    eventually(seconds(10.0), "another task", || {
        (counted(&shardman)[0] == 2).then_some(())
    });
    assert_eq!(counted(&shardman)[1..], [2, 2]);
    assert!(shardman.stop().success());
}

#[test]
fn a_crash_loop_and_a_wrong_configuration_in_a_pool_are_told_by_name() {
    let (url, messages) = webhook(&["204 No Content"]);
    let mut shardman = Shardman::up(&[
        ("POOLS", "bad,wrong"),
        ("POOL_BAD_COMMAND", "echo these are my last words; exit 3"),
        ("POOL_BAD_REGISTER", "process"),
        ("POOL_WRONG_COMMAND", "exit 78"),
        ("WEBHOOK_URL", &url),
    ]);
    let mut told = String::new();
    eventually(seconds(40.0), "both verdicts", || {
        let more = messages.try_recv().ok();
        told.push_str(&more.map_or_else(String::new, |message| message.to_string()));
        let all = [
            "worker bad-0 is crash looping",
            "these are my last words",
            "worker wrong-0 is halted",
        ];
        all.iter().all(|words| told.contains(words)).then_some(())
    });
    let trouble = shardman.fleet().trouble;
    assert!(
        trouble.iter().any(|line| line.contains("wrong-0 is halted")),
        "{trouble:?}"
    );
    assert_eq!(command(&shardman, &["status"]).0, 3);
    assert_eq!(command(&shardman, &["resume"]).0, 0);
    eventually(seconds(10.0), "it was started again", || {
        (shardman.log().matches("wrong-0 runs").count() == 2).then_some(())
    });
    assert!(shardman.stop().success());
}

#[test]
fn a_pool_of_another_size_keeps_who_still_has_a_slot_and_a_former_pool_is_stopped() {
    let mut shardman = Shardman::up(&[
        ("POOLS", "jobs,gone"),
        ("POOL_JOBS_COMMAND", LOOP),
        ("POOL_JOBS_REGISTER", "process"),
        ("POOL_JOBS_SIZE", "12"),
        ("POOL_GONE_COMMAND", LOOP),
        ("POOL_GONE_REGISTER", "process"),
    ]);
    let all_run = |shardman: &Shardman, name: &str, count: usize| {
        eventually(seconds(30.0), &format!("{count} of {name} run"), || {
            Some(pids(shardman, name)).filter(|pids| pids.len() == count)
        })
    };
    let before = all_run(&shardman, "jobs", 12);
    all_run(&shardman, "gone", 1);
    shardman.kill();
    shardman.set("POOL_JOBS_SIZE", "10");
    shardman.set("POOLS", "jobs");
    shardman.set("POOL_GONE_COMMAND", "");
    shardman.set("POOL_GONE_REGISTER", "");
    shardman.start();
    // The two whose slots there are no more, by number.
    let fewer = all_run(&shardman, "jobs", 10);
    let kept = before
        .iter()
        .filter(|(worker, _)| !matches!(&***worker, "jobs-10" | "jobs-11"));
    let kept: BTreeMap<_, _> = kept.map(|(worker, pid)| (worker.clone(), *pid)).collect();
    assert_eq!(fewer, kept);
    eventually(seconds(10.0), "the former pool is gone", || {
        pool(&shardman, "gone").is_none().then_some(())
    });
    shardman.kill();
    shardman.set("POOL_JOBS_SIZE", "11");
    shardman.start();
    let more = all_run(&shardman, "jobs", 11);
    assert!(kept.iter().all(|(worker, pid)| more[worker] == *pid));
    assert!(pool(&shardman, "gone").is_none());
    eventually(seconds(10.0), "each slot is held", || {
        let pool = pool(&shardman, "jobs")?;
        (pool.size == 11 && pool.ready == 11 && pool.shards.len() == 11).then_some(())
    });
    assert!(shardman.stop().success());
}

#[test]
fn one_pool_is_restarted_one_worker_at_a_time_and_all_pools_one_after_the_other() {
    let mut shardman = Shardman::up(&[
        ("POOLS", "web,jobs"),
        ("POOL_WEB_COMMAND", LOOP),
        ("POOL_WEB_REGISTER", "process"),
        ("POOL_WEB_SIZE", "2"),
        ("POOL_JOBS_COMMAND", LOOP),
        ("POOL_JOBS_REGISTER", "process"),
    ]);
    let all = |shardman: &Shardman| (pids(shardman, "web"), pids(shardman, "jobs"));
    let before = eventually(seconds(20.0), "all run", || {
        Some(all(&shardman)).filter(|(web, jobs)| web.len() == 2 && jobs.len() == 1)
    });
    let (code, text, error) = command(&shardman, &["restart", "--pool", "web"]);
    assert_eq!((code, text.contains("done: 2 of 2")), (0, true), "{text}{error}");
    let after = all(&shardman);
    assert!(before.0.iter().all(|(worker, pid)| after.0[worker] != *pid));
    assert_eq!(after.1, before.1);
    let log = shardman.log();
    let back = log.find("worker web-0 was restarted").unwrap();
    assert!(
        back < log.find("worker web-1 is restarted").unwrap(),
        "one at a time"
    );

    let (code, text, error) = command(&shardman, &["restart", "--all"]);
    assert_eq!((code, text.contains("done: 1 of 1")), (0, true), "{text}{error}");
    let again = all(&shardman);
    assert!(again.0["web-1"] != after.0["web-1"] && again.1 != after.1);

    let (code, _, error) = command(&shardman, &["restart", "--pool", "wbe"]);
    assert!(
        code == 1 && error.contains("there are: discord, jobs, web"),
        "{error}"
    );
    let refused = post(shardman.address, "/fleet/restart", SECRET, r#"{"pool":"wbe"}"#);
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(refused.body.contains("discord, jobs, web"), "{}", refused.body);
    let begun = post(shardman.address, "/fleet/restart", SECRET, r#"{"pool":"jobs"}"#);
    assert_eq!(
        (begun.status, begun.json()["total"].as_u64()),
        (202, Some(1)),
        "{}",
        begun.body
    );
    let (code, text, _) = command(&shardman, &["status"]);
    assert!(
        text.contains("pool jobs:") && text.contains("web-1"),
        "{code} {text}"
    );
    eventually(seconds(20.0), "it is done", || {
        let restart = pool(&shardman, "jobs")?.restart?;
        (restart.state == "done").then_some(())
    });
    assert!(shardman.stop().success());
}

#[test]
fn all_pools_stop_with_the_manager_and_kill_what_does_not_stop() {
    let mut shardman = Shardman::up(&[
        ("POOLS", "deaf,web"),
        (
            "POOL_DEAF_COMMAND",
            "trap '' TERM; echo up; while :; do sleep 0.1; done",
        ),
        ("POOL_DEAF_REGISTER", "process"),
        ("POOL_DEAF_STOP_SECONDS", "0.5"),
        ("POOL_WEB_COMMAND", LOOP),
        ("POOL_WEB_SIZE", "2"),
    ]);
    let deaf = wait_for(&shardman, "deaf-0", "runs", |worker| worker.pid.is_some())
        .pid
        .unwrap();
    wait_for(&shardman, "web-1", "runs", |worker| worker.pid.is_some());
    let log = shardman.folder().join("data/logs/deaf-0.log");
    eventually(seconds(10.0), "it is deaf", || {
        std::fs::read_to_string(&log)
            .ok()
            .filter(|text| text.contains("up"))
    });
    assert!(shardman.stop().success());
    assert!(
        shardman
            .log()
            .contains("worker deaf-0 did not stop in time and is killed")
    );
    assert!(
        !Path::new(&format!("/proc/{deaf}")).exists(),
        "pid {deaf} is gone"
    );
    assert!(shardman.running().descendants().is_empty());
}

#[test]
fn a_bad_pool_is_one_line_that_names_it() {
    for (variables, words) in [
        (&[("POOLS", "Web")][..], &["POOLS", "Web", "lower-case"][..]),
        (&[("POOLS", "discord")], &["POOLS", "leave it out"]),
        (
            &[("POOLS", "web"), ("POOL_WEB_SIZE", "2000")],
            &["POOL_WEB_SIZE is '2000'", "1024"],
        ),
        (
            &[("POOLS", "web"), ("POOL_WEB_COMAND", "x")],
            &["POOL_WEB_COMAND", "COMMAND, SIZE"],
        ),
        (
            &[("POOL_WEB_COMMAND", "x"), ("MAX_SHARDS", "1"), ("WORKERS", "0")],
            &["POOL_WEB_COMMAND", "POOLS is not set"],
        ),
        (
            &[("POOLS", "web"), ("WORKER_COMMAND", "x")],
            &["BOT_TOKEN is not set"],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut program = Program::shardman(&["up", "--listen", "127.0.0.1:0"]).dir(folder.path());
        for (name, value) in variables {
            program = program.env(name, value);
        }
        let (code, _, error) = program.run();
        assert_eq!((code, error.lines().count()), (78, 1), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn what_is_asked_about_a_pool_is_answered_about_that_pool() {
    let shardman = Shardman::up(&[
        ("POOLS", "web"),
        ("POOL_WEB_COMMAND", "while :; do sleep 0.1; done"),
        ("POOL_WEB_SIZE", "2"),
        ("POOL_WEB_REGISTER", "process"),
        ("MAX_SHARDS", "1"),
        ("WORKERS", "0"),
        ("DISCORD_API_URL", "http://127.0.0.1:9"),
    ]);
    eventually(seconds(20.0), "the pool holds its slots", || {
        shardman
            .fleet()
            .pools
            .iter()
            .all(|pool| pool.ready == 2)
            .then_some(())
    });
    let refused = get(shardman.address, "/connect?pool=web", SECRET);
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body.contains("given their slots"), "{}", refused.body);

    let events = |query: &str| get(shardman.address, &format!("/events?{query}"), SECRET).body;
    assert!(events("pool=web&shard=1").contains("web-1"));
    assert!(!events("shard=1").contains("web-1"), "that is a shard of discord");
    assert!(!events("pool=discord").contains("web-"));
    for (body, named) in [
        (
            r#"{"worker":"web-0"}"#,
            "unknown field \\\"worker\\\"; there is: pool",
        ),
        ("[]", "not a valid dict"),
        (r#"{"pool":"wed"}"#, r#""loc":["body","pool"]"#),
    ] {
        let refused = post(shardman.address, "/fleet/restart", SECRET, body);
        assert_eq!(refused.status, 422, "{body}");
        assert!(refused.body.contains(named), "{body}: {}", refused.body);
    }
    let told = |arguments: &[&str]| {
        let (code, out, error) = command(&shardman, arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{error}");
        out
    };
    let why = told(&["why", "web-0"]);
    assert!(why.starts_with("worker web-0 is running (pid "), "{why}");
    let listed = told(&["events", "--pool", "web", "--shard", "1"]);
    assert!(listed.contains("slot 1 of web: "), "{listed}");
    let begun = told(&["restart", "--pool", "web"]);
    assert!(begun.contains("done: 2 of 2 workers"), "{begun}");
    let listed = told(&["events", "--kind", "restart_done"]);
    assert!(
        listed.contains("pool web: the restart is done (2 of 2)"),
        "{listed}"
    );
}
