//! Plain decoding, one token at a time and nothing else, to compare with.

use std::collections::BTreeMap;

use super::super::{Event, Finish, Job, Logprob, Refusal, Ticket};
use crate::engine::fake::{FakeEngine, FakeSettings, FakeText};
use crate::engine::{Engine, Feed, Message, Role, Text, Want};
use crate::sampler::{Counts, Sampler};
use crate::sampling::Sampling;

pub(super) fn job(content: &str) -> Job {
    let message = Message {
        role: Role::User,
        content: content.into(),
    };
    Job {
        client: 0,
        prompt: FakeText::new().prompt(&[message]).unwrap(),
        sampling: Sampling {
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
        },
        max_tokens: 64,
        stop: Vec::new(),
        choices: 1,
        logprobs: None,
    }
}

/// One choice, whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Choice {
    pub(super) text: String,
    pub(super) finish: Option<Finish>,
    pub(super) tokens: usize,
    pub(super) logprobs: Vec<Logprob>,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Whole {
    Choices(Vec<Choice>),
    Failed(String),
    Refused(Refusal),
}

/// Reads a job's events to their end.
pub(super) fn collect(mut ticket: Ticket) -> Whole {
    let mut choices: BTreeMap<u32, Choice> = BTreeMap::new();
    while let Some(event) = ticket.events.blocking_recv() {
        match event {
            Event::Begun => assert!(choices.is_empty(), "an answer begins before it is told"),
            Event::Text {
                choice,
                text,
                logprobs,
            } => {
                let whole = choices.entry(choice).or_default();
                assert_eq!(whole.finish, None, "nothing follows the end of an answer");
                whole.text.push_str(&text);
                whole.logprobs.extend(logprobs);
            }
            Event::Finished {
                choice,
                finish,
                tokens,
            } => {
                let whole = choices.entry(choice).or_default();
                assert_eq!(whole.finish, None, "an answer ends once");
                (whole.finish, whole.tokens) = (Some(finish), tokens);
            }
            Event::Failed(error) => return Whole::Failed(error),
            Event::Refused(refusal) => return Whole::Refused(refusal),
        }
    }
    Whole::Choices(choices.into_values().collect())
}

/// What a job's answers are.
pub(super) fn plain(fake: &FakeSettings, job: &Job) -> Whole {
    let fast = FakeSettings {
        per_pass: std::time::Duration::ZERO,
        per_row: std::time::Duration::ZERO,
        ..fake.clone()
    };
    Whole::Choices((0..job.choices).map(|choice| one(&fast, job, choice)).collect())
}

fn one(fake: &FakeSettings, job: &Job, choice: u32) -> Choice {
    let (mut engine, text) = (FakeEngine::new(fake.clone()), FakeText::new());
    let sampling = job.sampling.for_choice(choice);
    let mut sampler = Sampler::new();
    let mut counts = Counts::default();
    let sequence = engine.open();
    let mut fed = job.prompt.clone();
    let (mut at, mut bytes, mut logprobs) = (job.prompt.len(), Vec::new(), Vec::new());
    let limit = job.max_tokens.min(fake.context_tokens - job.prompt.len());
    let mut tokens = 0;
    loop {
        let logits = engine
            .forward(&[Feed {
                sequence,
                tokens: &fed,
                want: Want::Last,
            }])
            .unwrap();
        let token = sampler.choose(logits.row(0), &sampling, at, &counts).unwrap();
        if text.is_end(token) {
            return whole(&bytes, &job.stop, Finish::Stop, tokens, logprobs);
        }
        if let Some(top) = job.logprobs {
            let begin = String::from_utf8_lossy(settled(&bytes)).len();
            logprobs.push((begin, sampler.logprob(logits.row(0), token, usize::from(top))));
        }
        counts.add(token);
        bytes.extend_from_slice(text.bytes(token));
        tokens += 1;
        at += 1;
        fed = vec![token];
        let so_far = if tokens == limit { &bytes } else { settled(&bytes) };
        let ended = whole(so_far, &job.stop, Finish::Length, tokens, logprobs.clone());
        if ended.finish == Some(Finish::Stop) || tokens == limit {
            return ended;
        }
    }
}

fn whole(
    bytes: &[u8],
    stops: &[String],
    finish: Finish,
    tokens: usize,
    logprobs: Vec<(usize, Logprob)>,
) -> Choice {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    let ends = stops
        .iter()
        .filter_map(|stop| text.find(stop.as_str()).map(|start| (start + stop.len(), start)));
    let stopped = ends.min();
    if let Some((_, start)) = stopped {
        text.truncate(start);
    }
    let kept = logprobs
        .into_iter()
        .filter(|&(begin, _)| stopped.is_none_or(|(_, start)| begin < start));
    Choice {
        finish: Some(if stopped.is_some() { Finish::Stop } else { finish }),
        logprobs: kept.map(|(_, logprob)| logprob).collect(),
        text,
        tokens,
    }
}

/// Those whose characters no further byte can change.
fn settled(bytes: &[u8]) -> &[u8] {
    let partial = (1..=bytes.len().min(3)).find(|&tail| {
        let tail = &bytes[bytes.len() - tail..];
        std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none() && error.valid_up_to() == 0)
    });
    &bytes[..bytes.len() - partial.unwrap_or(0)]
}
