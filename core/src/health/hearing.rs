//! Whether a shard that hears nothing is deaf or only quiet: its silence
//! against the silences that it is used to.

use std::time::Duration;

use crate::tick::Tick;

/// A silence so many times as long as the largest usual one is none of them.
const TIMES: u32 = 4;

/// Gaps between events that must be known before a shard is judged at all.
const HEARD_MIN: u32 = 30;

/// For how long a shard must have been heard, in floors, before it is judged.
const KNOWN_FLOORS: u32 = 5;

/// By how much the time of one event differs from beat to beat: their ways
/// take different times.
const JITTER: Duration = Duration::from_millis(250);

/// The same for READY and RESUMED, whose beat waits for others.
const STARTED: Duration = Duration::from_secs(1);

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of the events of one shard.
///
/// Beats say only how long ago the last event was, so a gap is measured from
/// the last event that one beat told to the last one that another told: never
/// too short, and too long by a beat at most.
#[derive(Clone, Debug, Default)]
pub struct Hearing {
    /// When the first event was told.
    known_since: Option<Tick>,
    /// The last event, or the beginning of the connection.
    last: Option<Tick>,
    /// The last event.
    event: Tick,
    /// The gateway session was begun or resumed; what came before is not the
    /// silence of this connection.
    connected: Tick,
    heard: u32,
    /// The largest gap of the present hour and the one before.
    hours: DecayingMax<2>,
    /// The largest gap of the last seven days and today.
    days: DecayingMax<8>,
    /// When a gap of more than half a floor last was seen.
    lull: Option<Tick>,
    told_at: Tick,
}

impl Hearing {
    /// READY or RESUMED: the silence counts from here.
    pub(super) fn connected(&mut self, now: Tick) {
        self.connected = now;
        self.last = Some(now);
        self.told_at = now;
    }

    /// The connection ended. A silence that was no illness is one to get used
    /// to.
    pub(super) fn interrupted(&mut self, ill: bool, now: Tick) {
        if let Some(last) = self.last.take()
            && !ill
        {
            self.learn(now.since(last), now);
        }
    }

    pub(super) fn heard(&mut self, age: Duration, floor: Duration, now: Tick) {
        let event = now - age;
        let last = *self.last.get_or_insert(event);
        self.told_at = now;
        if now.since(event.max(last)) > floor / 2 || event.since(last) > floor / 2 {
            self.lull = Some(now);
        }
        // READY and RESUMED are no events of guilds.
        if event <= last + JITTER || event <= self.connected + STARTED {
            return;
        }
        self.known_since.get_or_insert(event);
        self.heard = self.heard.saturating_add(1);
        self.learn(event.since(last), now);
        self.last = Some(event);
        self.event = event;
    }

    /// The last event that was told while the connection lasted.
    pub fn last_event(&self) -> Tick {
        self.event
    }

    /// Whether enough is known of it to say something of the others, too.
    pub fn is_connected_and_busy(&self, floor: Duration, now: Tick) -> bool {
        self.last.is_some() && self.beside_others(floor, now).is_some()
    }

    /// Since when it hears nothing.
    pub fn silent_since(&self) -> Option<Tick> {
        self.last
    }

    /// The silence after which it is deaf, by all that is known of it; `None`
    /// while that is too little.
    pub fn by_itself(&self, floor: Duration, now: Tick) -> Option<Duration> {
        self.is_known(DAY.max(floor * KNOWN_FLOORS), now)
            .then(|| floor.max(self.days.largest(DAY, now) * TIMES))
    }

    /// The same by the last busy hour alone, which holds only while the others
    /// of its fleet hear: evenings come to all of them.
    pub fn beside_others(&self, floor: Duration, now: Tick) -> Option<Duration> {
        let busy = self.hours.count(HOUR, self.event) >= HEARD_MIN;
        (busy && self.is_known(floor * KNOWN_FLOORS, now))
            .then(|| floor.max(self.hours.largest(HOUR, self.event) * TIMES))
    }

    /// Whether it has gone on hearing for so long, with no gap worth a word.
    pub fn hears(&self, floor: Duration, within: Duration, now: Tick) -> bool {
        let fresh = self.last.is_some_and(|last| now.since(last) <= floor);
        let lulled = self.lull.is_some_and(|lull| now < lull + within);
        fresh && !lulled && self.is_known(floor * KNOWN_FLOORS, now)
    }

    /// The silence at the last beat: what it does not tell is not held against
    /// it.
    pub fn silence(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |last| self.told_at.since(last))
    }

    /// Whether it may be deaf, before the others are asked: cheap.
    pub fn may_be_deaf(&self, floor: Duration, now: Tick) -> bool {
        let silence = self.silence();
        silence > floor && self.shortest(floor, now).is_some_and(|limit| silence > limit)
    }

    pub(super) fn is_deaf(&self, floor: Duration, others: impl FnOnce(Duration) -> bool, now: Tick) -> bool {
        let silence = self.silence();
        let beyond = |limit: Option<Duration>| limit.filter(|limit| silence > *limit);
        beyond(self.by_itself(floor, now)).is_some()
            || beyond(self.beside_others(floor, now)).is_some_and(others)
    }

    /// The shortest silence that may make it deaf.
    pub fn shortest(&self, floor: Duration, now: Tick) -> Option<Duration> {
        let both = [self.by_itself(floor, now), self.beside_others(floor, now)];
        both.into_iter().flatten().min()
    }

    fn is_known(&self, long: Duration, now: Tick) -> bool {
        self.heard >= HEARD_MIN && self.known_since.is_some_and(|since| now >= since + long)
    }

    fn learn(&mut self, gap: Duration, now: Tick) {
        self.hours.add(gap, HOUR, now);
        self.days.add(gap, DAY, now);
    }
}

/// The largest of the last so many spans of time.
#[derive(Clone, Copy, Debug)]
struct DecayingMax<const N: usize> {
    /// The number of the present span since the manager started.
    span: u64,
    largest: [Duration; N],
    counts: [u32; N],
}

impl<const N: usize> Default for DecayingMax<N> {
    fn default() -> Self {
        Self {
            span: 0,
            largest: [Duration::ZERO; N],
            counts: [0; N],
        }
    }
}

impl<const N: usize> DecayingMax<N> {
    fn add(&mut self, value: Duration, span: Duration, now: Tick) {
        self.go_to(span_of(span, now));
        self.largest[N - 1] = self.largest[N - 1].max(value);
        self.counts[N - 1] = self.counts[N - 1].saturating_add(1);
    }

    fn count(&self, span: Duration, now: Tick) -> u32 {
        let mut at_present = *self;
        at_present.go_to(span_of(span, now));
        at_present.counts.into_iter().fold(0, u32::saturating_add)
    }

    fn largest(&self, span: Duration, now: Tick) -> Duration {
        let mut at_present = *self;
        at_present.go_to(span_of(span, now));
        at_present.largest.into_iter().max().unwrap_or_default()
    }

    fn go_to(&mut self, span: u64) {
        for _ in 0..span.saturating_sub(self.span).min(N as u64) {
            self.largest.rotate_left(1);
            self.largest[N - 1] = Duration::ZERO;
            self.counts.rotate_left(1);
            self.counts[N - 1] = 0;
        }
        self.span = self.span.max(span);
    }
}

fn span_of(span: Duration, now: Tick) -> u64 {
    now.0 / u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}
