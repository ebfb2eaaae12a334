//! The state of a shard and of a worker in one word, and when it ends at the
//! latest.

use super::{Limits, Watch};
use crate::lease::Lease;
use crate::tick::Tick;
use crate::wire::ShardState;

/// What a shard is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nobody holds it.
    Free,
    /// Nobody gets it before its last holder's processes are gone.
    HeldBack,
    /// Its holder reports no state.
    Registered,
    /// It was given to its holder, which reports nothing.
    Assigned,
    /// What its holder reports.
    Reported(ShardState),
    /// It is out of the plan, and its holder still there.
    Draining,
    /// No beat for longer than half of the time after which the lease is lost.
    Silent,
    /// It is connected and hears nothing.
    Deaf,
    /// Its holder's loop does not run.
    Blocked,
}

impl Condition {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::HeldBack => "held_back",
            Self::Registered => "registered",
            Self::Assigned => "assigned",
            Self::Reported(state) => state.as_str(),
            Self::Draining => "draining",
            Self::Silent => "silent",
            Self::Deaf => "deaf",
            Self::Blocked => "blocked",
        }
    }

    /// The condition of a shard that is held, since when, and when it ends at
    /// the latest. `deaf` is the verdict that was reached.
    pub fn of_held(
        watch: &Watch,
        lease: &Lease,
        limits: &Limits,
        draining: bool,
        deaf: bool,
        now: Tick,
    ) -> (Self, Tick, Option<Tick>) {
        if lease.never_beaten() && !draining {
            return (Self::Assigned, lease.granted_at, None);
        }
        let quiet_since = lease.last_beat + limits.silent;
        if lease.heard && now > quiet_since && !lease.never_beaten() {
            let ends = (!lease.assigned).then_some(lease.deadline);
            return (Self::Silent, lease.last_beat, ends);
        }
        if draining {
            return (Self::Draining, watch.since(), None);
        }
        if let Some(since) = watch.blocked_since(limits, now) {
            let restart = since + limits.blocked_for_long;
            let due = lease.holder.child().is_some() && restart > now;
            return (Self::Blocked, since, due.then_some(restart));
        }
        if deaf {
            let since = watch.hearing.silent_since().unwrap_or(now);
            return (Self::Deaf, since, None);
        }
        match watch.state() {
            Some(state) => {
                let due = watch.due(lease.figures.guild_count);
                (Self::Reported(state), watch.since(), due)
            }
            // Its first beat is due when the lease says so.
            None if !lease.heard => (Self::Registered, lease.granted_at, Some(lease.deadline)),
            None => (Self::Registered, lease.granted_at, None),
        }
    }
}

/// What is known of a worker.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSigns {
    /// Its process group is not gone.
    pub runs: bool,
    /// It was told to stop.
    pub stops: bool,
    pub halted: bool,
    /// It has done its work.
    pub rests: bool,
    /// It is gone because an operator stopped it.
    pub stopped: bool,
    /// It lost a lease, and is killed for it unless it gives the shard up.
    pub lapsed: bool,
    pub crash_looping: bool,
    /// It might be started, and there is nothing for it to hold.
    pub spare: bool,
    pub holding: u32,
    /// The shards of it that are silent, and those whose loop is blocked.
    pub silent: u32,
    pub blocked: u32,
    /// When it is started again.
    pub until: Option<Tick>,
    /// It holds nothing, although it could: until then it has time.
    pub registers_by: Option<Tick>,
    /// When it is killed, if it does not stop.
    pub killed_at: Option<Tick>,
}

/// What a worker is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerCondition {
    /// It runs and holds nothing yet.
    Starting,
    /// It runs and holds shards, or waits for some.
    Running,
    /// It runs, and has lost a lease: it waits for its turn to be killed.
    Lapsed,
    /// It runs, and none of its shards beats any more.
    Silent,
    /// It runs, and its loop does not.
    Blocked,
    Stopping,
    /// It ended and is started again soon.
    BackingOff,
    /// It ended too often in a row; it is started again, but seldom.
    CrashLooping,
    Halted,
    Resting,
    /// It might run, and there is nothing for it to hold.
    Spare,
    /// An operator stopped it.
    Stopped,
}

impl WorkerCondition {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Lapsed => "lapsed",
            Self::Silent => "silent",
            Self::Blocked => "blocked",
            Self::Stopping => "stopping",
            Self::BackingOff => "backing_off",
            Self::CrashLooping => "crash_looping",
            Self::Halted => "halted",
            Self::Resting => "resting",
            Self::Spare => "spare",
            Self::Stopped => "stopped",
        }
    }

    /// The condition of a worker, and when it ends at the latest.
    pub fn of(signs: &WorkerSigns) -> (Self, Option<Tick>) {
        if signs.halted {
            return (Self::Halted, None);
        }
        if signs.rests {
            return (Self::Resting, None);
        }
        if signs.stopped {
            return (Self::Stopped, None);
        }
        if signs.stops {
            return (Self::Stopping, signs.killed_at);
        }
        if !signs.runs && signs.spare {
            return (Self::Spare, None);
        }
        if !signs.runs {
            let condition = match signs.crash_looping {
                true => Self::CrashLooping,
                false => Self::BackingOff,
            };
            return (condition, signs.until);
        }
        if signs.lapsed {
            return (Self::Lapsed, None);
        }
        match signs.holding {
            0 if signs.registers_by.is_some() => (Self::Starting, signs.registers_by),
            0 => (Self::Running, None),
            holding if signs.silent == holding => (Self::Silent, None),
            _ if signs.blocked > 0 => (Self::Blocked, None),
            _ => (Self::Running, None),
        }
    }
}
