//! An oracle and its scouts as processes of a manager: whatever becomes of the
//! scouts, every answer is the one that the oracle gives by itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::ask::{Answer, Ask, ask, get, metric, peers, percentile, stream};
use crate::fleet::{Fleet, eventually, free_port, program, signal};

/// What the program under test is.
const ORACLE: &str = env!("CARGO_BIN_EXE_shardman-oracle");

/// An oracle that a manager runs, with so many scouts.
pub struct Crew {
    pub fleet: Fleet,
    pub oracle: SocketAddr,
}

impl Crew {
    /// `model` is the oracle's, and its scouts'. Every pass of a fake one may take
    /// its time, while its scouts are quick.
    pub fn up(program: PathBuf, model: &str, more: &[&str], scouts: u32, settings: &[(&str, &str)]) -> Self {
        let oracle = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let serve = format!(
            "exec env ORACLE_LISTEN={oracle} SHARD_RATE_LIMIT_PER_MINUTE=0 {ORACLE} serve --model {model} {}",
            more.join(" ")
        );
        let guessing = if model.starts_with("fake") { "fake" } else { model };
        let scout = format!("exec {ORACLE} scout --model {guessing} --oracle-url http://{oracle}");
        let size = scouts.max(1).to_string();
        let mut all = vec![
            ("POOLS", if scouts == 0 { "oracle" } else { "oracle,scouts" }),
            ("POOL_ORACLE_COMMAND", serve.as_str()),
            ("POOL_ORACLE_MAX_SECONDS", "20"),
        ];
        if scouts > 0 {
            all.extend([
                ("POOL_SCOUTS_COMMAND", scout.as_str()),
                ("POOL_SCOUTS_SIZE", size.as_str()),
                ("POOL_SCOUTS_MAX_SECONDS", "20"),
            ]);
        }
        for setting in settings {
            all.retain(|(name, _)| *name != setting.0);
            all.push(*setting);
        }
        all.retain(|(_, value)| !value.is_empty());
        let fleet = Fleet::up(program, &all);
        eventually(30.0, "the oracle is ready", || get(oracle, "/ready").ok());
        Self { fleet, oracle }
    }

    #[track_caller]
    pub fn wait_connected(&self, count: usize) -> Duration {
        let begun = Instant::now();
        eventually(40.0, &format!("{count} scouts draft"), || {
            (metric(self.oracle, "oracle_scouts_connected") == count as f64).then_some(())
        });
        begun.elapsed()
    }

    pub fn accepted(&self) -> f64 {
        metric(self.oracle, "oracle_scout_accepted_tokens_total")
    }

    pub fn pids(&self) -> Vec<i32> {
        let workers = self.fleet.pool("scouts").workers.into_iter();
        workers.filter_map(|worker| worker.pid).collect()
    }
}

/// Greedy and sampled, with and without penalties.
fn questions(tokens: u32) -> Vec<Ask> {
    let mut penalised = Ask::new("what does a shard hold?", 0.9, 5, tokens);
    penalised.penalty = 0.7;
    vec![
        Ask::new("who holds the lease?", 0.0, 1, tokens),
        Ask::new("tell me of the worker", 0.7, 2, tokens),
        Ask::new("and of another epoch", 1.3, 3, tokens),
        penalised,
    ]
}

/// What an oracle says without anybody's help.
fn alone(program: &Path, questions: &[Ask]) -> Vec<Answer> {
    let crew = Crew::up(program.to_owned(), "fake", &["--speculate", "never"], 0, &[]);
    let answers: Vec<_> = questions
        .iter()
        .map(|question| ask(crew.oracle, question).unwrap())
        .collect();
    for (answer, question) in answers.iter().zip(questions) {
        assert_eq!(
            (answer.tokens, answer.finish.as_str()),
            (u64::from(question.tokens), "length")
        );
    }
    assert_eq!(crew.accepted(), 0.0);
    answers
}

/// Asks all at once; every answer must be as expected.
pub fn ask_together(oracle: SocketAddr, questions: &[Ask], expected: &[Answer]) {
    std::thread::scope(|scope| {
        let asked: Vec<_> = questions
            .iter()
            .map(|question| scope.spawn(move || ask(oracle, question)))
            .collect();
        for ((asked, expected), question) in asked.into_iter().zip(expected).zip(questions) {
            assert_eq!(asked.join().unwrap().as_ref(), Ok(expected), "{question:?}");
        }
    });
}

#[test]
fn an_answer_is_the_same_with_no_scout_with_one_and_with_four() {
    let Some(program) = program("an_answer_is_the_same") else {
        return;
    };
    let questions = questions(150);
    let expected = alone(&program, &questions);
    assert_ne!(expected[1], expected[2]);
    for scouts in [1, 4] {
        let crew = Crew::up(
            program.clone(),
            "fake:10ms",
            &["--speculate", "always"],
            scouts,
            &[],
        );
        let took = crew.wait_connected(scouts as usize);
        println!("{scouts} scouts draft {took:?} after the oracle is ready");
        let begun = Instant::now();
        for (question, expected) in questions.iter().zip(&expected) {
            assert_eq!(ask(crew.oracle, question).as_ref(), Ok(expected), "{question:?}");
        }
        let one_by_one = begun.elapsed();
        let accepted = crew.accepted();
        println!("{scouts} scouts: 600 tokens in {one_by_one:?}, {accepted} of them were drafted by scouts");
        assert!(accepted > 100.0, "{accepted}");
        // The same beside others, whose answers are as little disturbed.
        let others: Vec<_> = (0..8)
            .map(|seed| Ask::new("beside the others", 0.8, seed, 100))
            .collect();
        let all: Vec<_> = questions.iter().chain(&others).cloned().collect();
        let alone = alone_beside(&crew, &others);
        let expected: Vec<_> = expected.iter().chain(&alone).cloned().collect();
        ask_together(crew.oracle, &all, &expected);
        assert!(crew.accepted() > accepted);
    }
}

/// The same answers, each asked while nobody else asks.
fn alone_beside(crew: &Crew, questions: &[Ask]) -> Vec<Answer> {
    questions
        .iter()
        .map(|question| ask(crew.oracle, question).unwrap())
        .collect()
}

#[test]
fn scouts_that_are_killed_are_back_and_no_answer_is_another() {
    let Some(program) = program("scouts_that_are_killed") else {
        return;
    };
    let questions = questions(400);
    let expected = alone(&program, &questions);
    let crew = Crew::up(program, "fake:10ms", &["--speculate", "always"], 4, &[]);
    crew.wait_connected(4);
    let oracle = crew.oracle;
    let before = crew.pids();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask_together(oracle, &questions, &expected));
        // In the middle of it, once it was seen that they are listened to.
        let seen = eventually(20.0, "drafts count", || {
            Some(crew.accepted()).filter(|accepted| *accepted > 20.0)
        });
        let begun = Instant::now();
        for pid in &before {
            signal(*pid, Signal::KILL);
        }
        eventually(20.0, "others are in their place", || {
            let now = crew.pids();
            (now.len() == 4 && now.iter().all(|pid| !before.contains(pid))).then_some(())
        });
        crew.wait_connected(4);
        println!(
            "four killed scouts are back {:?} after they were killed ({seen} tokens before)",
            begun.elapsed()
        );
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        asking.join().unwrap();
    });
    let after = crew.pids();
    assert!(
        before.iter().all(|pid| !after.contains(pid)),
        "{before:?} {after:?}"
    );
    let accepted = crew.accepted();
    ask_together(oracle, &questions, &expected);
    assert!(
        crew.accepted() > accepted + 20.0,
        "the new ones are listened to as well"
    );
    eventually(10.0, "peers are who holds a slot", || {
        let expected: Vec<_> = (0..4).map(|slot| (format!("scouts-{slot}"), true)).collect();
        let mut peers = peers(oracle);
        peers.sort();
        (peers == expected).then_some(())
    });
}

#[test]
fn frozen_scouts_cost_no_token_and_hardly_a_moment() {
    let Some(program) = program("frozen_scouts") else {
        return;
    };
    let question = Ask::new("what comes back?", 0.8, 9, 250);
    let expected = alone(&program, std::slice::from_ref(&question)).remove(0);
    let plain = Crew::up(program.clone(), "fake:10ms", &["--speculate", "never"], 0, &[]);
    let gaps = |oracle, each: &mut dyn FnMut(usize)| {
        let stream = stream(oracle, &question, each).unwrap();
        assert_eq!((&stream.text, stream.finish.as_str()), (&expected.text, "length"));
        stream.gaps
    };
    let alone = gaps(plain.oracle, &mut |_| {});
    let settings = [("POOL_SCOUTS_MAX_SECONDS", "6")];
    let crew = Crew::up(program, "fake:10ms", &["--speculate", "always"], 4, &settings);
    crew.wait_connected(4);
    let helped = gaps(crew.oracle, &mut |_| {});
    let accepted = crew.accepted();
    assert!(accepted > 20.0, "{accepted}");
    let pids = crew.pids();
    let mut frozen_at = None;
    let frozen = gaps(crew.oracle, &mut |pieces| {
        if pieces == 30 {
            pids.iter().for_each(|pid| signal(*pid, Signal::STOP));
            frozen_at = Some(Instant::now());
        }
    });
    for (name, gaps) in [
        ("alone", &alone),
        ("with four scouts", &helped),
        ("while they freeze", &frozen),
    ] {
        println!(
            "{name}: half of the gaps are up to {:?}, of a hundred 99 up to {:?}, the longest is {:?}",
            percentile(gaps, 50),
            percentile(gaps, 99),
            gaps.iter().max().unwrap()
        );
    }
    // A pass, the 2 ms that it waits for drafts, and a machine that has more to do.
    let bound = percentile(&alone, 99) * 3 + Duration::from_millis(30);
    for gaps in [&helped, &frozen] {
        assert!(
            percentile(gaps, 99) <= bound,
            "{:?} > {bound:?}",
            percentile(gaps, 99)
        );
    }
    // The manager takes their slots back, and puts others in their place.
    eventually(40.0, "others are in their place", || {
        let now = crew.pids();
        (now.len() == 4 && now.iter().all(|pid| !pids.contains(pid))).then_some(())
    });
    crew.wait_connected(4);
    println!(
        "frozen scouts were replaced within {:?}",
        frozen_at.unwrap().elapsed()
    );
    let accepted = crew.accepted();
    gaps(crew.oracle, &mut |_| {});
    assert!(crew.accepted() > accepted + 20.0);
}
