//! Faults on command: what `POST /sim/faults` takes, and those that stay.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use shardman_core::tick::Tick;

/// One fault. A missing `shard` means every shard; a missing `times` means until
/// `DELETE /sim/faults`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Close every connection that reaches the phase. Without a code the TCP
    /// connection is dropped, no close frame. Stays.
    CloseAfter {
        phase: Phase,
        #[serde(default)]
        code: Option<u16>,
        #[serde(default)]
        times: Option<u32>,
    },
    /// Drop the TCP connection.
    Drop {
        #[serde(default)]
        shard: Option<u32>,
    },
    /// Op 7.
    Reconnect {
        #[serde(default)]
        shard: Option<u32>,
    },
    /// Op 9. Unless resumable, the session is gone.
    InvalidSession {
        #[serde(default)]
        shard: Option<u32>,
        #[serde(default)]
        resumable: bool,
    },
    /// A close frame with this code.
    Close {
        #[serde(default)]
        shard: Option<u32>,
        code: u16,
    },
    /// Heartbeats are acknowledged, but nothing is dispatched any more. Over
    /// with the connection, or, if sticky, with `DELETE /sim/faults`.
    Deaf {
        #[serde(default)]
        shard: Option<u32>,
        #[serde(default)]
        sticky: bool,
    },
    /// READY comes so many milliseconds after IDENTIFY. Stays.
    SlowReady { ms: u64 },
    /// Every session is forgotten and every connection dropped.
    SessionLoss,
    /// Op 9 is the answer to every IDENTIFY and RESUME: so many times, for so many
    /// milliseconds, or both; whichever ends first. Each IDENTIFY costs a session
    /// start all the same.
    InvalidSessions {
        #[serde(default)]
        resumable: bool,
        #[serde(default)]
        times: Option<u32>,
        #[serde(default)]
        ms: Option<u64>,
    },
    /// REST answers with this status; a 429 asks for so many seconds of patience,
    /// one unless told otherwise. Stays.
    Rest {
        status: u16,
        #[serde(default)]
        times: Option<u32>,
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// Heartbeats are not acknowledged. Stays.
    NoAck,
    /// The application loses these intents: IDENTIFY with one is closed with
    /// 4014. Stays.
    DenyIntents { intents: u64 },
    /// Nobody answers at `resume_gateway_url`. Stays.
    DeadResumeUrl,
    /// `GET /gateway/bot` recommends so many shards, rounded up to a multiple
    /// where there has to be one. Stays.
    Recommend { shards: u32 },
    /// The bot joins or leaves guilds until it is in so many. No fault to clear:
    /// it stays in them.
    Guilds { count: u32 },
}

/// The most guilds of one bot: some times more than any bot is in.
pub(crate) const GUILDS: u32 = 100_000_000;

/// How far a connection got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// HELLO was sent.
    Hello,
    /// IDENTIFY was received.
    Identify,
    /// READY was sent.
    Ready,
    /// RESUME was received; it comes to nothing.
    Resume,
}

impl Fault {
    /// What serde cannot check.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::CloseAfter { code: Some(code), .. } | Self::Close { code, .. } => {
                let sendable = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                sendable
                    .then_some(())
                    .ok_or_else(|| format!("code {code} cannot be sent in a close frame"))
            }
            Self::Rest { status, .. } => {
                let fits = matches!(status, 400..=599);
                fits.then_some(())
                    .ok_or_else(|| format!("status {status} is not an error (400 to 599)"))
            }
            Self::Guilds { count } if *count > GUILDS => Err(format!("more than {GUILDS} guilds")),
            Self::Recommend { shards: 0 } => Err("0 shards cannot be recommended".to_owned()),
            Self::CloseAfter { code: None, .. }
            | Self::Drop { .. }
            | Self::Reconnect { .. }
            | Self::InvalidSession { .. }
            | Self::Deaf { .. }
            | Self::SlowReady { .. }
            | Self::SessionLoss
            | Self::NoAck
            | Self::DenyIntents { .. }
            | Self::InvalidSessions { .. }
            | Self::Recommend { .. }
            | Self::Guilds { .. }
            | Self::DeadResumeUrl => Ok(()),
        }
    }
}

/// Op 9 for everyone.
#[derive(Clone, Copy, Debug)]
struct Storm {
    resumable: bool,
    times: Option<u32>,
    until: Option<Tick>,
}

/// The faults that stay until they are cleared.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    close_after: Vec<(Phase, Option<u16>, Option<u32>)>,
    rest: Option<(u16, Option<u32>, u32)>,
    storm: Option<Storm>,
    pub(crate) recommended: Option<u32>,
    pub(crate) deaf: BTreeSet<u32>,
    pub(crate) all_deaf: bool,
    pub(crate) slow_ready_ms: u64,
    pub(crate) no_ack: bool,
    pub(crate) dead_resume_url: bool,
}

impl Standing {
    pub(crate) fn close_after(&mut self, phase: Phase, code: Option<u16>, times: Option<u32>) {
        self.close_after.push((phase, code, times));
    }

    pub(crate) fn rest(&mut self, status: u16, times: Option<u32>, retry_after: Option<u32>) {
        self.rest = Some((status, times, retry_after.unwrap_or(1)));
    }

    pub(crate) fn invalid_sessions(&mut self, resumable: bool, times: Option<u32>, until: Option<Tick>) {
        self.storm = Some(Storm {
            resumable,
            times,
            until,
        });
    }

    /// Whether the next IDENTIFY or RESUME has to be answered by op 9, and with
    /// what.
    pub(crate) fn take_invalid_session(&mut self, now: Tick) -> Option<bool> {
        let storm = self
            .storm
            .as_mut()
            .filter(|storm| storm.times != Some(0) && storm.until.is_none_or(|until| now < until))?;
        storm.times = storm.times.map(|left| left - 1);
        Some(storm.resumable)
    }

    pub(crate) fn will_close(&self, phase: Phase) -> bool {
        self.close_after
            .iter()
            .any(|(at, _, times)| *at == phase && *times != Some(0))
    }

    /// How a connection that reached the phase has to end, if it has to.
    pub(crate) fn take_close(&mut self, phase: Phase) -> Option<Option<u16>> {
        let found = self
            .close_after
            .iter_mut()
            .find(|(at, _, times)| *at == phase && *times != Some(0))?;
        found.2 = found.2.map(|left| left - 1);
        Some(found.1)
    }

    /// The status that REST has to answer with, if it has to, and the seconds
    /// after which a rate limit is over.
    pub(crate) fn take_rest(&mut self) -> Option<(u16, u32)> {
        let (status, times, retry_after) = self.rest.as_mut().filter(|(_, times, _)| *times != Some(0))?;
        *times = times.map(|left| left - 1);
        Some((*status, *retry_after))
    }

    pub(crate) fn is_deaf(&self, shard: u32) -> bool {
        self.all_deaf || self.deaf.contains(&shard)
    }
}
