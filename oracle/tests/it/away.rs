//! What an oracle and its scouts do while somebody that they need is away.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::time::Instant;

use futures_util::StreamExt as _;
use rustix::process::Signal;
use shardman_oracle::draft::frame::Closing;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::ask::{Ask, ask, get, metric, peers};
use crate::fleet::{Fleet, SECRET, eventually, free_port, program, signal};
use crate::scouts::Crew;
use crate::support;

/// An oracle that was started by hand, and is killed in the end.
struct ByHand(Child);

impl ByHand {
    fn start(listen: SocketAddr, fleet: &Fleet) -> Self {
        let (listen, url) = (listen.to_string(), format!("http://{}", fleet.address));
        let arguments = [
            "serve",
            "--listen",
            &listen,
            "--model",
            "fake:5ms",
            "--speculate",
            "always",
        ];
        let mut command = support::program(
            &arguments,
            &[
                ("SHARDMAN_URL", &url),
                ("SECRET", SECRET),
                ("SHARD_RATE_LIMIT_PER_MINUTE", "0"),
            ],
        );
        Self(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn states(fleet: &Fleet) -> Vec<String> {
    fleet
        .pool("scouts")
        .shards
        .into_iter()
        .map(|slot| slot.state)
        .collect()
}

fn topology(oracle: SocketAddr) -> serde_json::Value {
    let text = get(oracle, "/v1/system/topology").unwrap();
    serde_json::from_str(&text[text.find('{').unwrap()..=text.rfind('}').unwrap()]).unwrap()
}

#[test]
fn scouts_keep_their_slots_while_the_oracle_is_away() {
    let Some(program) = program("scouts_keep_their_slots") else {
        return;
    };
    let oracle = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let scout = format!(
        "exec {} scout --model fake --oracle-url http://{oracle}",
        env!("CARGO_BIN_EXE_shardman-oracle")
    );
    let mut fleet = Fleet::up(
        program,
        &[
            ("POOLS", "scouts"),
            ("POOL_SCOUTS_COMMAND", &scout),
            ("POOL_SCOUTS_SIZE", "2"),
            ("POOL_SCOUTS_MAX_SECONDS", "10"),
        ],
    );
    let all = |fleet: &Fleet, state: &str| {
        eventually(20.0, &format!("both scouts are {state}"), || {
            (states(fleet) == [state, state]).then_some(())
        });
    };
    all(&fleet, "waiting");
    let epochs = |fleet: &Fleet| -> Vec<_> {
        fleet
            .pool("scouts")
            .shards
            .iter()
            .map(|slot| slot.epoch)
            .collect()
    };
    let before = epochs(&fleet);
    for round in 0..2 {
        let by_hand = ByHand::start(oracle, &fleet);
        let begun = Instant::now();
        all(&fleet, "ready");
        println!(
            "round {round}: both draft {:?} after the oracle was started",
            begun.elapsed()
        );
        ask(oracle, &Ask::new("who is there?", 0.9, 3, 100)).unwrap();
        assert!(metric(oracle, "oracle_scout_accepted_tokens_total") > 10.0);
        let topology = topology(oracle);
        assert_eq!(
            (topology["status"].as_str(), topology["known_peer_count"].as_u64()),
            (Some("ok"), Some(2))
        );
        drop(by_hand);
        all(&fleet, "waiting");
    }
    assert_eq!(epochs(&fleet), before, "the slots are held throughout");

    let by_hand = ByHand::start(oracle, &fleet);
    all(&fleet, "ready");
    fleet.kill();
    eventually(20.0, "the oracle tells that its manager is away", || {
        (topology(oracle)["status"] == "degraded").then_some(())
    });
    assert!(
        peers(oracle).iter().all(|(_, verified)| *verified),
        "nobody is taken for gone"
    );
    fleet.start();
    eventually(20.0, "and that it is back", || {
        (topology(oracle)["status"] == "ok").then_some(())
    });
    assert_eq!(epochs(&fleet), before);
    drop(by_hand);
}

#[test]
fn an_oracle_whose_engine_is_stuck_is_replaced() {
    let Some(program) = program("an_oracle_whose_engine_is_stuck") else {
        return;
    };
    let settings = [("POOL_ORACLE_MAX_SECONDS", "4")];
    let crew = Crew::up(program, "fake", &[], 0, &settings);
    let pid = || {
        crew.fleet
            .pool("oracle")
            .workers
            .first()
            .and_then(|worker| worker.pid)
    };
    let before = pid().unwrap();
    eventually(10.0, "it says so", || {
        (crew.fleet.pool("oracle").ready == 1).then_some(())
    });
    let stuck = Ask::new("!slow=600000ms!", 0.0, 1, 10);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(crew.oracle, &stuck));
        let begun = Instant::now();
        eventually(50.0, "another oracle runs", || pid().filter(|pid| *pid != before));
        println!("a stuck oracle was replaced after {:?}", begun.elapsed());
        assert!(asked.join().unwrap().is_err());
    });
    eventually(20.0, "it is ready", || get(crew.oracle, "/ready").ok());
    ask(crew.oracle, &Ask::new("who is there?", 0.9, 3, 20)).unwrap();
}

#[test]
fn a_stopped_oracle_gives_its_slot_back() {
    let Some(program) = program("a_stopped_oracle") else {
        return;
    };
    let crew = Crew::up(program, "fake", &[], 0, &[]);
    let slot = || crew.fleet.pool("oracle").shards.remove(0);
    let before = slot().epoch;
    signal(crew.fleet.pool("oracle").workers[0].pid.unwrap(), Signal::TERM);
    eventually(20.0, "the next one has the slot", || {
        let slot = slot();
        (slot.epoch > before && slot.state == "ready").then_some(())
    });
}

#[test]
fn a_scout_that_cannot_be_says_why_in_one_line() {
    let fake = ("ORACLE_MODEL", "fake");
    let secret = ("SECRET", SECRET);
    for (variables, word) in [
        (vec![fake], "SECRET is not set"),
        (vec![secret], "ORACLE_MODEL is not set"),
        (
            vec![fake, secret, ("ORACLE_URL", "ws://x")],
            "ORACLE_URL is 'ws://x'",
        ),
        (
            vec![fake, secret, ("SHARDMAN_URL", "nowhere")],
            "SHARDMAN_URL is 'nowhere'",
        ),
        (
            vec![fake, secret, ("SHARDMAN_POOL", "No Pool")],
            "SHARDMAN_POOL is 'No Pool'",
        ),
        (vec![fake, ("SECRET", "caf\u{e9}")], "SECRET is not usable"),
    ] {
        let (code, _, errors) = support::run(&["scout"], &variables);
        assert_eq!(code, 78, "{errors}");
        assert!(errors.contains(word), "{errors}");
        assert_eq!(errors.trim().lines().count(), 1, "{errors}");
        assert!(!errors.contains("caf\u{e9}"), "{errors}");
    }
    let (code, _, errors) = support::run(&["serve"], &[fake, ("SHARDMAN_URL", "http://127.0.0.1:9")]);
    assert_eq!(code, 78, "{errors}");
    assert!(errors.contains("SECRET is not set"), "{errors}");
}

#[test]
fn a_scout_with_the_wrong_secret_or_model_ends() {
    let Some(program) = program("a_scout_with_the_wrong_secret") else {
        return;
    };
    let fleet = Fleet::up(program, &[("POOLS", "scouts")]);
    let url = format!("http://{}", fleet.address);
    let (code, _, errors) = support::run(
        &["scout", "--model", "fake"],
        &[("SHARDMAN_URL", &url), ("SECRET", "wrong")],
    );
    assert_eq!(code, 77, "{errors}");
    assert!(errors.contains("SECRET") && !errors.contains("wrong"), "{errors}");

    // A model that cannot be loaded, which shows while the slot is taken.
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.gguf");
    std::fs::write(&broken, b"GGUF\x03\0\0\0 and nothing that follows").unwrap();
    let (code, _, errors) = support::run(
        &["scout", "--model", broken.to_str().unwrap()],
        &[("SHARDMAN_URL", &url), ("SECRET", SECRET)],
    );
    assert_eq!(code, 78, "{errors}");
    assert!(errors.contains("broken.gguf"), "{errors}");
    let lets_go = || (fleet.pool("scouts").leased == 0).then_some(());
    eventually(5.0, "its slot is given back", lets_go);

    // An oracle with another family's model.
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let oracle = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut socket = accept_async(socket).await.unwrap();
        let hello = socket.next().await.unwrap().unwrap();
        assert!(hello.to_text().unwrap().contains("vocabulary_hash"));
        let close = CloseFrame {
            code: Closing::OtherVocabulary.code().into(),
            reason: "".into(),
        };
        socket.close(Some(close)).await.unwrap();
        while socket.next().await.is_some_and(|frame| frame.is_ok()) {}
    });
    let (code, _, errors) = support::run(
        &["scout", "--model", "fake", "--oracle-url", &oracle],
        &[("SHARDMAN_URL", &url), ("SECRET", SECRET)],
    );
    assert_eq!(code, 78, "{errors}");
    assert!(errors.contains("another vocabulary"), "{errors}");
    eventually(5.0, "its slot is given back", lets_go);
}
