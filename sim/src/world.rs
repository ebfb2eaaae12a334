//! Discord in virtual time: the same rules that the sockets obey, and a network
//! of seeded delays before them. No runtime, no clock: whoever drives it says
//! what time it is, and the same seed gives the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use shardman_core::id::ShardId;
use shardman_core::tick::Tick;

use crate::report::Report;
use crate::rules::{ConnId, Identify, KNOWN_INTENTS, Limits, Refusal, Resume, Rules};

#[cfg(test)]
mod tests;

/// How often connections send their heartbeats and the rules look for silent
/// ones, in milliseconds.
const SWEEP_MS: u64 = 10_000;

/// One gateway connection, from the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(u64);

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Hello,
    Ready {
        session_id: String,
    },
    Resumed,
    InvalidSession {
        resumable: bool,
    },
    /// The connection is closed, with or without a code.
    Closed(Option<u16>),
}

/// What a client says.
#[derive(Clone, Debug)]
enum Said {
    Open { by_resume_url: bool },
    Identify(ShardId),
    Resume { session_id: String, sequence: u64 },
    Close(Option<u16>),
}

#[derive(Debug)]
enum Packet {
    Up(Said),
    /// READY or RESUMED is written.
    Deliver,
    Down(Heard),
}

#[derive(Debug, Default)]
struct LinkState {
    conn: Option<ConnId>,
    /// Its client hears no more.
    hung_up: bool,
    /// Its client stands still: no heartbeats.
    frozen: bool,
    /// A connection keeps its order in either direction.
    last_up: Tick,
    last_down: Tick,
}

/// Delays in milliseconds.
#[derive(Clone, Debug)]
pub struct Network {
    /// One way, each packet.
    pub one_way: RangeInclusive<u64>,
    /// From IDENTIFY or RESUME to what answers it, inside Discord.
    pub thinking: RangeInclusive<u64>,
}

/// All of it.
#[derive(Debug)]
pub struct World {
    rules: Rules,
    network: Network,
    rng: fastrand::Rng,
    links: BTreeMap<Link, LinkState>,
    next_link: u64,
    packets: BTreeMap<(Tick, u64), (Link, Packet)>,
    next_packet: u64,
    next_sweep: Tick,
    /// Shards whose sessions die with their connections.
    fragile: BTreeSet<ShardId>,
    /// Shards that get neither READY nor RESUMED.
    stuck: BTreeSet<ShardId>,
    taken_over: u64,
}

impl World {
    pub fn new(limits: Limits, network: Network) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(limits.seed ^ 0x5eed),
            rules: Rules::new(limits),
            network,
            links: BTreeMap::new(),
            next_link: 0,
            packets: BTreeMap::new(),
            next_packet: 0,
            next_sweep: Tick(SWEEP_MS),
            fragile: BTreeSet::new(),
            stuck: BTreeSet::new(),
            taken_over: 0,
        }
    }

    /// A client opens a connection.
    pub fn open(&mut self, by_resume_url: bool, now: Tick) -> Link {
        let link = Link(self.next_link);
        self.next_link += 1;
        self.links.insert(link, LinkState::default());
        self.say(link, Said::Open { by_resume_url }, now);
        link
    }

    pub fn identify(&mut self, link: Link, shard: ShardId, now: Tick) {
        self.say(link, Said::Identify(shard), now);
    }

    pub fn resume(&mut self, link: Link, session_id: &str, sequence: u64, now: Tick) {
        let session_id = session_id.to_owned();
        self.say(link, Said::Resume { session_id, sequence }, now);
    }

    /// The client closes its connection, or died with it (`None`).
    pub fn hang_up(&mut self, link: Link, code: Option<u16>, now: Tick) {
        if let Some(state) = self.links.get_mut(&link) {
            state.hung_up = true;
            self.say(link, Said::Close(code), now);
        }
    }

    /// The client stands still, or goes on.
    pub fn freeze(&mut self, link: Link, frozen: bool) {
        if let Some(state) = self.links.get_mut(&link) {
            state.frozen = frozen;
        }
    }

    /// Sessions of this shard do not outlive their connections any more, or do.
    pub fn set_fragile(&mut self, shard: ShardId, fragile: bool) {
        if fragile {
            self.fragile.insert(shard);
        } else {
            self.fragile.remove(&shard);
        }
    }

    /// READY and RESUMED do not come any more for this shard, or do.
    pub fn set_stuck(&mut self, shard: ShardId, stuck: bool) {
        if stuck {
            self.stuck.insert(shard);
        } else {
            self.stuck.remove(&shard);
        }
    }

    /// Discord invalidates the session of a connection (op 9).
    pub fn invalidate(&mut self, link: Link, resumable: bool, now: Tick) {
        let conn = self.links.get(&link).and_then(|state| state.conn);
        if let Some(conn) = conn.filter(|conn| self.rules.session_of(*conn).is_some()) {
            self.rules.suspend(conn, resumable, now);
            self.hear(link, Heard::InvalidSession { resumable }, now);
        }
    }

    /// Discord ends a connection.
    pub fn cut(&mut self, link: Link, code: Option<u16>, now: Tick) {
        let conn = self.links.get_mut(&link).and_then(|state| state.conn.take());
        if let Some(conn) = conn {
            self.disconnect(conn, code, now);
            self.hear(link, Heard::Closed(code), now);
        }
    }

    /// When [`Self::handle`] has something to do.
    pub fn poll_timeout(&self) -> Tick {
        let first = self.packets.first_key_value().map(|((at, _), _)| *at);
        first.map_or(self.next_sweep, |at| at.min(self.next_sweep))
    }

    /// Lets happen what is due, and answers with what clients hear now.
    pub fn handle(&mut self, now: Tick) -> Vec<(Link, Heard)> {
        let mut heard = Vec::new();
        while let Some(entry) = self.packets.first_entry().filter(|entry| entry.key().0 <= now) {
            let (link, packet) = entry.remove();
            match packet {
                Packet::Up(said) => self.arrive(link, &said, now),
                Packet::Deliver => self.deliver(link, now),
                Packet::Down(what) => {
                    let gone = matches!(what, Heard::Closed(_));
                    let state = self.links.get(&link);
                    if state.is_some_and(|state| !state.hung_up) {
                        heard.push((link, what));
                    }
                    if gone {
                        self.links.remove(&link);
                    }
                }
            }
        }
        if self.next_sweep <= now {
            self.next_sweep = Tick(now.0 + SWEEP_MS);
            self.sweep(now);
        }
        heard
    }

    /// Starts in all, starts left, and milliseconds until they are all there
    /// again, as `GET /gateway/bot` would answer.
    pub fn budget(&self, now: Tick) -> (u32, u32, u64) {
        self.rules.budget(now)
    }

    pub fn report(&self, now: Tick) -> Report {
        self.rules.report(now)
    }

    /// Sessions that were resumed while the client that had them meant to go
    /// on: two believed that they held the shard.
    pub fn taken_over(&self) -> u64 {
        self.taken_over
    }

    fn say(&mut self, link: Link, said: Said, now: Tick) {
        let delay = self.rng.u64(self.network.one_way.clone());
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        let at = Tick(now.0 + delay).max(state.last_up);
        state.last_up = at;
        self.post(at, link, Packet::Up(said));
    }

    fn hear(&mut self, link: Link, heard: Heard, now: Tick) {
        let delay = self.rng.u64(self.network.one_way.clone());
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        let at = Tick(now.0 + delay).max(state.last_down);
        state.last_down = at;
        self.post(at, link, Packet::Down(heard));
    }

    fn post(&mut self, at: Tick, link: Link, packet: Packet) {
        self.packets.insert((at, self.next_packet), (link, packet));
        self.next_packet += 1;
    }

    fn arrive(&mut self, link: Link, said: &Said, now: Tick) {
        let conn = self.links.get(&link).and_then(|state| state.conn);
        match (said, conn) {
            (Said::Open { by_resume_url }, _) => {
                let conn = self.rules.connect(*by_resume_url, now);
                self.links
                    .get_mut(&link)
                    .expect("a link lives until it is closed")
                    .conn = Some(conn);
                self.hear(link, Heard::Hello, now);
            }
            (Said::Identify(shard), Some(conn)) => {
                let identify = Identify {
                    token: "virtual",
                    shard: Some((i64::from(shard.number()), i64::from(shard.total()))),
                    intents: i64::try_from(KNOWN_INTENTS).ok(),
                };
                let answer = self.rules.identify(conn, &identify, now);
                self.answer(link, answer.map(|_| ()), now);
            }
            (Said::Resume { session_id, sequence }, Some(conn)) => {
                let resume = Resume {
                    token: "virtual",
                    session_id,
                    sequence: *sequence,
                };
                let answer = self.rules.resume(conn, &resume, now);
                let kicked = answer.as_ref().ok().and_then(|resumed| resumed.kicked);
                if let Some(kicked) = kicked
                    && let Some(other) = self.link_of(kicked)
                {
                    let left = self.links.get(&other).is_some_and(|state| state.hung_up);
                    self.taken_over += u64::from(!left);
                    self.cut(other, Some(4000), now);
                }
                self.answer(link, answer.map(|_| ()), now);
            }
            (Said::Close(code), _) => {
                if let Some(conn) = conn {
                    self.disconnect(conn, *code, now);
                }
                self.links.remove(&link);
            }
            (Said::Identify(_) | Said::Resume { .. }, None) => {}
        }
    }

    fn answer(&mut self, link: Link, answer: Result<(), Refusal>, now: Tick) {
        match answer {
            Ok(()) if self.is_stuck(link) => {}
            Ok(()) => {
                let thinking = self.rng.u64(self.network.thinking.clone());
                self.post(Tick(now.0 + thinking), link, Packet::Deliver);
            }
            Err(Refusal::InvalidSession { resumable }) => {
                self.hear(link, Heard::InvalidSession { resumable }, now);
            }
            Err(Refusal::Close(code)) => self.cut(link, Some(code.number()), now),
        }
    }

    fn is_stuck(&self, link: Link) -> bool {
        let conn = self.links.get(&link).and_then(|state| state.conn);
        let shard = conn.and_then(|conn| self.rules.shard_of(conn));
        shard.is_some_and(|shard| self.stuck.contains(&shard))
    }

    /// Writes READY or RESUMED, and what comes with it.
    fn deliver(&mut self, link: Link, now: Tick) {
        let Some(conn) = self.links.get(&link).and_then(|state| state.conn) else {
            return;
        };
        let pending = self.rules.pending(conn, usize::MAX);
        let (Some(last), Some(session)) = (pending.last(), self.rules.session_of(conn)) else {
            return;
        };
        let resumed = matches!(last.event, crate::rules::Event::Resumed);
        self.rules.delivered(conn, last.sequence, now);
        let heard = if resumed {
            Heard::Resumed
        } else {
            Heard::Ready {
                session_id: session.to_string(),
            }
        };
        self.hear(link, heard, now);
    }

    fn disconnect(&mut self, conn: ConnId, code: Option<u16>, now: Tick) {
        let shard = self.rules.shard_of(conn);
        let fragile = shard.is_some_and(|shard| self.fragile.contains(&shard));
        self.rules
            .disconnect(conn, if fragile { Some(1000) } else { code }, now);
    }

    fn sweep(&mut self, now: Tick) {
        for state in self.links.values().filter(|state| !state.frozen) {
            if let Some(conn) = state.conn {
                self.rules.heartbeat(conn, now);
            }
        }
        for silent in self.rules.handle_timeout(now) {
            match self.link_of(silent) {
                Some(link) => self.cut(link, Some(4009), now),
                None => self.rules.disconnect(silent, None, now),
            }
        }
    }

    fn link_of(&self, conn: ConnId) -> Option<Link> {
        let mut links = self.links.iter();
        links
            .find(|(_, state)| state.conn == Some(conn))
            .map(|(link, _)| *link)
    }
}
