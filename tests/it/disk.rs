//! The disk takes no more writes.

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::support::{Hook, Reply, Shardman, Sim, eventually, let_pass, post, seconds, signal};

/// From now on no file of this process may have more bytes: every commit fails
/// as on a full disk. `None` for as many as it likes.
pub fn limit_files(pid: i32, bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Pid::from_raw(pid), Resource::Fsize, limit).unwrap();
}

#[test]
fn a_full_disk_takes_no_grant_and_costs_no_lease() {
    let mut shardman =
        Shardman::up_on_a_small_disk(&[("MAX_SHARDS", "3"), ("WORKERS", "0"), ("MAX_SECONDS", "30")]);
    let held = shardman.connect().json()["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    limit_files(shardman.pid(), Some(4096));
    let refused = shardman.connect();
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("shardman.redb"),
        "{}",
        refused.body
    );
    assert!(refused.header("retry-after").is_some());
    assert_eq!(shardman.beat(&held).status, 204, "beats go on");
    let fleet = shardman.fleet();
    assert_eq!(fleet.leased, 1, "what was refused never was");
    assert!(
        fleet
            .trouble
            .iter()
            .any(|trouble| trouble.contains("shardman.redb")),
        "{:?}",
        fleet.trouble
    );

    limit_files(shardman.pid(), None);
    let granted = shardman.connect();
    assert_eq!(granted.json()["shard_id"], 1, "{}", granted.body);
    let second = granted.json()["session_id"].as_str().unwrap().to_owned();
    shardman.kill();
    shardman.start();
    assert_eq!(shardman.beat(&held).status, 204);
    assert_eq!(shardman.beat(&second).status, 204);
    assert!(shardman.stop().success());
}

#[test]
fn a_full_disk_keeps_nobody_from_killing_a_frozen_worker_or_from_stopping() {
    let sim = Sim::start(2, 2, &[]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "1"),
        ("MAX_SECONDS", "3"),
    ];
    let mut shardman = Shardman::up_on_a_small_disk(&settings);
    shardman.wait_ready(seconds(30.0));
    let frozen = shardman.workers().remove(0).1;
    limit_files(shardman.pid(), Some(4096));
    signal(frozen, Signal::STOP);
    eventually(seconds(6.0), "the frozen worker is killed all the same", || {
        (!std::path::Path::new(&format!("/proc/{frozen}")).exists()).then_some(())
    });
    assert!(shardman.stop().success());
    sim.assert_clean();
}

#[test]
fn a_full_disk_stops_no_worker_that_it_could_not_start_again() {
    let sim = Sim::start(4, 4, &["--events-per-second", "50"]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "2"),
    ];
    let mut shardman = Shardman::up_on_a_small_disk(&settings);
    shardman.wait_ready(seconds(30.0));
    let before = shardman.workers();
    let restart = |expected: u16| {
        let answer = post(shardman.address, "/fleet/restart", "test-secret", "");
        assert_eq!(answer.status, expected, "{}", answer.body);
    };
    limit_files(shardman.pid(), Some(4096));
    restart(503);
    let_pass(seconds(1.0));
    assert_eq!(shardman.workers(), before);
    assert!(shardman.fleet().restart.is_none(), "what was refused never was");

    limit_files(shardman.pid(), None);
    eventually(seconds(5.0), "the first is back", || {
        let fleet = shardman.fleet();
        let asked = fleet.restart.is_some();
        if !asked && fleet.trouble.is_empty() {
            restart(202);
        }
        let next = shardman.workers().first()?.1;
        (next != before[0].1 && fleet.ready == 4).then_some(())
    });
    limit_files(shardman.pid(), Some(4096));
    let_pass(seconds(4.0));
    assert_eq!(shardman.workers()[1], before[1], "the second is left alone");
    assert_eq!(shardman.fleet().ready, 4);
    limit_files(shardman.pid(), None);
    eventually(seconds(15.0), "it goes on by itself", || {
        let restart = shardman.fleet().restart?;
        (restart.state == "done").then_some(())
    });
    assert_ne!(shardman.workers()[1], before[1]);
    assert_eq!(sim.report().identify_count, 4);
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn a_disk_that_takes_nothing_is_told_once_and_so_is_its_end() {
    let discord = Hook::new(&[Reply("204 No Content", &[], "")]);
    let settings = [
        ("MAX_SHARDS", "2"),
        ("WORKERS", "0"),
        ("MAX_SECONDS", "30"),
        ("WEBHOOK_URL", &*discord.url),
        ("WEBHOOK_CONTENT", "<@42>"),
    ];
    let mut shardman = Shardman::up_on_a_small_disk(&settings);
    let lease = || {
        let answer = shardman.connect();
        let session = answer.json()["session_id"].as_str().map(str::to_owned);
        session.ok_or(answer.status)
    };
    let held = std::cell::RefCell::new(vec![lease().unwrap()]);
    let told = |status: &str| -> Vec<serde_json::Value> {
        let messages = discord.heard().into_iter().map(|heard| heard.body);
        let of_status = messages.filter(|message| {
            let embeds = message["embeds"].as_array().unwrap();
            embeds.iter().any(|embed| embed["fields"][0]["value"] == status)
        });
        of_status.collect()
    };
    let await_word = |status: &str| {
        eventually(seconds(40.0), status, || {
            for session in &*held.borrow() {
                assert_eq!(shardman.beat(session).status, 204);
            }
            told(status).pop()
        })
    };
    let connected = await_word("Connect");
    assert_eq!(connected["content"], "<@42>");
    assert_eq!(
        connected["allowed_mentions"]["users"],
        serde_json::json!([]),
        "nobody is woken"
    );
    limit_files(shardman.pid(), Some(4096));
    // Whatever is to be written meets it.
    assert_eq!(lease(), Err(503));
    let full = await_word("Disk");
    assert_eq!(full["allowed_mentions"]["users"], serde_json::json!(["42"]));
    limit_files(shardman.pid(), None);
    held.borrow_mut().push(lease().unwrap());
    await_word("Recovered");
    assert_eq!((told("Disk").len(), told("Recovered").len()), (1, 1));
    assert!(shardman.stop().success());
}
