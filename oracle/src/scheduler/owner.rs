//! The engine's thread: it owns the model and all that is being written, and
//! goes from pass to pass.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tracing::{error, info, warn};

use super::answer::{Answer, Request};
use super::calibrate;
use super::handle::Shared;
use super::plan::{self, Costs};
use super::queue::Room;
use super::{Event, Refusal};
use crate::draft::{AnswerId, Drafter};
use crate::engine::{Engine, EngineError, Feed, Logits, Model, Text, Token, Want};
use crate::sampler::Sampler;
use crate::verify::{Next, verify};

pub(super) struct Owner {
    engine: Box<dyn Engine>,
    text: Arc<dyn Text>,
    shared: Arc<Shared>,
    costs: Costs,
    sampler: Sampler,
    requests: Vec<Request>,
    next_answer: u64,
    /// Since when there has been work without a pause.
    busy_since: Instant,
    #[expect(dead_code, reason = "drafts come next")]
    drafters: Vec<Box<dyn Drafter>>,
}

/// What a pass does for one sequence.
enum Part {
    /// This request's prompt, so many tokens of it.
    Prompt { request: usize, tokens: usize },
    /// This answer's last token, and what may follow.
    Answer {
        request: usize,
        answer: usize,
        feed: Vec<Token>,
    },
}

impl Owner {
    pub(super) fn new(model: Model, drafters: Vec<Box<dyn Drafter>>, shared: Arc<Shared>) -> Self {
        Self {
            engine: model.engine,
            text: model.text,
            shared,
            costs: Costs::new(vec![(1, 0.0)]),
            sampler: Sampler::new(),
            requests: Vec::new(),
            next_answer: 0,
            busy_since: Instant::now(),
            drafters,
        }
    }

    /// Works until told to stop, or the engine panics.
    pub(super) fn run(mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.calibrate();
            while self.begin_turn() {
                self.pass();
                self.end_turn();
            }
        }));
        let mut state = self.shared.lock();
        if outcome.is_ok() {
            state.stopped = true;
            return;
        }
        error!("the engine's thread died; no request is answered any more");
        state.broken = true;
        self.shared.refuse_all(&mut state, &Refusal::Broken);
        for request in self.requests.drain(..).filter(|request| !request.over) {
            request.tell(Event::Failed("the model has stopped computing".into()));
        }
        (state.active, state.rows, state.kv_bytes) = (0, 0, 0);
        state.note(Instant::now());
        drop(state);
        // What panicked once may panic when it is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
    }

    fn calibrate(&mut self) {
        match calibrate::measure(self.engine.as_mut()) {
            Ok(costs) => {
                let ms = |rows| costs.seconds(rows) * 1000.0;
                info!(
                    "a pass of 1, 4 and 16 rows takes {:.2}, {:.2} and {:.2} ms",
                    ms(1),
                    ms(4),
                    ms(16)
                );
                self.costs = costs;
            }
            Err(error) => warn!("the model could not be measured: {error}"),
        }
    }

    /// Forgets what nobody wants, takes in what fits, and waits if there is
    /// nothing to do. False when it is time to end.
    fn begin_turn(&mut self) -> bool {
        self.drop_unwanted();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            let now = Instant::now();
            shared.sweep(&mut state, now);
            while let Some(waiting) = state.line.next(self.room()) {
                self.shared
                    .metrics
                    .prompt_tokens
                    .inc_by(waiting.item.job.prompt.len() as u64);
                let sequence = self.engine.open();
                self.requests.push(Request::new(waiting.item, sequence));
            }
            shared.metrics.queue.set(state.line.len() as i64);
            self.publish(&mut state, now);
            if !self.requests.is_empty() {
                return true;
            }
            if state.stopping {
                return false;
            }
            self.shared.metrics.rows.set(0);
            state = shared.wait(state);
            self.busy_since = Instant::now();
        }
    }

    fn end_turn(&mut self) {
        let now = Instant::now();
        let before = self.requests.len();
        self.requests.retain(|request| !request.over);
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        for _ in self.requests.len()..before {
            state.line.done(now, self.busy_since);
        }
        state.progress = now;
        self.publish(&mut state, now);
    }

    fn room(&self) -> Room {
        let facts = self.shared.facts();
        let reserved: usize = self.requests.iter().map(Request::reserved_tokens).sum();
        Room {
            taken_answers: self.requests.iter().map(Request::places).sum(),
            answers: self.shared.settings().answers,
            taken_kv_bytes: reserved * facts.kv_bytes_per_token,
            kv_bytes: self.shared.settings().kv_budget,
        }
    }

    fn publish(&self, state: &mut super::handle::State, now: Instant) {
        let room = self.room();
        state.active = self.requests.len();
        state.rows = room.taken_answers;
        state.kv_bytes = room.taken_kv_bytes;
        state.note(now);
        self.shared.metrics.answers.set(room.taken_answers as i64);
        self.shared.metrics.kv_bytes.set(room.taken_kv_bytes as i64);
    }

    fn drop_unwanted(&mut self) {
        for index in (0..self.requests.len()).rev() {
            if !self.requests[index].is_wanted() {
                self.shared.metrics.cancelled.inc();
                self.close(index);
                self.requests.remove(index);
            }
        }
    }

    /// Closes all sequences of a request.
    fn close(&mut self, index: usize) {
        let request = &mut self.requests[index];
        if let Some((sequence, _)) = request.prefill.take() {
            self.engine.close(sequence);
        }
        for answer in request.answers.drain(..) {
            self.engine.close(answer.sequence);
        }
        request.over = true;
    }

    fn pass(&mut self) {
        let parts = self.plan();
        let began = Instant::now();
        let outcome = self.forward(&parts);
        let metrics = &self.shared.metrics;
        metrics.pass_seconds.observe(began.elapsed().as_secs_f64());
        metrics.passes.inc();
        match outcome {
            Ok(logits) => self.settle(&parts, &logits),
            Err(error) => self.fail(&parts, &error),
        }
    }

    fn plan(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        for (request, held) in self.requests.iter().enumerate() {
            for (answer, written) in held.answers.iter().enumerate() {
                let last = *written.tokens.last().expect("a prompt has tokens");
                parts.push(Part::Answer {
                    request,
                    answer,
                    feed: vec![last],
                });
            }
        }
        let rows = parts.len();
        let pause = self.shared.settings().pause.as_secs_f64();
        let budget = self.costs.rows_within(pause, rows).min(PREFILL_MOST);
        let waiting: Vec<(usize, usize)> = self
            .requests
            .iter()
            .enumerate()
            .filter_map(|(index, request)| Some((index, request.job.prompt.len() - request.prefill?.1)))
            .collect();
        let remaining: Vec<usize> = waiting.iter().map(|&(_, tokens)| tokens).collect();
        for (share, &(request, _)) in plan::prefill(&remaining, budget).into_iter().zip(&waiting) {
            if share > 0 {
                parts.push(Part::Prompt {
                    request,
                    tokens: share,
                });
            }
        }
        parts
    }

    fn forward(&mut self, parts: &[Part]) -> Result<Logits, EngineError> {
        let mut rows = 0;
        let feeds: Vec<Feed<'_>> = parts
            .iter()
            .map(|part| match part {
                Part::Answer {
                    request,
                    answer,
                    feed,
                } => {
                    rows += feed.len();
                    let sequence = self.requests[*request].answers[*answer].sequence;
                    Feed {
                        sequence,
                        tokens: feed,
                        want: Want::All,
                    }
                }
                Part::Prompt { request, tokens } => {
                    rows += tokens;
                    let request = &self.requests[*request];
                    let (sequence, fed) = request.prefill.expect("a prompt that is fed has a sequence");
                    let end = fed + tokens;
                    let want = if end == request.job.prompt.len() {
                        Want::Last
                    } else {
                        Want::Nothing
                    };
                    Feed {
                        sequence,
                        tokens: &request.job.prompt[fed..end],
                        want,
                    }
                }
            })
            .collect();
        self.shared.metrics.rows.set(rows as i64);
        self.engine.forward(&feeds)
    }

    /// What the sequences of the pass hold is not known now: their requests are
    /// over, and no other is.
    fn fail(&mut self, parts: &[Part], error: &EngineError) {
        warn!("a pass failed, and the requests in it with it: {error}");
        for part in parts {
            let (Part::Answer { request, .. } | Part::Prompt { request, .. }) = part;
            if !self.requests[*request].over {
                self.requests[*request].tell(Event::Failed(error.to_string()));
                self.close(*request);
            }
        }
    }

    fn settle(&mut self, parts: &[Part], logits: &Logits) {
        let now = Instant::now();
        let mut row = 0;
        for part in parts {
            match part {
                Part::Answer {
                    request,
                    answer,
                    feed,
                } => {
                    self.grow(*request, *answer, &feed[1..], logits, row, now);
                    row += feed.len();
                }
                Part::Prompt { request, tokens } => {
                    let held = &mut self.requests[*request];
                    let (_, fed) = held
                        .prefill
                        .as_mut()
                        .expect("a prompt that was fed has a sequence");
                    *fed += tokens;
                    if *fed == held.job.prompt.len() {
                        self.begin_answers(*request, logits.row(row), now);
                        row += 1;
                    }
                }
            }
        }
        self.finish_whole();
    }

    /// The prompt is known: its answers begin, each with a sequence of its own.
    fn begin_answers(&mut self, index: usize, row: &[f32], now: Instant) {
        let request = &mut self.requests[index];
        let (sequence, _) = request
            .prefill
            .take()
            .expect("a prompt that was fed has a sequence");
        self.shared
            .metrics
            .first_token_seconds
            .observe(now.duration_since(request.since).as_secs_f64());
        for choice in 0..request.job.choices.max(1) {
            let sequence = if choice == 0 {
                sequence
            } else {
                self.engine.fork(sequence)
            };
            let id = AnswerId(self.next_answer);
            self.next_answer += 1;
            let mut answer = Answer::new(id, choice, request, sequence, now);
            let next = answer.take(row, &mut self.sampler, self.text.as_ref());
            request.over |= next.is_none();
            request.answers.push(answer);
        }
    }

    /// Takes what the rows from `row` on say about an answer and its draft.
    fn grow(
        &mut self,
        request: usize,
        answer: usize,
        draft: &[Token],
        logits: &Logits,
        row: usize,
        now: Instant,
    ) {
        let request = &mut self.requests[request];
        let answer = &mut request.answers[answer];
        let base = answer.tokens.len();
        let accepted = verify(draft, |offset| {
            let next = answer.take(logits.row(row + offset), &mut self.sampler, self.text.as_ref());
            request.over |= next.is_none();
            next.unwrap_or(Next::End(None))
        });
        if answer.finish.is_none() && accepted < draft.len() {
            self.engine.truncate(answer.sequence, base + accepted);
        }
        let gap = now.saturating_duration_since(answer.last_at);
        self.shared.metrics.token_gap_seconds.observe(gap.as_secs_f64());
        answer.last_at = now;
    }

    /// Says what is new, and closes what is whole.
    fn finish_whole(&mut self) {
        for index in 0..self.requests.len() {
            let request = &mut self.requests[index];
            if request.over {
                request.tell(Event::Failed("the model's numbers are not numbers".into()));
                self.close(index);
                continue;
            }
            let mut answers = std::mem::take(&mut request.answers);
            answers.retain_mut(|answer| {
                for event in answer.take_events().into_iter().flatten() {
                    request.tell(event);
                }
                if answer.finish.is_some() {
                    self.shared
                        .metrics
                        .completion_tokens
                        .inc_by(answer.written() as u64);
                    self.engine.close(answer.sequence);
                }
                answer.finish.is_none()
            });
            request.over = answers.is_empty() && request.prefill.is_none();
            request.answers = answers;
        }
    }
}

/// The most tokens of prompts in a pass: a reader that goes away is seen between
/// passes only.
const PREFILL_MOST: usize = 512;
