//! Closes a connection such that its session can be resumed.

use std::time::Duration;

use futures_util::StreamExt;
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
        let _ = tokio::time::timeout(ECHO_TIMEOUT, self.await_echo()).await;
    }

    /// Polls until the close is through. What else arrives is dropped: it was
    /// not counted as taken, so a resume brings it again.
    async fn await_echo(&mut self) {
        while let Some(Ok(Message::Text(_))) = self.shard.next().await {
            // A client that is not closing any more has begun a new connection.
            if !matches!(self.shard.state(), ShardState::Disconnected { .. }) {
                return;
            }
        }
    }
}
