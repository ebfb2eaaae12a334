//! The engine's thread: it owns the model and all that is being written, and
//! goes from pass to pass.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tracing::{error, info};

use super::answer::Request;
use super::calibrate;
use super::handle::{Asked, Shared, State};
use super::plan::Costs;
use super::queue::Room;
use super::speculate::Speculation;
use super::trust::Trust;
use super::{Event, Refusal};
use crate::draft::{AnswerId, Drafter};
use crate::engine::{Engine, EngineError, Model, Text};
use crate::sampler::Sampler;

pub(super) struct Owner {
    pub(super) engine: Box<dyn Engine>,
    pub(super) text: Arc<dyn Text>,
    pub(super) shared: Arc<Shared>,
    pub(super) costs: Costs,
    pub(super) sampler: Sampler,
    pub(super) speculation: Speculation,
    pub(super) requests: Vec<Request>,
    pub(super) trust: Trust,
    next_answer: u64,
    /// Since when there has been work without a pause.
    busy_since: Instant,
}

/// The tokens of an answer, before any was seen.
const USUAL_TOKENS: f64 = 256.0;

impl Owner {
    pub(super) fn new(model: Model, drafters: Vec<Box<dyn Drafter>>, shared: Arc<Shared>) -> Self {
        Self {
            engine: model.engine,
            text: model.text,
            speculation: Speculation::new(drafters, Arc::clone(&shared)),
            shared,
            // Until it is measured, each row costs as much as the first.
            costs: Costs::new(vec![(1, 0.001)]),
            sampler: Sampler::new(),
            requests: Vec::new(),
            trust: Trust::default(),
            next_answer: 0,
            busy_since: Instant::now(),
        }
    }

    /// Works until told to stop, or the engine panics, or cannot even be measured.
    pub(super) fn run(mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.calibrate()?;
            while self.begin_turn() {
                self.pass();
                self.end_turn();
            }
            Ok::<(), EngineError>(())
        }));
        let mut state = self.shared.lock();
        match outcome {
            Ok(Ok(())) => {
                state.stopped = true;
                return;
            }
            Ok(Err(error)) => error!("no request is answered: {error}"),
            Err(_) => error!("the engine's thread died; no request is answered any more"),
        }
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

    fn calibrate(&mut self) -> Result<(), EngineError> {
        self.costs = calibrate::measure(self.engine.as_mut(), &|| {
            self.shared.lock().progress = Instant::now();
        })?;
        let ms = |rows| self.costs.seconds(rows) * 1000.0;
        info!(
            "a pass of 1, 4 and 16 rows takes {:.2}, {:.2} and {:.2} ms",
            ms(1),
            ms(4),
            ms(16)
        );
        self.speculation.calibrated(&self.costs);
        let answers = self.shared.settings().answers.max(1);
        let interval = self.costs.seconds(answers) * USUAL_TOKENS / answers as f64;
        let mut state = self.shared.lock();
        state.line.expect_interval(interval);
        state.measured = true;
        // Requests may have come meanwhile; to measure was no work of theirs.
        self.busy_since = Instant::now();
        state.progress = self.busy_since;
        Ok(())
    }

    /// Forgets what nobody wants, takes in what fits, and waits if there is
    /// nothing to do. False when it is time to end.
    fn begin_turn(&mut self) -> bool {
        let dropped = self.drop_unwanted();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        for _ in 0..dropped {
            state.line.done(Instant::now(), self.busy_since);
        }
        loop {
            let now = Instant::now();
            shared.sweep(&mut state, now);
            if let Some(waiting) = state.line.next(self.room()) {
                state.active += 1;
                // The model may take its time; whoever submits does not wait for it.
                drop(state);
                self.admit(waiting.item);
                state = shared.lock();
                continue;
            }
            self.publish(&mut state, now);
            if !self.requests.is_empty() {
                return true;
            }
            if state.stopping {
                return false;
            }
            shared.metrics.rows.set(0);
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
        state.failing = self.trust.is_lost();
        self.publish(&mut state, now);
    }

    fn room(&self) -> Room {
        let facts = self.shared.facts();
        let reserved = |request: &Request| request.places() * facts.kv_bytes(request.reserved_tokens());
        Room {
            taken_answers: self.requests.iter().map(Request::places).sum(),
            answers: self.shared.settings().answers,
            taken_kv_bytes: self.requests.iter().map(reserved).sum(),
            kv_bytes: self.shared.settings().kv_budget,
        }
    }

    fn publish(&self, state: &mut State, now: Instant) {
        let room = self.room();
        state.active = self.requests.len();
        state.rows = room.taken_answers;
        state.kv_bytes = room.taken_kv_bytes;
        state.note(now);
        self.shared.metrics.queue.set(state.line.len() as i64);
        self.shared.metrics.answers.set(room.taken_answers as i64);
        self.shared.metrics.kv_bytes.set(room.taken_kv_bytes as i64);
    }

    fn admit(&mut self, asked: Asked) {
        self.shared
            .metrics
            .prompt_tokens
            .inc_by(asked.job.prompt.len() as u64);
        super::handle::tell(&asked.events, Event::Begun);
        let first = AnswerId(self.next_answer);
        let request = Request::new(asked, self.engine.open(), first);
        self.next_answer += request.choices().len() as u64;
        // Drafters have a prompt to read, too.
        for choice in request.choices() {
            let sampling = request.job.sampling.for_choice(choice);
            self.speculation
                .open(request.answer_id(choice), &request.job.prompt, &sampling);
        }
        self.requests.push(request);
    }

    fn drop_unwanted(&mut self) -> usize {
        let before = self.requests.len();
        for index in (0..self.requests.len()).rev() {
            if !self.requests[index].is_wanted() {
                self.shared.metrics.cancelled.inc();
                self.close(index);
                self.requests.remove(index);
            }
        }
        before - self.requests.len()
    }

    /// Closes all that a request has of the model; it is over.
    pub(super) fn close(&mut self, index: usize) {
        let request = &mut self.requests[index];
        if let Some((sequence, _)) = request.prefill.take() {
            self.engine.close(sequence);
            for choice in request.choices() {
                self.speculation.close(request.answer_id(choice));
            }
        }
        for answer in request.answers.drain(..) {
            self.speculation.close(answer.id);
            self.engine.close(answer.sequence);
        }
        request.over = true;
    }
}
