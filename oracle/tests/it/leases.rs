//! Scouts are who holds a lease, as the manager says: who proves it is heard,
//! and whoever loses it is not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use prometheus::Registry;
use shardman_oracle::draft::frame::{Closing, FromOracle, FromScout};
use shardman_oracle::draft::{AnswerId, Drafter as _};
use shardman_oracle::engine::fake::{self, FakeSettings};
use shardman_oracle::engine::{Feed, Message, Role, Text as _, Token, Want};
use shardman_oracle::network::Network as _;
use shardman_oracle::sampler::{Counts, Sampler};
use shardman_oracle::sampling::Sampling;
use shardman_oracle::scout;
use shardman_oracle::scouts::Scouts;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::fleet::{Fleet, SECRET, eventually, place, program, secret};
use crate::rogue::{Heard, Rogue, hello, lease};

const LIMIT: usize = 5;

/// The oracle's side without an oracle: its endpoint, and what the engine's
/// thread would ask.
pub struct Side {
    pub scouts: Scouts,
    pub url: String,
    registry: Registry,
    stop: CancellationToken,
}

impl Side {
    pub fn start(runtime: &Runtime, fleet: &Fleet) -> Self {
        let (registry, stop) = (Registry::new(), CancellationToken::new());
        let manager = (fleet.client(), "scouts".parse().unwrap());
        let scouts = Scouts::new(Some(manager), LIMIT, &registry, stop.clone()).unwrap();
        scouts.admit(fake::model(FakeSettings::default()).engine.facts());
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(scouts.clone().run());
        runtime.spawn(shardman_serve::serve(
            listener,
            scouts.router(),
            stop.clone(),
            Duration::ZERO,
        ));
        Self {
            scouts,
            url,
            registry,
            stop,
        }
    }

    pub fn wait_connected(&self, count: usize) {
        eventually(20.0, &format!("{count} scouts are connected"), || {
            (self.scouts.connected() == count).then_some(())
        });
    }

    /// The sum of a counter over its labels.
    pub fn counted(&self, name: &str) -> f64 {
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap();
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn fleet(test: &str, more: &[(&str, &str)]) -> Option<Fleet> {
    let program = program(test)?;
    let mut settings = vec![
        ("POOLS", "scouts"),
        ("POOL_SCOUTS_SIZE", "4"),
        ("POOL_SCOUTS_MAX_SECONDS", "3"),
    ];
    settings.extend_from_slice(more);
    Some(Fleet::up(program, &settings))
}

fn sampling(temperature: f32) -> Sampling {
    Sampling {
        temperature,
        top_p: 1.0,
        seed: 11,
        presence_penalty: 0.5,
        frequency_penalty: 0.0,
        logit_bias: BTreeMap::new(),
    }
}

/// What the fake model says by itself.
fn plain(prompt: &[Token], sampling: &Sampling, count: usize) -> Vec<Token> {
    let mut engine = fake::model(FakeSettings::default()).engine;
    let sequence = engine.open();
    let (mut tokens, mut fed, mut counts) = (prompt.to_vec(), 0, Counts::default());
    for _ in 0..count {
        let feed = Feed {
            sequence,
            tokens: &tokens[fed..],
            want: Want::Last,
        };
        let logits = engine.forward(&[feed]).unwrap();
        fed = tokens.len();
        let token = Sampler::new()
            .choose(logits.row(0), sampling, fed, &counts)
            .unwrap();
        counts.add(token);
        tokens.push(token);
    }
    tokens
}

/// A scout of ours, in this process.
fn start_scout(runtime: &Runtime, fleet: &Fleet, oracle: &str, stop: &CancellationToken) {
    let oracle = scout::Oracle {
        url: oracle.parse().unwrap(),
        secret: secret(),
        tls: std::sync::Arc::new(shardman_lease::tls().unwrap()),
    };
    let (place, stop) = (place(fleet, "scouts"), stop.clone());
    runtime.spawn(async move {
        scout::run(place, oracle, || Ok(fake::model(FakeSettings::default())), stop)
            .await
            .unwrap();
    });
}

#[test]
fn a_scout_that_holds_a_slot_drafts_what_the_oracle_would_say() {
    let Some(fleet) = fleet("a_scout_that_holds_a_slot", &[]) else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let side = Side::start(&runtime, &fleet);
    let stop = CancellationToken::new();
    start_scout(&runtime, &fleet, &side.url, &stop);
    side.wait_connected(1);
    let mut drafter = side.scouts.drafter();
    for (id, temperature) in [(1, 0.0), (2, 1.2)] {
        let (id, sampling) = (AnswerId(id), sampling(temperature));
        let message = Message {
            role: Role::User,
            content: "say something !long!".to_owned(),
        };
        let prompt = fake::FakeText::new().prompt(&[message]).unwrap();
        let all = plain(&prompt, &sampling, 120);
        drafter.open(id, &prompt, &sampling);
        let (mut base, mut accepted, mut tries) = (prompt.len(), 0, 0);
        while base + LIMIT < all.len() {
            tries += 1;
            let now = drafter.draft(id, base, LIMIT);
            let draft = now.or_else(|| {
                drafter.wait(&[(id, base)], Instant::now() + Duration::from_secs(5));
                drafter.draft(id, base, LIMIT)
            });
            let draft = draft.expect("an honest scout is waited for");
            let right = draft
                .tokens
                .iter()
                .zip(&all[base..])
                .take_while(|(draft, token)| draft == token)
                .count();
            assert_eq!(right, draft.tokens.len(), "the same model guesses right");
            drafter.verdict(id, &draft, right);
            drafter.advance(id, base, &all[base..=base + right]);
            (base, accepted) = (base + right + 1, accepted + right);
        }
        drafter.close(id);
        println!("temperature {temperature}: {accepted} tokens of drafts in {tries} passes");
        assert!(accepted >= 50, "{accepted}");
    }
    assert!(side.counted("oracle_scout_accepted_tokens_total") >= 100.0);

    let peers = side.scouts.peers();
    assert_eq!(peers.len(), 1);
    assert!(
        peers[0].verified
            && peers[0].connected_at_ms > 0
            && peers[0].last_seen_at_ms >= peers[0].connected_at_ms
    );
    assert_eq!(peers[0].addrs, ["/ip4/127.0.0.1"]);
    let slot = &fleet.pool("scouts").shards[0];
    assert_eq!(slot.state, "ready", "it says that it is connected");

    stop.cancel();
    side.wait_connected(0);
    eventually(5.0, "the slot is given back", || {
        (fleet.pool("scouts").leased == 0).then_some(())
    });
    eventually(20.0, "nobody holds a slot", || {
        side.scouts.peers().is_empty().then_some(())
    });
}

#[test]
fn who_does_not_hold_what_it_says_is_not_heard() {
    let Some(fleet) = fleet("who_does_not_hold", &[("POOL_SCOUTS_MAX_SECONDS", "30")]) else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let side = Side::start(&runtime, &fleet);
    runtime.block_on(async {
        let manager = fleet.client();
        let (held, other) = (lease(&manager).await, lease(&manager).await);
        let dial = async |secret: Option<&str>| Rogue::dial(&side.url, secret).await;
        let (status, body) = dial(None).await.err().unwrap();
        assert_eq!(status, 401, "{body}");
        assert!(
            body.contains(r#""detail""#) && body.contains(r#""error""#),
            "{body}"
        );

        let (status, body) = dial(Some("wrong")).await.err().unwrap();
        assert_eq!(status, 403, "{body}");
        assert!(!body.contains("wrong"), "{body}");

        let refused = async |secret, text: String, closing| {
            let mut rogue = dial(Some(secret)).await.ok().unwrap();
            rogue.say_text(text.clone()).await;
            assert_eq!(rogue.hear(10.0).await, Heard::Closed(Some(closing)), "{text}");
        };
        let text = |frame: &FromScout| serde_json::to_string(frame).unwrap();
        let good = text(&hello(&held));
        let with = |change: &dyn Fn(&mut shardman_core::wire::Connected)| {
            let mut lease = held.clone();
            change(&mut lease);
            text(&hello(&lease))
        };
        for wrong in [
            with(&|lease| lease.session_id = "8f14e45f-ceea-467f-ab1d-2c6d1e0b7a51".to_owned()),
            with(&|lease| lease.session_id = other.session_id.clone()),
            with(&|lease| lease.session_id = "../../fleet".to_owned()),
            with(&|lease| lease.shard_id = other.shard_id),
            with(&|lease| lease.shard_id = u32::MAX),
            with(&|lease| lease.epoch.as_mut().unwrap().0 -= 1),
            with(&|lease| lease.epoch.as_mut().unwrap().0 += 1),
        ] {
            refused(SECRET, wrong, Closing::NotHeld).await;
        }
        refused(
            SECRET,
            good.replace("\"fake\"", "\"other\""),
            Closing::OtherVocabulary,
        )
        .await;
        let draft = FromScout::Draft {
            answer: AnswerId(1),
            base: 1,
            tokens: vec![1],
        };
        for nonsense in [
            text(&draft),
            "{}".to_owned(),
            String::new(),
            "[".repeat(4000),
            "x".repeat(10_000),
        ] {
            let mut rogue = dial(Some(SECRET)).await.ok().unwrap();
            rogue.say_text(nonsense.clone()).await;
            assert!(
                matches!(rogue.hear(10.0).await, Heard::Closed(_)),
                "{}",
                nonsense.len()
            );
        }
        assert_eq!(side.scouts.connected(), 0);

        let mut first = dial(Some(SECRET)).await.ok().unwrap();
        first.say(&hello(&held)).await;
        let welcome = Heard::Frame(FromOracle::Welcome { limit: LIMIT });
        assert_eq!(first.hear(10.0).await, welcome);
        let bearer = format!("Bearer {SECRET}");
        let mut second = dial(Some(bearer.as_str())).await.ok().unwrap();
        second.say(&hello(&held)).await;
        assert_eq!(second.hear(10.0).await, welcome);
        assert_eq!(first.hear_end(10.0).await, Heard::Closed(Some(Closing::Replaced)));
        assert_eq!(side.scouts.connected(), 1);
        let peer = side.scouts.peers().remove(0);
        assert!(peer.verified && peer.handshake_failures >= 3, "{peer:?}");

        second.say(&hello(&held)).await;
        let end = second.hear_end(10.0).await;
        assert_eq!(
            end,
            Heard::Closed(Some(Closing::Malformed)),
            "one hello is enough"
        );

        refused(SECRET, good.clone(), Closing::TryAgain).await;
        let mut third = loop {
            let mut third = dial(Some(SECRET)).await.ok().unwrap();
            third.say(&hello(&held)).await;
            match third.hear(10.0).await {
                heard if heard == welcome => break third,
                heard => assert_eq!(heard, Heard::Closed(Some(Closing::TryAgain)), "not for long"),
            }
        };
        for _ in 0..2000 {
            third.say(&draft).await;
        }
        assert_eq!(third.hear_end(10.0).await, Heard::Closed(Some(Closing::TooMany)));
    });
    assert!(side.counted("oracle_scout_stray_drafts_total") >= 1.0);
    assert!(side.counted("oracle_scout_refusals_total") >= 10.0);
}

#[test]
fn who_loses_its_slot_is_heard_no_longer_and_a_silent_manager_takes_none() {
    let Some(mut fleet) = fleet("who_loses_its_slot", &[("POOL_SCOUTS_MAX_SECONDS", "4")]) else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let side = Side::start(&runtime, &fleet);
    let join = |runtime: &Runtime| {
        runtime.block_on(async {
            let held = lease(&fleet.client()).await;
            let mut rogue = Rogue::dial(&side.url, Some(SECRET)).await.ok().unwrap();
            rogue.say(&hello(&held)).await;
            assert!(matches!(rogue.hear(10.0).await, Heard::Frame(_)));
            (held, rogue)
        })
    };
    let (held, mut rogue) = join(&runtime);
    let begun = Instant::now();
    runtime.block_on(async {
        fleet.client().release(&held.session_id).await.unwrap();
        assert_eq!(rogue.hear_end(10.0).await, Heard::Closed(Some(Closing::NotHeld)));
    });
    println!("a released slot is closed after {:?}", begun.elapsed());

    let (_, mut silent) = join(&runtime);
    let begun = Instant::now();
    let end = runtime.block_on(silent.hear_end(20.0));
    println!("a lapsed slot is closed after {:?}", begun.elapsed());
    assert_eq!(end, Heard::Closed(Some(Closing::NotHeld)), "nobody beats for it");

    let (_, mut kept) = join(&runtime);
    let stop = CancellationToken::new();
    start_scout(&runtime, &fleet, &side.url, &stop);
    side.wait_connected(2);
    fleet.kill();
    let begun = Instant::now();
    // Ours cannot beat, and leaves; the other is no worse for the manager's silence.
    side.wait_connected(1);
    let left = begun.elapsed();
    println!("a scout of 4 s leaves {left:?} after the end of its manager");
    assert!(
        left < Duration::from_secs(4),
        "it leaves before its lease may be given away: {left:?}"
    );
    assert_eq!(runtime.block_on(kept.hear_end(1.5)), Heard::Nothing);
    fleet.start();
    // It is asked of nobody to come back by hand.
    eventually(20.0, "the scout is back", || {
        let peers = side.scouts.peers();
        peers
            .iter()
            .any(|peer| peer.verified && peer.peer_id.ends_with('1'))
            .then_some(())
    });
    stop.cancel();
}
