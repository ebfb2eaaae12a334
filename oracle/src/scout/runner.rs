//! The scout's engine, on a thread of its own: takes what the connection was
//! told, and guesses whenever there is something to guess.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Duration;

use shardman_core::Tick;
use shardman_lease::now;
use tokio::sync::mpsc;
use tracing::warn;

use super::desk::Desk;
use crate::draft::frame::{FromOracle, FromScout};
use crate::engine::Model;

/// What may wait for the engine. An oracle that says more in one pass is left,
/// and asked anew.
const WAITING_MAX: usize = 4096;
/// No pass of a scout takes longer, unless it is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// What the engine is told.
enum Told {
    /// A connection begins, and takes guesses; what was before is forgotten.
    Begin(mpsc::Sender<FromScout>),
    Frame(FromOracle),
}

/// The engine, as a connection sees it.
#[derive(Clone)]
pub(super) struct Runner {
    told: SyncSender<Told>,
    pulse: Arc<Pulse>,
    vocabulary_hash: String,
}

/// The engine cannot take more, or is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overrun;

impl Runner {
    /// Starts the thread. It ends with the last of these.
    pub(super) fn start(model: Model) -> std::io::Result<Self> {
        let (told, frames) = sync_channel(WAITING_MAX);
        let desk = Desk::new(model);
        let vocabulary_hash = desk.vocabulary_hash();
        let pulse = Arc::new(Pulse::default());
        let thread = Arc::clone(&pulse);
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || run(desk, &frames, &thread))?;
        Ok(Self {
            told,
            pulse,
            vocabulary_hash,
        })
    }

    pub(super) fn vocabulary_hash(&self) -> &str {
        &self.vocabulary_hash
    }

    pub(super) fn begin(&self, guesses: mpsc::Sender<FromScout>) -> Result<(), Overrun> {
        self.tell(Told::Begin(guesses))
    }

    pub(super) fn frame(&self, frame: FromOracle) -> Result<(), Overrun> {
        self.tell(Told::Frame(frame))
    }

    fn tell(&self, told: Told) -> Result<(), Overrun> {
        self.told.try_send(told).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Overrun,
        })
    }

    /// Whether passes come to an end.
    pub(super) fn is_well(&self) -> bool {
        self.pulse.is_well(now())
    }
}

/// When the pass began that is under way.
#[derive(Debug, Default)]
struct Pulse {
    /// 0 while there is none, [`GONE`] when there will be none.
    since_ms: AtomicU64,
}

const GONE: u64 = u64::MAX;

impl Pulse {
    fn is_well(&self, now: Tick) -> bool {
        match self.since_ms.load(Ordering::Relaxed) {
            0 => true,
            GONE => false,
            since => now.since(Tick(since)) < STUCK,
        }
    }
}

/// Says that the thread is gone, also when it panics.
struct LastBeat<'a>(&'a Pulse);

impl Drop for LastBeat<'_> {
    fn drop(&mut self) {
        self.0.since_ms.store(GONE, Ordering::Relaxed);
    }
}

fn run(mut desk: Desk, frames: &Receiver<Told>, pulse: &Pulse) {
    let _last = LastBeat(pulse);
    let mut guesses: Option<mpsc::Sender<FromScout>> = None;
    loop {
        let next = match desk.has_work() {
            true => frames.try_recv(),
            false => frames.recv().map_err(|_| TryRecvError::Disconnected),
        };
        match next {
            Ok(told) => {
                hear(&mut desk, &mut guesses, told);
                continue;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return,
        }
        pulse.since_ms.store(now().0, Ordering::Relaxed);
        let drafts = desk.step();
        pulse.since_ms.store(0, Ordering::Relaxed);
        match (drafts, &guesses) {
            (Ok(drafts), Some(guesses)) => {
                for draft in drafts {
                    // What does not fit is late anyway.
                    let _ = guesses.try_send(draft);
                }
            }
            (Ok(_), None) => {}
            (Err(error), _) => warn!(%error, "what was to be guessed is forgotten"),
        }
    }
}

fn hear(desk: &mut Desk, guesses: &mut Option<mpsc::Sender<FromScout>>, told: Told) {
    match told {
        Told::Begin(sender) => {
            desk.clear(0);
            *guesses = Some(sender);
        }
        Told::Frame(FromOracle::Welcome { limit }) => desk.clear(limit),
        Told::Frame(FromOracle::Open {
            answer,
            prompt,
            sampling,
        }) => desk.open(answer, prompt, sampling),
        Told::Frame(FromOracle::Advance { answer, base, tokens }) => desk.advance(answer, base, &tokens),
        Told::Frame(FromOracle::Close { answer }) => desk.close(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_that_does_not_end_is_no_good_sign() {
        let pulse = Pulse::default();
        assert!(pulse.is_well(Tick(5_000)));
        pulse.since_ms.store(5_000, Ordering::Relaxed);
        assert!(pulse.is_well(Tick(64_999)));
        assert!(!pulse.is_well(Tick(65_000)));
        pulse.since_ms.store(0, Ordering::Relaxed);
        assert!(pulse.is_well(Tick(65_000)));
        drop(LastBeat(&pulse));
        assert!(!pulse.is_well(Tick(65_000)));
    }
}
