//! What everyone but the engine's thread has of the scheduler.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::error;

use super::metrics::Metrics;
use super::owner::Owner;
use super::queue::{Line, Need};
use super::{Event, Job, Refusal, Settings, Ticket};
use crate::draft::Drafter;
use crate::engine::{Facts, Model};

/// A way to the engine's thread. When the last one is dropped, the thread ends
/// as if told to stop.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    _last: Arc<StopOnDrop>,
}

/// How the scheduler is.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Requests that wait.
    pub queued: usize,
    /// Requests that are being answered.
    pub active: usize,
    /// Answers that are being written; a request may have several.
    pub rows: usize,
    /// Memory that running requests have reserved, of `kv_budget`.
    pub kv_bytes: usize,
    pub kv_budget: usize,
    /// Whether it is known how long passes take: what is submitted before waits.
    pub measured: bool,
    /// How long the engine has not finished a pass while work waits, or while it
    /// is being measured.
    pub stalled_for: Duration,
    /// It takes no more requests, and ends when it has answered those it has.
    pub stopping: bool,
    /// The engine's thread has ended as it should.
    pub stopped: bool,
    /// The engine's thread has died, or its first passes failed.
    pub broken: bool,
    /// One pass after the other fails, or says nothing that can be read.
    pub failing: bool,
    /// How long there has been nothing to do.
    pub idle_for: Duration,
}

/// A job on its way to the engine's thread.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) job: Job,
    /// The most tokens of an answer within the context.
    pub(super) limit: usize,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Something changed that the engine's thread may wait for.
    wake: Condvar,
    facts: Facts,
    settings: Settings,
    pub(super) metrics: Metrics,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) line: Line<Asked>,
    pub(super) active: usize,
    pub(super) rows: usize,
    pub(super) kv_bytes: usize,
    pub(super) measured: bool,
    /// When a pass ended, or work came after none.
    pub(super) progress: Instant,
    /// Since when there is work, without a pause; or since when there is none.
    pub(super) busy: bool,
    pub(super) since: Instant,
    pub(super) stopping: bool,
    pub(super) stopped: bool,
    pub(super) broken: bool,
    pub(super) failing: bool,
}

impl State {
    fn has_work(&self) -> bool {
        self.active > 0 || self.line.len() > 0
    }

    /// Notes whether there is work from `now` on.
    pub(super) fn note(&mut self, now: Instant) {
        if self.has_work() != self.busy {
            self.busy = self.has_work();
            self.since = now;
            self.progress = now;
        }
    }
}

pub(super) fn start(
    model: Model,
    drafters: Vec<Box<dyn Drafter>>,
    settings: Settings,
    registry: &prometheus::Registry,
) -> Handle {
    let now = Instant::now();
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            line: Line::new(settings.queue, settings.queue_wait),
            active: 0,
            rows: 0,
            kv_bytes: 0,
            measured: false,
            progress: now,
            busy: false,
            since: now,
            stopping: false,
            stopped: false,
            broken: false,
            failing: false,
        }),
        wake: Condvar::new(),
        facts: model.engine.facts().clone(),
        settings,
        metrics: Metrics::new(registry),
    });
    let owned = Arc::clone(&shared);
    std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || Owner::new(model, drafters, owned).run())
        .expect("the system can start a thread");
    Handle {
        _last: Arc::new(StopOnDrop(Arc::clone(&shared))),
        shared,
    }
}

impl Handle {
    /// Takes a job, or says why not; it never waits.
    ///
    /// An answer whose `max_tokens` would exceed the model's context ends where
    /// the context is full.
    ///
    /// # Errors
    ///
    /// If the prompt leaves no room for an answer, the job could not fit even
    /// alone, too many wait or its client has too many, its turn would come
    /// too late, or the server stops or is broken.
    pub fn submit(&self, job: Job) -> Result<Ticket, Refusal> {
        let facts = &self.shared.facts;
        let context = facts.context_tokens;
        let prompt = job.prompt.len();
        if prompt == 0 {
            return Err(Refusal::Empty);
        }
        if prompt >= context {
            return Err(Refusal::ContextExceeded {
                prompt,
                answer: job.max_tokens,
                context,
            });
        }
        let limit = job.max_tokens.min(context - prompt).max(1);
        let answers = job.choices.max(1) as usize;
        let need = Need {
            answers,
            kv_bytes: answers * facts.kv_bytes(prompt + limit),
        };
        let budget = self.shared.settings.kv_budget;
        if need.kv_bytes > budget {
            return Err(Refusal::MemoryExceeded {
                needed: need.kv_bytes,
                budget,
            });
        }

        let now = Instant::now();
        let mut state = self.shared.lock();
        if state.broken {
            return Err(Refusal::Broken);
        }
        if state.stopping {
            return Err(Refusal::Stopping);
        }
        self.shared.sweep(&mut state, now);
        // All that a job can cause fits, so that the engine never waits for a
        // reader: at most one event for each token, and what begins and ends it.
        let (sender, events) = mpsc::channel(answers * (limit + 2) + 2);
        let client = job.client;
        let free = self.shared.settings.answers.saturating_sub(state.rows);
        let asked = Asked {
            job,
            limit,
            events: sender,
            since: now,
        };
        state
            .line
            .join(asked, client, need, free, now)
            .map_err(|retry_after| Refusal::Full { retry_after })?;
        state.note(now);
        self.shared.metrics.queue.set(state.line.len() as i64);
        drop(state);
        self.shared.wake.notify_all();
        Ok(Ticket { events })
    }

    pub fn standing(&self) -> Standing {
        let now = Instant::now();
        let mut state = self.shared.lock();
        self.shared.sweep(&mut state, now);
        state.note(now);
        let since = |busy: bool, from: Instant| {
            if state.busy == busy {
                now.saturating_duration_since(from)
            } else {
                Duration::ZERO
            }
        };
        Standing {
            queued: state.line.len(),
            active: state.active,
            rows: state.rows,
            kv_bytes: state.kv_bytes,
            kv_budget: self.shared.settings.kv_budget,
            measured: state.measured,
            stalled_for: if state.measured {
                since(true, state.progress)
            } else {
                now.saturating_duration_since(state.progress)
            },
            stopping: state.stopping,
            stopped: state.stopped,
            broken: state.broken,
            failing: state.failing,
            idle_for: since(false, state.since),
        }
    }

    /// Takes no more jobs, refuses those that wait, and ends the engine's
    /// thread when those in hand are whole or dropped.
    pub fn stop(&self) {
        self.shared.stop();
    }
}

impl Shared {
    /// What is behind it stays right when a thread dies that holds it: each
    /// change is one assignment, or one call of the line.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.wake.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes those out of the line that are not wanted, or waited too long.
    pub(super) fn sweep(&self, state: &mut State, now: Instant) {
        let gone = state.line.forget(|asked| asked.events.is_closed());
        self.metrics.cancelled.inc_by(gone as u64);
        for (asked, retry_after) in state.line.take_overdue(now) {
            tell(&asked.events, Event::Refused(Refusal::Waited { retry_after }));
        }
        self.metrics.queue.set(state.line.len() as i64);
    }

    /// Refuses all that wait.
    pub(super) fn refuse_all(&self, state: &mut State, refusal: &Refusal) {
        for asked in state.line.take_all() {
            tell(&asked.events, Event::Refused(refusal.clone()));
        }
        self.metrics.queue.set(0);
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        self.refuse_all(&mut state, &Refusal::Stopping);
        state.note(Instant::now());
        drop(state);
        self.wake.notify_all();
    }
}

/// Tells a reader that may be gone; the channel holds all that a job can cause.
pub(super) fn tell(events: &mpsc::Sender<Event>, event: Event) {
    if let Err(mpsc::error::TrySendError::Full(_)) = events.try_send(event) {
        error!("a request had more to say than it should; its reader will miss the end");
        #[cfg(test)]
        panic!("the channel holds all that a job can cause");
    }
}

#[derive(Debug)]
struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
