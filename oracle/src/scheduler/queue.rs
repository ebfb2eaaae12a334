//! The line of requests that wait for their turn: first in, first out, bounded
//! in length and in time. It knows no clock; `now` is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What one request takes of the model at worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) answers: usize,
    pub(super) kv_bytes: usize,
}

/// What is left of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Answers that are being written.
    pub(super) taken_answers: usize,
    pub(super) answers: usize,
    pub(super) taken_kv_bytes: usize,
    pub(super) kv_bytes: usize,
}

impl Room {
    /// Whether a request can begin. One with more choices than there are places
    /// can when nothing else runs, or it never would.
    pub(super) fn fits(self, need: Need) -> bool {
        let has_place = self.taken_answers == 0 || self.taken_answers + need.answers <= self.answers;
        has_place && self.taken_kv_bytes + need.kv_bytes <= self.kv_bytes
    }
}

/// One request in line.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) item: T,
    pub(super) need: Need,
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Line<T> {
    waiting: VecDeque<Waiting<T>>,
    most: usize,
    longest: Duration,
    drain: Drain,
}

impl<T> Line<T> {
    pub(super) fn new(most: usize, longest: Duration) -> Self {
        Self {
            waiting: VecDeque::new(),
            most,
            longest,
            drain: Drain::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Joins the line's end.
    ///
    /// # Errors
    ///
    /// When there may be a place again, if there is none.
    pub(super) fn join(&mut self, item: T, need: Need, now: Instant) -> Result<(), Duration> {
        if self.waiting.len() >= self.most {
            return Err(self.drain.turn_away());
        }
        self.waiting.push_back(Waiting {
            item,
            need,
            since: now,
        });
        Ok(())
    }

    /// The first in line, if there is room for it. Nobody overtakes: a small
    /// request behind a large one waits, so that the large one has its turn.
    pub(super) fn next(&mut self, room: Room) -> Option<Waiting<T>> {
        let fits = self.waiting.front().is_some_and(|first| room.fits(first.need));
        if fits { self.waiting.pop_front() } else { None }
    }

    /// Takes out those that nobody wants any more, and returns how many.
    pub(super) fn forget(&mut self, unwanted: impl Fn(&T) -> bool) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| !unwanted(&waiting.item));
        before - self.waiting.len()
    }

    /// Takes out those that waited too long, and says when to come again.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<(T, Duration)> {
        let mut overdue = Vec::new();
        while let Some(first) = self.waiting.front() {
            if now.saturating_duration_since(first.since) < self.longest {
                break;
            }
            let first = self.waiting.pop_front().expect("the line has a first");
            overdue.push((first.item, self.drain.turn_away()));
        }
        overdue
    }

    /// What is thought to be the time from one finished request to the next,
    /// until it is known.
    pub(super) fn expect_interval(&mut self, seconds: f64) {
        self.drain.interval = seconds;
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> {
        std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|waiting| waiting.item)
    }

    /// A request is done, and made room for another. The model has had work
    /// without a pause since `busy_since`.
    pub(super) fn done(&mut self, now: Instant, busy_since: Instant) {
        self.drain.done(now, busy_since);
    }
}

/// How fast places become free, as it was measured.
#[derive(Debug)]
struct Drain {
    /// Seconds from one finished request to the next while the model is busy.
    interval: f64,
    last: Option<Instant>,
    /// Those that were turned away since a place became free: each is told to
    /// come one place later.
    turned_away: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            interval: 2.0,
            last: None,
            turned_away: 0,
        }
    }
}

impl Drain {
    const SHORTEST: f64 = 1.0;
    const LONGEST: f64 = 60.0;

    fn done(&mut self, now: Instant, busy_since: Instant) {
        let from = self.last.map_or(busy_since, |last| last.max(busy_since));
        let seconds = now.saturating_duration_since(from).as_secs_f64();
        let weight = if self.last.is_none() { 1.0 } else { 0.2 };
        self.interval += weight * (seconds - self.interval);
        self.last = Some(now);
        self.turned_away = 0;
    }

    fn turn_away(&mut self) -> Duration {
        self.turned_away = self.turned_away.saturating_add(1);
        let seconds = self.interval * f64::from(self.turned_away);
        Duration::from_secs_f64(seconds.clamp(Self::SHORTEST, Self::LONGEST))
    }
}

#[cfg(test)]
mod tests;
