//! The session start limit: so many IDENTIFYs in 24 hours.

use std::time::Duration;

use shardman_core::tick::Tick;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(super) struct Budget {
    total: u32,
    remaining: u32,
    /// When it is full again; counted from the first start that it pays for.
    full_at: Option<Tick>,
}

impl Budget {
    pub(super) fn new(total: u32, remaining: u32) -> Self {
        let remaining = remaining.min(total);
        Self {
            total,
            remaining,
            full_at: (remaining < total).then_some(Tick(0) + DAY),
        }
    }

    pub(super) fn total(&self) -> u32 {
        self.total
    }

    pub(super) fn remaining(&self, now: Tick) -> u32 {
        if self.full_at.is_some_and(|full_at| now >= full_at) {
            self.total
        } else {
            self.remaining
        }
    }

    pub(super) fn reset_after_ms(&self, now: Tick) -> u64 {
        self.full_at.map_or(0, |full_at| full_at.ms_since(now))
    }

    /// Pays for one start; false when nothing is left to pay with.
    pub(super) fn spend(&mut self, now: Tick) -> bool {
        if self.full_at.is_some_and(|full_at| now >= full_at) {
            self.remaining = self.total;
            self.full_at = None;
        }
        self.full_at.get_or_insert(now + DAY);
        if self.remaining == 0 {
            return false;
        }
        self.remaining -= 1;
        true
    }
}
