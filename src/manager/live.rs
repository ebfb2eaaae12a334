//! Everybody who looks at the fleet is told what changes, once a second at
//! most. What is news is found once for all of them, and while nobody looks
//! nothing is done.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shardman_core::live::Told;
use shardman_core::wire::FleetView;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;

use super::handle::{ManagerHandle, Shared};

/// Who may look at one time, beside those who follow the events.
pub const MAX_VIEWERS: usize = 64;

/// Of these places only operators take some: whoever has a link to look does
/// not shut out who has to act.
const OPERATORS: usize = 16;

/// How often the fleet is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Changes that a viewer may be behind before it gets the whole fleet anew.
const BEHIND: usize = 16;

/// Who looks, and what they were told.
#[derive(Debug)]
pub(super) struct Live {
    /// None while nobody looks.
    told: Mutex<Option<Told>>,
    changes: broadcast::Sender<Arc<str>>,
    places: Arc<Semaphore>,
    operators: Arc<Semaphore>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            told: Mutex::new(None),
            changes: broadcast::Sender::new(BEHIND),
            places: Arc::new(Semaphore::new(MAX_VIEWERS - OPERATORS)),
            operators: Arc::new(Semaphore::new(OPERATORS)),
        }
    }
}

/// What a viewer gets: the fleet, then what changes.
#[derive(Debug)]
pub enum News {
    Fleet(String),
    Change(Arc<str>),
}

/// Somebody who looks.
#[derive(Debug)]
pub struct Viewer {
    shared: Arc<Shared>,
    changes: broadcast::Receiver<Arc<str>>,
    /// It has to be told everything.
    anew: bool,
    _place: OwnedSemaphorePermit,
}

impl ManagerHandle {
    /// A place among those who look; none while all are taken that this one may
    /// take. It is given back when it is dropped.
    pub fn look(&self, operates: bool) -> Option<Viewer> {
        let live = &self.shared.live;
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let place = match take(&live.places) {
            Some(place) => place,
            None if operates => take(&live.operators)?,
            None => return None,
        };
        let mut told = live.told();
        // From here on nothing is missed: the whole fleet is read later.
        let changes = live.changes.subscribe();
        if told.is_none() {
            let now = self.shared.clock.now();
            *told = Some(Told::all(&self.shared.view(), now));
            tokio::spawn(tell(Arc::clone(&self.shared)));
        }
        Some(Viewer {
            shared: Arc::clone(&self.shared),
            changes,
            anew: true,
            _place: place,
        })
    }
}

impl Live {
    fn told(&self) -> MutexGuard<'_, Option<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells what changes for as long as somebody looks.
async fn tell(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut held = shared.live.told();
        let Some(told) = held.as_mut().filter(|_| shared.live.changes.receiver_count() > 0) else {
            *held = None;
            return;
        };
        shared.look_again(told);
    }
}

impl Viewer {
    /// The next news. It waits for some.
    pub async fn next(&mut self) -> Option<News> {
        if !self.anew {
            match self.changes.recv().await {
                Ok(change) => return Some(News::Change(change)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
        self.anew = false;
        let mut told = self.shared.live.told();
        // What it is shown counts as told to all, or a row that goes back to
        // what it was before the next look would stay as it is shown here.
        let view = match told.as_mut() {
            Some(told) => self.shared.look_again(told),
            None => self.shared.view(),
        };
        self.changes = self.changes.resubscribe();
        drop(told);
        Some(News::Fleet(json(&view)))
    }
}

#[cfg(test)]
impl Viewer {
    /// As if it had not read for long.
    pub(crate) fn fall_behind(&self) {
        for _ in 0..=BEHIND {
            drop(self.shared.live.changes.send("{}".into()));
        }
    }
}

impl Shared {
    /// Tells everybody what is news since `told`, in whose order it is sent.
    /// Returns the whole.
    fn look_again(&self, told: &mut Told) -> FleetView {
        let view = self.view();
        let change = told.next(view.clone(), self.clock.now());
        if !change.is_empty() {
            // Whoever has gone meanwhile needs none.
            drop(self.live.changes.send(json(&change).into()));
        }
        view
    }

    /// What `GET /fleet` shows.
    pub(super) fn view(&self) -> FleetView {
        let mut view = FleetView {
            kill_method: self.means.kill.as_str().to_owned(),
            memory_limit: self.means.memory.map(|by| by.as_str().to_owned()),
            ..super::pools::fleet(self)
        };
        self.add_usage(&mut view.workers);
        for pool in &mut view.pools {
            self.add_usage(&mut pool.workers);
        }
        view
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("a view is plain data with string keys")
}
