//! The scouts as the oracle sees them: who holds a slot of their pool, who is
//! connected, and what their drafts were worth.
//!
//! A scout is whoever holds a lease, so without a manager there are none. What
//! a scout says is never trusted: a wrong draft costs time, and nonsense costs
//! the connection.

mod board;
mod connection;
mod drafter;
mod metrics;
mod reputation;
mod roster;
mod strangers;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use prometheus::Registry;
use shardman_core::PoolId;
use shardman_lease::Manager;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use connection::NotHeard;
pub use drafter::ScoutDrafter;

use crate::engine::Facts;
use crate::network::{self, Network};
use board::Board;
use metrics::Metrics;
use roster::Roster;
use strangers::Strangers;

/// Where scouts connect.
pub const PATH: &str = "/v1/scouts/draft";
/// How often the manager is asked who holds what, while it matters.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// And while nobody is connected and nobody asks.
const LOOK_IDLE: Duration = Duration::from_secs(15);

/// One scout that holds a lease, or is connected.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub peer_id: String,
    /// Milliseconds since 1970.
    pub connected_at_ms: u64,
    /// Milliseconds since 1970.
    pub last_seen_at_ms: u64,
    pub addrs: Vec<String>,
    /// Whether it is connected, and proved that it holds its lease.
    pub verified: bool,
    pub handshake_failures: u64,
}

/// The scouts, for all who have to do with them.
#[derive(Clone)]
pub struct Scouts {
    shared: Arc<Shared>,
}

struct Shared {
    board: Mutex<Board>,
    drafted: Condvar,
    /// None without a manager.
    roster: Option<Roster>,
    metrics: Metrics,
    /// The model's, once it is loaded.
    vocabulary_hash: OnceLock<String>,
    /// Connections that have not said yet, or proved, who they are.
    strangers: Arc<Mutex<Strangers>>,
    contacts: Mutex<BTreeMap<u32, Contact>>,
    /// Somebody wants to know who holds what.
    wanted: Notify,
    stop: CancellationToken,
}

/// What is known of who speaks for a slot.
#[derive(Clone, Debug, Default)]
struct Contact {
    address: Option<IpAddr>,
    connected_at_ms: u64,
    last_frame_ms: u64,
    failures: u64,
}

impl Scouts {
    /// `manager` is where `pool` is; `limit` the most tokens of a draft.
    ///
    /// # Errors
    ///
    /// If `registry` has these metrics already.
    pub fn new(
        manager: Option<(Manager, PoolId)>,
        limit: usize,
        registry: &Registry,
        stop: CancellationToken,
    ) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::register(registry)?;
        let shared = Shared {
            board: Mutex::new(Board::new(metrics.clone(), limit)),
            drafted: Condvar::new(),
            roster: manager.map(|(manager, pool)| Roster::new(manager, pool)),
            metrics,
            vocabulary_hash: OnceLock::new(),
            strangers: Arc::default(),
            contacts: Mutex::default(),
            wanted: Notify::new(),
            stop,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The model is loaded: from now on scouts are admitted that have its
    /// vocabulary.
    pub fn admit(&self, facts: &Facts) {
        self.shared.board().set_vocabulary(facts.vocabulary);
        // The first model stays the one.
        let _ = self.shared.vocabulary_hash.set(facts.vocabulary_hash.clone());
    }

    /// What the scheduler asks.
    pub fn drafter(&self) -> ScoutDrafter {
        ScoutDrafter {
            shared: Arc::clone(&self.shared),
        }
    }

    /// The endpoint that scouts connect to.
    pub fn router(&self) -> Router {
        Router::new()
            .route(PATH, get(connection::connect))
            .with_state(Arc::clone(&self.shared))
    }

    /// Keeps up with the leases until the stop, and closes all connections then.
    pub async fn run(self) {
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            () = self.shared.follow_leases() => {}
        }
        self.shared.board().close_all();
    }

    /// How many are connected and proved their lease.
    pub fn connected(&self) -> usize {
        self.shared.board().connected()
    }
}

impl Network for Scouts {
    fn accepts_scouts(&self) -> bool {
        let roster = self.shared.roster.as_ref();
        roster.is_some_and(Roster::is_reachable) && self.shared.vocabulary_hash.get().is_some()
    }

    fn manager(&self) -> Option<network::Manager> {
        let roster = self.shared.roster.as_ref()?;
        Some(network::Manager {
            url: roster.url().to_owned(),
            is_reachable: roster.is_reachable(),
        })
    }

    /// Everybody who holds a slot, as the manager last said.
    fn peers(&self) -> Vec<Peer> {
        self.shared.wanted.notify_one();
        let Some(roster) = &self.shared.roster else {
            return Vec::new();
        };
        let held = roster.held().unwrap_or_default();
        let contacts = self.shared.contacts().clone();
        let board = self.shared.board();
        let peer = |(slot, holding): (&u32, &roster::Holding)| {
            let contact = contacts.get(slot).cloned().unwrap_or_default();
            let verified = board.is_connected(*slot, holding.epoch);
            let address = contact.address.filter(|_| verified);
            let (since_ms, seen_ms) = match verified {
                true => (contact.connected_at_ms, contact.last_frame_ms),
                false => (holding.since_ms, 0),
            };
            let name = holding.worker.clone();
            Peer {
                peer_id: name.unwrap_or_else(|| format!("{}-slot-{slot}", roster.pool())),
                connected_at_ms: since_ms,
                last_seen_at_ms: seen_ms.max(holding.last_beat_ms),
                addrs: address.map(multiaddress).into_iter().collect(),
                verified,
                handshake_failures: contact.failures,
            }
        };
        held.iter().map(peer).collect()
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contacts(&self) -> MutexGuard<'_, BTreeMap<u32, Contact>> {
        self.contacts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for news of the board, for at most so long.
    fn wait<'a>(&self, board: MutexGuard<'a, Board>, time: Duration) -> MutexGuard<'a, Board> {
        let waited = self.drafted.wait_timeout(board, time);
        waited.map_or_else(|poisoned| poisoned.into_inner().0, |(board, _)| board)
    }

    /// Asks the manager again and again; only those that hold their leases stay.
    async fn follow_leases(&self) {
        let Some(roster) = &self.roster else {
            return std::future::pending().await;
        };
        loop {
            if let Ok(held) = roster.look().await {
                let holds =
                    |slot: u32, epoch: u64| held.get(&slot).is_some_and(|holding| holding.epoch == epoch);
                self.board().keep_only(holds, Instant::now());
                self.contacts().retain(|slot, _| held.contains_key(slot));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            if self.board().connected() == 0 {
                let idle = tokio::time::timeout(LOOK_IDLE, self.wanted.notified());
                let _ = idle.await;
            }
        }
    }
}

/// As peers of a network write addresses.
fn multiaddress(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("/ip4/{address}"),
        IpAddr::V6(address) => format!("/ip6/{address}"),
    }
}
