//! What happened, for all who ask: told by the owner after each turn, kept in
//! bounds in memory, and written down by a thread of its own, so that neither
//! a slow disk nor a slow reader holds a turn up.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shardman_core::timeline::{Event, EventsView, Filter, Kind, Page, Subject, Timeline};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tracing::warn;

use super::fleet::Note;
use super::handle::ManagerHandle;
use crate::clock::wall_ms;
use crate::metrics::Metrics;
use writer::Writer;

mod writer;

/// Batches that wait for the disk. What comes on top is written with the whole
/// timeline, once the disk is there again.
const QUEUE: usize = 1024;

/// Readers that follow at one time: dashboards and scripts, not workers. They
/// leave nearly all connections to those.
pub const MAX_READERS: usize = 64;

/// How long the end of the manager waits for the last events to be written.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// The timeline, and who is told of it.
#[derive(Debug)]
pub(super) struct History {
    shared: Arc<Kept>,
    /// None where no thread could be started: then nothing is written.
    writer: Option<SyncSender<Job>>,
    last: watch::Sender<u64>,
    readers: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// What the owner and the writer share.
#[derive(Debug, Default)]
struct Kept {
    timeline: Mutex<Timeline>,
    /// Some events were not given to the writer.
    behind: AtomicBool,
}

#[derive(Debug)]
enum Job {
    Write(Vec<Arc<Event>>),
    Close(oneshot::Sender<()>),
}

impl Kept {
    fn timeline(&self) -> MutexGuard<'_, Timeline> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// Goes on where the file of the last manager ends. What cannot be read is
    /// left out.
    pub(super) fn open(path: &Path, metrics: Arc<Metrics>) -> Self {
        let shared = Arc::new(Kept::default());
        writer::read(path, &mut shared.timeline());
        let (writer, jobs) = sync_channel(QUEUE);
        let mut thread = Writer::new(path, Arc::clone(&shared));
        let spawned = std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || jobs.into_iter().for_each(|job| thread.run(job)));
        if let Err(error) = &spawned {
            warn!("no event is written down: {error}");
        }
        let last = watch::Sender::new(shared.timeline().last());
        Self {
            shared,
            writer: spawned.is_ok().then_some(writer),
            last,
            readers: Arc::new(Semaphore::new(MAX_READERS)),
            metrics,
        }
    }

    /// Tells what is durable now.
    pub(super) fn publish(&self, notes: Vec<Note>) {
        if notes.is_empty() {
            return;
        }
        let mut told = Vec::with_capacity(notes.len());
        let last = {
            let mut timeline = self.shared.timeline();
            for Note {
                mut event,
                number,
                because_of,
                ..
            } in notes
            {
                event.because_of = because_of.and_then(|number| number.get().copied());
                self.metrics.event(event.kind);
                let event = timeline.push(event);
                // Each note is told once.
                let _ = number.set(event.number);
                told.push(event);
            }
            timeline.last()
        };
        if let Some(writer) = &self.writer
            && writer.try_send(Job::Write(told)).is_err()
        {
            self.shared.behind.store(true, Ordering::Relaxed);
        }
        self.last.send_replace(last);
    }

    /// Tells what the owner itself did or met.
    pub(super) fn tell(&self, kind: Kind, cause: &str) {
        let event = Event::new(kind, Subject::fleet(), cause, wall_ms());
        self.publish(vec![Note::alone(event)]);
    }

    /// The last events are written, if the disk takes them.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if let Some(writer) = &self.writer
            && writer.try_send(Job::Close(done)).is_ok()
        {
            // What is not written in time is left out.
            drop(tokio::time::timeout(CLOSE_WITHIN, closed).await);
        }
    }
}

impl ManagerHandle {
    /// The last `limit` events of those asked for.
    pub fn latest_events(&self, filter: &Filter, limit: usize) -> Page {
        self.shared.history.shared.timeline().latest(filter, limit)
    }

    /// The first `limit` events behind a number.
    pub fn events_after(&self, number: u64, filter: &Filter, limit: usize) -> Page {
        self.shared.history.shared.timeline().after(number, filter, limit)
    }

    /// A page of events as it goes over HTTP; `causes` adds what led to them.
    pub fn events_view(&self, page: Page, causes: bool) -> EventsView {
        let events = if causes {
            self.shared.history.shared.timeline().with_causes(page.events)
        } else {
            page.events
        };
        EventsView {
            now_ms: wall_ms(),
            next: page.next,
            lagged: page.lagged,
            events: events.iter().map(|event| Event::clone(event)).collect(),
        }
    }

    /// A place among those who follow; it is given back when it is dropped.
    pub fn follow_events(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.shared.history.readers).try_acquire_owned().ok()
    }

    /// The number of the newest event, whenever there is one.
    pub fn newest_event(&self) -> watch::Receiver<u64> {
        self.shared.history.last.subscribe()
    }
}
