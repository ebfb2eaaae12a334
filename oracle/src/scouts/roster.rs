//! Who holds a slot of the scouts' pool, as the manager says.
//!
//! A lease is never taken for lost because the manager is away: a scout that
//! cannot beat leaves by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// With the number of the look that said so.
    held: watch::Sender<(u64, Option<Arc<Holdings>>)>,
    looks: AtomicU64,
    is_reachable: AtomicBool,
}

impl Roster {
    pub(super) fn new(manager: Manager, pool: PoolId) -> Self {
        Self {
            manager,
            pool,
            held: watch::Sender::new((0, None)),
            looks: AtomicU64::new(0),
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
        self.held.borrow().1.clone()
    }

    /// Whether the manager answered when it was last asked.
    pub(super) fn is_reachable(&self) -> bool {
        self.held().is_some() && self.is_reachable.load(Ordering::Relaxed)
    }

    /// Asks the manager who holds what. Where a later look was answered first,
    /// what that one found stays.
    pub(super) async fn look(&self) -> Result<Arc<Holdings>, CallError> {
        let number = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
        let fleet = self.manager.fleet().await;
        let was_reachable = self.is_reachable.swap(fleet.is_ok(), Ordering::Relaxed);
        match &fleet {
            Ok(_) if !was_reachable => info!("the manager says again who holds the slots of {}", self.pool),
            Err(error) if was_reachable => {
                warn!(%error, "the manager does not say who holds the slots of {}", self.pool);
            }
            Ok(_) | Err(_) => {}
        }
        Ok(self.take(number, &fleet?))
    }

    fn take(&self, number: u64, fleet: &FleetView) -> Arc<Holdings> {
        let mut latest = Arc::default();
        self.held.send_if_modified(|(known, held)| {
            let is_later = number > *known;
            if is_later {
                let found = holdings(fleet, &self.pool, held.as_deref(), now_ms());
                (*known, *held) = (number, Some(Arc::new(found)));
            }
            latest = held.clone().unwrap_or_default();
            is_later
        });
        latest
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

#[cfg(test)]
mod tests {
    use shardman_lease::Secret;

    use super::*;

    const FLEET: &str = r#"{"planned":0,"leased":0,"ready":0,"max_concurrency":1,"trouble":[],
        "shards":[],"workers":[],"pools":[{"pool":"scouts","size":1,"leased":1,"ready":1,
        "max_seconds":60.0,"workers":[],"shards":[{"shard":"0/1","state":"ready"}]}]}"#;

    fn fleet(epoch: u64) -> FleetView {
        let mut fleet: FleetView = serde_json::from_str(FLEET).unwrap();
        fleet.pools[0].shards[0].epoch = Some(Epoch(epoch));
        fleet
    }

    #[test]
    fn an_older_look_that_is_answered_late_changes_nothing() {
        let nowhere = "http://127.0.0.1:1".parse().unwrap();
        let manager = Manager::new(&nowhere, &Secret::from("secret".to_owned())).unwrap();
        let roster = Roster::new(manager, "scouts".parse().unwrap());
        let epoch = |held: Arc<Holdings>| held[&0].epoch;
        assert_eq!(epoch(roster.take(2, &fleet(8))), 8);
        assert_eq!(epoch(roster.take(1, &fleet(7))), 8, "the later one's");
        assert_eq!(epoch(roster.held().unwrap()), 8);
        assert_eq!(epoch(roster.take(3, &fleet(9))), 9);
    }
}
