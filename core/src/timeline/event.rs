//! One event: what happened to whom, in words, and what led to it.

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, PoolId, ShardId, WorkerId};
use crate::lease::Holder;
use crate::wire::ShardState;

/// The longest cause in characters.
const LONGEST_CAUSE: usize = 400;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    ManagerStarted,
    ManagerStopping,
    /// The host or the disk held the manager up; leases get the time added.
    ManagerStalled,
    DiskTrouble,
    DiskBack,
    DiscordUnreachable,
    DiscordBack,
    /// A first number of shards was taken on.
    Planned,
    /// Another number of shards is due.
    RescaleProposed,
    RescaleBegun,
    RescaleStep,
    RescaleFinished,
    RescaleGivenUp,
    RestartBegun,
    RestartStep,
    RestartPaused,
    RestartContinued,
    RestartDone,
    RestartCancelled,
    /// Session starts run low.
    BudgetAlert,
    /// An operator lets the fleet use the reserve of session starts.
    ReserveReleased,
    /// The configuration was read again, and something in it changed.
    Reloaded,
    /// Nothing is started until an operator resumes the fleet.
    Halted,
    Resumed,
    WorkerStarted,
    /// It took its first shard.
    WorkerRegistered,
    /// The process of an earlier manager runs on under this one.
    WorkerAdopted,
    /// What an ended process of an earlier manager left behind is ended.
    WorkerBuried,
    WorkerStopAsked,
    WorkerEnded,
    /// An operator wants it started without waiting.
    WorkerStartAsked,
    BackOff,
    CrashLooping,
    /// It is not started again until an operator says so.
    WorkerHalted,
    /// Its work is done, and it is not started again until somebody asks.
    WorkerResting,
    /// An operator stopped it, and it is not started again until one starts it.
    WorkerStopped,
    /// Many fell silent together: kills are held.
    BrakeOn,
    BrakeOff,
    /// Its holder beats and does not serve it: deaf, stuck, or blocked.
    Unwell,
    /// Its holder is asked for another connection.
    ReconnectAsked,
    /// It has had its share of session starts.
    PermitRefused,
    Leased,
    Lost,
    Waiting,
    Identifying,
    Resuming,
    StandingBy,
    Ready,
    Disconnected,
    /// Of a newer version than this one.
    #[serde(other)]
    Other,
}

impl Kind {
    /// What a holder's word that its shard is now in `state` amounts to; `None`
    /// for a state that says little.
    pub const fn of_state(state: ShardState) -> Option<Self> {
        match state {
            ShardState::Waiting => Some(Self::Waiting),
            ShardState::Identifying => Some(Self::Identifying),
            ShardState::Resuming => Some(Self::Resuming),
            ShardState::StandingBy => Some(Self::StandingBy),
            ShardState::Ready => Some(Self::Ready),
            ShardState::Disconnected => Some(Self::Disconnected),
            ShardState::Starting | ShardState::Stopping => None,
        }
    }

    /// Whether `next`, of the same worker or shard, follows from an event of
    /// this kind when it was the last one.
    pub const fn leads_to(self, next: Self) -> bool {
        let is_start = matches!(
            self,
            Self::WorkerStarted | Self::WorkerRegistered | Self::WorkerAdopted
        );
        if matches!(next, Self::Disconnected | Self::Lost) {
            // What Discord or the holder did has no cause that we know.
            false
        } else if matches!(next, Self::WorkerEnded) {
            // By itself, or because it was told to.
            matches!(self, Self::WorkerStopAsked | Self::WorkerBuried)
        } else if matches!(next, Self::WorkerStopAsked) {
            !is_start && !matches!(self, Self::WorkerEnded)
        } else if matches!(next, Self::WorkerRegistered) {
            is_start
        } else {
            true
        }
    }
}

impl Kind {
    /// For an event of the whole fleet: the undertaking that it is part of, and
    /// the events of it that lead to this one when they are the last. `None`
    /// where nothing does.
    pub const fn fleet_causes(self) -> Option<(&'static [Self], &'static [Self])> {
        const RESCALE: &[Kind] = &[
            Kind::RescaleProposed,
            Kind::RescaleBegun,
            Kind::RescaleStep,
            Kind::RescaleFinished,
            Kind::RescaleGivenUp,
        ];
        const RESTART: &[Kind] = &[
            Kind::RestartBegun,
            Kind::RestartStep,
            Kind::RestartPaused,
            Kind::RestartContinued,
            Kind::RestartDone,
            Kind::RestartCancelled,
        ];
        const HALT: &[Kind] = &[Kind::Halted, Kind::Resumed];
        const DISCORD: &[Kind] = &[Kind::DiscordUnreachable, Kind::DiscordBack];
        if matches!(self, Self::RescaleBegun) {
            Some((RESCALE, &[Kind::RescaleProposed]))
        } else if matches!(
            self,
            Self::RescaleStep | Self::RescaleFinished | Self::RescaleGivenUp
        ) {
            Some((RESCALE, &[Kind::RescaleBegun, Kind::RescaleStep]))
        } else if matches!(
            self,
            Self::RestartStep
                | Self::RestartPaused
                | Self::RestartContinued
                | Self::RestartDone
                | Self::RestartCancelled
        ) {
            let going = &[
                Kind::RestartBegun,
                Kind::RestartStep,
                Kind::RestartPaused,
                Kind::RestartContinued,
            ];
            Some((RESTART, going))
        } else if matches!(self, Self::Resumed) {
            Some((HALT, &[Kind::Halted]))
        } else if matches!(self, Self::DiscordBack) {
            Some((DISCORD, &[Kind::DiscordUnreachable]))
        } else {
            None
        }
    }
}

/// Whom an event concerns: the fleet where nothing is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub shard: Option<ShardId>,
    pub worker: Option<WorkerId>,
    pub epoch: Option<Epoch>,
}

impl Subject {
    pub fn fleet() -> Self {
        Self::default()
    }

    pub fn worker(worker: &WorkerId) -> Self {
        Self {
            worker: Some(worker.clone()),
            ..Self::default()
        }
    }

    pub fn shard(shard: ShardId) -> Self {
        Self {
            shard: Some(shard),
            ..Self::default()
        }
    }

    /// A shard in somebody's hands.
    pub fn lease(shard: ShardId, holder: &Holder, epoch: Epoch) -> Self {
        Self {
            shard: Some(shard),
            worker: holder.child().cloned(),
            epoch: Some(epoch),
        }
    }
}

/// What happened once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Only ever grows, over restarts of the manager too.
    pub number: u64,
    /// Wall clock, milliseconds since 1970.
    pub at_ms: u64,
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardId>,
    /// The pool beside `discord` whose slot it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// What happened and why, in words that need no other field.
    pub cause: String,
    /// The number of the earlier event that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because_of: Option<u64>,
}

/// The answer to `GET /events`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EventsView {
    /// The manager's wall clock, milliseconds since 1970.
    pub now_ms: u64,
    /// What follows is behind this number.
    pub next: u64,
    /// Some that were asked for are kept no more.
    pub lagged: bool,
    /// The oldest first.
    pub events: Vec<Event>,
}

impl Event {
    /// An event without a number yet.
    pub fn new(kind: Kind, subject: Subject, cause: &str, at_ms: u64) -> Self {
        Self {
            number: 0,
            at_ms,
            kind,
            shard: subject.shard,
            pool: None,
            worker: subject.worker,
            epoch: subject.epoch,
            cause: plain(cause),
            because_of: None,
        }
    }

    /// One line of a file. `None` for what is no event.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut event: Self = serde_json::from_slice(line).ok()?;
        event.cause = plain(&event.cause);
        event.worker = event
            .worker
            .map(|worker| WorkerId::from(&*plain(worker.as_str())));
        event.because_of = event.because_of.filter(|number| *number < event.number);
        Some(event)
    }

    /// Where it is kept: with the fleet's, the workers' or the shards'.
    pub(super) fn shelf(&self) -> usize {
        match (&self.shard, &self.worker) {
            (Some(_), _) => 2,
            (None, Some(_)) => 1,
            (None, None) => 0,
        }
    }

    /// Whose bound it counts for.
    pub(super) fn subject(&self) -> String {
        match (&self.shard, &self.pool, &self.worker) {
            (Some(slot), Some(pool), _) => format!("{pool} {slot}"),
            (Some(shard), None, _) => shard.to_string(),
            (None, _, Some(worker)) => worker.to_string(),
            (None, _, None) => String::new(),
        }
    }
}

/// One line that a terminal can show, and not too long a one.
fn plain(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let mut plain: String = text.chars().take(LONGEST_CAUSE).map(visible).collect();
    if text.chars().nth(LONGEST_CAUSE).is_some() {
        plain.push('…');
    }
    plain
}
