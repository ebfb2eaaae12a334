//! For any requests that share the model, any drafters and any readers that go
//! away: every answer is the one of plain decoding.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use proptest::prelude::*;

use super::drafters::{CHARACTERS, Character, TestDrafter};
use super::plain::{collect, job, plain};
use super::*;
use crate::draft::ngram::NgramDrafter;
use crate::engine::Text;
use crate::engine::fake::VOCABULARY;

#[derive(Clone, Debug)]
struct Case {
    fake: FakeSettings,
    settings: Settings,
    ngram: bool,
    drafters: Vec<Character>,
    /// Each with how many events its reader waits for before it goes away.
    jobs: Vec<(Job, Option<usize>)>,
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let temperature = prop_oneof![Just(0.0f32), 0.01f32..2.0];
    let top_p = prop_oneof![Just(1.0f32), 0.05f32..1.0];
    let penalty = || prop_oneof![3 => Just(0.0f32), 1 => -2.0f32..2.0];
    let bias = prop::collection::btree_map(0..VOCABULARY as Token, -100.0f32..8.0, 0..4);
    (temperature, top_p, any::<u64>(), penalty(), penalty(), bias).prop_map(
        |(temperature, top_p, seed, presence_penalty, frequency_penalty, logit_bias)| Sampling {
            temperature,
            top_p,
            seed,
            presence_penalty,
            frequency_penalty,
            logit_bias,
        },
    )
}

fn jobs() -> impl Strategy<Value = (Job, Option<usize>)> {
    let content = prop::collection::vec(
        prop::sample::select(vec![
            " the",
            " shard holds",
            " its lease",
            "!long!",
            " é",
            "x",
            " the shard",
        ]),
        0..12,
    );
    let trouble = prop_oneof![8 => Just(""), 1 => Just("!nan-after=4!"), 1 => Just("!fail-after=9!")];
    let content = (content, trouble).prop_map(|(content, trouble)| content.concat() + trouble);
    let stops = prop::collection::vec(
        prop::sample::select(vec![
            " shard",
            "STOP",
            " the a",
            "é",
            ".",
            "##END",
            "\u{FFFD}",
            " beats while",
            "🦀",
        ]),
        0..3,
    );
    let gone = prop_oneof![3 => Just(None), 1 => (0usize..6).prop_map(Some)];
    (
        content,
        stops,
        sampling(),
        1usize..40,
        1u32..4,
        prop::option::of(0u8..4),
        gone,
    )
        .prop_map(
            |(content, stops, sampling, max_tokens, choices, logprobs, gone)| {
                let job = Job {
                    sampling,
                    max_tokens,
                    stop: stops.into_iter().map(String::from).collect(),
                    choices,
                    logprobs,
                    ..job(&content)
                };
                (job, gone)
            },
        )
}

fn cases() -> impl Strategy<Value = Case> {
    let fake = (
        prop::sample::select(vec![1usize, 2, 3, 10_000]),
        prop::sample::select(vec![60usize, 140, 4096]),
    );
    let settings = (
        1usize..6,
        0u64..3,
        1usize..9,
        prop::sample::select(vec![140usize * 3, 100_000]),
    );
    let speculate = prop::sample::select(vec![
        Speculate::Always,
        Speculate::Always,
        Speculate::Auto,
        Speculate::Never,
    ]);
    let drafters = prop::collection::vec(prop::sample::select(CHARACTERS.to_vec()), 0..3);
    let jobs = prop::collection::vec(jobs(), 1..6);
    (fake, settings, speculate, any::<bool>(), drafters, jobs).prop_map(
        |(
            (memory, context_tokens),
            (answers, pause, draft_limit, kv_tokens),
            speculate,
            ngram,
            drafters,
            jobs,
        )| {
            let fake = FakeSettings {
                memory,
                context_tokens,
                ..FakeSettings::default()
            };
            let settings = Settings {
                answers,
                kv_budget: kv_tokens * fake.kv_bytes_per_token,
                pause: Duration::from_micros(pause * 20),
                speculate,
                draft_limit,
                ..Settings::default()
            };
            Case {
                fake,
                settings,
                ngram,
                drafters,
                jobs,
            }
        },
    )
}

fn check(case: &Case) {
    let (model, watch) = fake::watched(case.fake.clone());
    let open = Arc::new(AtomicUsize::new(0));
    let mut drafters: Vec<Box<dyn Drafter>> = Vec::new();
    for (slot, &character) in case.drafters.iter().enumerate() {
        drafters.push(Box::new(TestDrafter::new(
            character,
            slot as u32,
            &case.fake,
            &open,
        )));
    }
    if case.ngram {
        drafters.push(Box::new(NgramDrafter::new()));
    }
    let handle = start(
        model,
        drafters,
        case.settings.clone(),
        &prometheus::Registry::new(),
    );
    let mut staying = Vec::new();
    let mut going = Vec::new();
    for (job, gone) in &case.jobs {
        match (handle.submit(job.clone()), gone) {
            (Ok(ticket), None) => staying.push((job, ticket)),
            (Ok(ticket), Some(events)) => going.push((ticket, *events)),
            (Err(Refusal::MemoryExceeded { needed, budget }), _) => {
                assert!(needed > budget && budget == case.settings.kv_budget);
            }
            (Err(Refusal::ContextExceeded { prompt, context, .. }), _) => assert!(prompt >= context),
            (Err(refusal), _) => panic!("{refusal}"),
        }
    }
    for (mut ticket, events) in going {
        for _ in 0..events {
            if ticket.events.blocking_recv().is_none() {
                break;
            }
        }
    }
    let says = |job: &Job, what: &str| {
        let text = fake::FakeText::new();
        let bytes: Vec<u8> = job
            .prompt
            .iter()
            .flat_map(|&token| text.bytes(token))
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).contains(what)
    };
    let any_fails = case.jobs.iter().any(|(job, _)| says(job, "!fail-after"));
    for (job, ticket) in staying {
        match collect(ticket) {
            // Their own trouble, or that of one that shared a pass.
            Whole::Failed(_) => assert!(any_fails || says(job, "!nan-after"), "{job:?}"),
            // With drafts it may be whole before the pass that fails.
            Whole::Choices(_) if says(job, "!fail-after") => {}
            whole @ (Whole::Choices(_) | Whole::Refused(_)) => {
                assert_eq!(whole, plain(&case.fake, job), "{job:?}");
            }
        }
    }
    until("freeing all rows", || {
        let standing = handle.standing();
        assert!(!standing.broken);
        standing.active == 0 && standing.queued == 0
    });
    handle.stop();
    until("the end of the thread", || handle.standing().stopped);
    let standing = handle.standing();
    assert_eq!((standing.rows, standing.kv_bytes), (0, 0));
    assert_eq!(watch.open_sequences.load(Relaxed), 0);
    assert_eq!(watch.held_tokens.load(Relaxed), 0);
    assert!(watch.most_held_tokens.load(Relaxed) * case.fake.kv_bytes_per_token <= case.settings.kv_budget);
    assert_eq!(open.load(Relaxed), 0, "every answer is closed for every drafter");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_do_not_depend_on_who_drafts_or_shares_or_leaves(case in cases()) {
        check(&case);
    }
}

#[test]
fn each_character_alone_changes_nothing() {
    for character in CHARACTERS {
        for temperature in [0.0, 0.8] {
            let mut job = job("one shard!long!");
            job.sampling = Sampling {
                temperature,
                frequency_penalty: 0.5,
                ..job.sampling
            };
            job.sampling.logit_bias = BTreeMap::from([(300, 2.0)]);
            let case = Case {
                fake: FakeSettings::default(),
                settings: Settings {
                    speculate: Speculate::Always,
                    ..Settings::default()
                },
                ngram: false,
                drafters: vec![character],
                jobs: vec![(job.clone(), None), (job, None)],
            };
            check(&case);
        }
    }
}
