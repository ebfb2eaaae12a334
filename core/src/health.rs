//! How each shard and each worker is: states with deadlines, and what follows
//! when one is not kept.
//!
//! A [`Watch`] follows one shard over all its leases. Each beat costs it a few
//! stores; verdicts are for whoever asks. A remedy is bounded here: so many
//! reconnects within an hour, so many hours between two restarts.

use std::time::Duration;

use crate::tick::Tick;
use crate::wire::ShardState;

mod condition;
mod hearing;
#[cfg(test)]
mod tests;

pub use condition::{Condition, WorkerCondition, WorkerSigns};
pub use hearing::Hearing;

/// From IDENTIFY to READY, or from RESUME to RESUMED, for a shard without
/// guilds. The bundled worker gives up by itself after as much.
const COME_UP: Duration = Duration::from_secs(60);

/// What each guild adds. READY takes tens of seconds for a large shard, and a
/// client library that asks for the members of each guild before it calls itself
/// ready sends no more than 120 commands a minute (Discord, "Gateway", Rate
/// Limiting).
const COME_UP_PER_GUILD: Duration = Duration::from_millis(500);

/// The most guilds of one shard (Discord, "Gateway", Sharding).
const GUILDS_MAX: u32 = 2_500;

/// What a shard is taken to have that has not counted them yet: what Discord
/// recommends for each.
const GUILDS_USUAL: u32 = 1_000;

/// From the lease to the first step towards the gateway.
const START: Duration = Duration::from_secs(300);

/// Without a gateway connection: more than two of the longest pauses that the
/// bundled worker makes between two tries.
const DISCONNECTED: Duration = Duration::from_secs(300);

/// From `stopping` to the end of the lease.
const STOP: Duration = Duration::from_secs(30);

/// A holder is asked to reconnect a deaf shard so often within an hour.
pub const RECONNECTS: usize = 3;

/// The hour of [`RECONNECTS`].
pub const RECONNECTS_WITHIN: Duration = Duration::from_secs(60 * 60);

/// Between two restarts of a worker for the sake of the same shard, or for a
/// blocked loop.
pub const RESTART_AGAIN: Duration = Duration::from_secs(6 * 60 * 60);

/// How long a state may last; `None` where somebody else is waited for.
pub fn limit(state: ShardState, guilds: Option<i64>) -> Option<Duration> {
    match state {
        ShardState::Starting => Some(START),
        ShardState::Identifying | ShardState::Resuming => {
            let counted = guilds.filter(|guilds| *guilds > 0);
            let guilds = counted.map_or(GUILDS_USUAL, |n| u32::try_from(n).unwrap_or(GUILDS_MAX));
            Some(COME_UP + COME_UP_PER_GUILD * guilds.min(GUILDS_MAX))
        }
        ShardState::Disconnected => Some(DISCONNECTED),
        ShardState::Stopping => Some(STOP),
        ShardState::Waiting | ShardState::StandingBy | ShardState::Ready => None,
    }
}

/// The limits that depend on settings.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// No beat for longer than this is a silence worth a word.
    pub silent: Duration,
    /// The least silence of the gateway that may count as deafness; `None` to
    /// judge nobody.
    pub deaf: Option<Duration>,
    /// A loop that lags by more than this is behind.
    pub lag: Duration,
    /// Behind for so long, it is blocked.
    pub blocked: Duration,
    /// Blocked for so long, its worker is restarted.
    pub blocked_for_long: Duration,
}

impl Limits {
    /// `max_seconds` is the time after which a silent holder loses its lease.
    pub fn new(max_seconds: Duration, deaf: Option<Duration>) -> Self {
        Self {
            silent: max_seconds / 2,
            deaf,
            lag: max_seconds / 12,
            blocked: max_seconds / 2,
            blocked_for_long: max_seconds * 5,
        }
    }
}

/// What is wrong with a shard whose holder beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwell {
    /// It is connected and hears nothing.
    Deaf,
    /// It stays in a state that it should have left.
    Overdue(ShardState),
    /// The loop of its holder does not run.
    Blocked,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Its holder is asked for another gateway connection.
    Reconnect,
    /// Its worker is restarted.
    Restart,
    /// All that may be done was done: an operator has to look.
    Nothing,
}

/// One shard, over all its leases.
#[derive(Clone, Debug)]
pub struct Watch {
    state: Option<ShardState>,
    since: Tick,
    /// From when the limit of its state counts: the last remedy and the last
    /// event of a replay begin it anew.
    from: Tick,
    /// The time it identified or resumed in vain before that.
    tried: Duration,
    pub hearing: Hearing,
    /// Since when its holder's loop is behind.
    lagging: Option<Tick>,
    /// Its holder is asked to reconnect and has not begun to.
    asked: bool,
    reconnects: [Option<Tick>; RECONNECTS],
    restarted: Option<Tick>,
}

impl Watch {
    /// A shard that somebody has taken, or nobody.
    pub fn new(now: Tick) -> Self {
        Self {
            state: None,
            since: now,
            from: now,
            tried: Duration::ZERO,
            hearing: Hearing::default(),
            lagging: None,
            asked: false,
            reconnects: [None; RECONNECTS],
            restarted: None,
        }
    }

    /// Its lease began or ended. What is known of its events stays.
    pub fn lease_changed(&mut self, now: Tick) {
        self.hearing.interrupted(true, now);
        self.state = None;
        self.since = now;
        self.lagging = None;
        self.asked = false;
        self.begin_anew(now);
    }

    /// Its holder reports another state.
    pub fn goes_to(&mut self, state: ShardState, now: Tick) {
        if self.comes_up() {
            self.tried += now.since(self.from);
        }
        if self.state == Some(ShardState::Ready) {
            self.hearing.interrupted(self.asked, now);
        }
        if matches!(state, ShardState::Ready | ShardState::StandingBy) {
            self.tried = Duration::ZERO;
            self.hearing.connected(now);
        }
        self.asked = false;
        self.state = Some(state);
        self.since = now;
        self.from = now;
    }

    /// A beat says how long ago the last event was.
    pub fn heard(&mut self, age: Duration, limits: &Limits, now: Tick) {
        if self.state == Some(ShardState::Resuming) && now - age > self.from {
            self.begin_anew(now - age);
        }
        if let Some(floor) = limits.deaf
            && matches!(self.state, Some(ShardState::Ready) | None)
        {
            self.hearing.heard(age, floor, now);
        }
    }

    /// A beat says by how much its holder's loop lags.
    pub fn lags(&mut self, lag: Duration, limits: &Limits, now: Tick) {
        self.lagging = (lag >= limits.lag).then(|| self.lagging.unwrap_or(now));
    }

    /// The manager was held up itself: what is late since then proves nothing.
    pub fn forgive(&mut self, stall: Duration, now: Tick) {
        self.lagging = self.lagging.map(|_| now);
        self.from = (self.from + stall).min(now);
    }

    pub fn state(&self) -> Option<ShardState> {
        self.state
    }

    /// Since when it is in its present state.
    pub fn since(&self) -> Tick {
        self.since
    }

    /// Whether its holder is to be told to reconnect.
    pub fn is_asked(&self) -> bool {
        self.asked
    }

    /// Since when its holder's loop is blocked.
    pub fn blocked_since(&self, limits: &Limits, now: Tick) -> Option<Tick> {
        self.lagging.filter(|since| now >= *since + limits.blocked)
    }

    /// When its state is overdue. A replay that goes on is no delay.
    pub fn due(&self, guilds: Option<i64>) -> Option<Tick> {
        let limit = limit(self.state?, guilds)?;
        let tried = if self.comes_up() {
            self.tried
        } else {
            Duration::ZERO
        };
        Some(self.from + limit.saturating_sub(tried))
    }

    /// What is wrong with it. `others_hear` says whether the other shards of
    /// the fleet went on hearing as usual for so long.
    pub fn unwell(
        &self,
        limits: &Limits,
        guilds: Option<i64>,
        others_hear: impl FnOnce(Duration) -> bool,
        now: Tick,
    ) -> Option<Unwell> {
        if self.blocked_since(limits, now).is_some() {
            return Some(Unwell::Blocked);
        }
        if self.due(guilds).is_some_and(|due| due <= now) {
            return self.state.map(Unwell::Overdue);
        }
        let floor = limits.deaf?;
        let connected = matches!(self.state, Some(ShardState::Ready) | None);
        (connected && self.hearing.is_deaf(floor, others_hear, now)).then_some(Unwell::Deaf)
    }

    /// Chooses what is done, and notes it. Whoever cannot be told, or cannot be
    /// restarted, is not.
    pub fn remedy(&mut self, unwell: Unwell, can_be_told: bool, can_be_restarted: bool, now: Tick) -> Remedy {
        let reconnects = match unwell {
            Unwell::Deaf => RECONNECTS,
            Unwell::Overdue(ShardState::Identifying | ShardState::Resuming) => 1,
            // No connection is to blame.
            Unwell::Overdue(_) | Unwell::Blocked => 0,
        };
        if can_be_told && self.reconnects(now) < reconnects {
            self.reconnects.rotate_left(1);
            self.reconnects[RECONNECTS - 1] = Some(now);
            self.asked = true;
            self.begin_anew(now);
            return Remedy::Reconnect;
        }
        let rested = self.restarted.is_none_or(|at| now >= at + RESTART_AGAIN);
        if can_be_restarted && rested {
            self.restarted = Some(now);
            self.begin_anew(now);
            return Remedy::Restart;
        }
        Remedy::Nothing
    }

    /// The restart that was chosen then did not happen.
    pub fn restart_undone(&mut self, at: Tick) {
        self.restarted = self.restarted.filter(|restarted| *restarted != at);
    }

    /// How often its holder was asked to reconnect within the last hour.
    pub fn reconnects(&self, now: Tick) -> usize {
        let recent = |at: &&Option<Tick>| at.is_some_and(|at| now < at + RECONNECTS_WITHIN);
        self.reconnects.iter().filter(recent).count()
    }

    /// What was done gets the full time to help.
    fn begin_anew(&mut self, now: Tick) {
        self.tried = Duration::ZERO;
        self.from = now;
    }

    fn comes_up(&self) -> bool {
        matches!(self.state, Some(ShardState::Identifying | ShardState::Resuming))
    }
}
