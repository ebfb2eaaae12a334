//! The manager dies at any moment; nothing that it promised is lost.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::{Connection, Response, Shardman, Sim, let_pass, seconds};

const SECRET: (&str, &str) = ("Authorization", "test-secret");

/// What all clients together have seen.
#[derive(Default)]
struct History {
    holders: Mutex<HashMap<u64, usize>>,
    epochs: Mutex<BTreeSet<u64>>,
    violations: Mutex<Vec<String>>,
    beats: AtomicU64,
    grants: AtomicU64,
}

impl History {
    fn violation(&self, text: String) {
        self.violations.lock().unwrap().push(text);
    }

    fn granted(&self, client: usize, answer: &Response) -> (u64, String) {
        let body = answer.json();
        let (shard, epoch) = (
            body["shard_id"].as_u64().unwrap(),
            body["epoch"].as_u64().unwrap(),
        );
        if let Some(other) = self.holders.lock().unwrap().insert(shard, client) {
            self.violation(format!(
                "shard {shard} went to client {client} while client {other} held it"
            ));
        }
        if !self.epochs.lock().unwrap().insert(epoch) {
            self.violation(format!("epoch {epoch} was used twice"));
        }
        self.grants.fetch_add(1, Ordering::Relaxed);
        (shard, body["session_id"].as_str().unwrap().to_owned())
    }
}

/// One call, repeated until there is an answer: the manager may be away.
fn insist(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    call: impl Fn(&mut Connection) -> std::io::Result<Response>,
) -> Response {
    loop {
        if connection.is_none() {
            *connection = Connection::open(address).ok();
        }
        match connection.as_mut().map(&call) {
            Some(Ok(answer)) if answer.status != 503 => return answer,
            Some(Ok(_) | Err(_)) => *connection = None,
            None => {}
        }
        let_pass(seconds(0.005));
    }
}

/// Takes a shard, beats a while, gives it back, and again.
fn client(number: usize, address: SocketAddr, history: &History, stop: &AtomicBool) {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let mut connection = None;
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("client-{number}-{turn}");
        let headers = [SECRET, ("Idempotency-Key", &*key)];
        let answer = insist(&mut connection, address, |to| {
            to.call("GET", "/connect", &headers, None)
        });
        if answer.status != 200 {
            assert_eq!(answer.status, 401, "{}", answer.body);
            continue;
        }
        let (shard, session) = history.granted(number, &answer);
        let body = format!("{{\"session_id\":\"{session}\",\"guild_count\":{turn}}}");
        for _ in 0..random.usize(5..200) {
            let answer = insist(&mut connection, address, |to| {
                to.call("POST", "/beat", &[SECRET], Some(&body))
            });
            history.beats.fetch_add(1, Ordering::Relaxed);
            if answer.status != 204 {
                history.violation(format!(
                    "the lease of shard {shard} was lost: {} {}",
                    answer.status, answer.body
                ));
            }
        }
        history.holders.lock().unwrap().remove(&shard);
        let path = format!("/disconnect?session_id={session}");
        let answer = insist(&mut connection, address, |to| {
            to.call("GET", &path, &[SECRET], None)
        });
        // 404: an earlier try succeeded and its answer was lost.
        assert!(matches!(answer.status, 204 | 404), "{}", answer.body);
    }
}

#[test]
fn fifty_crashes_under_load_lose_no_lease_and_double_none() {
    let sim = Sim::start(24, 24, &["--events-per-second", "50"]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("MAX_SECONDS", "30"),
        ("WORKERS", "2"),
        ("SHARDS_PER_WORKER", "4"),
        ("RUST_LOG", "warn"),
    ]);
    crate::support::eventually(seconds(30.0), "eight shards are ready", || {
        (sim.report().ready.len() == 8).then_some(())
    });
    let (opened, workers) = (sim.report().connections.opened, shardman.workers());
    assert_eq!(workers.len(), 2);

    let history = History::default();
    let stop = AtomicBool::new(false);
    let address = shardman.address;
    std::thread::scope(|scope| {
        for number in 0..20 {
            let (history, stop) = (&history, &stop);
            scope.spawn(move || client(number, address, history, stop));
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..50 {
            let_pass(seconds(random.f64() * 0.25));
            shardman.kill();
            shardman.start();
        }
        stop.store(true, Ordering::Relaxed);
    });

    let violations = history.violations.into_inner().unwrap();
    assert!(
        violations.is_empty(),
        "{} violations, such as {:?}",
        violations.len(),
        &violations[..violations.len().min(5)]
    );
    eprintln!(
        "50 crashes: {} grants, {} beats answered",
        history.grants.load(Ordering::Relaxed),
        history.beats.load(Ordering::Relaxed)
    );
    assert!(history.grants.load(Ordering::Relaxed) > 100);
    assert_eq!(shardman.workers(), workers, "the workers are the same processes");
    assert_eq!(
        sim.report().connections.opened,
        opened,
        "no worker's gateway was dropped"
    );
    assert_eq!(sim.report().connections.live, 8);
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn a_second_manager_on_the_same_data_is_refused() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "1"), ("WORKERS", "0")]);
    let (code, _, error) = crate::support::Program::shardman(&["up", "--listen", "127.0.0.1:0"])
        .dir(shardman.folder())
        .env("MAX_SHARDS", "1")
        .env("WORKERS", "0")
        .run();
    assert_eq!(code, 78, "{error}");
    assert!(error.contains("DATA_DIR") && error.contains("in use"), "{error}");
    assert!(shardman.stop().success());
}
