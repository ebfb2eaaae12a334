//! What flows through sessions, and how they end: dispatching, delivering,
//! disconnecting, expiring.

use std::ops::Bound;

use shardman_core::id::ShardId;
use shardman_core::tick::Tick;

use super::{
    COMMAND_WINDOW_MS, COMMANDS_PER_WINDOW, CloseCode, ConnId, Dispatch, Event, GUILD_MESSAGES, Guilds,
    Refusal, Rules, SessionKey,
};

/// A connection is dead when it has sent no heartbeat for so many intervals.
const SILENT_INTERVALS: u64 = 2;

impl Rules {
    /// The shard that a connection has a session for.
    pub fn shard_of(&self, conn: ConnId) -> Option<ShardId> {
        self.session_of(conn).map(|key| self.sessions[&key].shard)
    }

    pub fn session_of(&self, conn: ConnId) -> Option<SessionKey> {
        self.conns.get(&conn).and_then(|state| state.session)
    }

    pub fn intents_of(&self, conn: ConnId) -> u64 {
        self.session_of(conn).map_or(0, |key| self.sessions[&key].intents)
    }

    /// Connections with a live session of shard `number`, whatever the total.
    pub fn conns_of(&self, number: u32) -> Vec<ConnId> {
        let here = self
            .sessions
            .values()
            .filter(|session| session.shard.number() == number);
        here.filter_map(|session| session.conn).collect()
    }

    /// A new message in a random guild, for every sharding that has a session
    /// for it. Answers with the connections that have something to write.
    pub fn message(&mut self, now: Tick) -> Vec<ConnId> {
        if self.guilds.is_empty() {
            return Vec::new();
        }
        let guild = self.rng.u32(0..self.guilds.len());
        let at_ms = self.limits.epoch_ms + now.0;
        let event = Event::Message {
            guild,
            number: self.next_message,
            at_ms,
        };
        self.next_message += 1;

        let mut wake = Vec::new();
        let mut heard = false;
        let mut next = self.by_shard.keys().next().copied();
        while let Some(found) = next {
            let shard = Guilds::shard(guild, found.total());
            heard |= self.dispatch(shard, &event, &mut wake, now);
            let last = ShardId::new(found.total() - 1, found.total()).expect("a total has a last shard");
            let after = (Bound::Excluded(last), Bound::Unbounded);
            next = self.by_shard.range(after).next().map(|(shard, _)| *shard);
        }
        self.referee.generated(heard);
        wake
    }

    /// Appends a load event to every session of the shard. One of them has to
    /// deliver it; for the others it is covered.
    fn dispatch(&mut self, shard: ShardId, event: &Event, wake: &mut Vec<ConnId>, now: Tick) -> bool {
        let Some(keys) = self.by_shard.get(&shard) else {
            return false;
        };
        let mut keys: Vec<SessionKey> = keys.iter().rev().copied().collect();
        keys.sort_by_key(|key| self.sessions[key].conn.is_none());
        let mut broken = Vec::new();
        let mut covered = false;
        for key in &keys {
            let session = self.sessions.get_mut(key).expect("the index names live sessions");
            if session.intents & GUILD_MESSAGES == 0 {
                continue;
            }
            self.referee.sent(shard);
            if let Event::Message { number, .. } = event {
                self.copies.sent(*number);
            }
            if !session.push(event.clone(), covered) {
                broken.push(*key);
            }
            wake.extend(session.conn);
            covered = true;
        }
        for key in broken {
            self.end_session(key, now);
        }
        !keys.is_empty()
    }

    /// Counts one message from the client against 120 per 60 s.
    pub fn command(&mut self, conn: ConnId, now: Tick) -> Result<(), Refusal> {
        let Some(state) = self.conns.get_mut(&conn) else {
            return Ok(());
        };
        while state
            .commands
            .front()
            .is_some_and(|sent| now.ms_since(*sent) >= COMMAND_WINDOW_MS)
        {
            state.commands.pop_front();
        }
        if state.commands.len() >= COMMANDS_PER_WINDOW {
            return Err(self.refuse(
                conn,
                CloseCode::RateLimited,
                "more than 120 messages in 60 s",
                now,
            ));
        }
        state.commands.push_back(now);
        Ok(())
    }

    pub fn heartbeat(&mut self, conn: ConnId, now: Tick) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.last_heartbeat = now;
        }
    }

    /// Appends one event to the connection's own session.
    pub fn answer(&mut self, conn: ConnId, event: Event) {
        if let Some(key) = self.session_of(conn) {
            let session = self
                .sessions
                .get_mut(&key)
                .expect("a connection's session is alive");
            session.push(event, false);
        }
    }

    /// What the connection has to write next, at most `max` dispatches.
    pub fn pending(&self, conn: ConnId, max: usize) -> Vec<Dispatch> {
        let Some(key) = self.session_of(conn) else {
            return Vec::new();
        };
        let pending = self.sessions[&key].pending().take(max);
        pending
            .map(|(sequence, entry)| Dispatch {
                sequence,
                event: entry.event.clone(),
            })
            .collect()
    }

    /// The connection has written its dispatches up to `sequence`.
    pub fn delivered(&mut self, conn: ConnId, sequence: u64, now: Tick) {
        let Some(key) = self.session_of(conn) else { return };
        let session = self
            .sessions
            .get_mut(&key)
            .expect("a connection's session is alive");
        let delivery = session.deliver(sequence, |message| self.copies.delivered(message));
        let shard = session.shard;
        self.referee
            .delivered(shard, delivery.delivered, delivery.replayed, delivery.doubled);
        if delivery.ready {
            self.referee.ready(shard, now);
        }
    }

    /// Takes the session from a connection that stays open (op 9).
    pub fn suspend(&mut self, conn: ConnId, resumable: bool, now: Tick) {
        let Some(key) = self.session_of(conn) else { return };
        self.conns.entry(conn).and_modify(|state| state.session = None);
        let window = self.limits.resume_window_ms;
        let session = self
            .sessions
            .get_mut(&key)
            .expect("a connection's session is alive");
        session.conn = None;
        session.dies_at = Some(Tick(now.0.saturating_add(window)));
        self.referee.detached(session.shard, key, now);
        if !resumable {
            self.end_session(key, now);
        }
    }

    /// A connection is gone. A client that closed with 1000 or 1001 gave up its
    /// session; any other end leaves it resumable for a while.
    pub fn disconnect(&mut self, conn: ConnId, code: Option<u16>, now: Tick) {
        self.suspend(conn, !matches!(code, Some(1000 | 1001)), now);
        self.conns.remove(&conn);
    }

    /// Counts a close frame that was sent to a client.
    pub fn closed(&mut self, code: u16) {
        self.referee.closed(code);
    }

    /// Counts an answer of REST.
    pub fn rest_answered(&mut self, status: u16) {
        self.referee.rest(status);
    }

    /// Forgets every session. Their connections stay open without one.
    pub fn forget_all(&mut self, now: Tick) -> Vec<ConnId> {
        let keys: Vec<SessionKey> = self.sessions.keys().copied().collect();
        let conns = keys.iter().filter_map(|key| self.sessions[key].conn).collect();
        for key in keys {
            self.end_session(key, now);
        }
        conns
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Tick> {
        let silence = self.limits.heartbeat_interval_ms * SILENT_INTERVALS;
        let deaths = self.sessions.values().filter_map(|session| session.dies_at);
        let zombies = self
            .conns
            .values()
            .map(|conn| Tick(conn.last_heartbeat.0 + silence));
        deaths.chain(zombies).min()
    }

    /// Ends sessions whose window is over. Answers with the connections that
    /// stopped heartbeating; the caller closes them with 4009.
    pub fn handle_timeout(&mut self, now: Tick) -> Vec<ConnId> {
        let over = |session: &super::Session| session.dies_at.is_some_and(|dies_at| now >= dies_at);
        let dead: Vec<SessionKey> = self
            .sessions
            .iter()
            .filter(|(_, session)| over(session))
            .map(|(key, _)| *key)
            .collect();
        for key in dead {
            self.end_session(key, now);
        }
        let silence = self.limits.heartbeat_interval_ms * SILENT_INTERVALS;
        let silent = self
            .conns
            .iter()
            .filter(|(_, conn)| now.ms_since(conn.last_heartbeat) >= silence);
        let silent: Vec<ConnId> = silent.map(|(id, _)| *id).collect();
        for conn in &silent {
            self.referee.silent(self.shard_of(*conn), now);
        }
        silent
    }

    /// The only place where a session is removed.
    pub(super) fn end_session(&mut self, key: SessionKey, now: Tick) {
        let Some(session) = self.sessions.remove(&key) else {
            return;
        };
        if let Some(conn) = session.conn {
            self.conns.entry(conn).and_modify(|state| state.session = None);
            self.referee.detached(session.shard, key, now);
        }
        if let Some(keys) = self.by_shard.get_mut(&session.shard) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_shard.remove(&session.shard);
            }
        }
        session
            .undelivered_messages()
            .for_each(|message| self.copies.dropped(message));
        let (lost, superseded) = session.undelivered();
        self.referee.lost(session.shard, lost, superseded);
    }
}
