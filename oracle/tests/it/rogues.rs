//! Scouts with true leases that lie, dawdle, babble or freeze: they cost no
//! token, and nobody but themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::SinkExt as _;
use shardman_core::wire::{Beat, Connected};
use shardman_lease::Manager;
use shardman_oracle::draft::AnswerId;
use shardman_oracle::draft::frame::{Closing, FromOracle, FromScout};
use shardman_oracle::engine::Token;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;

use crate::ask::{Ask, ask, metric, peers};
use crate::fleet::{SECRET, eventually, program};
use crate::rogue::{Heard, Rogue, hello, lease};
use crate::scouts::Crew;

/// What a bad scout does with what it is told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Vice {
    /// It drafts at once, for the right base, the wrong tokens.
    Lies,
    /// It drafts for what was certain a while ago, some of it right.
    Dawdles,
    /// It says what is no frame.
    Babbles,
    /// It says the same again and again.
    Repeats,
    /// It reads nothing.
    Freezes,
}

/// One bad scout: it comes back whenever it is thrown out.
struct Bad {
    vice: Vice,
    manager: Manager,
    lease: Connected,
    oracle: String,
    welcomes: Arc<AtomicUsize>,
    closings: Arc<std::sync::Mutex<Vec<Closing>>>,
}

impl Bad {
    async fn run(self) {
        loop {
            let beat = Beat {
                session_id: self.lease.session_id.clone(),
                ..Beat::default()
            };
            let _ = self.manager.beat(&beat, Duration::from_secs(5)).await;
            // Out of its place it comes back, after a while.
            if let Ok(rogue) = Rogue::dial(&self.oracle, Some(SECRET)).await {
                self.annoy(rogue).await;
            }
            let pause = Duration::from_millis(100);
            let _ = tokio::time::timeout(pause, std::future::pending::<()>()).await;
        }
    }

    async fn annoy(&self, mut rogue: Rogue) {
        rogue.say(&hello(&self.lease)).await;
        let mut certain: BTreeMap<AnswerId, Vec<Token>> = BTreeMap::new();
        loop {
            match rogue.hear(60.0).await {
                Heard::Frame(FromOracle::Welcome { .. }) => {
                    self.welcomes.fetch_add(1, Relaxed);
                }
                Heard::Frame(FromOracle::Open { answer, prompt, .. }) => {
                    certain.insert(answer, prompt);
                }
                Heard::Frame(FromOracle::Advance { answer, base, tokens }) => {
                    let known = certain.entry(answer).or_default();
                    known.truncate(base);
                    known.extend(tokens);
                    self.misbehave(&mut rogue, answer, known).await;
                }
                Heard::Frame(FromOracle::Close { answer }) => drop(certain.remove(&answer)),
                Heard::Closed(closing) => {
                    self.closings.lock().unwrap().extend(closing);
                    return;
                }
                Heard::Nothing => return,
            }
        }
    }

    async fn misbehave(&self, rogue: &mut Rogue, answer: AnswerId, known: &[Token]) {
        let base = known.len();
        let draft = |base, tokens| FromScout::Draft { answer, base, tokens };
        match self.vice {
            Vice::Lies => rogue.say(&draft(base, vec![7, 7, 7])).await,
            Vice::Dawdles => {
                let base = base.saturating_sub(5);
                let tokens = known[base..].iter().copied().chain([9]).take(5).collect();
                rogue.say(&draft(base, tokens)).await;
            }
            Vice::Babbles => {
                let _ = rogue.socket.send(Message::Binary(vec![0; 1000].into())).await;
            }
            Vice::Repeats => {
                for _ in 0..500 {
                    rogue.say(&draft(base, vec![5])).await;
                }
            }
            Vice::Freezes => std::future::pending().await,
        }
    }
}

#[test]
fn bad_scouts_change_no_answer_and_are_heard_seldom() {
    let Some(program) = program("bad_scouts") else {
        return;
    };
    let settings = [("POOL_SCOUTS_COMMAND", ""), ("POOL_SCOUTS_MAX_SECONDS", "120")];
    let crew = Crew::up(program, "fake:5ms", &["--speculate", "always"], 5, &settings);
    let questions: Vec<_> = [0.0, 0.7, 1.1, 1.4]
        .into_iter()
        .zip(1..)
        .map(|(temperature, seed)| Ask::new("who is told twice?", temperature, seed, 200))
        .collect();
    let expected: Vec<_> = questions
        .iter()
        .map(|question| ask(crew.oracle, question).unwrap())
        .collect();

    let runtime = Runtime::new().unwrap();
    let closings = Arc::new(std::sync::Mutex::new(Vec::new()));
    let vices = [
        Vice::Lies,
        Vice::Dawdles,
        Vice::Babbles,
        Vice::Repeats,
        Vice::Freezes,
    ];
    let welcomes: Vec<_> = vices
        .into_iter()
        .map(|vice| {
            let manager = crew.fleet.client();
            let lease = runtime.block_on(lease(&manager));
            let welcomes = Arc::new(AtomicUsize::new(0));
            let bad = Bad {
                vice,
                manager,
                lease,
                oracle: format!("http://{}", crew.oracle),
                welcomes: Arc::clone(&welcomes),
                closings: Arc::clone(&closings),
            };
            runtime.spawn(bad.run());
            welcomes
        })
        .collect();
    eventually(20.0, "all five are admitted", || {
        welcomes
            .iter()
            .all(|welcomes| welcomes.load(Relaxed) > 0)
            .then_some(())
    });
    for round in 0..3 {
        std::thread::scope(|scope| {
            let asked: Vec<_> = questions
                .iter()
                .map(|question| scope.spawn(|| ask(crew.oracle, question)))
                .collect();
            for (asked, expected) in asked.into_iter().zip(&expected) {
                assert_eq!(asked.join().unwrap().as_ref(), Ok(expected), "round {round}");
            }
        });
    }
    let of = |name: &str| metric(crew.oracle, &format!("oracle_scout_{name}_total"));
    let (drafted, accepted) = (of("drafted_tokens"), of("accepted_tokens"));
    let seen = closings.lock().unwrap().clone();
    println!(
        "2400 tokens: {drafted} drafted by bad scouts were checked, {accepted} were right, {} were stale or stray; {} connections were closed",
        of("stale_drafts") + of("stray_drafts"),
        seen.len()
    );
    assert!(of("stale_drafts") > 0.0);
    assert!(
        seen.contains(&Closing::Malformed) && seen.contains(&Closing::TooMany),
        "{seen:?}"
    );
    assert!(accepted * 4.0 <= drafted.max(1.0), "{accepted} of {drafted}");
    // At first they are tried like anybody, then one draft in dozens.
    assert!(drafted < 600.0, "{drafted}");
    // Whoever is known for it stays, and an honest one gets the work.
    assert!(peers(crew.oracle).len() == 5, "{:?}", peers(crew.oracle));
}
