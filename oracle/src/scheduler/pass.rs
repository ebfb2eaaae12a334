//! One pass: what is fed together, and what its rows say.

use std::time::Instant;

use tracing::warn;

use super::answer::Answer;
use super::owner::Owner;
use super::speculate::{Asking, Checked};
use super::trust::Outcome;
use super::{Event, plan};
use crate::engine::{EngineError, Feed, Logits, Token, Want};
use crate::verify::{Next, verify};

/// What a pass does for one sequence.
#[derive(Debug)]
enum Part {
    /// This answer's last token, and what may follow.
    Answer {
        request: usize,
        answer: usize,
        feed: Vec<Token>,
        checked: Option<Checked>,
    },
    /// So many tokens of this request's prompt.
    Prompt { request: usize, tokens: usize },
}

impl Part {
    fn request(&self) -> usize {
        let (Self::Answer { request, .. } | Self::Prompt { request, .. }) = self;
        *request
    }

    fn is_answer(&self) -> bool {
        matches!(self, Self::Answer { .. })
    }

    fn rows(&self) -> usize {
        match self {
            Self::Answer { feed, .. } => feed.len(),
            Self::Prompt { tokens, .. } => *tokens,
        }
    }
}

impl Owner {
    pub(super) fn pass(&mut self) {
        let whole = Instant::now();
        let written = self.shared.metrics.completion_tokens.get();
        let parts = self.plan();
        let answers = parts.iter().all(Part::is_answer).then_some(parts.len());
        let rows: usize = parts.iter().map(Part::rows).sum();
        self.shared.metrics.rows.set(rows as i64);
        let began = Instant::now();
        let outcome = self.forward(&parts);
        let took = began.elapsed().as_secs_f64();
        self.shared.metrics.pass_seconds.observe(took);
        self.shared.metrics.passes.inc();
        // Prompts ask for fewer logits, so their rows cost less.
        if outcome.is_ok() && answers.is_some() {
            self.costs.observe(rows, took);
        }
        let worth = match outcome {
            Ok(logits) => {
                let worth = self.settle(parts, &logits);
                let tokens = self.shared.metrics.completion_tokens.get() - written;
                self.speculation
                    .passed(answers.unwrap_or(0), whole.elapsed(), tokens);
                worth
            }
            Err(error) => {
                self.fail(&parts, &error);
                Outcome::Bad
            }
        };
        self.trust.note(worth);
    }

    /// One row for each answer, then prompts, then drafts.
    fn plan(&mut self) -> Vec<Part> {
        let mut running = Vec::new();
        let mut prompts = Vec::new();
        for (index, request) in self.requests.iter().enumerate() {
            running.extend((0..request.answers.len()).map(|answer| (index, answer)));
            let fed = request.prefill.map(|(_, fed)| fed);
            prompts.extend(fed.map(|fed| (index, request.job.prompt.len() - fed)));
        }
        let pause = self.shared.settings().pause.as_secs_f64();
        let budget = plan::prefill_budget(&self.costs, running.len(), pause);
        let remaining: Vec<usize> = prompts.iter().map(|&(_, tokens)| tokens).collect();
        let shares = plan::prefill(&remaining, budget);
        let rows = running.len() + shares.iter().sum::<usize>();

        let asking: Vec<Asking> = running
            .iter()
            .map(|&(request, answer)| {
                let answer = &self.requests[request].answers[answer];
                // The row after the draft has one more token.
                Asking {
                    answer: answer.id,
                    base: answer.tokens.len(),
                    limit: answer.left() - 1,
                }
            })
            .collect();
        let drafts = self.speculation.choose(&self.costs, rows, &asking);

        let answers = running
            .into_iter()
            .zip(drafts)
            .map(|((request, answer), checked)| {
                let last = self.requests[request].answers[answer].tokens.last();
                let mut feed = vec![*last.expect("a prompt has tokens")];
                feed.extend(checked.iter().flat_map(Checked::tokens));
                Part::Answer {
                    request,
                    answer,
                    feed,
                    checked,
                }
            });
        let prompts = prompts.iter().zip(shares).filter(|&(_, tokens)| tokens > 0);
        let prompts = prompts.map(|(&(request, _), tokens)| Part::Prompt { request, tokens });
        answers.chain(prompts).collect()
    }

    fn forward(&mut self, parts: &[Part]) -> Result<Logits, EngineError> {
        let requests = &self.requests;
        let feeds: Vec<Feed<'_>> = parts
            .iter()
            .map(|part| match part {
                Part::Answer {
                    request,
                    answer,
                    feed,
                    ..
                } => {
                    let sequence = requests[*request].answers[*answer].sequence;
                    Feed {
                        sequence,
                        tokens: feed,
                        want: Want::All,
                    }
                }
                Part::Prompt { request, tokens } => {
                    let request = &requests[*request];
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
        self.engine.forward(&feeds)
    }

    /// What the sequences of the pass hold is not known now: their requests are
    /// over, and no other is.
    fn fail(&mut self, parts: &[Part], error: &EngineError) {
        self.shared.metrics.failed_passes.inc();
        warn!("a pass failed, and the requests in it with it: {error}");
        for part in parts {
            let request = part.request();
            if !self.requests[request].over {
                self.requests[request].tell(Event::Failed(error.to_string()));
                self.close(request);
            }
        }
    }

    fn settle(&mut self, parts: Vec<Part>, logits: &Logits) -> Outcome {
        let now = Instant::now();
        let mut row = 0;
        let (mut readable, mut unreadable) = (0, 0);
        let mut count = |is_readable: bool| {
            let counter = if is_readable {
                &mut readable
            } else {
                &mut unreadable
            };
            *counter += 1;
        };
        for part in parts {
            match part {
                Part::Answer {
                    request,
                    answer,
                    feed,
                    checked,
                } => {
                    count(self.grow(request, answer, checked.as_ref(), logits, row, now));
                    row += feed.len();
                }
                Part::Prompt { request, tokens } => {
                    let held = &mut self.requests[request];
                    let (_, fed) = held
                        .prefill
                        .as_mut()
                        .expect("a prompt that was fed has a sequence");
                    *fed += tokens;
                    if *fed == held.job.prompt.len() {
                        count(self.begin_answers(request, logits.row(row), now));
                        row += 1;
                    }
                }
            }
        }
        for index in 0..self.requests.len() {
            self.tell(index);
        }
        Outcome::of_rows(readable, unreadable)
    }

    /// The prompt is known: its answers begin, each with a sequence of its own.
    /// Whether the row could be read.
    fn begin_answers(&mut self, index: usize, row: &[f32], now: Instant) -> bool {
        let request = &mut self.requests[index];
        let (sequence, _) = request
            .prefill
            .take()
            .expect("a prompt that was fed has a sequence");
        let waited = now.saturating_duration_since(request.since);
        self.shared
            .metrics
            .first_token_seconds
            .observe(waited.as_secs_f64());
        for choice in request.choices() {
            let sequence = if choice == 0 {
                sequence
            } else {
                self.engine.fork(sequence)
            };
            let mut answer = Answer::new(choice, request, sequence, now);
            let next = answer.take(row, &mut self.sampler, self.text.as_ref());
            request.is_unreadable |= next.is_none();
            self.shared
                .metrics
                .completion_tokens
                .inc_by(answer.written() as u64);
            request.answers.push(answer);
        }
        !request.is_unreadable
    }

    /// Takes what the rows from `row` on say about an answer and its draft.
    /// Whether the first of them could be read.
    fn grow(
        &mut self,
        request: usize,
        answer: usize,
        checked: Option<&Checked>,
        logits: &Logits,
        row: usize,
        now: Instant,
    ) -> bool {
        let request = &mut self.requests[request];
        let answer = &mut request.answers[answer];
        let base = answer.tokens.len();
        let draft = checked.map_or(&[][..], Checked::tokens);
        let mut is_readable = true;
        let accepted = verify(draft, |offset| {
            let next = answer.take(logits.row(row + offset), &mut self.sampler, self.text.as_ref());
            request.is_unreadable |= next.is_none();
            is_readable &= offset > 0 || next.is_some();
            next.unwrap_or(Next::End(None))
        });
        if accepted < draft.len() && answer.finish.is_none() && !request.is_unreadable {
            self.engine.truncate(answer.sequence, base + accepted);
        }
        if let Some(checked) = checked {
            let whole = answer.finish.is_some();
            self.speculation.verdict(answer.id, checked, accepted, whole);
        }
        self.shared
            .metrics
            .completion_tokens
            .inc_by((answer.tokens.len() - base) as u64);
        let gap = now.saturating_duration_since(answer.last_at);
        self.shared.metrics.token_gap_seconds.observe(gap.as_secs_f64());
        answer.last_at = now;
        is_readable
    }

    /// Says what is new of a request, and closes what is whole.
    fn tell(&mut self, index: usize) {
        let request = &mut self.requests[index];
        if request.is_unreadable {
            warn!("the model's numbers are not numbers");
            request.tell(Event::Failed("the model's numbers are not numbers".into()));
            self.close(index);
            return;
        }
        let mut answers = std::mem::take(&mut request.answers);
        answers.retain_mut(|answer| {
            for event in answer.take_events().into_iter().flatten() {
                request.tell(event);
            }
            let whole = answer.finish.is_some();
            if whole {
                self.speculation.close(answer.id);
                self.engine.close(answer.sequence);
            } else {
                let id = answer.id;
                let (base, tokens) = answer.take_untold();
                self.speculation.advance(id, base, tokens);
            }
            !whole
        });
        request.over = answers.is_empty() && request.prefill.is_none();
        request.answers = answers;
    }
}
