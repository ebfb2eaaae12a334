//! Pools beside `discord`: any process is supervised as the bot's workers are.

use std::collections::BTreeMap;

use rustix::process::Signal;
use shardman_core::wire::PoolView;

use crate::support::{Shardman, call, eventually, get, let_pass, post, seconds, signal};

const SECRET: &str = "test-secret";

/// Takes a slot of its own pool, beats, and says what it is.
const CLIENT: &str = r#"
import json, os, urllib.request
from time import sleep as pause
def ask(path, body=None):
    request = urllib.request.Request(os.environ["SHARDMAN_URL"] + path, data=body)
    request.add_header("Authorization", os.environ["SECRET"])
    request.add_header("Content-Type", "application/json")
    return urllib.request.urlopen(request).read()
while True:
    try:
        lease = json.loads(ask("/connect?pool=" + os.environ["SHARDMAN_POOL"]))
        print("slot", lease["shard_id"], "of", lease["max_shards"], "sleep", lease["sleep_duration"], flush=True)
        break
    except OSError:
        pause(0.1)
print("token", os.environ.get("BOT_TOKEN"), flush=True)
while True:
    try:
        ask("/beat", json.dumps({"session_id": lease["session_id"]}).encode())
    except urllib.error.HTTPError as error:
        raise SystemExit(f"lost: {error.code}")
    except OSError:
        pass
    pause(0.2)
"#;

/// A program that knows nothing of us.
const LOOP: &str =
    "echo slot $SHARDMAN_SLOT pool $SHARDMAN_POOL token ${BOT_TOKEN-none}; while :; do sleep 0.1; done";

fn pool(shardman: &Shardman, name: &str) -> PoolView {
    let pools = shardman.fleet().pools;
    let found = pools.into_iter().find(|pool| pool.pool == name);
    found.unwrap_or_else(|| panic!("no pool {name}"))
}

/// The pids of a pool's children, by worker.
fn pids(shardman: &Shardman, name: &str) -> BTreeMap<String, i32> {
    let workers = pool(shardman, name).workers.into_iter();
    workers
        .filter_map(|worker| Some((worker.worker, worker.pid?)))
        .collect()
}

/// Slot, holder and epoch of what is held.
fn held(shardman: &Shardman, name: &str) -> Vec<(u32, Option<String>, u64)> {
    let slots = pool(shardman, name).shards.into_iter();
    slots
        .filter_map(|slot| Some((slot.shard.number(), slot.worker, slot.epoch?.0)))
        .collect()
}

#[track_caller]
fn wait_whole(shardman: &Shardman, name: &str) {
    eventually(seconds(30.0), &format!("the pool {name} is whole"), || {
        let pool = pool(shardman, name);
        // A slot can be held a moment before the pid of its process is known.
        let run = !pool.workers.is_empty() && pool.workers.iter().all(|worker| worker.pid.is_some());
        (pool.ready == pool.size && run).then_some(())
    });
}

fn log_of(shardman: &Shardman, worker: &str) -> String {
    let path = format!("/workers/{worker}/logs");
    get(shardman.address, &path, SECRET).body
}

fn client_command(folder: &tempfile::TempDir) -> String {
    let script = folder.path().join("client.py");
    std::fs::write(&script, CLIENT).unwrap();
    format!("exec python3 {}", script.display())
}

#[test]
fn two_pools_are_kept_over_the_death_of_their_processes_and_of_the_manager() {
    let folder = tempfile::tempdir().unwrap();
    let mut shardman = Shardman::up(&[
        ("POOLS", "web, job-runner"),
        ("POOL_WEB_COMMAND", &client_command(&folder)),
        ("POOL_WEB_SIZE", "2"),
        ("POOL_WEB_MAX_SECONDS", "20"),
        ("POOL_JOB_RUNNER_COMMAND", LOOP),
        ("POOL_JOB_RUNNER_SIZE", "3"),
        ("POOL_JOB_RUNNER_REGISTER", "process"),
        ("BOT_TOKEN", "a-token-of-a-bot"),
        ("MAX_SHARDS", "1"),
        ("WORKERS", "0"),
        ("DISCORD_API_URL", "http://127.0.0.1:9"),
    ]);
    wait_whole(&shardman, "web");
    wait_whole(&shardman, "job-runner");
    for index in 0..3 {
        let worker = format!("job-runner-{index}");
        eventually(seconds(5.0), "it says where it is", || {
            log_of(&shardman, &worker)
                .contains(&format!("slot {index} pool job-runner token none"))
                .then_some(())
        });
    }
    let log = eventually(seconds(5.0), "the client says where it is", || {
        Some(log_of(&shardman, "web-0")).filter(|log| log.contains("token"))
    });
    assert!(
        log.contains("of 2 sleep 0.0") && log.contains("token None"),
        "{log}"
    );
    let slots = held(&shardman, "job-runner");
    let expected = [0, 1, 2].map(|slot| (slot, Some(format!("job-runner-{slot}"))));
    let holders: Vec<_> = slots
        .iter()
        .map(|(slot, worker, _)| (*slot, worker.clone()))
        .collect();
    assert_eq!(holders, expected);

    for (name, worker) in [("web", "web-1"), ("job-runner", "job-runner-1")] {
        let before = pids(&shardman, name);
        signal(before[worker], Signal::KILL);
        eventually(seconds(20.0), &format!("{worker} is back"), || {
            let now = pids(&shardman, name);
            now.get(worker)
                .is_some_and(|pid| *pid != before[worker])
                .then_some(())
        });
        wait_whole(&shardman, name);
        let others = |pids: BTreeMap<String, i32>| {
            pids.into_iter()
                .filter(|(name, _)| name != worker)
                .collect::<Vec<_>>()
        };
        assert_eq!(others(pids(&shardman, name)), others(before));
    }

    let before = ["web", "job-runner"].map(|name| (pids(&shardman, name), held(&shardman, name)));
    shardman.kill();
    shardman.start();
    let after = ["web", "job-runner"].map(|name| (pids(&shardman, name), held(&shardman, name)));
    assert_eq!(after, before, "the same processes, with the same leases");
    wait_whole(&shardman, "web");

    // An adopted child is watched like one of our own, and epochs only grow.
    let newest = before
        .iter()
        .flat_map(|(_, slots)| slots)
        .map(|(_, _, epoch)| *epoch)
        .max();
    let pid = before[1].0["job-runner-0"];
    signal(pid, Signal::KILL);
    let epoch = eventually(seconds(20.0), "another run of it", || {
        let slots = held(&shardman, "job-runner");
        let of_slot = slots.into_iter().find(|(slot, ..)| *slot == 0)?;
        let new = pids(&shardman, "job-runner")
            .get("job-runner-0")
            .is_some_and(|new| *new != pid);
        new.then_some(of_slot.2)
    });
    assert!(
        epoch > before[1].1.iter().map(|(.., epoch)| *epoch).max().unwrap(),
        "{newest:?}"
    );
    assert!(shardman.stop().success());
}

#[test]
fn a_process_holds_its_slot_without_a_beat_for_longer_than_max_seconds() {
    let mut shardman = Shardman::up(&[
        ("POOLS", "web"),
        ("POOL_WEB_COMMAND", LOOP),
        ("POOL_WEB_REGISTER", "process"),
        ("POOL_WEB_MAX_SECONDS", "1"),
    ]);
    wait_whole(&shardman, "web");
    let before = (pids(&shardman, "web"), held(&shardman, "web"));
    assert_eq!(before.0.len(), 1, "its pid is known");
    let_pass(seconds(3.0));
    assert_eq!((pids(&shardman, "web"), held(&shardman, "web")), before);
    shardman.kill();
    shardman.start();
    wait_whole(&shardman, "web");
    let_pass(seconds(2.0));
    assert_eq!((pids(&shardman, "web"), held(&shardman, "web")), before);
    assert!(shardman.stop().success());
}

#[test]
fn externals_take_slots_of_the_pool_that_they_name() {
    let mut shardman = Shardman::up(&[
        ("POOLS", "scouts"),
        ("POOL_SCOUTS_SIZE", "2"),
        ("MAX_SECONDS", "30"),
    ]);
    let take = |path: &str| get(shardman.address, path, SECRET);
    let first = take("/connect?pool=scouts").json();
    let second = take("/connect?pool=scouts").json();
    let of = |lease: &serde_json::Value| {
        (
            lease["shard_id"].clone(),
            lease["max_shards"].clone(),
            lease["sleep_duration"].clone(),
        )
    };
    assert_eq!(of(&first), (0.into(), 2.into(), 0.0.into()));
    assert_eq!(of(&second), (1.into(), 2.into(), 0.0.into()));
    assert_eq!(take("/connect?pool=scouts").status, 401);
    // There is no bot here.
    assert_eq!(take("/connect").status, 401);
    let unknown = take("/connect?pool=skouts");
    assert_eq!(unknown.status, 422, "{}", unknown.body);
    assert!(unknown.body.contains("discord, scouts"), "{}", unknown.body);
    let session = second["session_id"].as_str().unwrap();
    assert_eq!(shardman.beat(session).status, 204);
    let identify = post(
        shardman.address,
        "/identify",
        SECRET,
        &format!("{{\"session_id\":\"{session}\"}}"),
    );
    assert_eq!(identify.status, 409, "{}", identify.body);
    assert_eq!(pool(&shardman, "scouts").ready, 1, "one has beaten");
    let released = get(
        shardman.address,
        &format!("/disconnect?session_id={session}"),
        SECRET,
    );
    assert_eq!(released.status, 204, "{}", released.body);
    assert_eq!(shardman.beat(session).status, 404);
    assert_eq!(get(shardman.address, "/ready", "").status, 200);
    assert!(shardman.stop().success());
}

#[test]
fn a_child_is_bound_to_its_pool() {
    let tell = "echo secret $SECRET; while :; do sleep 0.1; done";
    let mut shardman = Shardman::up(&[
        ("POOLS", "a,b,own"),
        ("POOL_A_COMMAND", tell),
        ("POOL_B_SIZE", "2"),
        ("POOL_OWN_COMMAND", tell),
        ("POOL_OWN_REGISTER", "process"),
    ]);
    let secret_of = |worker: &str| {
        eventually(seconds(10.0), "a child's credential", || {
            let log = log_of(&shardman, worker);
            Some(log.lines().next()?.strip_prefix("secret ")?.to_owned())
        })
    };
    let secret = secret_of("a-0");
    let take = |path: &str, secret: &str| get(shardman.address, path, secret);
    let refused = take("/connect?pool=b", &secret);
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert!(refused.body.contains("of the pool a"), "{}", refused.body);
    assert_eq!(take("/connect?pool=discord", &secret).status, 403);
    // Whoever names none is in its own.
    let own = take("/connect", &secret);
    assert_eq!(
        (own.status, own.json()["max_shards"].as_u64()),
        (200, Some(1)),
        "{}",
        own.body
    );
    assert_eq!(pool(&shardman, "a").shards[0].worker.as_deref(), Some("a-0"));

    let other = take("/connect?pool=b", SECRET).json();
    let body = format!("{{\"session_id\":{}}}", other["session_id"]);
    assert_eq!(post(shardman.address, "/beat", &secret, &body).status, 404);
    let path = format!("/sessions/{}", other["session_id"].as_str().unwrap());
    let release = call(
        shardman.address,
        "DELETE",
        &path,
        &[("Authorization", &*secret)],
        None,
    );
    assert_eq!(release.status, 404, "{}", release.body);
    assert_eq!(post(shardman.address, "/beat", SECRET, &body).status, 204);
    // One whose slot is held for it gets no second one.
    assert_eq!(take("/connect", &secret_of("own-0")).status, 401);
    assert!(shardman.stop().success());
}

#[test]
fn a_restart_of_all_pools_names_those_that_begin_and_those_that_do_not() {
    let mut shardman = Shardman::up(&[
        ("POOLS", "slow,web"),
        (
            "POOL_SLOW_COMMAND",
            "trap '' TERM; echo up; while :; do sleep 0.1; done",
        ),
        ("POOL_SLOW_REGISTER", "process"),
        ("POOL_SLOW_STOP_SECONDS", "15"),
        ("POOL_WEB_COMMAND", LOOP),
        ("POOL_WEB_REGISTER", "process"),
    ]);
    wait_whole(&shardman, "slow");
    wait_whole(&shardman, "web");
    eventually(seconds(10.0), "it is deaf to TERM", || {
        log_of(&shardman, "slow-0").contains("up").then_some(())
    });
    let before = [pids(&shardman, "slow"), pids(&shardman, "web")];
    let restart = |body: &str| post(shardman.address, "/fleet/restart", SECRET, body);
    let begun = restart(r#"{"pool":"slow"}"#);
    assert_eq!(begun.status, 202, "{}", begun.body);
    let partly = restart("");
    assert_eq!(
        (partly.status, partly.json()["detail"].as_str()),
        (
            409,
            Some("it is done in web, and not in slow (a restart is under way)")
        ),
        "{}",
        partly.body
    );
    eventually(seconds(20.0), "the other pool is restarted all the same", || {
        let now = pids(&shardman, "web");
        (now.len() == 1 && now != before[1]).then_some(())
    });
    let alone = restart(r#"{"pool":"slow"}"#);
    assert_eq!(alone.status, 409, "{}", alone.body);
    assert!(alone.body.contains("A restart is under way"), "{}", alone.body);
    // The slow one need not be waited for.
    signal(before[0]["slow-0"], Signal::KILL);
    eventually(seconds(20.0), "its restart is done", || {
        let restart = pool(&shardman, "slow").restart?;
        (restart.state == "done").then_some(())
    });
    assert!(shardman.stop().success());
}
