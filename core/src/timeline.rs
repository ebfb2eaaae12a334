//! What happened and why: the events of the fleet, as many as are worth
//! keeping.
//!
//! Events are kept on three shelves: what concerns the whole fleet, what
//! concerns a worker, and what concerns a shard. Each shelf has a bound, and
//! each worker and shard has one of its own, so that a thousand shards that
//! start, or one that flaps, push out neither a halt nor another's story.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::PoolId;

mod event;
#[cfg(test)]
mod tests;

pub use event::{Event, EventsView, Kind, Subject};

/// Events of the fleet, of all workers and of all shards that are kept.
const SHELVES: [usize; 3] = [1024, 4096, 8192];

/// Events of one worker and of one shard. Those of the fleet have their shelf.
const OF_ONE: [usize; 3] = [1024, 64, 24];

/// Numbers that may have been given out and not been written down when a
/// manager was killed: the next one leaves them out.
const UNWRITTEN: u64 = 10_000;

/// Numbers above this are nobody's: not every reader of JSON can tell them apart.
const HIGHEST: u64 = (1 << 53) - 1;

/// The newest events, by number.
#[derive(Debug, Default)]
pub struct Timeline {
    shelves: [Shelf; 3],
    last: u64,
    /// The highest number among those that were pushed out.
    gone: u64,
}

#[derive(Debug, Default)]
struct Shelf {
    events: BTreeMap<u64, Arc<Event>>,
    of_one: BTreeMap<String, VecDeque<u64>>,
}

/// Which events are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A shard's number and, where it matters, its total.
    pub shard: Option<(u32, Option<u32>)>,
    pub worker: Option<String>,
    /// With it, a shard's number is that of a slot of the pool.
    pub pool: Option<String>,
    pub kind: Option<Kind>,
}

/// Some events in order.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub events: Vec<Arc<Event>>,
    /// What follows is behind this number.
    pub next: u64,
    /// Some that were asked for are kept no more.
    pub lagged: bool,
}

impl Filter {
    pub fn matches(&self, event: &Event) -> bool {
        let of_shard = |(number, total): (u32, Option<u32>)| {
            event.shard.is_some_and(|shard| {
                (self.pool.is_some() || event.pool.is_none())
                    && shard.number() == number
                    && total.is_none_or(|total| shard.total() == total)
            })
        };
        let of_pool = |name: &String| match &event.pool {
            Some(pool) => pool.as_str() == name,
            None => PoolId::discord().as_str() == name,
        };
        let of_worker = |name: &String| {
            event
                .worker
                .as_ref()
                .is_some_and(|worker| worker.as_str() == name)
        };
        self.shard.is_none_or(of_shard)
            && self.worker.as_ref().is_none_or(of_worker)
            && self.pool.as_ref().is_none_or(of_pool)
            && self.kind.is_none_or(|kind| kind == event.kind)
    }
}

impl Timeline {
    /// The number of the newest event; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Takes an event in, gives it the next number and returns it.
    pub fn push(&mut self, mut event: Event) -> Arc<Event> {
        self.last += 1;
        event.number = self.last;
        let event = Arc::new(event);
        self.put(Arc::clone(&event));
        event
    }

    /// Takes up an event of an earlier manager. One whose number makes no sense
    /// is left out.
    pub fn restore(&mut self, event: Event) {
        if (1..=HIGHEST).contains(&event.number) {
            self.last = self.last.max(event.number);
            self.put(Arc::new(event));
        }
    }

    /// The earlier managers' events are all there. `closed` is the number that
    /// the last of them ended with, if it came to its end.
    pub fn go_on(&mut self, closed: Option<u64>) {
        if self.last > 0 && closed != Some(self.last) {
            self.last = (self.last + UNWRITTEN).min(HIGHEST);
        }
    }

    fn put(&mut self, event: Arc<Event>) {
        let place = event.shelf();
        let shelf = &mut self.shelves[place];
        let number = event.number;
        let subject = event.subject();
        if shelf.events.insert(number, event).is_some() {
            // Read back twice.
            return;
        }
        let of_one = shelf.of_one.entry(subject).or_default();
        of_one.push_back(number);
        let surplus = if of_one.len() > OF_ONE[place] {
            of_one.pop_front()
        } else {
            None
        };
        if let Some(number) = surplus {
            shelf.events.remove(&number);
            self.gone = self.gone.max(number);
        }
        while shelf.events.len() > SHELVES[place]
            && let Some((number, event)) = shelf.events.pop_first()
        {
            self.gone = self.gone.max(number);
            shelf.forget(&event.subject(), number);
        }
    }

    /// Everything that is kept, the oldest first.
    pub fn all(&self) -> Vec<Arc<Event>> {
        self.after(0, &Filter::default(), usize::MAX).events
    }

    /// The first `limit` events behind `number`.
    pub fn after(&self, number: u64, filter: &Filter, limit: usize) -> Page {
        let mut events: Vec<_> = self
            .shelves
            .iter()
            .flat_map(|shelf| {
                let behind = shelf.events.range(number.saturating_add(1)..);
                behind
                    .map(|(_, event)| event)
                    .filter(|event| filter.matches(event))
                    .take(limit.saturating_add(1))
                    .cloned()
            })
            .collect();
        events.sort_by_key(|event| event.number);
        let complete = events.len() <= limit;
        events.truncate(limit);
        let cut_at = events.last().filter(|_| !complete);
        let next = cut_at.map_or(self.last, |event| event.number);
        Page {
            events,
            next,
            lagged: self.gone > number,
        }
    }

    /// The last `limit` events.
    pub fn latest(&self, filter: &Filter, limit: usize) -> Page {
        let mut events: Vec<_> = self
            .shelves
            .iter()
            .flat_map(|shelf| {
                let newest = shelf.events.values().rev();
                newest.filter(|event| filter.matches(event)).take(limit).cloned()
            })
            .collect();
        events.sort_by_key(|event| event.number);
        events.drain(..events.len().saturating_sub(limit));
        Page {
            events,
            next: self.last,
            lagged: false,
        }
    }

    /// These events, and those that led to them, as far as they are kept.
    pub fn with_causes(&self, events: Vec<Arc<Event>>) -> Vec<Arc<Event>> {
        let mut told: BTreeMap<u64, Arc<Event>> = BTreeMap::new();
        let mut open = events;
        while let Some(event) = open.pop() {
            let cause = event.because_of.filter(|number| !told.contains_key(number));
            open.extend(cause.and_then(|number| self.get(number)));
            told.insert(event.number, event);
        }
        told.into_values().collect()
    }

    fn get(&self, number: u64) -> Option<Arc<Event>> {
        self.shelves
            .iter()
            .find_map(|shelf| shelf.events.get(&number))
            .cloned()
    }
}

impl Shelf {
    fn forget(&mut self, subject: &str, number: u64) {
        if let Some(of_one) = self.of_one.get_mut(subject) {
            of_one.retain(|known| *known != number);
            if of_one.is_empty() {
                self.of_one.remove(subject);
            }
        }
    }
}
