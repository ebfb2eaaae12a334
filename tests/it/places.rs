//! There is a place for every shard, whatever the children of before were
//! started for, and no more of them than `WORKERS`.

use rustix::process::Signal;

use crate::support::{Shardman, Sim, eventually, post, seconds, signal};

const SECRET: &str = "test-secret";

fn up(sim: &Sim, workers: &str, shards_per_worker: &str) -> Shardman {
    let shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("WORKERS", workers),
        ("SHARDS_PER_WORKER", shards_per_worker),
    ]);
    shardman.wait_ready(seconds(60.0));
    shardman
}

#[track_caller]
fn rescale(shardman: &Shardman, shards: u32) {
    let body = format!("{{\"shards\":{shards}}}");
    let answer = post(shardman.address, "/plan", SECRET, &body);
    assert_eq!(answer.status, 202, "{}", answer.body);
}

/// What each running child was started for, smallest first.
fn sizes(shardman: &Shardman) -> Vec<u32> {
    let workers = shardman.fleet().workers;
    let mut sizes: Vec<_> = workers
        .into_iter()
        .filter(|worker| worker.pid.is_some())
        .map(|worker| worker.shards)
        .collect();
    sizes.sort_unstable();
    sizes
}

#[track_caller]
fn settles(shardman: &Shardman, shards: u32, children: &[u32]) {
    let what = format!("{shards} shards on children of {children:?}");
    eventually(seconds(60.0), &what, || {
        let fleet = shardman.fleet();
        let whole = fleet.rescale.is_none() && (fleet.planned, fleet.ready) == (shards, shards);
        (whole && sizes(shardman) == children).then_some(())
    });
}

/// Kills each child once: all come back, as large as they were.
#[track_caller]
fn survives_the_death_of_each(shardman: &Shardman, shards: u32, children: &[u32]) {
    for (worker, pid) in shardman.workers() {
        signal(pid, Signal::KILL);
        eventually(seconds(30.0), &format!("{worker} runs again"), || {
            let mut runs = shardman.workers().into_iter();
            runs.any(|(other, new)| other == worker && new != pid)
                .then_some(())
        });
        settles(shardman, shards, children);
    }
}

#[test]
fn two_shards_become_eight_on_two_workers_which_may_die() {
    let sim = Sim::start(2, 8, &[]);
    let mut shardman = up(&sim, "2", "4");
    assert_eq!(sizes(&shardman), [2]);
    rescale(&shardman, 8);
    settles(&shardman, 8, &[4, 4]);
    survives_the_death_of_each(&shardman, 8, &[4, 4]);
    let identifies = sim.report().identify_count;
    assert_eq!(identifies, 2 + 8, "whoever was stopped or killed resumed");
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn four_children_of_one_shard_make_way_for_four_of_two() {
    let sim = Sim::start(4, 8, &[]);
    let mut shardman = up(&sim, "4", "1");
    assert_eq!(sizes(&shardman), [1; 4]);
    shardman.kill();
    shardman.set("SHARDS_PER_WORKER", "2");
    shardman.start();
    rescale(&shardman, 8);
    settles(&shardman, 8, &[2; 4]);
    survives_the_death_of_each(&shardman, 8, &[2; 4]);
    assert_eq!(sim.report().identify_count, 4 + 8);
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn children_that_were_started_beside_externals_grow_when_those_vanish() {
    let settings = [
        ("MAX_SHARDS", "4"),
        ("MAX_SECONDS", "4"),
        ("WORKERS", "0"),
        ("SHARDS_PER_WORKER", "4"),
    ];
    let sim = Sim::start(4, 8, &[]);
    let url = sim.url();
    let more = [("DISCORD_API_URL", &*url), ("BOT_TOKEN", "t")];
    let mut shardman = Shardman::up(&[&settings[..], &more[..]].concat());
    for _ in 0..3 {
        eventually(seconds(10.0), "an external gets a shard", || {
            (shardman.connect().status == 200).then_some(())
        });
    }
    shardman.kill();
    shardman.set("WORKERS", "1");
    shardman.start();
    eventually(seconds(10.0), "one child for what is left", || {
        (sizes(&shardman) == [1]).then_some(())
    });
    let refused = post(shardman.address, "/plan", SECRET, r#"{"shards":8}"#);
    assert!(refused.body.contains("room for 7 shards"), "{}", refused.body);
    // They never beat.
    settles(&shardman, 4, &[4]);
    sim.assert_clean();
    assert!(shardman.stop().success());
}
