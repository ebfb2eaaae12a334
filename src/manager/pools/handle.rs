//! What others ask of pools: to take a slot of one, and to restart workers of
//! several.

use std::collections::{BTreeMap, BTreeSet};

use shardman_core::{PoolId, SessionId, WorkerId};
use tokio::sync::oneshot;

use crate::manager::handle::{Caller, ConnectError, ConnectRequest, Connection, ManagerHandle, STOPPED};
use crate::manager::request::{RETRY_SECONDS, Request};
use crate::manager::restarts::{RestartError, RestartRequest};

impl ManagerHandle {
    /// Leases the lowest free slot of a pool. None named means that of the
    /// caller: its own where it is a child, and `discord` otherwise.
    pub async fn connect_to(
        &self,
        pool: Option<&str>,
        request: ConnectRequest,
    ) -> Result<Connection, ConnectError> {
        let answer = self.lease_in(pool, request).await;
        self.shared.metrics.connect(&answer);
        answer
    }

    async fn lease_in(
        &self,
        pool: Option<&str>,
        request: ConnectRequest,
    ) -> Result<Connection, ConnectError> {
        let own = match &request.caller {
            Caller::Child { worker, .. } => Some(worker.pool().to_owned()),
            Caller::External | Caller::Operator => None,
        };
        let pool = self.pool_named(pool.or(own.as_deref()))?;
        if let Some(own) = own.filter(|own| own != pool.as_str()) {
            return Err(ConnectError::OtherPool { own });
        }
        let gone = || ConnectError::Unavailable {
            reason: STOPPED.to_owned(),
            retry_seconds: RETRY_SECONDS,
        };
        let (reply, answer) = oneshot::channel();
        let request = within(pool, Request::Connect { request, reply });
        self.requests.send(request).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    fn pool_named(&self, name: Option<&str>) -> Result<PoolId, ConnectError> {
        let discord = PoolId::discord();
        match name {
            None => Ok(discord),
            Some(name) if name == discord.as_str() => Ok(discord),
            Some(name) => {
                let declared = self.shared.pools.names();
                let found = declared.iter().find(|pool| pool.as_str() == name).cloned();
                found.ok_or_else(|| ConnectError::UnknownPool {
                    pools: self.pool_names(),
                })
            }
        }
    }

    fn pool_names(&self) -> Vec<String> {
        let declared = self.shared.pools.names();
        let all = std::iter::once(PoolId::discord()).chain(declared);
        all.map(|pool| pool.to_string()).collect()
    }

    /// The pool of this session, and the request for it.
    pub(in crate::manager) fn to_its_pool(
        &self,
        caller: &Caller,
        session: SessionId,
        request: Request,
    ) -> Request {
        let pool = self.shared.of_session(caller, session).settings.pool.clone();
        within(pool, request)
    }

    /// Restarts these workers, or all of a pool, or all: in each pool one after
    /// the other, and different pools beside each other. A shard without a pool
    /// is one of `discord`. False when none of them ran: they are started at
    /// once.
    pub async fn restart_in(
        &self,
        pool: Option<&str>,
        request: RestartRequest,
    ) -> Result<bool, RestartError> {
        let mut asked: BTreeMap<PoolId, RestartRequest> = BTreeMap::new();
        let canary = request.canary;
        let nobody = || RestartRequest {
            canary,
            ..RestartRequest::default()
        };
        let known = || self.shared.every_pool().into_iter();
        let unknown = || RestartError::UnknownPool {
            pools: self.pool_names(),
        };
        if request.is_of_all() {
            let all = known().filter(|known| pool.is_none_or(|pool| known.as_str() == pool));
            asked.extend(all.map(|pool| (pool, nobody())));
            if asked.is_empty() {
                return Err(unknown());
            }
        }
        if !request.shards.is_empty() {
            let of = pool.unwrap_or(PoolId::discord().as_str()).to_owned();
            let of = known().find(|known| known.as_str() == of).ok_or_else(unknown)?;
            asked.entry(of).or_insert_with(nobody).shards = request.shards;
        }
        for name in request.workers.into_iter().collect::<BTreeSet<_>>() {
            let worker = WorkerId::from(&*name);
            let fleet = self.shared.of_worker(&worker);
            if !fleet.workers.contains_key(&worker) {
                return Err(RestartError::UnknownWorker);
            }
            let of = fleet.settings.pool.clone();
            if pool.is_some_and(|pool| pool != of.as_str()) {
                return Err(RestartError::UnknownWorker);
            }
            asked.entry(of).or_insert_with(nobody).workers.push(name);
        }
        self.in_each(asked, |request, reply| Request::Restart { request, reply })
            .await
    }

    /// Restarts no further worker of any pool.
    pub(in crate::manager) async fn cancel_restarts(&self) -> Result<(), RestartError> {
        let request = |(), reply| Request::CancelRestart { reply };
        self.in_each(self.of_every_pool(), request).await.map(drop)
    }

    /// Stops no further worker of any pool until it is to go on, or goes on,
    /// whatever waited for an operator.
    pub async fn hold_restarts(&self, hold: bool) -> Result<(), RestartError> {
        let request = |(), reply| Request::HoldRestart { hold, reply };
        self.in_each(self.of_every_pool(), request).await.map(drop)
    }

    fn of_every_pool(&self) -> BTreeMap<PoolId, ()> {
        let all = self.shared.every_pool().into_iter();
        all.map(|pool| (pool, ())).collect()
    }

    /// Pools with nothing to do are no failure where others have something.
    /// Where one refuses and another does it, the answer names both.
    async fn in_each<T>(
        &self,
        asked: BTreeMap<PoolId, T>,
        request: impl Fn(T, oneshot::Sender<Result<bool, RestartError>>) -> Request,
    ) -> Result<bool, RestartError> {
        let mut done = Vec::new();
        let mut begins = false;
        let mut idle = RestartError::NothingRuns;
        let mut refused = Vec::new();
        for (pool, asked) in asked {
            let (reply, answer) = oneshot::channel();
            let request = within(pool.clone(), request(asked, reply));
            match self.ask_about_restart(request, answer).await {
                Ok(begins_here) => {
                    begins |= begins_here;
                    done.push(pool.to_string());
                }
                Err(error @ (RestartError::NothingRuns | RestartError::NotUnderWay)) => idle = error,
                Err(error) => refused.push((pool.to_string(), error)),
            }
        }
        match (refused.is_empty(), done.is_empty()) {
            (true, true) => Err(idle),
            (true, false) => Ok(begins),
            (false, true) => Err(refused.swap_remove(0).1),
            (false, false) => Err(RestartError::Partly { done, refused }),
        }
    }
}

/// The request as the owner takes it to that pool.
pub(in crate::manager) fn within(pool: PoolId, request: Request) -> Request {
    match pool.is_discord() {
        true => request,
        false => Request::In(pool, Box::new(request)),
    }
}
