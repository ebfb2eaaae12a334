//! A drafter that may go wrong without taking the model with it: one that
//! panics is asked no more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tracing::error;

use super::{AnswerId, Draft, Drafter};
use crate::engine::Token;
use crate::sampling::Sampling;

pub struct Guarded(Option<Box<dyn Drafter>>);

impl Guarded {
    pub fn new(drafter: Box<dyn Drafter>) -> Self {
        Self(Some(drafter))
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut dyn Drafter) -> T) -> Option<T> {
        let drafter = self.0.as_mut()?;
        let answer = catch_unwind(AssertUnwindSafe(|| call(drafter.as_mut())));
        if answer.is_err() {
            error!("a drafter panicked; it is asked no more");
            let drafter = self.0.take();
            // What panicked once may panic when it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(drafter)));
        }
        answer.ok()
    }
}

impl Drafter for Guarded {
    fn open(&mut self, answer: AnswerId, prompt: &[Token], sampling: &Sampling) {
        self.call(|drafter| drafter.open(answer, prompt, sampling));
    }

    fn advance(&mut self, answer: AnswerId, base: usize, tokens: &[Token]) {
        self.call(|drafter| drafter.advance(answer, base, tokens));
    }

    fn close(&mut self, answer: AnswerId) {
        self.call(|drafter| drafter.close(answer));
    }

    fn draft(&mut self, answer: AnswerId, base: usize, limit: usize) -> Option<Draft> {
        self.call(|drafter| drafter.draft(answer, base, limit)).flatten()
    }

    fn wait(&mut self, answers: &[(AnswerId, usize)], deadline: Instant) {
        self.call(|drafter| drafter.wait(answers, deadline));
    }

    fn verdict(&mut self, answer: AnswerId, draft: &Draft, accepted: usize) {
        self.call(|drafter| drafter.verdict(answer, draft, accepted));
    }
}
