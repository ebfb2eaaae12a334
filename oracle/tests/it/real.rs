//! The real model, with scouts that run it as well: fixed texts, whoever drafts,
//! dies, or asks at the same time.

use rustix::process::Signal;

use crate::ask::{Answer, Ask, ask, metric};
use crate::fleet::{eventually, program, signal};
use crate::scouts::{Crew, ask_together};

/// Greedy, sampled, and sampled with a penalty.
fn questions() -> Vec<Ask> {
    let ask = |text: &str, temperature, seed, penalty| Ask {
        text: text.to_owned(),
        temperature,
        seed,
        penalty,
        tokens: 24,
    };
    vec![
        ask("What is the capital of France?", 0.0, 0, 0.0),
        ask("Tell me about the sea.", 0.7, 11, 0.0),
        ask("Tell me about the sea.", 1.2, 12, 0.5),
    ]
}

/// What is said to them, on every processor.
const GOLDEN: [&str; 3] = [
    "L'Étoile, la Cité, la France, la France, la France, la France, la France",
    "The sea! It's a realm of wonder that has captivated human imagination for centuries. From the towering cliffs of \
     cliffs to",
    "The Sea of Vengement – a contemporary mythology – portents darker aspects. In many African religions, the sea is",
];

#[test]
fn fixed_texts_stay_the_same_whoever_drafts_dies_or_asks() {
    let (Some(program), Some(model)) = (program("real model"), crate::model::path("real model")) else {
        return;
    };
    let model = model.to_str().unwrap();
    let questions = questions();
    let mut expected: Option<Vec<Answer>> = None;
    for scouts in [0, 1, 4] {
        let crew = Crew::up(program.clone(), model, &["--speculate", "always"], scouts, &[]);
        crew.wait_connected(scouts as usize);
        let answers: Vec<_> = questions
            .iter()
            .map(|question| ask(crew.oracle, question).unwrap())
            .collect();
        let texts: Vec<_> = answers.iter().map(|answer| answer.text.as_str()).collect();
        assert_eq!(texts, GOLDEN, "{scouts} scouts");
        let expected = expected.get_or_insert(answers);
        // Beside five others, and while scouts are killed.
        let others = (0..5).map(|seed| Ask {
            seed,
            ..questions[1].clone()
        });
        let all: Vec<_> = questions.iter().cloned().chain(others).collect();
        let mut wanted = expected.clone();
        wanted.extend(
            all[3..]
                .iter()
                .map(|question| ask(crew.oracle, question).unwrap()),
        );
        let before = if scouts == 0 { Vec::new() } else { crew.pids() };
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask_together(crew.oracle, &all, &wanted));
            for pid in &before {
                signal(*pid, Signal::KILL);
            }
            asking.join().unwrap();
        });
        if scouts > 0 {
            println!(
                "{scouts} scouts: {} tokens drafted, {} of them right",
                metric(crew.oracle, "oracle_scout_drafted_tokens_total"),
                crew.accepted()
            );
        }
        eventually(40.0, "all are back", || {
            (scouts == 0 || metric(crew.oracle, "oracle_scouts_connected") == f64::from(scouts)).then_some(())
        });
    }
}
