use super::*;
use crate::engine::fake::{self, FakeSettings};
use crate::engine::{Message, Role};

const LIMIT: usize = 4;

fn desk() -> Desk {
    let mut desk = Desk::new(fake::model(FakeSettings::default()));
    desk.clear(LIMIT);
    desk
}

fn sampling(temperature: f32, penalty: f32, seed: u64) -> Sampling {
    Sampling {
        temperature,
        top_p: 0.9,
        seed,
        presence_penalty: penalty,
        frequency_penalty: penalty / 2.0,
        logit_bias: BTreeMap::from([(300, 1.0)]),
    }
}

fn prompt(text: &str) -> Vec<Token> {
    let message = Message {
        role: Role::User,
        content: format!("{text} !long!"),
    };
    fake::FakeText::new().prompt(&[message]).unwrap()
}

/// What the oracle says by itself.
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

/// Works until nothing more is to be guessed.
fn work(desk: &mut Desk) -> BTreeMap<AnswerId, (usize, Vec<Token>)> {
    let mut last = BTreeMap::new();
    while desk.has_work() {
        for draft in desk.step().unwrap() {
            let FromScout::Draft { answer, base, tokens } = draft else {
                panic!("{draft:?}");
            };
            last.insert(answer, (base, tokens));
        }
    }
    last
}

#[test]
fn with_the_same_model_every_guess_is_right_whatever_was_told_when() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut desk = desk();
        let penalty = [0.0, 1.5][random.usize(..2)];
        let answers: Vec<_> = (0..5)
            .map(|index| {
                let sampling = sampling([0.0, 0.8, 1.7][random.usize(..3)], penalty, seed + index);
                let prompt = prompt(&"word ".repeat(random.usize(..40)));
                let all = plain(&prompt, &sampling, 60);
                desk.open(AnswerId(index), prompt.clone(), sampling);
                (AnswerId(index), prompt.len(), all)
            })
            .collect();
        let mut certain: Vec<_> = answers.iter().map(|(_, prompt, _)| *prompt).collect();
        let mut checked = 0;
        for _ in 0..300 {
            let index = random.usize(..answers.len());
            let (answer, _, all) = &answers[index];
            if random.bool() {
                let (base, more) = (certain[index], random.usize(1..6));
                if base + more + LIMIT <= all.len() {
                    desk.advance(*answer, base, &all[base..base + more]);
                    certain[index] += more;
                }
            } else if desk.has_work() {
                for draft in desk.step().unwrap() {
                    let FromScout::Draft { answer, base, tokens } = draft else {
                        panic!("{draft:?}");
                    };
                    let index = usize::try_from(answer.0).unwrap();
                    assert_eq!(base, certain[index]);
                    assert!((1..=LIMIT).contains(&tokens.len()));
                    assert!(answers[index].2[base..].starts_with(&tokens), "seed {seed}");
                    checked += 1;
                }
            }
        }
        assert!(checked > 50, "{checked}");
    }
}

#[test]
fn from_the_first_wrong_guess_on_it_begins_anew() {
    let mut desk = desk();
    let sampling = sampling(0.0, 0.0, 1);
    let prompt = prompt("hello");
    let base = prompt.len();
    desk.open(AnswerId(1), prompt.clone(), sampling.clone());
    let (_, guesses) = work(&mut desk)[&AnswerId(1)].clone();
    // The oracle has another model: the third token is another.
    let mut told = guesses[..3].to_vec();
    told[2] = (told[2] + 1) % 200 + 10;
    desk.advance(AnswerId(1), base, &told);
    let (after, fresh) = work(&mut desk)[&AnswerId(1)].clone();
    assert_eq!(after, base + 3);
    let known = [&prompt[..], &told].concat();
    assert_eq!(fresh, plain(&known, &sampling, LIMIT)[base + 3..]);
}

#[test]
fn what_cannot_be_is_forgotten_and_harms_nobody() {
    let mut desk = desk();
    let sampling = sampling(0.0, 0.0, 1);
    let tokens = prompt("hello");
    for (base, token) in [(0, 5), (tokens.len() + 1, 5), (tokens.len(), u32::MAX)] {
        desk.open(AnswerId(1), tokens.clone(), sampling.clone());
        assert!(desk.has_work());
        desk.advance(AnswerId(1), base, &[token]);
        assert!(!desk.has_work(), "{base} {token}");
    }
    desk.open(AnswerId(1), vec![u32::MAX], sampling.clone());
    desk.open(AnswerId(2), Vec::new(), sampling.clone());
    desk.open(AnswerId(3), vec![5; 1 << 20], sampling);
    desk.advance(AnswerId(9), 0, &[1]);
    desk.close(AnswerId(9));
    assert!(!desk.has_work());
}

#[test]
fn the_oldest_answer_is_put_aside_and_read_again_when_there_is_room() {
    let mut desk = desk();
    let count = ANSWERS_MAX as u64 + 8;
    for answer in 0..count {
        desk.open(AnswerId(answer), prompt("hello"), sampling(0.0, 0.0, answer));
    }
    let drafted: Vec<_> = work(&mut desk).into_keys().collect();
    assert_eq!(drafted, (8..count).map(AnswerId).collect::<Vec<_>>());
    // What happens meanwhile is known then.
    let tokens = prompt("hello");
    let certain = plain(&tokens, &sampling(0.0, 0.0, 7), LIMIT + 1);
    let first = certain[tokens.len()];
    desk.advance(AnswerId(7), tokens.len(), &[first]);
    assert!(!desk.has_work());
    desk.close(AnswerId(20));
    let drafted = work(&mut desk);
    assert_eq!(
        drafted.keys().collect::<Vec<_>>(),
        [&AnswerId(7)],
        "the youngest of them"
    );
    assert_eq!(drafted[&AnswerId(7)].0, tokens.len() + 1);
    assert_eq!(desk.load().0, ANSWERS_MAX);
    desk.clear(LIMIT);
    assert_eq!(desk.load(), (0, 0));
}
