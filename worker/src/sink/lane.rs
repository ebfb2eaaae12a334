//! One shard's way into the sink, which may be held shut.
//!
//! While the manager asks a shard to stand by, its events wait here; `go_live`
//! lets them through in order. What waits is bounded: the oldest events go
//! first, which the holder that is still live has delivered.

use std::collections::VecDeque;

use super::{Event, Sink};

/// Room for what a shard on stand-by receives.
const HELD_BYTES: usize = 32 << 20;

#[derive(Debug)]
pub(crate) struct Lane {
    sink: Sink,
    held: VecDeque<Event>,
    held_bytes: usize,
    standing_by: bool,
    /// It was open once: then it never stands by again.
    gone_live: bool,
}

impl Lane {
    pub(crate) fn new(sink: Sink) -> Self {
        Self {
            sink,
            held: VecDeque::new(),
            held_bytes: 0,
            standing_by: false,
            gone_live: false,
        }
    }

    pub(crate) fn is_standing_by(&self) -> bool {
        self.standing_by
    }

    /// Shuts the lane, unless it was live before.
    pub(crate) fn stand_by(&mut self) {
        self.standing_by = !self.gone_live;
    }

    /// Opens the lane. Events that the sink has no room for stay in front of
    /// all later ones.
    pub(crate) fn go_live(&mut self) {
        self.gone_live = true;
        if std::mem::take(&mut self.standing_by) {
            self.pass_on();
        }
    }

    /// Whether an event that is offered now goes straight through.
    fn is_open(&self) -> bool {
        !self.standing_by && self.held.is_empty()
    }

    /// Takes the event. False when it was the last that fits: the caller stops
    /// reading until [`Lane::drained`].
    #[must_use]
    pub(crate) fn offer(&mut self, event: Event) -> bool {
        self.pass_on();
        let event = match self.is_open() {
            true => match self.sink.offer(event) {
                Ok(()) => return true,
                Err(event) => event,
            },
            false => event,
        };
        // The gateway client has counted it as received, so it is kept even
        // where the bound is passed by one.
        let (open, weight) = (self.is_open(), event.weight());
        self.held_bytes += weight;
        self.held.push_back(event);
        // READY alone is delivered by nobody else: it stays in front.
        let keep = usize::from(self.held.front().is_some_and(|first| &*first.kind == "READY"));
        while self.standing_by
            && self.held_bytes > HELD_BYTES
            && let Some(oldest) = self.held.remove(keep)
        {
            self.held_bytes -= oldest.weight();
            oldest.acks.ack(oldest.sequence);
        }
        !open && (self.standing_by || self.held_bytes < HELD_BYTES)
    }

    /// Hands on what waits, as far as the sink has room.
    pub(crate) fn pass_on(&mut self) {
        while !self.standing_by
            && let Some(event) = self.held.pop_front()
        {
            let weight = event.weight();
            if let Err(event) = self.sink.offer(event) {
                self.held.push_front(event);
                return;
            }
            self.held_bytes -= weight;
        }
    }

    /// Resolves when there is room again: on stand-by there always is.
    pub(crate) async fn drained(&mut self) {
        while !self.held.is_empty() && !self.standing_by {
            self.sink.drained().await;
            self.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use shardman_core::ShardId;

    use super::*;
    use crate::sink::Acks;

    fn event(sequence: u64, acks: &Acks) -> Event {
        Event {
            shard: ShardId::new(0, 1).unwrap(),
            epoch: None,
            sequence,
            kind: "X".into(),
            payload: String::new(),
            acks: acks.clone(),
        }
    }

    #[test]
    fn a_shard_on_stand_by_delivers_nothing_until_it_goes_live() {
        let acks = Acks::default();
        let mut lane = Lane::new(Sink::None);
        lane.stand_by();
        assert!(lane.offer(event(1, &acks)));
        assert!(lane.offer(event(2, &acks)));
        assert_eq!(acks.last(), 0);
        lane.go_live();
        assert_eq!(acks.last(), 2);
        lane.stand_by();
        assert!(!lane.is_standing_by(), "what is live stays live");
        assert!(lane.offer(event(3, &acks)));
        assert_eq!(acks.last(), 3);
    }

    #[test]
    fn what_stands_by_keeps_the_newest_events_within_its_bound() {
        let acks = Acks::default();
        let mut lane = Lane::new(Sink::None);
        lane.stand_by();
        for sequence in 1..=40 {
            let mut large = event(sequence, &acks);
            large.payload = " ".repeat(1 << 20);
            assert!(lane.offer(large), "a shard on stand-by goes on reading");
        }
        assert!(lane.held_bytes <= HELD_BYTES && lane.held.len() >= 30);
        lane.go_live();
        assert_eq!((acks.last(), lane.held_bytes), (40, 0));
    }
}
