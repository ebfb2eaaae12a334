//! One identify bucket: who waits, who was promised a slot, and when it opens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{IDENTIFY_GAP, Permit, SLEEPER_GAP, SLEEPER_SPREAD, SLEPT_OF_LATE, USE_WITHIN};
use crate::id::ShardId;
use crate::tick::Tick;

#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// No IDENTIFY before this moment.
    pub(super) closed_until: Tick,
    /// Granted, and its use not reported yet.
    pub(super) open: Option<Permit>,
    /// Who used a permit last, when, and how long after it was granted.
    pub(super) used: Option<(ShardId, Tick, Duration)>,
    pub(super) waiting: BTreeSet<ShardId>,
    pub(super) gather_until: Tick,
    /// Slots promised to sleepers.
    pub(super) reserved: BTreeMap<ShardId, Tick>,
    /// Slots that came up of late, and whose use is not known: a sleeper may
    /// identify some time after its slot.
    pub(super) slept: BTreeMap<ShardId, Tick>,
    /// Shards of processes that identify by themselves some time after their
    /// start, at the latest then.
    pub(super) begun: BTreeMap<ShardId, Tick>,
}

impl Bucket {
    /// Reserved slots that came up, and a permit that nobody reported on,
    /// count as used.
    pub(super) fn settle(&mut self, now: Tick) {
        self.come_up(now);
        self.slept.retain(|_, at| *at + SLEPT_OF_LATE > now);
        let (closed_until, begun) = (&mut self.closed_until, &mut self.begun);
        begun.retain(|_, until| {
            if *until <= now {
                *closed_until = (*closed_until).max(*until + IDENTIFY_GAP);
            }
            *until > now
        });
        if self
            .open
            .is_some_and(|permit| permit.granted_at + USE_WITHIN <= now)
        {
            self.open = None;
            self.closed_until = self.closed_until.max(now + IDENTIFY_GAP);
        }
    }

    /// Slots whose time has come are no promises any more.
    pub(super) fn come_up(&mut self, now: Tick) {
        while let Some((shard, at)) = self.next_reserved() {
            if at > now {
                break;
            }
            self.reserved.remove(&shard);
            self.slept.insert(shard, at);
            self.closed_until = self.closed_until.max(at + SLEEPER_GAP);
        }
    }

    pub(super) fn next_reserved(&self) -> Option<(ShardId, Tick)> {
        self.reserved
            .iter()
            .map(|(shard, at)| (*shard, *at))
            .min_by_key(|(_, at)| *at)
    }

    /// When the permit and the slots whose use is not known count as used.
    pub(super) fn hangs_until(&self, now: Tick) -> Option<Tick> {
        let permit = self.open.map(|permit| permit.granted_at + USE_WITHIN);
        let slots = self.slept.values().map(|at| *at + USE_WITHIN);
        let begun = self.begun.values().copied();
        let others = slots.chain(begun).filter(|until| *until > now);
        others.chain(permit).max()
    }

    /// From then on the next IDENTIFY is safe, as far as use is not known yet.
    pub(super) fn over(&self) -> Option<Tick> {
        let slots = self.slept.values().map(|at| *at + USE_WITHIN + IDENTIFY_GAP);
        let begun = self.begun.values().map(|until| *until + IDENTIFY_GAP);
        let permit = self.open.map(|permit| permit.over());
        slots.chain(begun).chain(permit).max()
    }

    /// When the first of the line may identify; `None` while that hangs on the
    /// use of an open permit, or of a slot that came up.
    pub(super) fn opens_at(&self, now: Tick) -> Option<Tick> {
        if self.hangs_until(now).is_some() {
            return None;
        }
        let mut at = self.closed_until.max(self.gather_until).max(now);
        at = self.over().map_or(at, |over| at.max(over));
        let mut slots: Vec<_> = self.reserved.values().copied().collect();
        slots.sort_unstable();
        for slot in slots {
            if at + SLEEPER_GAP > slot && slot + SLEEPER_GAP > at {
                at = slot + SLEEPER_GAP;
            }
        }
        Some(at)
    }

    /// The first moment at which a process may be started that identifies by
    /// itself: after all that was granted or promised. Who asks comes first
    /// whenever the bucket opens, so who still waits may not identify.
    pub(super) fn begins_at(&self, now: Tick) -> Tick {
        let at = self.closed_until.max(now);
        let at = self.over().map_or(at, |over| at.max(over));
        let slots = self.slept.values().chain(self.reserved.values());
        slots.fold(at, |at, slot| at.max(*slot + SLEEPER_GAP + SLEEPER_SPREAD))
    }

    /// The first moment that comes after everyone in the line and every
    /// promised slot.
    pub(super) fn next_slot(&self, now: Tick) -> Tick {
        let mut at = self.closed_until.max(now);
        if let Some(permit) = self.open {
            at = at.max(permit.over());
        }
        let after_a_sleeper = SLEEPER_GAP + SLEEPER_SPREAD;
        for slot in self.slept.values() {
            at = at.max(*slot + after_a_sleeper);
        }
        for until in self.begun.values() {
            at = at.max(*until + IDENTIFY_GAP);
        }
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        at = at + IDENTIFY_GAP.saturating_mul(waiting);
        if waiting > 0 {
            // Each of them takes a moment to use its permit; the last one must
            // not miss its turn for that.
            at = at + SLEEPER_SPREAD;
        }
        self.reserved
            .values()
            .fold(at, |at, slot| at.max(*slot + after_a_sleeper))
    }
}
