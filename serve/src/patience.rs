//! Bounds how long a connection may take nothing of its answer. A reader that
//! stopped reading would keep its place, and one of a stream of events for ever.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

/// Longer than a network hiccup that TCP survives without being noticed.
const STALL_TIME: Duration = Duration::from_secs(30);

/// Since when the other side has taken nothing.
#[derive(Default)]
pub(super) struct Patience {
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// What became of a write; too long without one is an error.
    pub(super) fn with<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.deadline = None;
            return write;
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL_TIME)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
