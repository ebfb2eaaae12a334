//! How the rest of the simulator tells a connection's task what to do.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use shardman_core::tick::Tick;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Shared, State};
use crate::faults::Fault;
use crate::payload;
use crate::rules::ConnId;

/// The state's end of a connection.
#[derive(Debug, Default)]
pub(crate) struct Line {
    orders: VecDeque<Order>,
    pub(crate) deaf: bool,
    pub(crate) wake: Arc<Notify>,
    pub(crate) cut: CancellationToken,
}

#[derive(Debug)]
pub(crate) enum Order {
    Send(String),
    Close(u16),
}

impl State {
    pub(crate) fn open_line(&mut self, conn: ConnId) -> (Arc<Notify>, CancellationToken) {
        let line = self.lines.entry(conn).or_default();
        (Arc::clone(&line.wake), line.cut.clone())
    }

    pub(crate) fn drop_line(&mut self, conn: ConnId) {
        self.lines.remove(&conn);
    }

    pub(crate) fn wake(&self, conn: ConnId) {
        if let Some(line) = self.lines.get(&conn) {
            line.wake.notify_one();
        }
    }

    pub(crate) fn next_order(&mut self, conn: ConnId) -> Option<Order> {
        self.lines.get_mut(&conn)?.orders.pop_front()
    }

    /// Whether dispatches have to be kept from the connection.
    pub(crate) fn is_deaf(&self, conn: ConnId) -> bool {
        let sticky = self
            .rules
            .shard_of(conn)
            .is_some_and(|shard| self.standing.is_deaf(shard.number()));
        sticky || self.lines.get(&conn).is_some_and(|line| line.deaf)
    }

    fn order(&mut self, conn: ConnId, order: Order) {
        if let Some(line) = self.lines.get_mut(&conn) {
            line.orders.push_back(order);
            line.wake.notify_one();
        }
    }

    fn send(&mut self, conn: ConnId, op: u8, body: &Value) {
        self.order(conn, Order::Send(payload::frame(op, body)));
    }

    /// Closes with a code. The connection holds no session from now on, however
    /// long the client takes to notice.
    pub(crate) fn close(&mut self, conn: ConnId, code: u16, now: Tick) {
        self.let_go(conn, code, now);
        self.order(conn, Order::Close(code));
    }

    /// Takes the connection out of the rules, as its close code demands.
    pub(crate) fn let_go(&mut self, conn: ConnId, code: u16, now: Tick) {
        let over = matches!(code, 4004 | 4007 | 4009..=4014);
        self.rules.suspend(conn, !over, now);
        self.rules.disconnect(conn, None, now);
        self.rules.closed(code);
    }

    pub(crate) fn cut(&mut self, conn: ConnId, now: Tick) {
        self.rules.disconnect(conn, None, now);
        if let Some(line) = self.lines.get(&conn) {
            line.cut.cancel();
        }
    }

    pub(crate) fn all_conns(&self) -> Vec<ConnId> {
        self.lines.keys().copied().collect()
    }

    fn conns_of(&self, shard: Option<u32>) -> Vec<ConnId> {
        match shard {
            Some(number) => self.rules.conns_of(number),
            None => self
                .all_conns()
                .into_iter()
                .filter(|conn| self.rules.shard_of(*conn).is_some())
                .collect(),
        }
    }
}

impl Shared {
    pub(crate) fn fault(&self, fault: &Fault) -> Result<usize, String> {
        fault.check()?;
        let now = self.now();
        let mut state = self.lock();
        let state = &mut *state;
        match fault {
            Fault::CloseAfter { phase, code, times } => state.standing.close_after(*phase, *code, *times),
            Fault::Rest {
                status,
                times,
                retry_after,
            } => state.standing.rest(*status, *times, *retry_after),
            Fault::InvalidSessions { resumable, times, ms } => {
                let until = ms.map(|ms| Tick(now.0.saturating_add(ms)));
                state.standing.invalid_sessions(*resumable, *times, until);
            }
            Fault::Recommend { shards } => state.standing.recommended = Some(*shards),
            Fault::Guilds { count } => {
                let conns = state.rules.set_guilds(*count, now);
                conns.iter().for_each(|conn| state.wake(*conn));
                return Ok(conns.len());
            }
            Fault::SlowReady { ms } => state.standing.slow_ready_ms = *ms,
            Fault::NoAck => state.standing.no_ack = true,
            Fault::DeadResumeUrl => state.standing.dead_resume_url = true,
            Fault::DenyIntents { intents } => state.rules.deny_intents(*intents),
            Fault::Deaf {
                shard: Some(shard),
                sticky: true,
            } => {
                state.standing.deaf.insert(*shard);
            }
            Fault::Deaf {
                shard: None,
                sticky: true,
            } => state.standing.all_deaf = true,
            Fault::SessionLoss => {
                state.rules.forget_all(now);
                let conns = state.all_conns();
                conns.iter().for_each(|conn| state.cut(*conn, now));
                return Ok(conns.len());
            }
            Fault::Drop { shard }
            | Fault::Reconnect { shard }
            | Fault::InvalidSession { shard, .. }
            | Fault::Close { shard, .. }
            | Fault::Deaf { shard, sticky: false } => {
                let conns = state.conns_of(*shard);
                conns.iter().for_each(|conn| state.strike(*conn, fault, now));
                return Ok(conns.len());
            }
        }
        Ok(0)
    }

    pub(crate) fn clear_faults(&self) {
        let mut state = self.lock();
        state.standing = crate::faults::Standing::default();
        state.rules.deny_intents(0);
        for line in state.lines.values_mut() {
            line.deaf = false;
            line.wake.notify_one();
        }
    }
}

impl State {
    /// A fault that hits one connection, once.
    fn strike(&mut self, conn: ConnId, fault: &Fault, now: Tick) {
        match fault {
            Fault::Drop { .. } => self.cut(conn, now),
            Fault::Reconnect { .. } => self.send(conn, 7, &Value::Null),
            Fault::InvalidSession { resumable, .. } => {
                self.rules.suspend(conn, *resumable, now);
                self.send(conn, 9, &json!(resumable));
            }
            Fault::Close { code, .. } => self.close(conn, *code, now),
            Fault::Deaf { .. } => {
                if let Some(line) = self.lines.get_mut(&conn) {
                    line.deaf = true;
                }
            }
            Fault::CloseAfter { .. }
            | Fault::SlowReady { .. }
            | Fault::SessionLoss
            | Fault::Rest { .. }
            | Fault::NoAck
            | Fault::DenyIntents { .. }
            | Fault::InvalidSessions { .. }
            | Fault::Recommend { .. }
            | Fault::Guilds { .. }
            | Fault::DeadResumeUrl => {}
        }
    }
}
