//! How fast places become free, and what those are told who get none.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Finished requests that are looked back on. Those of one pass finish together,
/// so that only a mean over several passes says something.
const WINDOW: usize = 32;
/// Fewer say nothing for sure.
const MEASURED: usize = 8;

/// How fast requests finish while the model is busy.
#[derive(Debug)]
pub(super) struct Drain {
    /// Seconds from one finished request to the next.
    seconds: VecDeque<f64>,
    last: Option<Instant>,
    /// What the mean is thought to be until it is known.
    expected: f64,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            seconds: VecDeque::new(),
            last: None,
            expected: 2.0,
        }
    }
}

impl Drain {
    pub(super) const fn expect(&mut self, seconds: f64) {
        self.expected = seconds;
    }

    /// A request is done. There has been work without a pause since `busy_since`.
    pub(super) fn done(&mut self, now: Instant, busy_since: Instant) {
        let from = self.last.map_or(busy_since, |last| last.max(busy_since));
        let seconds = now.saturating_duration_since(from).as_secs_f64();
        self.seconds.push_back(seconds);
        if self.seconds.len() > WINDOW {
            self.seconds.pop_front();
        }
        self.last = Some(now);
    }

    /// Whether the interval was measured, and is not a guess.
    pub(super) fn is_measured(&self) -> bool {
        self.seconds.len() >= MEASURED
    }

    /// Mean seconds from one finished request to the next.
    pub(super) fn interval(&self) -> f64 {
        let missing = MEASURED.saturating_sub(self.seconds.len());
        let known: f64 = self.seconds.iter().sum();
        (known + self.expected * missing as f64) / (self.seconds.len() + missing) as f64
    }
}

/// Until when the places are promised that become free.
#[derive(Debug, Default)]
pub(super) struct Horizon(Option<Instant>);

impl Horizon {
    const SHORTEST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(60);

    /// When to come again: one `interval` after whoever was told before.
    pub(super) fn next(&mut self, interval: f64, now: Instant) -> Duration {
        let from = self.0.map_or(now, |told| told.max(now));
        let interval = Duration::from_secs_f64(interval.clamp(0.0, Self::LONGEST.as_secs_f64()));
        // Nobody is promised anything that far ahead, and so nothing is taken.
        let free = (from + interval).min(now + Self::LONGEST);
        self.0 = Some(free);
        free.saturating_duration_since(now).max(Self::SHORTEST)
    }
}
