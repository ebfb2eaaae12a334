//! Closes a connection such that its session can be resumed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use twilight_gateway::{CloseFrame, Message, ShardState};

use super::Connection;

/// How long the peer has to echo a close frame. Not longer: a peer that never
/// does must not delay a stop.
const ECHO_TIMEOUT: Duration = Duration::from_millis(250);

impl Connection<'_> {
    /// Sends what is due: nothing where the peer closed, the close frame where
    /// this side does. Code 4000 keeps the session; 1000 and 1001
    /// would end it.
    pub(super) async fn close(&mut self) {
        // Gives the place in the identify line back, and makes sure that no
        // IDENTIFY follows.
        self.asking = None;
        if !self.opened || matches!(self.shard.state(), ShardState::FatallyClosed) {
            return;
        }
        if !matches!(self.shard.state(), ShardState::Disconnected { .. }) {
            self.shard.close(CloseFrame::RESUME);
        } else if !self.client_closes {
            return;
        }
        // The time-out only ever cuts a wait for the echo short.
        let mut polls = 0;
        let echo = std::future::poll_fn(|cx| self.poll_echo(cx, &mut polls));
        let _ = tokio::time::timeout(ECHO_TIMEOUT, echo).await;
    }

    /// Polls until the close is through. What else arrives is dropped: it was
    /// not counted as taken, so a resume brings it again.
    ///
    /// A peer that ends the TCP connection without an echo makes the client
    /// connect again, unseen. The first poll sends the close frame; one that
    /// was woken and still brings nothing may be that, so it is the last.
    fn poll_echo(&mut self, cx: &mut Context<'_>, polls: &mut u32) -> Poll<()> {
        loop {
            match Pin::new(&mut self.shard).poll_next(cx) {
                Poll::Ready(Some(Ok(Message::Text(_)))) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if *polls > 0 => return Poll::Ready(()),
                Poll::Pending => {
                    *polls += 1;
                    return Poll::Pending;
                }
            }
            // A client that is not closing any more has begun a new connection.
            if !matches!(self.shard.state(), ShardState::Disconnected { .. }) {
                return Poll::Ready(());
            }
        }
    }
}
