//! The scouts as the engine's thread asks them: a look at the board, which the
//! connections fill. Nothing here waits but [`Drafter::wait`].

use std::sync::Arc;
use std::time::Instant;

use super::Shared;
use crate::draft::{AnswerId, Draft, Drafter};
use crate::engine::Token;
use crate::sampling::Sampling;

/// Drafts of the scouts.
pub struct ScoutDrafter {
    pub(super) shared: Arc<Shared>,
}

impl Drafter for ScoutDrafter {
    fn open(&mut self, answer: AnswerId, prompt: &[Token], sampling: &Sampling) {
        self.shared.board().open(answer, prompt, sampling, Instant::now());
    }

    fn advance(&mut self, answer: AnswerId, base: usize, tokens: &[Token]) {
        self.shared.board().advance(answer, base, tokens, Instant::now());
    }

    fn close(&mut self, answer: AnswerId) {
        self.shared.board().close(answer, Instant::now());
    }

    fn draft(&mut self, answer: AnswerId, base: usize, limit: usize) -> Option<Draft> {
        self.shared.board().draft(answer, base, limit, Instant::now())
    }

    /// Returns at once where no draft can be hoped for.
    fn wait(&mut self, answers: &[(AnswerId, usize)], deadline: Instant) {
        let begun = Instant::now();
        let mut board = self.shared.board();
        loop {
            let any =
                |holds: &dyn Fn(AnswerId, usize) -> bool| answers.iter().any(|(id, base)| holds(*id, *base));
            if any(&|id, base| board.has_draft(id, base)) || !any(&|id, base| board.is_hopeful(id, base)) {
                return;
            }
            let now = Instant::now();
            let Some(left) = deadline
                .checked_duration_since(now)
                .filter(|left| !left.is_zero())
            else {
                board.waited(answers, now - begun);
                return;
            };
            board = self.shared.wait(board, left);
        }
    }

    fn verdict(&mut self, _: AnswerId, draft: &Draft, accepted: usize) {
        self.shared.board().verdict(draft, accepted);
    }
}
