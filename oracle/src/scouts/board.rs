//! Who drafts what: the scouts that are connected, the answers that are being
//! written, and the draft of each. It knows no socket and no clock.
//!
//! Each answer is given to one scout. A scout that goes, says nothing, or is
//! mostly wrong loses its answers to another, which is told all that is certain.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::metrics::Metrics;
use super::reputation::Reputation;
use crate::draft::frame::{Closing, FromOracle};
use crate::draft::{AnswerId, Draft, Source};
use crate::engine::Token;
use crate::sampling::Sampling;

mod deal;
mod seat;

use seat::Seat;
pub(super) use seat::{ConnectionId, Outgoing};

/// An answer that grew so often while nobody asked for a draft needs none.
const UNASKED_MAX: u32 = 3;
/// What a scout may not have read yet. One that reads nothing for this long has
/// to come back.
pub(super) const OUTGOING_MAX: usize = 1024;

struct Answer {
    sampling: Sampling,
    prompt: usize,
    /// All that is certain: the prompt, and the answer so far.
    tokens: Vec<Token>,
    scout: Option<u32>,
    /// So many tokens the scout was told, and when.
    told: usize,
    told_at: Instant,
    /// How often it grew since somebody asked for a draft.
    unasked: u32,
    /// What may follow.
    draft: Vec<Token>,
}

impl Answer {
    /// Whether drafts of it are wanted. Where they do not pay nobody asks, and no
    /// scout is to compute in vain.
    fn is_wanted(&self) -> bool {
        self.unasked < UNASKED_MAX
    }
}

/// What became of a draft that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    Kept,
    /// Too late, or for another prefix.
    Stale,
    /// For an answer that the scout does not have.
    Stray,
    /// The connection is closed for this reason.
    Refused(Closing),
}

pub(super) struct Board {
    metrics: Metrics,
    /// The most tokens of a draft.
    limit: usize,
    vocabulary: usize,
    seats: BTreeMap<u32, Seat>,
    answers: BTreeMap<AnswerId, Answer>,
    /// The reputations of those that left, by slot and epoch: coming again makes
    /// nobody better.
    left: BTreeMap<u32, (u64, Reputation)>,
    connections: u64,
}

impl Board {
    pub(super) fn new(metrics: Metrics, limit: usize) -> Self {
        Self {
            metrics,
            limit,
            vocabulary: 0,
            seats: BTreeMap::new(),
            answers: BTreeMap::new(),
            left: BTreeMap::new(),
            connections: 0,
        }
    }

    /// Tokens from this number on are none.
    pub(super) fn set_vocabulary(&mut self, vocabulary: usize) {
        self.vocabulary = vocabulary;
    }

    /// A scout that proved its lease takes its seat, and some of the answers.
    /// One that is there with an older lease goes.
    pub(super) fn join(
        &mut self,
        slot: u32,
        epoch: u64,
        outgoing: mpsc::Sender<Outgoing>,
        now: Instant,
    ) -> Result<ConnectionId, Closing> {
        if self.seats.get(&slot).is_some_and(|seat| seat.epoch > epoch) {
            return Err(Closing::NotHeld);
        }
        self.dismiss(slot, Closing::Replaced);
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        let known = self.left.remove(&slot).filter(|(known, _)| *known == epoch);
        let reputation = known.map(|(_, reputation)| reputation).unwrap_or_default();
        let seat = Seat::new(epoch, connection, outgoing, reputation);
        let welcome = Outgoing::Frame(FromOracle::Welcome { limit: self.limit });
        if seat.outgoing.try_send(welcome).is_err() {
            return Err(Closing::TooSlow);
        }
        self.seats.insert(slot, seat);
        self.count();
        self.deal(now);
        self.even_out(slot, now);
        Ok(connection)
    }

    /// Whether this lease's scout is to stay out for now.
    pub(super) fn rests(&self, slot: u32, epoch: u64, now: Instant) -> bool {
        let left = self.left.get(&slot).filter(|(known, _)| *known == epoch);
        left.is_some_and(|(_, reputation)| reputation.rests(now))
    }

    /// A connection is closed for this reason.
    pub(super) fn closing(&mut self, (slot, connection): (u32, ConnectionId), why: Closing, now: Instant) {
        let is_offence = matches!(why, Closing::Malformed | Closing::TooMany | Closing::TooSlow);
        let seat = self.seats.get_mut(&slot);
        if let Some(seat) = seat.filter(|seat| is_offence && seat.connection == connection) {
            seat.reputation.offended(now);
        }
    }

    /// A connection ended. It may have been replaced before.
    pub(super) fn leave(&mut self, slot: u32, connection: ConnectionId, now: Instant) {
        if self.is_current(slot, connection) {
            self.remove(slot);
            self.deal(now);
        }
    }

    /// The seats whose lease is not this any more lose it.
    pub(super) fn keep_only(&mut self, holds: impl Fn(u32, u64) -> bool, now: Instant) {
        let lost = self
            .seats
            .iter()
            .filter(|(slot, seat)| !holds(**slot, seat.epoch));
        let lost: Vec<_> = lost.map(|(slot, _)| *slot).collect();
        for slot in &lost {
            self.dismiss(*slot, Closing::NotHeld);
        }
        if !lost.is_empty() {
            self.deal(now);
        }
    }

    /// Every connection is closed, and none is admitted by what is dropped here.
    pub(super) fn close_all(&mut self) {
        let slots: Vec<_> = self.seats.keys().copied().collect();
        for slot in slots {
            self.dismiss(slot, Closing::Stopping);
        }
    }

    pub(super) fn is_connected(&self, slot: u32, epoch: u64) -> bool {
        self.seats.get(&slot).is_some_and(|seat| seat.epoch == epoch)
    }

    pub(super) fn connected(&self) -> usize {
        self.seats.len()
    }

    /// It is given to a scout when somebody asks for a draft.
    pub(super) fn open(&mut self, id: AnswerId, prompt: &[Token], sampling: &Sampling, now: Instant) {
        let answer = Answer {
            sampling: sampling.clone(),
            prompt: prompt.len(),
            tokens: prompt.to_vec(),
            scout: None,
            told: 0,
            told_at: now,
            unasked: UNASKED_MAX,
            draft: Vec::new(),
        };
        self.answers.insert(id, answer);
    }

    /// These tokens follow the first `base` ones: a draft that said so is good
    /// for what it says beyond.
    pub(super) fn advance(&mut self, id: AnswerId, base: usize, tokens: &[Token], now: Instant) {
        let Some(answer) = self.answers.get_mut(&id) else {
            return;
        };
        answer.tokens.truncate(base);
        answer.tokens.extend_from_slice(tokens);
        answer.unasked = answer.unasked.saturating_add(1);
        match answer.draft.starts_with(tokens) {
            true => drop(answer.draft.drain(..tokens.len())),
            false => answer.draft.clear(),
        }
        let Some(slot) = answer.scout.filter(|_| answer.is_wanted()) else {
            return;
        };
        if !self.tell(id, now) {
            return;
        }
        let is_good = |seat: &Seat| seat.is_good();
        if !self.seats.get(&slot).is_some_and(is_good) && self.seats.values().any(is_good) {
            self.give(id, now);
        }
    }

    pub(super) fn close(&mut self, id: AnswerId, now: Instant) {
        if let Some(slot) = self.answers.remove(&id).and_then(|answer| answer.scout) {
            self.send(slot, FromOracle::Close { answer: id }, now);
        }
    }

    /// A scout says what may follow the first `base` tokens.
    pub(super) fn arrived(
        &mut self,
        (slot, connection): (u32, ConnectionId),
        id: AnswerId,
        base: usize,
        tokens: &[Token],
        now: Instant,
    ) -> Arrival {
        let Some(seat) = self
            .seats
            .get_mut(&slot)
            .filter(|seat| seat.connection == connection)
        else {
            return Arrival::Refused(Closing::Replaced);
        };
        let is_token = |token: &Token| usize::try_from(*token).is_ok_and(|token| token < self.vocabulary);
        if tokens.is_empty() || tokens.len() > self.limit || !tokens.iter().all(is_token) {
            return Arrival::Refused(Closing::Malformed);
        }
        let Some(credit) = seat.credit.checked_sub(1) else {
            return Arrival::Refused(Closing::TooMany);
        };
        seat.credit = credit;
        let label = slot.to_string();
        let answer = self.answers.get_mut(&id);
        let Some(answer) = answer.filter(|answer| answer.scout == Some(slot)) else {
            self.metrics.stray.with_label_values(&[&label]).inc();
            return Arrival::Stray;
        };
        let since = answer.tokens.get(base..).filter(|_| base >= answer.prompt);
        let ahead = since.and_then(|since| tokens.strip_prefix(since));
        let Some(ahead) = ahead.filter(|ahead| !ahead.is_empty()) else {
            self.metrics.stale.with_label_values(&[&label]).inc();
            return Arrival::Stale;
        };
        answer.draft = ahead.to_vec();
        seat.absent = 0;
        let took = now.saturating_duration_since(answer.told_at);
        seat.late = seat.late.filter(|patience| took > *patience);
        Arrival::Kept
    }

    /// What may follow the first `base` tokens, at most `limit`. Whoever is to
    /// draft it is told all that it needs.
    pub(super) fn draft(&mut self, id: AnswerId, base: usize, limit: usize, now: Instant) -> Option<Draft> {
        let answer = self
            .answers
            .get_mut(&id)
            .filter(|answer| answer.tokens.len() == base)?;
        answer.unasked = 0;
        if answer.scout.is_none() {
            self.give(id, now);
            return None;
        }
        if answer.told < base {
            self.tell(id, now);
        }
        let answer = self.answers.get(&id)?;
        let slot = answer.scout?;
        let seat = self.seats.get_mut(&slot)?;
        if answer.draft.is_empty() {
            seat.absent = seat.absent.saturating_add(1);
            return None;
        }
        if limit == 0 || !seat.reputation.admits() {
            return None;
        }
        Some(Draft {
            source: Source::Scout {
                slot,
                epoch: seat.epoch,
            },
            tokens: answer.draft.iter().copied().take(limit).collect(),
        })
    }

    /// Whether a draft is there, if it is worth having.
    pub(super) fn has_draft(&self, id: AnswerId, base: usize) -> bool {
        self.answer_of_good(id, base)
            .is_some_and(|(answer, _)| !answer.draft.is_empty())
    }

    /// Whether a draft may come soon.
    pub(super) fn is_hopeful(&self, id: AnswerId, base: usize) -> bool {
        self.answer_of_good(id, base)
            .is_some_and(|(_, seat)| seat.late.is_none())
    }

    fn answer_of_good(&self, id: AnswerId, base: usize) -> Option<(&Answer, &Seat)> {
        let answer = self
            .answers
            .get(&id)
            .filter(|answer| answer.tokens.len() == base)?;
        let seat = self.seats.get(&answer.scout?)?;
        seat.is_good().then_some((answer, seat))
    }

    /// So long somebody waited in vain for a draft of these: nobody does so
    /// again before one came in time.
    pub(super) fn waited(&mut self, answers: &[(AnswerId, usize)], patience: Duration) {
        for (id, _) in answers {
            let slot = self.answers.get(id).and_then(|answer| answer.scout);
            if let Some(seat) = slot.and_then(|slot| self.seats.get_mut(&slot)) {
                seat.late = Some(patience);
            }
        }
    }

    pub(super) fn verdict(&mut self, draft: &Draft, accepted: usize) {
        let Source::Scout { slot, epoch } = draft.source else {
            return;
        };
        let label = slot.to_string();
        let drafted = self.metrics.drafted.with_label_values(&[&label]);
        drafted.inc_by(draft.tokens.len() as u64);
        let right = self.metrics.accepted.with_label_values(&[&label]);
        right.inc_by(accepted as u64);
        // It is for who drafted it, and not for who has the slot by now.
        let seat = self.seats.get_mut(&slot).filter(|seat| seat.epoch == epoch);
        let left = self.left.get_mut(&slot).filter(|(known, _)| *known == epoch);
        let reputation = seat.map(|seat| &mut seat.reputation);
        if let Some(reputation) = reputation.or(left.map(|(_, reputation)| reputation)) {
            reputation.verdict(draft.tokens.len(), accepted);
        }
    }
}

#[cfg(test)]
mod tests;
