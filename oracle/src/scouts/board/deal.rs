//! Which scout is given which answer, and how it is told.

use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Answer, Board, ConnectionId, Outgoing, Seat};
use crate::draft::AnswerId;
use crate::draft::frame::{Closing, FromOracle};

impl Board {
    pub(super) fn is_current(&self, slot: u32, connection: ConnectionId) -> bool {
        self.seats
            .get(&slot)
            .is_some_and(|seat| seat.connection == connection)
    }

    /// Cancelled when this connection has its seat no more.
    pub(in crate::scouts) fn lost(&self, slot: u32, connection: ConnectionId) -> CancellationToken {
        let seat = self.seats.get(&slot);
        match seat.filter(|seat| seat.connection == connection) {
            Some(seat) => seat.lost.clone(),
            None => {
                let lost = CancellationToken::new();
                lost.cancel();
                lost
            }
        }
    }

    pub(super) fn count(&self) {
        self.metrics
            .connected
            .set(i64::try_from(self.seats.len()).unwrap_or(i64::MAX));
    }

    /// Takes a seat away. Its answers are nobody's then.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Seat> {
        let seat = self.seats.remove(&slot)?;
        self.left.insert(slot, (seat.epoch, seat.reputation.clone()));
        for answer in self.answers.values_mut() {
            if answer.scout == Some(slot) {
                answer.scout = None;
                answer.draft.clear();
            }
        }
        self.count();
        Some(seat)
    }

    pub(super) fn dismiss(&mut self, slot: u32, why: Closing) {
        if let Some(seat) = self.remove(slot) {
            debug!(slot, reason = why.as_str(), "the scout of slot {slot} goes");
            // Where this does not fit, the end of the queue says enough.
            let _ = seat.outgoing.try_send(Outgoing::Close(why));
        }
    }

    /// Tells a scout; one whose queue is full goes.
    pub(super) fn send(&mut self, slot: u32, frame: FromOracle, now: Instant) -> bool {
        let Some(seat) = self.seats.get_mut(&slot) else {
            return false;
        };
        if !matches!(frame, FromOracle::Close { .. }) {
            seat.grant(self.limit);
        }
        if seat.outgoing.try_send(Outgoing::Frame(frame)).is_ok() {
            return true;
        }
        seat.reputation.offended(now);
        self.dismiss(slot, Closing::TooSlow);
        self.deal(now);
        false
    }

    /// Tells its scout how an answer has grown; whether that is still the scout.
    pub(super) fn tell(&mut self, id: AnswerId, now: Instant) -> bool {
        let Some(answer) = self.answers.get_mut(&id) else {
            return false;
        };
        let Some(slot) = answer.scout else { return false };
        let frame = FromOracle::Advance {
            answer: id,
            base: answer.told,
            tokens: answer.tokens[answer.told..].to_vec(),
        };
        (answer.told, answer.told_at) = (answer.tokens.len(), now);
        self.send(slot, frame, now)
    }

    /// Gives away what is nobody's, and wanted.
    pub(super) fn deal(&mut self, now: Instant) {
        let is_free = |answer: &Answer| answer.scout.is_none() && answer.is_wanted();
        let free = self.answers.iter().filter(|(_, answer)| is_free(answer));
        let free: Vec<_> = free.map(|(id, _)| *id).collect();
        for id in free {
            // Whoever cannot take it has lost its seat, and dealt anew.
            if self.answers.get(&id).is_some_and(is_free) {
                self.give(id, now);
            }
        }
    }

    /// A newcomer takes answers of those that have many.
    pub(super) fn even_out(&mut self, newcomer: u32, now: Instant) {
        while self.seats.contains_key(&newcomer) {
            let most = self.seats.keys().max_by_key(|slot| self.load(**slot)).copied();
            let Some(most) = most.filter(|most| self.load(*most) > self.load(newcomer) + 1) else {
                return;
            };
            let answers = self.answers.iter();
            let mut one = answers
                .filter(|(_, answer)| answer.scout == Some(most))
                .map(|(id, _)| *id);
            let Some(id) = one.next_back() else { return };
            self.give_to(id, newcomer, now);
        }
    }

    pub(super) fn load(&self, slot: u32) -> usize {
        let of = |answer: &&Answer| answer.scout == Some(slot);
        self.answers.values().filter(of).count()
    }

    /// Gives an answer to the best scout.
    pub(super) fn give(&mut self, id: AnswerId, now: Instant) {
        let best = self
            .seats
            .iter()
            .min_by_key(|(slot, seat)| seat.rank(self.load(**slot)))
            .map(|(slot, _)| *slot);
        if let Some(slot) = best {
            self.give_to(id, slot, now);
        }
    }

    fn give_to(&mut self, id: AnswerId, slot: u32, now: Instant) {
        let Some(answer) = self.answers.get_mut(&id) else {
            return;
        };
        let before = answer.scout.replace(slot);
        if before == Some(slot) {
            return;
        }
        answer.draft.clear();
        (answer.told, answer.told_at) = (answer.tokens.len(), now);
        let (prompt, certain) = answer.tokens.split_at(answer.prompt);
        let open = FromOracle::Open {
            answer: id,
            prompt: prompt.to_vec(),
            sampling: answer.sampling.clone(),
        };
        let advance = (!certain.is_empty()).then(|| FromOracle::Advance {
            answer: id,
            base: prompt.len(),
            tokens: certain.to_vec(),
        });
        if let Some(before) = before {
            self.send(before, FromOracle::Close { answer: id }, now);
        }
        if self.send(slot, open, now)
            && let Some(advance) = advance
        {
            self.send(slot, advance, now);
        }
    }
}
