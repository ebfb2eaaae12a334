//! The pools beside `discord`: a fleet for each, and which of them a caller, a
//! worker or a request belongs to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shardman_core::{PoolId, SessionId, WorkerId};
use tracing::warn;

use super::fleet::{Dice, Fleet};
use super::handle::{Caller, Shared};
use super::request::Request;
use super::settings::{Count, Settings};
use crate::clock::Clock;
use crate::store::{Saved, Write};
use crate::supervisor::Host;

mod handle;
mod view;

pub(super) use handle::within;
pub(super) use view::{fleet, summary};

/// The further pools, each behind a lock of its own. No two locks are ever
/// held at once.
#[derive(Debug, Default)]
pub(super) struct Pools(BTreeMap<PoolId, Mutex<Fleet>>);

impl Pools {
    /// Takes up every pool that is declared, and every one that an earlier
    /// manager left something of.
    pub(super) fn restore(settings: &Settings, clock: Clock, mut saved: BTreeMap<PoolId, Saved>) -> Self {
        let mut pools = BTreeMap::new();
        for pool in &settings.pools {
            let of_pool = saved.remove(&pool.pool).unwrap_or_default();
            pools.insert(pool.pool.clone(), (settings.of_pool(pool), of_pool));
        }
        let left = |saved: &Saved| !saved.workers.is_empty() || !saved.leases.is_empty();
        for (pool, of_pool) in saved.into_iter().filter(|(_, saved)| left(saved)) {
            warn!("the pool {pool} is not declared any more: what runs for it is stopped");
            pools.insert(pool.clone(), (settings.of_former_pool(pool), of_pool));
        }
        let restore = |(pool, (settings, saved))| {
            let fleet = Fleet::restore_pool(Arc::new(settings), clock, Dice::System, &Host, saved);
            (pool, Mutex::new(fleet))
        };
        Self(pools.into_iter().map(restore).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, pool: &str) -> Option<MutexGuard<'_, Fleet>> {
        self.0.get(pool).map(lock)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PoolId, MutexGuard<'_, Fleet>)> {
        self.0.iter().map(|(pool, fleet)| (pool, lock(fleet)))
    }

    /// The pools that are declared.
    pub(super) fn names(&self) -> Vec<PoolId> {
        let declared = self
            .iter()
            .filter(|(_, fleet)| fleet.settings.count != Count::Nothing);
        declared.map(|(pool, _)| pool.clone()).collect()
    }

    /// Sorts requests by pool; those of `discord` keep their order and come
    /// first.
    pub(super) fn sort(&self, requests: Vec<Request>) -> (Vec<Request>, BTreeMap<PoolId, Vec<Request>>) {
        let mut others: BTreeMap<PoolId, Vec<Request>> = BTreeMap::new();
        if self.is_empty() {
            return (requests, others);
        }
        let mut of_discord = Vec::new();
        for request in requests {
            if matches!(request, Request::Stop) {
                for pool in self.0.keys() {
                    others.entry(pool.clone()).or_default().push(Request::Stop);
                }
            }
            match self.of_request(&request).cloned() {
                Some(pool) => others.entry(pool).or_default().push(request),
                None => of_discord.push(request),
            }
        }
        (of_discord, others)
    }

    /// `None` for `discord`.
    fn of_request<'a>(&'a self, request: &'a Request) -> Option<&'a PoolId> {
        if let Request::In(pool, _) = request {
            return Some(pool);
        }
        let Request::Worker(event) = request else {
            return None;
        };
        let found = self.0.get_key_value(event.worker().pool());
        found.map(|(pool, _)| pool)
    }
}

fn lock(fleet: &Mutex<Fleet>) -> MutexGuard<'_, Fleet> {
    // As for the fleet of `discord`: a panic under it ends the process.
    fleet.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a pool makes durable, in its own part of the store.
pub(super) fn writes_of(pool: &PoolId, writes: &[Write]) -> Vec<Write> {
    let in_pool = |write: &Write| match pool.is_discord() {
        true => write.clone(),
        false => Write::Pool(pool.clone(), Box::new(write.clone())),
    };
    writes.iter().map(in_pool).collect()
}

impl Shared {
    /// The fleet of this pool; that of `discord` where there is no such pool.
    pub(super) fn of_pool(&self, pool: &str) -> MutexGuard<'_, Fleet> {
        self.pools.get(pool).unwrap_or_else(|| self.fleet())
    }

    /// The fleet in which this worker has its place.
    pub(super) fn of_worker(&self, worker: &WorkerId) -> MutexGuard<'_, Fleet> {
        self.of_pool(worker.pool())
    }

    /// The fleet in which this caller may have this session.
    pub(super) fn of_session(&self, caller: &Caller, session: SessionId) -> MutexGuard<'_, Fleet> {
        if self.pools.is_empty() {
            return self.fleet();
        }
        if let Caller::Child { worker, .. } = caller {
            return self.of_worker(worker);
        }
        {
            let fleet = self.fleet();
            if fleet.knows(session) {
                return fleet;
            }
        }
        let mut others = self.pools.iter().map(|(_, fleet)| fleet);
        let found = others.find(|fleet| fleet.knows(session));
        found.unwrap_or_else(|| self.fleet())
    }

    /// Every pool, `discord` first.
    pub(super) fn every_pool(&self) -> Vec<PoolId> {
        let others = self.pools.0.keys().cloned();
        std::iter::once(PoolId::discord()).chain(others).collect()
    }
}
