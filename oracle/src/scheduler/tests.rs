//! Every answer is what plain decoding alone makes of it, whoever shares the
//! passes, drafts or goes away.

mod drafters;
mod plain;
mod same;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::plain::{Whole, collect, job, plain};
use super::*;
use crate::engine::fake::{self, FakeSettings, FakeWatch};

/// Nothing here should take longer.
const PATIENCE: Duration = Duration::from_secs(30);

fn begin(fake: FakeSettings, settings: Settings) -> (Handle, Arc<FakeWatch>) {
    let (model, watch) = fake::watched(fake);
    (
        start(model, Vec::new(), settings, &prometheus::Registry::new()),
        watch,
    )
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::yield_now();
    }
}

#[test]
fn answers_that_share_passes_are_those_of_plain_decoding() {
    let fake = FakeSettings {
        memory: 1000,
        ..FakeSettings::default()
    };
    let (handle, watch) = begin(fake.clone(), Settings::default());
    let jobs: Vec<Job> = (0..12)
        .map(|index| {
            let mut job = job(&format!("tell me about shard {index}"));
            job.sampling.temperature = [0.0, 0.7, 1.5][index % 3];
            job.sampling.seed = index as u64;
            job.choices = 1 + (index % 4) as u32;
            job.max_tokens = 20 + index;
            job
        })
        .collect();
    let tickets: Vec<Ticket> = jobs
        .iter()
        .map(|job| handle.submit(job.clone()).unwrap())
        .collect();
    for (job, ticket) in jobs.iter().zip(tickets) {
        assert_eq!(collect(ticket), plain(&fake, job));
    }
    until("closing all sequences", || {
        watch.open_sequences.load(std::sync::atomic::Ordering::Relaxed) == 0
    });
    assert_eq!(handle.standing().kv_bytes, 0);
}

#[test]
fn a_failed_pass_fails_its_requests_and_no_later_one() {
    let fake = FakeSettings::default();
    let (handle, watch) = begin(fake.clone(), Settings::default());
    let whole = collect(handle.submit(job("!long! !fail-after=5!")).unwrap());
    assert!(
        matches!(whole, Whole::Failed(ref text) if text.contains("asked for it")),
        "{whole:?}"
    );
    let next = job("and now?");
    assert_eq!(collect(handle.submit(next.clone()).unwrap()), plain(&fake, &next));
    until("closing all sequences", || {
        watch.open_sequences.load(std::sync::atomic::Ordering::Relaxed) == 0
    });
}
