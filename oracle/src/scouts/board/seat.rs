//! A connected scout that holds its slot.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::draft::frame::{Closing, FromOracle};
use crate::scouts::reputation::Reputation;

/// So often in a row a scout has had nothing: others are asked instead.
const ABSENT_AFTER: u32 = 16;
/// Drafts that a scout may send beyond those that it was asked for.
const CREDIT_SPARE: usize = 64;
const CREDIT_MAX: usize = 1 << 16;

/// One connection, by a number that is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::scouts) struct ConnectionId(pub(in crate::scouts) u64);

/// What goes out to a scout.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scouts) enum Outgoing {
    Frame(FromOracle),
    /// Nothing follows.
    Close(Closing),
}

pub(super) struct Seat {
    pub(super) epoch: u64,
    pub(super) connection: ConnectionId,
    /// It is closed by being dropped, at the latest.
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    pub(super) reputation: Reputation,
    /// Drafts that it may still send.
    pub(super) credit: usize,
    /// So often in a row it had nothing for the answer that was asked for.
    pub(super) absent: u32,
    /// The wait that ended without a draft of it, until it is quicker again.
    pub(super) late: Option<Duration>,
    /// Cancelled when the seat is lost: what is queued is not for its scout any more.
    pub(super) lost: CancellationToken,
    _loses: DropGuard,
}

impl Seat {
    pub(super) fn new(
        epoch: u64,
        connection: ConnectionId,
        outgoing: mpsc::Sender<Outgoing>,
        reputation: Reputation,
    ) -> Self {
        let lost = CancellationToken::new();
        Self {
            _loses: lost.clone().drop_guard(),
            lost,
            epoch,
            connection,
            outgoing,
            reputation,
            credit: CREDIT_SPARE,
            absent: 0,
            late: None,
        }
    }

    /// It was told something to draft for.
    pub(super) fn grant(&mut self, drafts: usize) {
        self.credit = (self.credit + drafts).min(CREDIT_MAX);
    }

    pub(super) fn is_absent(&self) -> bool {
        self.absent >= ABSENT_AFTER
    }

    /// Better ones come first.
    pub(super) fn rank(&self, load: usize) -> (bool, bool, usize, i64) {
        let acceptance = (self.reputation.acceptance() * 20.0) as i64;
        (self.is_absent(), self.reputation.is_poor(), load, -acceptance)
    }

    pub(super) fn is_good(&self) -> bool {
        !self.is_absent() && !self.reputation.is_poor()
    }
}
