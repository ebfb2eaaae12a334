//! The kinds of alerts: how bad each is, what the manager does about it by
//! itself, and what is left for whoever reads it.

use serde::Serialize;

/// How soon somebody should look. The worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It does not get well by itself.
    Critical,
    /// It may get well by itself, and somebody should look.
    Warning,
    /// Good to know.
    Info,
}

/// What an alert is about. docs/ALERTS.md has a section for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A shard was leased.
    Connect,
    /// A shard, or the slot of a pool, was lost.
    Disconnect,
    /// Session starts run low.
    Budget,
    /// Another number of shards is due, or cannot be had.
    Plan,
    /// A change of the number of shards is through.
    Rescaled,
    /// A worker needs an operator, for a reason that has no kind of its own.
    Worker,
    /// A worker ends again and again.
    CrashLoop,
    /// A worker says that its configuration is wrong.
    Misconfigured,
    /// A worker never asked for a shard.
    Unregistered,
    /// A process that is not started again has failed.
    Ended,
    /// A shard or its holder is not well.
    Unwell,
    /// Many workers fell silent together.
    Silent,
    /// A planned restart is paused.
    Paused,
    /// A worker has used its share of session starts.
    Share,
    /// The whole fleet is halted.
    Halted,
    /// Discord refuses the bot's token.
    TokenRefused,
    /// The disk takes no more writes.
    Disk,
    /// An incident is over.
    Recovered,
}

/// What alerts are merged by, beside kind and pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alike {
    /// All of the kind have one cause.
    All,
    /// Those whose causes differ in numbers alone, such as names and durations.
    ButForNumbers,
    /// Those that say the same.
    Same,
}

impl AlertKind {
    pub const ALL: [Self; 18] = [
        Self::Connect,
        Self::Disconnect,
        Self::Budget,
        Self::Plan,
        Self::Rescaled,
        Self::Worker,
        Self::CrashLoop,
        Self::Misconfigured,
        Self::Unregistered,
        Self::Ended,
        Self::Unwell,
        Self::Silent,
        Self::Paused,
        Self::Share,
        Self::Halted,
        Self::TokenRefused,
        Self::Disk,
        Self::Recovered,
    ];

    /// As the JSON of `ALERT_URL` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Budget => "budget",
            Self::Plan => "plan",
            Self::Rescaled => "rescaled",
            Self::Worker => "worker",
            Self::CrashLoop => "crash_loop",
            Self::Misconfigured => "misconfigured",
            Self::Unregistered => "unregistered",
            Self::Ended => "ended",
            Self::Unwell => "unwell",
            Self::Silent => "silent",
            Self::Paused => "paused",
            Self::Share => "share",
            Self::Halted => "halted",
            Self::TokenRefused => "token_refused",
            Self::Disk => "disk",
            Self::Recovered => "recovered",
        }
    }

    pub fn severity(self) -> Severity {
        match self {
            Self::CrashLoop
            | Self::Misconfigured
            | Self::Unregistered
            | Self::Silent
            | Self::Halted
            | Self::TokenRefused
            | Self::Disk => Severity::Critical,
            Self::Disconnect
            | Self::Budget
            | Self::Plan
            | Self::Worker
            | Self::Ended
            | Self::Unwell
            | Self::Paused
            | Self::Share => Severity::Warning,
            Self::Connect | Self::Rescaled | Self::Recovered => Severity::Info,
        }
    }

    /// The kind in words, as a title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Connect => "A shard was leased",
            Self::Disconnect => "A lease was lost",
            Self::Budget => "Session starts run low",
            Self::Plan => "Another number of shards",
            Self::Rescaled => "The number of shards was changed",
            Self::Worker => "A worker needs you",
            Self::CrashLoop => "A worker is crash looping",
            Self::Misconfigured => "A worker is halted",
            Self::Unregistered => "A worker asks for no shard",
            Self::Ended => "A process failed",
            Self::Unwell => "A shard is not well",
            Self::Silent => "Many workers fell silent together",
            Self::Paused => "The restart is paused",
            Self::Share => "A worker has used its share of session starts",
            Self::Halted => "The fleet is halted",
            Self::TokenRefused => "Discord refuses the bot's token",
            Self::Disk => "The disk takes no more writes",
            Self::Recovered => "It is over",
        }
    }

    /// What the manager does about it by itself; empty if there is nothing.
    pub fn done(self) -> &'static str {
        match self {
            Self::Connect | Self::Rescaled | Self::Worker | Self::Recovered => "",
            Self::Disconnect => "It is free for another worker. A local holder is killed and started again.",
            Self::Budget => "Shards that run are untouched. The reserve is left to operators.",
            Self::Plan => "The shards that run go on as they are, unless RESCALE is `auto`.",
            Self::CrashLoop => "It is started again and again, with pauses of up to five minutes.",
            Self::Misconfigured => "It is not started again: that cannot help.",
            Self::Unregistered => "It is stopped and tried again, more and more seldom.",
            Self::Ended => "It is not started again by itself.",
            Self::Unwell => "It is asked to reconnect, and its worker is restarted where that may help.",
            Self::Silent => "They are killed and started again a few at a time.",
            Self::Paused => "No further worker is restarted meanwhile.",
            Self::Share => "Its shards wait until it is within its share again.",
            Self::Halted => "Nothing is started or identified any more: that cannot help. What runs goes on.",
            Self::TokenRefused => "What runs goes on. Discord is asked again, at least each minute.",
            Self::Disk => "What runs goes on. Nothing is leased or restarted; writing is tried again.",
        }
    }

    /// What is left to do; empty if there is nothing.
    pub fn action(self) -> &'static str {
        match self {
            Self::Connect | Self::Rescaled | Self::Recovered => "",
            Self::Disconnect => "If it stays away for minutes: `shardman why SHARD` says why.",
            Self::Budget => "`shardman status` says who uses them up. Stop what starts in vain.",
            Self::Plan => "`shardman plan` shows what would change, `shardman rescale N` changes it.",
            Self::Worker => "`shardman status` and `shardman logs WORKER` say more.",
            Self::CrashLoop => "Mend what the last lines show. `shardman logs WORKER` has more of them.",
            Self::Misconfigured => "Mend its configuration, then `shardman restart WORKER`.",
            Self::Unregistered => "Let it call /connect, or set WORKER_REGISTER=assigned.",
            Self::Ended => "Look at its last lines. `shardman restart WORKER` starts it again.",
            Self::Unwell => "If it stays: `shardman why SHARD`, then `shardman logs WORKER`.",
            Self::Silent => {
                "Look at the host: memory, processors, disk, network. Nothing is to be killed by hand."
            }
            Self::Paused => {
                "Mend what failed: it goes on once the fleet is whole. `shardman restart --cancel` ends it."
            }
            Self::Share => "Stop its crashes. `shardman start --spend-reserve` lifts the limit.",
            Self::Halted => "Mend what Discord refuses, then `shardman resume`.",
            Self::TokenRefused => {
                "Reset the token in the developer portal, set BOT_TOKEN, `shardman reload`."
            }
            Self::Disk => "Make room on the disk of DATA_DIR, and look whether it is mounted and well.",
        }
    }

    /// The start of an incident whose end is told.
    pub(super) fn hurts(self) -> bool {
        matches!(
            self,
            Self::Disconnect
                | Self::CrashLoop
                | Self::Misconfigured
                | Self::Unregistered
                | Self::Unwell
                | Self::Silent
                | Self::Halted
                | Self::Disk
        )
    }

    pub(super) fn alike(self) -> Alike {
        match self {
            Self::Connect | Self::Disconnect => Alike::All,
            Self::Worker
            | Self::CrashLoop
            | Self::Misconfigured
            | Self::Unregistered
            | Self::Ended
            | Self::Unwell
            | Self::Share => Alike::ButForNumbers,
            Self::Budget
            | Self::Plan
            | Self::Rescaled
            | Self::Silent
            | Self::Paused
            | Self::Halted
            | Self::TokenRefused
            | Self::Disk
            | Self::Recovered => Alike::Same,
        }
    }
}
