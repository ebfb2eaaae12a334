//! How a shard is handed out, and the right to identify it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shardman_core::lease::Claim;
use shardman_core::ledger::Spender;
use shardman_core::{SessionId, ShardId, Tick};
use tracing::{debug, info};

use super::starts::Shares;
use super::{Alert, AlertKind, Effect, Fleet, holder};
use crate::manager::handle::{Caller, ConnectError, ConnectRequest, Connection, IdentifyError, IdentifyPlan};
use crate::manager::request::{Grant, RETRY_SECONDS};
use crate::manager::settings::heartbeat_every;

impl Fleet {
    pub(super) fn connect(
        &mut self,
        request: &ConnectRequest,
        now: Tick,
    ) -> Result<(Option<Grant>, Connection), ConnectError> {
        if let Caller::Child { worker, .. } = &request.caller
            && let Some(entry) = self.workers.get_mut(worker)
        {
            entry.asked = true;
        }
        let unavailable = |reason: String| ConnectError::Unavailable {
            reason,
            retry_seconds: RETRY_SECONDS,
        };
        if self.stopping {
            return Err(unavailable("the manager is shutting down".to_owned()));
        }
        if let Some(reason) = self.waits_for_discord().or_else(|| self.halted_because()) {
            return Err(unavailable(reason));
        }
        let is_given = self.is_given_shards(&request.caller) || self.has_its_slot(&request.caller);
        if self.assigns_slots() && !matches!(request.caller, Caller::Child { .. }) {
            let pool = self.settings.pool.to_string();
            return Err(ConnectError::Assigned { pool });
        }
        if is_given || !self.may_hold(&request.caller) {
            return Err(ConnectError::NoShardFree);
        }
        let identify = match self.is_discord() {
            true => request.identify,
            // Nobody's turn has to be waited for.
            false => IdentifyPlan::Ask,
        };
        let holder = holder(&request.caller);
        if let Some(key) = &request.idempotency_key
            && let Some(shard) = self.table.repeat(&holder, key, now)
        {
            let wait = self
                .line
                .reserved(shard)
                .map_or(Duration::ZERO, |at| at.since(now));
            return Ok((None, self.connection(shard, wait)));
        }
        if self.is_full(&request.caller) {
            debug!(
                "{:?} asks for more shards than it was started for",
                request.caller
            );
            return Err(ConnectError::NoShardFree);
        }
        let shard = self.table.lowest_free().ok_or(ConnectError::NoShardFree)?;
        let wait = match identify {
            IdentifyPlan::Ask => Duration::ZERO,
            IdentifyPlan::Sleep => {
                if let Some(reason) = self.starts_used_up() {
                    return Err(unavailable(reason));
                }
                let spender = Spender::of(&holder, shard);
                if self.shares().left(&spender) == 0 {
                    self.refuse_over_share(spender);
                    return Err(unavailable(self.over_their_share().join("; ")));
                }
                let slot = self.line.reserve(shard, now);
                self.spend_start(shard, &holder, slot, now);
                slot.since(now)
            }
        };
        let session =
            SessionId::from_random(u128::from(self.dice.roll()) << 64 | u128::from(self.dice.roll()));
        let claim = Claim {
            holder: holder.clone(),
            session,
            key: request.idempotency_key.clone(),
        };
        let (shard, epoch) = self
            .table
            .claim(claim, wait, now)
            .map_err(|_| ConnectError::NoShardFree)?;
        self.note_leased(shard, epoch, &holder);
        match holder.child() {
            Some(worker) => {
                info!(shard.id = %shard, worker.id = %worker, "{} goes to worker {worker} (epoch {epoch})", self.name(shard));
            }
            None => {
                info!(shard.id = %shard, "{} goes to an external worker (epoch {epoch})", self.name(shard));
            }
        }
        self.health.lease_changed(shard, now);
        // Of those that lapsed together the end is told, for all of them.
        if self.is_discord() && (holder.child().is_none() || !self.brake.is_on()) {
            self.effects.push(Effect::Alert(Alert {
                kind: AlertKind::Connect,
                shard: Some(shard),
                worker: holder.child().cloned(),
                pool: None,
                text: "a worker took the shard".to_owned(),
                last_beat_ms: self.clock.wall_ms(),
            }));
        }
        let grant = Grant {
            session,
            spent: identify == IdentifyPlan::Sleep,
        };
        Ok((Some(grant), self.connection(shard, wait)))
    }

    fn connection(&self, shard: ShardId, wait: Duration) -> Connection {
        let lease = self.table.lease(shard).expect("a connection is made of a lease");
        let max_seconds = self.settings.max_seconds;
        Connection {
            shard,
            session: lease.session,
            epoch: lease.epoch,
            sleep_seconds: wait.as_secs_f64(),
            heartbeat_seconds: heartbeat_every(max_seconds).as_secs_f64(),
            max_seconds: max_seconds.as_secs_f64(),
            gateway_url: self.discord.as_ref().map(|facts| facts.gateway_url.clone()),
            resume: self.resume.get(shard, self.clock.wall_ms()).cloned(),
        }
    }

    pub(super) fn ask_permit(
        &mut self,
        caller: &Caller,
        session: SessionId,
        now: Tick,
    ) -> Result<ShardId, IdentifyError> {
        let (shard, _) = self
            .table
            .by_session(&holder(caller), session)
            .ok_or(IdentifyError::UnknownSession)?;
        if !self.table.plan().contains(shard) {
            return Err(IdentifyError::OutOfPlan);
        }
        if self.line.asks_after_all(shard, now) {
            self.refund_start(session);
        }
        // Who asks again without having said what became of the last permit
        // may have used it this moment.
        self.line.used(shard, now);
        self.line.join(shard, now);
        self.tally.asked(shard, now);
        self.table.set_identify_at(shard, None);
        Ok(shard)
    }

    pub(super) fn grant_permits(&mut self, now: Tick) {
        let gone: Vec<_> = self
            .waiters
            .iter()
            .filter(|(_, reply)| reply.is_closed())
            .map(|(shard, _)| *shard)
            .collect();
        for shard in gone {
            self.waiters.remove(&shard);
            self.line.leave(shard);
            self.tally.left(shard, now);
        }
        self.review_shares();
        let free = self.starts_free();
        if free == 0 || self.halted.is_some() {
            return;
        }
        let shares = Shares {
            table: &self.table,
            workers: &self.workers,
            ledger: &self.starts.ledger,
            total: self.shared_total(),
            percent: self.settings.worker_starts_percent,
        };
        let mut left = BTreeMap::new();
        let mut refused = BTreeSet::new();
        let permits = self.line.poll(now, free, |shard| {
            let Some(spender) = shares.spender(shard) else {
                return true;
            };
            let left = left
                .entry(spender.clone())
                .or_insert_with(|| shares.left(&spender));
            if *left == 0 {
                refused.insert(spender);
                return false;
            }
            *left -= 1;
            true
        });
        for spender in refused {
            self.refuse_over_share(spender);
        }
        for permit in permits {
            let taken = self
                .waiters
                .remove(&permit.shard)
                .is_some_and(|reply| reply.send(Ok(permit)).is_ok());
            let holder = self.table.lease(permit.shard).map(|lease| lease.holder.clone());
            if taken && let Some(holder) = holder {
                self.table.set_identify_at(permit.shard, Some(now));
                self.tally.permit_granted(permit.shard, now);
                self.spend_start(permit.shard, &holder, now, now);
                debug!(shard.id = %permit.shard, "shard {} may identify (permit {})", permit.shard, permit.number);
            } else {
                self.line.take_back(permit);
                self.changed = true;
            }
        }
    }
}
