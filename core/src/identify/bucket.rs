//! One identify bucket: who waits, who was promised a slot, and when it opens.

use std::collections::{BTreeMap, BTreeSet};

use super::{IDENTIFY_GAP, Permit, SLEEPER_GAP, SLEEPER_SPREAD, SLEPT_OF_LATE, USE_WITHIN};
use crate::id::ShardId;
use crate::tick::Tick;

#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// No IDENTIFY before this moment.
    pub(super) closed_until: Tick,
    /// Granted, and its use not reported yet.
    pub(super) open: Option<Permit>,
    pub(super) waiting: BTreeSet<ShardId>,
    pub(super) gather_until: Tick,
    /// Slots promised to sleepers.
    pub(super) reserved: BTreeMap<ShardId, Tick>,
    /// Slots that came up of late, and whose use is not known: a sleeper may
    /// identify some time after its slot.
    pub(super) slept: BTreeMap<ShardId, Tick>,
}

impl Bucket {
    /// Reserved slots that came up, and a permit that nobody reported on,
    /// count as used.
    pub(super) fn settle(&mut self, now: Tick) {
        self.come_up(now);
        self.slept.retain(|_, at| *at + SLEPT_OF_LATE > now);
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
        slots.filter(|until| *until > now).chain(permit).max()
    }

    /// From then on the next IDENTIFY is safe, as far as use is not known yet.
    pub(super) fn over(&self) -> Option<Tick> {
        let slots = self.slept.values().map(|at| *at + USE_WITHIN + IDENTIFY_GAP);
        slots.chain(self.open.map(|permit| permit.over())).max()
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
