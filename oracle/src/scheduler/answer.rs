//! An answer while it is being written, and the request it belongs to.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::mpsc;

use super::handle::{Asked, tell};
use super::{Event, Finish, Job, Logprob};
use crate::draft::AnswerId;
use crate::engine::{SequenceId, Text, Token};
use crate::sampler::{Counts, Sampler};
use crate::sampling::Sampling;
use crate::text::TextStream;
use crate::verify::Next;

/// A request that has its turn.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) job: Job,
    pub(super) limit: usize,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) since: Instant,
    /// The prompt's sequence until the answers begin, and how much it was fed.
    pub(super) prefill: Option<(SequenceId, usize)>,
    /// Answers that are not whole.
    pub(super) answers: Vec<Answer>,
    first: AnswerId,
    /// A row said nothing.
    pub(super) is_unreadable: bool,
    /// Failed or whole: nothing more is to be said.
    pub(super) over: bool,
}

impl Request {
    /// The first choice's answer is `first`, the others are those after it.
    pub(super) fn new(asked: Asked, sequence: SequenceId, first: AnswerId) -> Self {
        let Asked {
            job,
            limit,
            events,
            since,
        } = asked;
        Self {
            job,
            limit,
            events,
            since,
            prefill: Some((sequence, 0)),
            answers: Vec::new(),
            first,
            is_unreadable: false,
            over: false,
        }
    }

    pub(super) fn choices(&self) -> std::ops::Range<u32> {
        0..self.job.choices.max(1)
    }

    pub(super) fn answer_id(&self, choice: u32) -> AnswerId {
        AnswerId(self.first.0 + u64::from(choice))
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.events.is_closed()
    }

    /// Answers that hold a place.
    pub(super) fn places(&self) -> usize {
        if self.prefill.is_some() {
            self.choices().len()
        } else {
            self.answers.len()
        }
    }

    /// Tokens whose memory is reserved for each answer.
    pub(super) fn reserved_tokens(&self) -> usize {
        self.job.prompt.len() + self.limit
    }

    pub(super) fn tell(&self, event: Event) {
        tell(&self.events, event);
    }
}

/// One choice of a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) id: AnswerId,
    pub(super) choice: u32,
    pub(super) sampling: Sampling,
    pub(super) sequence: SequenceId,
    /// Prompt and answer; all are certain, and all but the last were fed.
    pub(super) tokens: Vec<Token>,
    prompt: usize,
    /// How many of the tokens the drafters know.
    told: usize,
    limit: usize,
    logprobs: Option<u8>,
    counts: Counts,
    text: TextStream,
    /// Logprobs of tokens whose text is not sent, by where it begins.
    held: VecDeque<(usize, Logprob)>,
    /// What the next event says.
    ready: String,
    ready_logprobs: Vec<Logprob>,
    pub(super) finish: Option<Finish>,
    pub(super) last_at: Instant,
}

impl Answer {
    pub(super) fn new(choice: u32, request: &Request, sequence: SequenceId, now: Instant) -> Self {
        let job = &request.job;
        Self {
            id: request.answer_id(choice),
            choice,
            sampling: job.sampling.for_choice(choice),
            sequence,
            tokens: job.prompt.clone(),
            prompt: job.prompt.len(),
            told: job.prompt.len(),
            limit: request.limit,
            logprobs: job.logprobs,
            counts: Counts::default(),
            text: TextStream::new(&job.stop),
            held: VecDeque::new(),
            ready: String::new(),
            ready_logprobs: Vec::new(),
            finish: None,
            last_at: now,
        }
    }

    /// The tokens that were not told to the drafters, and how many are before.
    pub(super) fn take_untold(&mut self) -> (usize, &[Token]) {
        let base = std::mem::replace(&mut self.told, self.tokens.len());
        (base, &self.tokens[base..])
    }

    /// How many tokens the answer has.
    pub(super) fn written(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    /// How many more it may have.
    pub(super) fn left(&self) -> usize {
        self.limit - self.written()
    }

    /// Takes the token that this row says follows. None if the row says nothing.
    pub(super) fn take(&mut self, row: &[f32], sampler: &mut Sampler, text: &dyn Text) -> Option<Next> {
        let token = sampler.choose(row, &self.sampling, self.tokens.len(), &self.counts)?;
        if text.is_end(token) {
            self.end(Finish::Stop);
            return Some(Next::End(None));
        }
        if let Some(top) = self.logprobs {
            let logprob = sampler.logprob(row, token, usize::from(top));
            self.held.push_back((self.text.reached(), logprob));
        }
        self.tokens.push(token);
        self.counts.add(token);
        let ready = self.text.push(text.bytes(token));
        self.ready.push_str(&ready);
        if self.text.stopped() {
            self.end(Finish::Stop);
        } else if self.left() == 0 {
            self.end(Finish::Length);
        }
        Some(if self.finish.is_some() {
            Next::End(Some(token))
        } else {
            Next::Token(token)
        })
    }

    /// What there is to say since it was asked last.
    pub(super) fn take_events(&mut self) -> [Option<Event>; 2] {
        let whole = self.finish.is_some();
        // A token belongs to the event with the first byte of its text.
        let sent = if whole { usize::MAX } else { self.text.sent() };
        while self.held.front().is_some_and(|&(begin, _)| begin < sent) {
            self.ready_logprobs
                .extend(self.held.pop_front().map(|(_, logprob)| logprob));
        }
        let says = !self.ready.is_empty() || !self.ready_logprobs.is_empty();
        let more = says.then(|| Event::Text {
            choice: self.choice,
            text: std::mem::take(&mut self.ready),
            logprobs: std::mem::take(&mut self.ready_logprobs),
        });
        let end = self.finish.map(|finish| Event::Finished {
            choice: self.choice,
            finish,
            tokens: self.written(),
        });
        [more, end]
    }

    fn end(&mut self, finish: Finish) {
        let rest = self.text.finish();
        self.ready.push_str(&rest);
        if self.text.stopped() {
            // Of the tokens of the stop nothing was said.
            let sent = self.text.sent();
            self.held.retain(|&(begin, _)| begin < sent);
        }
        self.finish = Some(if self.text.stopped() { Finish::Stop } else { finish });
    }
}
