//! One poll of the gateway client at a time, and a look at what it did.

use std::task::{Context, Poll};

use futures_util::Stream;
use shardman_core::wire;
use tokio::time::Instant;
use tracing::debug;
use twilight_gateway::error::ReceiveMessageErrorType;
use twilight_gateway::{Message, ShardState};

use super::{Connection, READY_TIMEOUT};
use crate::permit::LeaseLost;
use shardman_lease::now;

/// Polls that a connection attempt may take: name look-up, TCP, TLS and the
/// WebSocket handshake need about ten. A peer that drops the TCP connection in
/// the same instant as the handshake ends makes the client connect again inside
/// one poll, unseen; this bounds how often.
const IDLE_POLLS_MAX: u32 = 24;

/// What a poll brought.
pub(super) enum Step {
    Text(String),
    /// The connection is gone.
    Closed(Option<u16>),
    /// IDENTIFY may be sent, or the lease turned out to be lost.
    Permit(Result<(), LeaseLost>),
    /// The lease ran out before the poll.
    Expired,
    Nothing,
}

impl Connection<'_> {
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if self.holder.lease.deadline.is_past(now()) {
            return Poll::Ready(Step::Expired);
        }
        if let Some((asking, _)) = &mut self.asking
            && let Poll::Ready(granted) = asking.as_mut().poll(cx)
        {
            return Poll::Ready(Step::Permit(granted));
        }
        let polled = std::pin::Pin::new(&mut self.shard).poll_next(cx);
        if std::mem::take(&mut self.identify_due) {
            // The permit reached the client before this poll, and the first
            // thing a poll does is to send.
            self.holder.beats.report(wire::ShardState::Identifying);
            self.phase_ends = Some(Instant::now() + READY_TIMEOUT);
        }
        match polled {
            Poll::Ready(Some(Ok(Message::Text(text)))) => {
                self.opened = true;
                Poll::Ready(Step::Text(text))
            }
            Poll::Ready(Some(Ok(Message::Close(frame)))) => {
                Poll::Ready(Step::Closed(frame.map(|frame| frame.code)))
            }
            Poll::Ready(Some(Err(error))) => {
                let harmless = matches!(error.kind(), ReceiveMessageErrorType::Deserializing { .. });
                let source = error.into_source();
                debug!(shard.id = %self.holder.lease.shard, ?source, "the gateway connection has an error");
                // A payload that the client cannot read is skipped; everything
                // else ends the connection.
                Poll::Ready(if harmless {
                    Step::Nothing
                } else {
                    Step::Closed(None)
                })
            }
            Poll::Ready(None) => Poll::Ready(Step::Closed(None)),
            Poll::Pending => self.look(),
        }
    }

    /// Nothing to read. The client may nevertheless have lost its connection,
    /// and be about to open another.
    fn look(&mut self) -> Poll<Step> {
        if !matches!(self.shard.state(), ShardState::Disconnected { .. }) {
            self.opened = true;
            return Poll::Pending;
        }
        self.idle_polls += 1;
        if self.opened || self.idle_polls > IDLE_POLLS_MAX {
            return Poll::Ready(Step::Closed(None));
        }
        Poll::Pending
    }
}
