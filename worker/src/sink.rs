//! Where gateway events go: in order per shard, at least once.
//!
//! A sink never makes the poll loop wait, because heartbeats leave only while a
//! shard is polled. It takes an event at once or refuses it. A refusal parks the
//! shard: the gateway is closed resumable, beats go on, and once the sink has
//! drained the shard resumes from the last event that was taken. Discord's
//! replay is the overflow buffer, and the worker's memory stays bounded.
//!
//! Taken is not delivered: only what the sink has acknowledged counts in the
//! resume point that the manager keeps for the next holder.

mod lane;
mod line;
mod stdout;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use shardman_core::{Epoch, ShardId};
use tokio_util::sync::CancellationToken;

pub(crate) use lane::Lane;
use stdout::Writer;

/// The kinds of sink, as `EVENT_SINK` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SinkKind {
    /// Counted and dropped.
    None,
    /// One JSON object a line on standard output.
    Stdout,
}

/// The last sequence of one gateway session that the sink has acknowledged.
/// Sequences start again with every session, so each has a cell of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acks(Arc<AtomicU64>);

impl Acks {
    /// Acknowledged up to `sequence` by an earlier holder.
    pub(crate) fn up_to(sequence: u64) -> Self {
        Self(Arc::new(AtomicU64::new(sequence)))
    }

    pub(crate) fn ack(&self, sequence: u64) {
        self.0.fetch_max(sequence, Ordering::AcqRel);
    }

    pub(crate) fn last(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// One dispatch on its way to a sink.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) shard: ShardId,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) sequence: u64,
    pub(crate) kind: Box<str>,
    /// The whole payload, as it came.
    pub(crate) payload: String,
    pub(crate) acks: Acks,
}

impl Event {
    /// The memory that it occupies while it waits.
    pub(crate) fn weight(&self) -> usize {
        self.payload.len() + self.kind.len() + size_of::<Self>()
    }
}

/// The process's sink, shared by its shards.
#[derive(Clone, Debug)]
pub(crate) enum Sink {
    None,
    Stdout(Arc<Writer>),
}

impl Sink {
    /// Opens the sink. `failed` is cancelled when it is gone for good.
    pub(crate) fn open(kind: SinkKind, failed: &CancellationToken) -> std::io::Result<Self> {
        match kind {
            SinkKind::None => Ok(Self::None),
            SinkKind::Stdout => Ok(Self::Stdout(Writer::start(
                std::io::stdout(),
                stdout::LIMIT_BYTES,
                failed.clone(),
            )?)),
        }
    }

    /// Takes the event, or gives it back when there is no room.
    pub(crate) fn offer(&self, event: Event) -> Result<(), Event> {
        match self {
            Self::None => {
                event.acks.ack(event.sequence);
                Ok(())
            }
            Self::Stdout(writer) => writer.offer(event),
        }
    }

    /// Resolves when the sink has room again.
    pub(crate) async fn drained(&self) {
        match self {
            Self::None => {}
            Self::Stdout(writer) => writer.drained().await,
        }
    }

    /// Waits until everything taken is acknowledged; false if that took longer
    /// than `patience`.
    pub(crate) async fn flush(&self, patience: Duration) -> bool {
        match self {
            Self::None => true,
            Self::Stdout(writer) => tokio::time::timeout(patience, writer.empty()).await.is_ok(),
        }
    }
}
