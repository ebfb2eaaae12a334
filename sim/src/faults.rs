//! Faults on command: what `POST /sim/faults` takes, and those that stay.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

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
    /// REST answers with this status. Stays.
    Rest {
        status: u16,
        #[serde(default)]
        times: Option<u32>,
    },
    /// Heartbeats are not acknowledged. Stays.
    NoAck,
    /// The application loses these intents: IDENTIFY with one is closed with
    /// 4014. Stays.
    DenyIntents { intents: u64 },
    /// Nobody answers at `resume_gateway_url`. Stays.
    DeadResumeUrl,
}

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
            Self::CloseAfter { code: None, .. }
            | Self::Drop { .. }
            | Self::Reconnect { .. }
            | Self::InvalidSession { .. }
            | Self::Deaf { .. }
            | Self::SlowReady { .. }
            | Self::SessionLoss
            | Self::NoAck
            | Self::DenyIntents { .. }
            | Self::DeadResumeUrl => Ok(()),
        }
    }
}

/// The faults that stay until they are cleared.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    close_after: Vec<(Phase, Option<u16>, Option<u32>)>,
    rest: Option<(u16, Option<u32>)>,
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

    pub(crate) fn rest(&mut self, status: u16, times: Option<u32>) {
        self.rest = Some((status, times));
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

    /// The status that REST has to answer with, if it has to.
    pub(crate) fn take_rest(&mut self) -> Option<u16> {
        let (status, times) = self.rest.as_mut().filter(|(_, times)| *times != Some(0))?;
        *times = times.map(|left| left - 1);
        Some(*status)
    }

    pub(crate) fn is_deaf(&self, shard: u32) -> bool {
        self.all_deaf || self.deaf.contains(&shard)
    }
}
