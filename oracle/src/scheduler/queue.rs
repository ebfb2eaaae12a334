//! The line of requests that wait for their turn, bounded in length and in time.
//! Clients take turns, so that one with many requests does not hold up those of
//! others; a client's own are first in, first out. It knows no clock; `now` is
//! passed in.

mod drain;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use drain::{Drain, Horizon};

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
    pub(super) client: u64,
    pub(super) need: Need,
    pub(super) since: Instant,
}

/// A client that has requests in line.
#[derive(Debug)]
struct Turn {
    client: u64,
    /// When places of its own become free that nobody was told of.
    horizon: Horizon,
}

#[derive(Debug)]
pub(super) struct Line<T> {
    /// By when they came.
    waiting: VecDeque<Waiting<T>>,
    /// Whose turn is next: each client that has requests in line, once.
    turns: VecDeque<Turn>,
    most: usize,
    longest: Duration,
    drain: Drain,
    horizon: Horizon,
}

impl<T> Line<T> {
    pub(super) fn new(most: usize, longest: Duration) -> Self {
        Self {
            waiting: VecDeque::new(),
            turns: VecDeque::new(),
            most,
            longest,
            drain: Drain::default(),
            horizon: Horizon::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Joins the line, where the model has room for `free` answers now.
    ///
    /// # Errors
    ///
    /// When to come again, if there is no place, or the client has half of them
    /// already, or by what was measured its turn would come too late.
    pub(super) fn join(
        &mut self,
        item: T,
        client: u64,
        need: Need,
        free: usize,
        now: Instant,
    ) -> Result<(), Duration> {
        let interval = self.drain.interval();
        if self.waiting.len() >= self.most {
            return Err(self.horizon.next(interval, now));
        }
        if self.count(client) >= self.most.div_ceil(2) {
            // Of its places one becomes free in each round.
            let round = interval * self.turns.len() as f64;
            let turn = self.turns.iter_mut().find(|turn| turn.client == client);
            return Err(turn.map_or(Duration::ZERO, |turn| turn.horizon.next(round, now)));
        }
        let ahead = self.ahead(client).saturating_sub(free);
        if self.drain.is_measured() && ahead as f64 * interval > self.longest.as_secs_f64() {
            return Err(self.horizon.next(interval, now));
        }
        if self.turns.iter().all(|turn| turn.client != client) {
            self.turns.push_back(Turn {
                client,
                horizon: Horizon::default(),
            });
        }
        self.waiting.push_back(Waiting {
            item,
            client,
            need,
            since: now,
        });
        Ok(())
    }

    fn count(&self, client: u64) -> usize {
        self.waiting
            .iter()
            .filter(|waiting| waiting.client == client)
            .count()
    }

    /// How many have their turn before a request that this client adds now.
    fn ahead(&self, client: u64) -> usize {
        let own = self.count(client);
        let others = self.turns.iter().filter(|turn| turn.client != client);
        own + others
            .map(|turn| self.count(turn.client).min(own + 1))
            .sum::<usize>()
    }

    /// The first request of the client whose turn it is, if there is room for
    /// it. Nobody overtakes: whoever comes after a large one waits, so that the
    /// large one has its turn.
    pub(super) fn next(&mut self, room: Room) -> Option<Waiting<T>> {
        let client = self.turns.front()?.client;
        let first = self.waiting.iter().position(|waiting| waiting.client == client)?;
        if !room.fits(self.waiting[first].need) {
            return None;
        }
        let waiting = self.waiting.remove(first);
        self.turns.rotate_left(1);
        self.forget_clients();
        waiting
    }

    /// Who has nothing in line any more has no turn.
    fn forget_clients(&mut self) {
        let waiting = &self.waiting;
        self.turns
            .retain(|turn| waiting.iter().any(|waiting| waiting.client == turn.client));
    }

    /// Takes out those that nobody wants any more, and returns how many.
    pub(super) fn forget(&mut self, unwanted: impl Fn(&T) -> bool) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| !unwanted(&waiting.item));
        let gone = before - self.waiting.len();
        if gone > 0 {
            self.forget_clients();
        }
        gone
    }

    /// Takes out those that waited too long, and says when to come again.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<(T, Duration)> {
        let mut overdue = Vec::new();
        while let Some(first) = self.waiting.front() {
            if now.saturating_duration_since(first.since) < self.longest {
                break;
            }
            let first = self.waiting.pop_front().expect("the line has a first");
            let again = self.horizon.next(self.drain.interval(), now);
            overdue.push((first.item, again));
        }
        if !overdue.is_empty() {
            self.forget_clients();
        }
        overdue
    }

    /// What is thought to be the time from one finished request to the next,
    /// until it is known.
    pub(super) fn expect_interval(&mut self, seconds: f64) {
        self.drain.expect(seconds);
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> {
        self.turns.clear();
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

#[cfg(test)]
mod tests;
