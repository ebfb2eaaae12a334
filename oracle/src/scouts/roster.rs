//! Who holds a slot of the scouts' pool, as the manager says.
//!
//! A lease is never taken for lost because the manager is away: a scout that
//! cannot beat leaves by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderValue, StatusCode};
use shardman_core::wire::FleetView;
use shardman_core::{Epoch, PoolId};
use shardman_lease::{CallError, Manager};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::draft::frame::Closing;

/// An answer takes a moment; a manager that is busy may need more.
const PROOF_TIMEOUT: Duration = Duration::from_secs(3);

/// A session that nobody has.
const NO_SESSION: &str = "00000000-0000-0000-0000-000000000000";

/// One slot that somebody holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Holding {
    pub(super) epoch: u64,
    /// The manager's name of it, where it is a child of the manager.
    pub(super) worker: Option<String>,
    /// Milliseconds since 1970: when this lease was first seen, and its last beat.
    pub(super) since_ms: u64,
    pub(super) last_beat_ms: u64,
}

/// The slots that are held.
pub(super) type Holdings = BTreeMap<u32, Holding>;

/// What a scout says of its lease, to be proved.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) slot: u32,
    pub(super) session_id: String,
    pub(super) epoch: u64,
}

pub(super) struct Roster {
    manager: Manager,
    pool: PoolId,
    held: watch::Sender<Option<Arc<Holdings>>>,
    is_reachable: AtomicBool,
}

impl Roster {
    pub(super) fn new(manager: Manager, pool: PoolId) -> Self {
        Self {
            manager,
            pool,
            held: watch::Sender::new(None),
            is_reachable: AtomicBool::new(true),
        }
    }

    /// Where the manager is.
    pub(super) fn url(&self) -> &str {
        self.manager.url()
    }

    pub(super) fn pool(&self) -> &PoolId {
        &self.pool
    }

    /// What was last heard; `None` before anything was.
    pub(super) fn held(&self) -> Option<Arc<Holdings>> {
        self.held.borrow().clone()
    }

    /// Whether the manager answered when it was last asked.
    pub(super) fn is_reachable(&self) -> bool {
        self.held().is_some() && self.is_reachable.load(Ordering::Relaxed)
    }

    /// Asks the manager who holds what.
    pub(super) async fn look(&self) -> Result<Arc<Holdings>, CallError> {
        let fleet = self.manager.fleet().await;
        let was_reachable = self.is_reachable.swap(fleet.is_ok(), Ordering::Relaxed);
        match &fleet {
            Ok(_) if !was_reachable => info!("the manager says again who holds the slots of {}", self.pool),
            Err(error) if was_reachable => {
                warn!(%error, "the manager does not say who holds the slots of {}", self.pool);
            }
            Ok(_) | Err(_) => {}
        }
        let fleet = fleet?;
        let before = self.held();
        let held = Arc::new(holdings(&fleet, &self.pool, before.as_deref(), now_ms()));
        self.held.send_replace(Some(Arc::clone(&held)));
        Ok(held)
    }

    /// Whether the manager takes this secret at all: strangers are not to hold up
    /// those who have one. An error is whether it refused; else it is away.
    pub(super) async fn knows(&self, authorization: &HeaderValue) -> Result<(), Option<StatusCode>> {
        let caller = self.manager.on_behalf_of(authorization.clone());
        match caller.session(NO_SESSION, PROOF_TIMEOUT).await {
            Ok(_) => Ok(()),
            // The secret comes before the session.
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(()),
            Err(error) => Err(error.status().filter(StatusCode::is_client_error)),
        }
    }

    /// Has a scout's claim confirmed in one answer: its own secret is good for
    /// this session, and that holds this slot of the pool with this epoch. Its
    /// lease lives no longer for it.
    pub(super) async fn prove(&self, claim: &Claim, authorization: HeaderValue) -> Result<(), Closing> {
        let caller = self.manager.on_behalf_of(authorization);
        let proof = caller.session(&claim.session_id, PROOF_TIMEOUT).await;
        let holds = proof.map_err(|error| refusal(&error))?;
        // A new lease is looked up at once, so that what was heard before it
        // puts nobody out.
        let is_listed = |held: Arc<Holdings>| {
            held.get(&claim.slot)
                .is_some_and(|holding| holding.epoch == claim.epoch)
        };
        if !self.held().is_some_and(is_listed) {
            self.look().await.map_err(|_| Closing::TryAgain)?;
        }
        let is_so = holds.pool == self.pool.as_str()
            && holds.shard_id == claim.slot
            && holds.epoch == Epoch(claim.epoch);
        if is_so { Ok(()) } else { Err(Closing::NotHeld) }
    }
}

/// What the manager's refusal of the proof means.
fn refusal(error: &CallError) -> Closing {
    match error.status() {
        Some(status) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            Closing::NotHeld
        }
        _ => Closing::TryAgain,
    }
}

fn holdings(fleet: &FleetView, pool: &PoolId, before: Option<&Holdings>, now_ms: u64) -> Holdings {
    let pool = fleet.pools.iter().find(|view| view.pool == pool.as_str());
    let slots = pool.into_iter().flat_map(|pool| &pool.shards);
    let held = slots.filter_map(|view| {
        let (slot, epoch) = (view.shard.number(), view.epoch?.0);
        let known = before.and_then(|before| before.get(&slot));
        let known = known.filter(|known| known.epoch == epoch);
        let age = view.beat_age.unwrap_or(0.0).clamp(0.0, 1e9);
        let holding = Holding {
            epoch,
            worker: view.worker.clone(),
            since_ms: known.map_or(now_ms, |known| known.since_ms),
            last_beat_ms: now_ms.saturating_sub((age * 1000.0) as u64),
        };
        Some((slot, holding))
    });
    held.collect()
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
