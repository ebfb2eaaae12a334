//! When the next message may be sent: slowly enough to be read, as the receiver
//! asks, and after failures less and less often.

use std::time::Duration;

use crate::Tick;

/// Messages that may follow each other quickly.
pub const BURST: u32 = 10;

/// Then one more each time this has passed. In any time `t` there are at most
/// `BURST + t / REFILL` messages.
pub const REFILL: Duration = Duration::from_secs(30);

/// Messages of a burst that are kept for what is worse than good to know.
const KEPT: u32 = 5;

/// The pause after the first message of a burst; it grows by itself with each.
/// Even the first stays clear of Discord's five in two seconds.
const PAUSE: Duration = Duration::from_secs(2);

/// The pause after the first failure; it doubles with each.
const BACKOFF: Duration = Duration::from_secs(2);
const BACKOFF_MOST: Duration = Duration::from_secs(5 * 60);

/// The pauses where only somebody's hand can help, which may come unseen.
const SELDOM: Duration = Duration::from_secs(5 * 60);
const SELDOM_MOST: Duration = Duration::from_secs(60 * 60);

/// Nobody can mean a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken. The receiver may ask for a pause before the next.
    Taken { pause: Option<Duration> },
    /// It is to be sent again after this, no sooner.
    Limited { retry_after: Duration },
    /// Nobody answers, or who answers cannot take it now. `chance` is uniform
    /// in 0..256 and takes up to half off the pause.
    Unavailable { chance: u8 },
    /// It takes none as it, or what is configured here, is now. `chance` keeps
    /// receivers apart.
    Misconfigured { chance: u8 },
    /// This message will never be taken, others may: its entries go one by one.
    Refused,
    /// The receiver takes none any more.
    Gone,
    /// It was not sent after all.
    Dropped,
}

#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// What is left of the burst, in milliseconds of its renewal.
    credit_ms: u64,
    counted_at: Tick,
    blocked_until: Tick,
    /// By the receiver's own word.
    forbidden_until: Tick,
    failures: u32,
    /// Those in a row that somebody must mend.
    misconfigured: u32,
    given_up: bool,
    /// The last message was not taken.
    failing: bool,
}

impl Pace {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            credit_ms: ms(REFILL) * u64::from(BURST),
            counted_at: now,
            blocked_until: now,
            forbidden_until: now,
            failures: 0,
            misconfigured: 0,
            given_up: false,
            failing: false,
        }
    }

    /// When a message may go; one that can wait leaves some to those that cannot.
    pub(super) fn ready_at(&self, urgent: bool) -> Tick {
        if self.given_up {
            return Tick(u64::MAX);
        }
        let needed = ms(REFILL) * if urgent { 1 } else { 1 + u64::from(KEPT) };
        let wait = needed.saturating_sub(self.credit_ms);
        let paid = Tick(self.counted_at.0.saturating_add(wait));
        paid.max(self.blocked_until).max(self.forbidden_until)
    }

    pub(super) fn may_at_all(&self, now: Tick) -> bool {
        !self.given_up && self.forbidden_until <= now
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// A message is sent.
    pub(super) fn spend(&mut self, now: Tick) {
        self.count(now);
        self.credit_ms = self.credit_ms.saturating_sub(ms(REFILL));
        let used = (ms(REFILL) * u64::from(BURST) - self.credit_ms).div_ceil(ms(REFILL));
        let used = u32::try_from(used).unwrap_or(BURST).max(1);
        self.blocked_until = self.blocked_until.max(now + PAUSE * used);
    }

    fn count(&mut self, now: Tick) {
        let full = ms(REFILL) * u64::from(BURST);
        let earned = now.ms_since(self.counted_at);
        self.credit_ms = self.credit_ms.saturating_add(earned).min(full);
        self.counted_at = now;
    }

    /// Somebody may have mended it. What the receiver asked for still holds.
    pub(super) fn retry(&mut self, now: Tick) {
        if self.given_up || self.misconfigured > 0 {
            self.blocked_until = now;
            self.misconfigured = 0;
            self.given_up = false;
        }
    }

    /// Whether it took the last message, as far as is known.
    pub(super) fn is_ok(&self) -> bool {
        !self.failing
    }

    pub(super) fn settle(&mut self, outcome: Outcome, now: Tick) {
        match outcome {
            Outcome::Taken { .. } | Outcome::Limited { .. } => {
                self.misconfigured = 0;
                self.failing = false;
            }
            Outcome::Dropped => {}
            Outcome::Unavailable { .. }
            | Outcome::Misconfigured { .. }
            | Outcome::Refused
            | Outcome::Gone => {
                self.failing = true;
            }
        }
        match outcome {
            Outcome::Taken { pause } => {
                self.failures = 0;
                self.forbid(pause.unwrap_or_default(), now);
            }
            Outcome::Limited { retry_after } => {
                self.failures = 0;
                self.blocked_until = now;
                self.forbid(retry_after, now);
            }
            Outcome::Unavailable { chance } => {
                self.back_off(BACKOFF, BACKOFF_MOST, self.failures, chance, now);
                self.failures = self.failures.saturating_add(1);
            }
            Outcome::Misconfigured { chance } => {
                // Never sooner than the first of these pauses.
                self.back_off(SELDOM, SELDOM_MOST, self.misconfigured, 0, now);
                self.blocked_until = self.blocked_until + Duration::from_millis(u64::from(chance) * 100);
                self.misconfigured = self.misconfigured.saturating_add(1);
            }
            Outcome::Refused | Outcome::Dropped => {}
            Outcome::Gone => self.given_up = true,
        }
    }

    fn back_off(&mut self, first: Duration, most: Duration, failures: u32, chance: u8, now: Tick) {
        let pause = first.saturating_mul(1 << failures.min(16)).min(most);
        self.blocked_until = now + (pause - pause * u32::from(chance) / 512);
    }

    fn forbid(&mut self, wait: Duration, now: Tick) {
        self.forbidden_until = now + wait.min(LONGEST_WAIT);
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
