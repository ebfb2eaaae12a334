//! NDJSON on standard output, from a thread of its own: a reader that stopped
//! reading blocks the thread, never the shards.
//!
//! An event counts as acknowledged when its line was written and flushed. That
//! is the weakest of acknowledgements: the reader may still lose it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{Event, line};

/// Room for what the reader is behind; some 16,000 ordinary messages.
pub(super) const LIMIT_BYTES: usize = 16 << 20;
/// Lines are gathered up to this size before they are written.
const CHUNK_BYTES: usize = 64 << 10;

/// The queue between the shards and the writing thread.
#[derive(Debug)]
pub(crate) struct Writer {
    limit: usize,
    queue: Mutex<Queue>,
    /// Wakes the thread: there is work, or nobody will bring any more.
    work: Condvar,
    /// Wakes the shards: something was acknowledged.
    progress: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    /// Weight of everything not yet acknowledged, in the queue or in writing.
    bytes: usize,
    broken: bool,
}

impl Writer {
    /// Starts the thread that writes to `out`.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        limit: usize,
        failed: CancellationToken,
    ) -> io::Result<Arc<Self>> {
        let writer = Arc::new(Self {
            limit,
            queue: Mutex::default(),
            work: Condvar::new(),
            progress: Notify::new(),
        });
        let thread = Arc::clone(&writer);
        std::thread::Builder::new()
            .name("sink-stdout".to_owned())
            .spawn(move || thread.run(out, &failed))?;
        Ok(writer)
    }

    pub(super) fn offer(&self, event: Event) -> Result<(), Event> {
        let weight = event.weight();
        let mut queue = self.lock();
        // One event larger than the limit passes when it is alone.
        if queue.broken || (queue.bytes > 0 && queue.bytes + weight > self.limit) {
            return Err(event);
        }
        queue.bytes += weight;
        queue.events.push_back(event);
        drop(queue);
        self.work.notify_one();
        Ok(())
    }

    /// Resolves when half of the room is free, so that a parked shard does not
    /// come back for a single event.
    pub(super) async fn drained(&self) {
        self.below(self.limit / 2).await;
    }

    pub(super) async fn empty(&self) {
        self.below(0).await;
    }

    async fn below(&self, bytes: usize) {
        loop {
            let progress = self.progress.notified();
            let mut progress = std::pin::pin!(progress);
            // Registered before the look, so that no wake-up is missed between.
            progress.as_mut().enable();
            if self.lock().bytes <= bytes {
                return;
            }
            progress.await;
        }
    }

    fn run(&self, mut out: impl Write, failed: &CancellationToken) {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        loop {
            let events = self.take();
            chunk.clear();
            for event in &events {
                if let Err(error) = line::write(event, &mut chunk) {
                    warn!(shard.id = %event.shard, %error, "a payload that is not JSON was dropped");
                }
            }
            if let Err(error) = out.write_all(&chunk).and_then(|()| out.flush()) {
                error!(%error, "cannot write events to standard output");
                self.lock().broken = true;
                failed.cancel();
                return;
            }
            let written: usize = events.iter().map(Event::weight).sum();
            for event in events {
                event.acks.ack(event.sequence);
            }
            self.lock().bytes -= written;
            self.progress.notify_waiters();
        }
    }

    /// The next events to write together; blocks until there is one.
    fn take(&self) -> Vec<Event> {
        let mut queue = self
            .work
            .wait_while(self.lock(), |queue| queue.events.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let mut size = 0;
        let mut events = Vec::new();
        while size < CHUNK_BYTES
            && let Some(event) = queue.events.pop_front()
        {
            size += event.weight();
            events.push(event);
        }
        events
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code that holds the lock can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "stdout_tests.rs"]
mod tests;
