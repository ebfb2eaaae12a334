//! Workers that misbehave in every way we could think of: what becomes of each,
//! how fast, and that nothing of it is left.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use shardman_core::wire::{FleetView, WorkerView};

use crate::outlive::{NO_GROUPS, mark, sleeping};
use crate::support::{Shardman, eventually, get, let_pass, post, seconds, signal};

/// What is to become of a worker that misbehaves in its first run alone.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// It ends like this, which the log calls a matter for that action, and its
    /// next run holds a shard.
    Ends(&'static str, &'static str),
    /// It ends like this. Its shard may be somebody else's by then.
    Leaves(&'static str, &'static str),
    /// It ends and is not started again.
    Halts,
    /// It is none of our business.
    Serves,
}

struct Case {
    name: &'static str,
    script: String,
    then: Then,
}

impl Case {
    fn new(name: &'static str, script: impl Into<String>, then: Then) -> Self {
        Self {
            name,
            script: script.into(),
            then,
        }
    }

    fn settled(&self, worker: &WorkerView) -> bool {
        let serves = worker.state == "running" && worker.holding == 1;
        match self.then {
            Then::Ends(how, _) => serves && worker.last_exit.as_deref() == Some(how),
            Then::Leaves(how, _) => worker.last_exit.as_deref() == Some(how),
            Then::Halts => worker.state == "halted" && worker.last_exit.as_deref() == Some("exit code 78"),
            Then::Serves => serves && worker.last_exit.is_none() && worker.exits == 0,
        }
    }
}

/// This very program as a worker that takes a shard, and then does this.
fn client(fault: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let args = "--ignored --exact faults::worker --nocapture";
    format!("export FAULT={fault}; exec {} {args}", program.display())
}

#[test]
fn every_fault_ends_well() {
    every_fault(Shardman::up);
}

#[test]
fn every_fault_ends_well_without_control_groups() {
    every_fault(|settings| Shardman::up_after(NO_GROUPS, settings));
}

fn every_fault(up: impl FnOnce(&[(&str, &str)]) -> Shardman) {
    let (fifty, escaped) = (mark(), mark());
    let again = "starts again in";
    let lapsed = "is stopped: a lease of it lapsed";
    let cases = [
        Case::new("exits 0", "exit 0", Then::Ends("exit code 0", again)),
        Case::new("exits 1", "exit 1", Then::Ends("exit code 1", again)),
        Case::new("exits 78", "exit 78", Then::Halts),
        Case::new("crashes", "kill -SEGV $$", Then::Ends("signal 11", again)),
        Case::new("is stopped", client("stops"), Then::Ends("signal 9", lapsed)),
        Case::new("loops", client("loops"), Then::Ends("signal 15", lapsed)),
        Case::new("falls silent", client("silent"), Then::Ends("signal 15", lapsed)),
        Case::new(
            "takes no shard",
            "exec sleep 1000",
            Then::Leaves("signal 15", "never called GET /connect"),
        ),
        Case::new(
            "forks fifty",
            format!("for i in $(seq 50); do sleep {fifty} & done; sleep 1; exit 1"),
            Then::Ends("exit code 1", again),
        ),
        Case::new(
            "leaves one",
            format!("(env -i setsid sleep {escaped} &); sleep 1; exit 1"),
            Then::Ends("exit code 1", again),
        ),
        Case::new(
            "closes output",
            format!("exec >&- 2>&-; {}", client("serves")),
            Then::Serves,
        ),
        Case::new(
            "floods output",
            format!("yes | head -c 30000000; {}", client("serves")),
            Then::Serves,
        ),
        Case::new("asks twice", client("twice"), Then::Serves),
    ];
    let mut command = format!(
        "mark=ran-$SHARDMAN_WORKER_ID; if test -e $mark; then {}; fi; touch $mark; case $SHARDMAN_WORKER_ID in ",
        client("serves")
    );
    for (index, case) in cases.iter().enumerate() {
        command.push_str(&format!("discord-{index}) {};; ", case.script));
    }
    command.push_str(&format!("*) {};; esac", client("serves")));
    let shards = cases.len().to_string();
    let settings = [
        ("MAX_SHARDS", &*shards),
        ("MAX_SECONDS", "3"),
        ("REGISTER_SECONDS", "8"),
        ("WORKER_COMMAND", &*command),
    ];
    let mut shardman = up(&settings);
    let began = Instant::now();
    let mut ended: Vec<Option<Duration>> = vec![None; cases.len()];
    let mut settled = ended.clone();
    let (mut forked, mut left) = (0, 0);
    let fleet: FleetView = eventually(seconds(60.0), "every worker is where it should be", || {
        forked = forked.max(sleeping(&fifty).len());
        left = left.max(sleeping(&escaped).len());
        let fleet = shardman.fleet();
        for worker in &fleet.workers {
            let place: usize = worker.worker.rsplit_once('-').unwrap().1.parse().unwrap();
            if place >= cases.len() {
                continue;
            }
            if worker.last_exit.is_some() && ended[place].is_none() {
                ended[place] = Some(began.elapsed());
            }
            if cases[place].settled(worker) && settled[place].is_none() {
                settled[place] = Some(began.elapsed());
            }
        }
        settled.iter().all(Option::is_some).then_some(fleet)
    });
    let log = shardman.log();
    eprintln!("killed by {}", fleet.kill_method);
    eprintln!(
        "{:<16}{:<13}{:<30}{:>7}{:>9}",
        "FAULT", "STATE", "FIRST RUN", "ENDED", "SETTLED"
    );
    for (place, case) in cases.iter().enumerate() {
        let name = format!("discord-{place}");
        let worker = fleet.workers.iter().find(|worker| worker.worker == name).unwrap();
        assert!(case.settled(worker), "{}: {worker:?}", case.name);
        let first = log
            .lines()
            .find(|line| line.contains(&format!("worker {name} ended: ")));
        let first = first.map_or("serves", |line| line.split(" ended: ").nth(1).unwrap());
        let first = first.split(';').next().unwrap();
        let at = |time: Option<Duration>| {
            time.map_or("-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
        };
        eprintln!(
            "{:<16}{:<13}{first:<30}{:>7}{:>9}",
            case.name,
            worker.state,
            at(ended[place]),
            at(settled[place])
        );
        if let Then::Ends(how, action) | Then::Leaves(how, action) = case.then {
            assert_eq!(first, how, "{}", case.name);
            let acted = |line: &str| line.contains(&format!("worker {name} ")) && line.contains(action);
            assert!(log.lines().any(acted), "{}: {action}", case.name);
        }
    }
    assert_eq!(forked, 50, "the fifty were there");
    assert_eq!(sleeping(&fifty), [0; 0], "and went with their worker");
    assert_eq!(left, 1, "the one was there");
    if fleet.kill_method == "cgroup" {
        assert_eq!(sleeping(&escaped), [0; 0], "and went with its worker");
    }
    eventually(
        seconds(10.0),
        "all but the shard of the halted one are held",
        || (shardman.fleet().leased as usize >= cases.len() - 1).then_some(()),
    );
    let twice = shardman
        .folder()
        .join(format!("data/logs/discord-{}.log", cases.len() - 1));
    let twice = std::fs::read_to_string(twice).unwrap();
    assert!(twice.contains("asked again: 401"), "{twice}");
    assert!(shardman.stop().success());
    assert_eq!(sleeping(&escaped), [0; 0]);
    assert_eq!(shardman.running().descendants(), [0; 0]);
}

#[test]
fn a_worker_that_ignores_the_request_to_stop_is_killed_after_its_time() {
    let command = format!("trap '' TERM; {}", client("serves"));
    let settings = [
        ("MAX_SHARDS", "1"),
        ("STOP_SECONDS", "2"),
        ("WORKER_COMMAND", &*command),
    ];
    let mut shardman = Shardman::up(&settings);
    shardman.wait_ready(seconds(10.0));
    let asked = Instant::now();
    assert!(shardman.stop().success());
    let took = asked.elapsed();
    eprintln!("asked to stop, with STOP_SECONDS 2: gone after {took:?}");
    assert!(took > seconds(2.0), "{took:?}");
    assert!(shardman.log().contains("did not stop in time and is killed"));
    assert_eq!(shardman.running().descendants(), [0; 0]);
}

#[test]
fn a_second_request_to_stop_kills_at_once() {
    let command = format!("trap '' TERM; {}", client("serves"));
    let settings = [
        ("MAX_SHARDS", "1"),
        ("STOP_SECONDS", "3600"),
        ("WORKER_COMMAND", &*command),
    ];
    let mut shardman = Shardman::up(&settings);
    shardman.wait_ready(seconds(10.0));
    signal(shardman.pid(), Signal::INT);
    eventually(seconds(5.0), "it is being stopped", || {
        (shardman.fleet().workers[0].state == "stopping").then_some(())
    });
    assert!(shardman.stop().success());
    assert!(shardman.log().contains("stopped: forced"));
    assert_eq!(shardman.running().descendants(), [0; 0]);
}

/// A worker on the published calls, which does what `FAULT` says once it has
/// its shard.
#[test]
#[ignore = "no test, but a worker for those above"]
fn worker() {
    let variable = |name| std::env::var(name).unwrap();
    let Ok(fault) = std::env::var("FAULT") else { return };
    let url = variable("SHARDMAN_URL");
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let secret = variable("SECRET");
    let connect = || get(address, "/connect?identify=ask", &secret);
    let session = eventually(seconds(60.0), "a shard", || {
        let answer = connect();
        (answer.status == 200).then(|| answer.json()["session_id"].as_str().unwrap().to_owned())
    });
    match &*fault {
        "serves" => {}
        "twice" => println!("asked again: {}", connect().status),
        "silent" => let_pass(seconds(1000.0)),
        "stops" => kill_process(getpid(), Signal::STOP).unwrap(),
        "loops" => loop {
            std::hint::spin_loop();
        },
        other => panic!("{other}"),
    }
    while post(
        address,
        "/beat",
        &secret,
        &format!("{{\"session_id\":\"{session}\"}}"),
    )
    .status
        < 300
    {
        let_pass(seconds(0.5));
    }
}
