//! Every answer is what plain decoding alone makes of it, whoever shares the
//! passes, drafts or goes away.

mod drafters;
mod life;
mod pace;
mod plain;
mod same;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use prometheus::Registry;

use self::drafters::{Character, TestDrafter};
use self::plain::{Whole, collect, job, plain};
use super::*;
use crate::engine::fake::{self, FakeSettings, FakeWatch};

/// Nothing here should take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A scheduler with a fake engine, and all that a test may see of it.
struct Bench {
    handle: Handle,
    watch: Arc<FakeWatch>,
    registry: Registry,
}

impl Bench {
    fn new(fake: &FakeSettings, settings: Settings) -> Self {
        Self::with(fake, settings, &[])
    }

    fn with(fake: &FakeSettings, settings: Settings, drafters: &[Character]) -> Self {
        let (model, watch) = fake::watched(fake.clone());
        let registry = Registry::new();
        let open = Arc::new(AtomicUsize::new(0));
        let drafters = (0..).zip(drafters).map(|(slot, &character)| {
            Box::new(TestDrafter::new(character, slot, fake, &open)) as Box<dyn Drafter>
        });
        let handle = start(model, drafters.collect(), settings, &registry);
        Self {
            handle,
            watch,
            registry,
        }
    }

    fn submit(&self, job: &Job) -> Ticket {
        self.handle.submit(job.clone()).unwrap()
    }

    /// Submits a job, and waits for the first event of its answers.
    fn begin(&self, job: &Job) -> (Ticket, Event) {
        let mut ticket = self.submit(job);
        assert_eq!(ticket.events.blocking_recv(), Some(Event::Begun));
        let event = ticket.events.blocking_recv().expect("a job has events");
        (ticket, event)
    }

    fn until_idle(&self) {
        until("freeing all rows", || {
            let standing = self.handle.standing();
            standing.active == 0 && standing.queued == 0
        });
        let standing = self.handle.standing();
        assert_eq!((standing.rows, standing.kv_bytes), (0, 0));
        assert_eq!(self.watch.open_sequences.load(Relaxed), 0);
        assert_eq!(self.watch.held_tokens.load(Relaxed), 0);
    }

    /// What a counter or gauge says, over all its labels.
    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        metrics
            .iter()
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// An answer that goes on until its reader leaves.
fn endless(content: &str) -> Job {
    Job {
        max_tokens: 3000,
        ..job(&format!("!long! {content}"))
    }
}

fn slow() -> FakeSettings {
    FakeSettings {
        per_pass: Duration::from_millis(3),
        ..FakeSettings::default()
    }
}
