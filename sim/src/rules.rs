//! Discord's side of the gateway as state and time: who may identify when, what
//! a session may still replay, which guild belongs to which shard. No clock, no
//! I/O: time is a [`Tick`], chance is seeded, and whoever drives this writes the
//! frames.

mod budget;
mod copies;
mod event;
mod flow;
mod growth;
mod guilds;
mod refusal;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use shardman_core::id::ShardId;
use shardman_core::tick::Tick;

use crate::report::{Referee, Report};
use budget::Budget;
use copies::Copies;
pub use event::{Event, GUILD_MESSAGES, GUILDS, KNOWN_INTENTS, MESSAGE_CONTENT};
pub use guilds::Guilds;
pub use refusal::{CloseCode, Refusal};
use session::Session;
pub use session::SessionKey;

/// Commands that one connection may send in [`COMMAND_WINDOW_MS`] (Discord,
/// "Gateway", Rate Limiting).
pub const COMMANDS_PER_WINDOW: usize = 120;
pub const COMMAND_WINDOW_MS: u64 = 60_000;
/// Guilds that one shard may serve at most (Discord, "Gateway", Sharding).
pub const GUILDS_PER_SHARD: u32 = 2_500;
/// Dispatches that a session keeps for replay. Older ones are forgotten, and a
/// session that lost an undelivered one can no longer be resumed.
pub const REPLAY_LIMIT: usize = 16_384;

/// What this Discord allows.
#[derive(Clone, Debug)]
pub struct Limits {
    pub max_concurrency: u32,
    pub identify_window_ms: u64,
    pub budget_total: u32,
    pub budget_remaining: u32,
    pub resume_window_ms: u64,
    pub heartbeat_interval_ms: u64,
    pub guilds: u32,
    /// The one good token; `None` takes any but the empty one and `invalid`.
    pub token: Option<String>,
    pub seed: u64,
    /// Unix milliseconds at tick zero, for ids and time stamps.
    pub epoch_ms: u64,
}

/// One gateway connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

/// An IDENTIFY, as far as the rules look at it.
#[derive(Clone, Debug)]
pub struct Identify<'a> {
    pub token: &'a str,
    /// `None` when the field is missing, which means `[0, 1]`.
    pub shard: Option<(i64, i64)>,
    pub intents: Option<i64>,
}

/// A RESUME.
#[derive(Clone, Debug)]
pub struct Resume<'a> {
    pub token: &'a str,
    pub session_id: &'a str,
    pub sequence: u64,
}

/// A RESUME that worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    pub shard: ShardId,
    /// The connection that had the session until now and has to be closed.
    pub kicked: Option<ConnId>,
    /// Dispatches that follow, without RESUMED itself.
    pub replayed: u64,
}

/// One dispatch, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    pub sequence: u64,
    pub event: Event,
}

#[derive(Debug)]
struct Conn {
    session: Option<SessionKey>,
    last_heartbeat: Tick,
    commands: VecDeque<Tick>,
    by_resume_url: bool,
}

/// All of it.
#[derive(Debug)]
pub struct Rules {
    limits: Limits,
    budget: Budget,
    /// When each bucket was last used for an accepted IDENTIFY.
    buckets: BTreeMap<u32, Tick>,
    sessions: BTreeMap<SessionKey, Session>,
    by_shard: BTreeMap<ShardId, Vec<SessionKey>>,
    conns: BTreeMap<ConnId, Conn>,
    next_conn: u64,
    next_message: u64,
    copies: Copies,
    guilds: Guilds,
    /// Intents that the application may not use (close code 4014).
    denied_intents: u64,
    token_dead: bool,
    /// Totals have to be a multiple of this; see [`Self::require_multiple`].
    multiple: u32,
    referee: Referee,
    rng: fastrand::Rng,
}

impl Rules {
    pub fn new(limits: Limits) -> Self {
        Self {
            budget: Budget::new(limits.budget_total, limits.budget_remaining),
            buckets: BTreeMap::new(),
            sessions: BTreeMap::new(),
            by_shard: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_conn: 0,
            next_message: 0,
            copies: Copies::default(),
            guilds: Guilds::new(limits.guilds),
            denied_intents: 0,
            token_dead: false,
            multiple: 1,
            referee: Referee::default(),
            rng: fastrand::Rng::with_seed(limits.seed),
            limits,
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn guilds(&self) -> &Guilds {
        &self.guilds
    }

    /// Starts left and milliseconds until the budget is full again.
    pub fn budget(&self, now: Tick) -> (u32, u32, u64) {
        (
            self.budget.total(),
            self.budget.remaining(now),
            self.budget.reset_after_ms(now),
        )
    }

    /// Sets the budget anew; a token that was reset works again.
    pub fn set_budget(&mut self, total: Option<u32>, remaining: u32) {
        self.budget = Budget::new(total.unwrap_or(self.budget.total()), remaining);
        self.token_dead = false;
    }

    pub fn deny_intents(&mut self, intents: u64) {
        self.denied_intents = intents;
    }

    /// Whether `token` is the bot's. A leading `Bot ` does not matter.
    pub fn token_is_good(&self, token: &str) -> bool {
        let token = token.strip_prefix("Bot ").unwrap_or(token);
        let known = match &self.limits.token {
            Some(good) => good == token,
            None => !token.is_empty() && token != "invalid",
        };
        known && !self.token_dead
    }

    pub fn connect(&mut self, by_resume_url: bool, now: Tick) -> ConnId {
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        let conn = Conn {
            session: None,
            last_heartbeat: now,
            commands: VecDeque::new(),
            by_resume_url,
        };
        self.conns.insert(id, conn);
        self.referee.connected(self.conns.len());
        id
    }

    /// Takes an IDENTIFY. `Ok` means a new session whose READY and guilds are
    /// pending.
    pub fn identify(&mut self, conn: ConnId, identify: &Identify<'_>, now: Tick) -> Result<ShardId, Refusal> {
        self.refuse_if_authenticated(conn, now)?;
        if !self.token_is_good(identify.token) {
            return Err(self.refuse(
                conn,
                CloseCode::AuthenticationFailed,
                "IDENTIFY with a bad token",
                now,
            ));
        }
        let (number, total) = identify.shard.unwrap_or((0, 1));
        let shard = match (u32::try_from(number), u32::try_from(total)) {
            (Ok(number), Ok(total)) => ShardId::new(number, total).ok(),
            _ => None,
        };
        let Some(shard) = shard else {
            let detail = format!("IDENTIFY for shard [{number}, {total}]");
            return Err(self.refuse(conn, CloseCode::InvalidShard, &detail, now));
        };
        self.check_multiple(conn, shard, now)?;
        let intents = self.check_intents(conn, identify.intents, now)?;
        let guilds = self.guilds.count(shard);
        if guilds > GUILDS_PER_SHARD {
            let detail = format!("shard {shard} would have {guilds} guilds");
            return Err(self.refuse(conn, CloseCode::ShardingRequired, &detail, now));
        }
        self.spend_start(conn, shard, now)?;
        self.open_session(conn, shard, intents, now);
        Ok(shard)
    }

    fn refuse_if_authenticated(&mut self, conn: ConnId, now: Tick) -> Result<(), Refusal> {
        if self.shard_of(conn).is_some() {
            let detail = "IDENTIFY or RESUME on an authenticated connection";
            return Err(self.refuse(conn, CloseCode::AlreadyAuthenticated, detail, now));
        }
        Ok(())
    }

    fn check_intents(&mut self, conn: ConnId, intents: Option<i64>, now: Tick) -> Result<u64, Refusal> {
        let known = intents
            .and_then(|bits| u64::try_from(bits).ok())
            .filter(|bits| bits & !KNOWN_INTENTS == 0);
        let Some(bits) = known else {
            let detail = format!("IDENTIFY with intents {intents:?}");
            return Err(self.refuse(conn, CloseCode::InvalidIntents, &detail, now));
        };
        if bits & self.denied_intents != 0 {
            let detail = format!("intents {} are not enabled", bits & self.denied_intents);
            return Err(self.refuse(conn, CloseCode::DisallowedIntents, &detail, now));
        }
        Ok(bits)
    }

    /// Budget and bucket. A refused IDENTIFY was still an IDENTIFY: it counts
    /// against the budget, but does not push the bucket's window on.
    fn spend_start(&mut self, conn: ConnId, shard: ShardId, now: Tick) -> Result<(), Refusal> {
        let bucket = shard.bucket(self.limits.max_concurrency);
        if !self.budget.spend(now) {
            self.referee.identified(shard, bucket, false, now);
            self.reset_token(now);
            let detail = "IDENTIFY with no session start left: the token was reset";
            return Err(self.refuse(conn, CloseCode::AuthenticationFailed, detail, now));
        }
        let gap = self.buckets.get(&bucket).map(|used| now.ms_since(*used));
        let early = gap.filter(|gap| *gap < self.limits.identify_window_ms);
        self.referee.identified(shard, bucket, early.is_none(), now);
        if let Some(gap) = early {
            let detail = format!("IDENTIFY in bucket {bucket} only {gap} ms after the one before");
            self.referee.broke("identify_rate", Some(shard), detail, now);
            return Err(Refusal::InvalidSession { resumable: false });
        }
        self.buckets.insert(bucket, now);
        Ok(())
    }

    /// The daily budget ran out: every session ends and no token works.
    fn reset_token(&mut self, now: Tick) {
        self.token_dead = true;
        self.referee.token_reset();
        self.forget_all(now);
    }

    pub fn token_is_dead(&self) -> bool {
        self.token_dead
    }

    fn open_session(&mut self, conn: ConnId, shard: ShardId, intents: u64, now: Tick) {
        let key = SessionKey::random(&mut self.rng);
        let mut session = Session::new(shard, intents, conn);
        session.push(Event::Ready, false);
        if intents & GUILDS != 0 {
            for guild in self.guilds.of(shard) {
                session.push(Event::Guild(guild), false);
            }
        }
        self.sessions.insert(key, session);
        self.by_shard.entry(shard).or_default().push(key);
        self.attach(conn, key, now);
    }

    /// Takes a RESUME. `Ok` means that what the client missed, and RESUMED, are
    /// pending.
    pub fn resume(&mut self, conn: ConnId, resume: &Resume<'_>, now: Tick) -> Result<Resumed, Refusal> {
        self.refuse_if_authenticated(conn, now)?;
        if !self.token_is_good(resume.token) {
            return Err(self.refuse(
                conn,
                CloseCode::AuthenticationFailed,
                "RESUME with a bad token",
                now,
            ));
        }
        let by_url = self.conns.get(&conn).is_some_and(|state| state.by_resume_url);
        let key = SessionKey::parse(resume.session_id).filter(|key| self.sessions.contains_key(key));
        let Some(key) = key else {
            self.referee.resumed(None, false, 0, by_url, now);
            return Err(Refusal::InvalidSession { resumable: false });
        };
        let session = self.sessions.get_mut(&key).expect("the key was just looked up");
        let shard = session.shard;
        if resume.sequence > session.sequence() {
            let detail = format!("RESUME from {} of {}", resume.sequence, session.sequence());
            let idle = session.conn.is_none();
            self.referee.resumed(Some(shard), false, 0, by_url, now);
            if idle {
                // "Reconnect and start a new session."
                self.end_session(key, now);
            }
            return Err(self.refuse(conn, CloseCode::InvalidSequence, &detail, now));
        }
        if !session.rewind(resume.sequence) {
            self.referee.resumed(Some(shard), false, 0, by_url, now);
            self.end_session(key, now);
            return Err(Refusal::InvalidSession { resumable: false });
        }
        let replayed = session.sequence() - resume.sequence;
        session.push(Event::Resumed, false);
        let kicked = session.conn.replace(conn);
        session.dies_at = None;
        if let Some(kicked) = kicked {
            self.conns.entry(kicked).and_modify(|state| state.session = None);
            self.referee.detached(shard, key, now);
            self.referee.taken_over(shard, now);
        }
        self.attach(conn, key, now);
        self.referee.resumed(Some(shard), true, replayed, by_url, now);
        Ok(Resumed {
            shard,
            kicked,
            replayed,
        })
    }

    fn attach(&mut self, conn: ConnId, key: SessionKey, now: Tick) {
        let state = self
            .conns
            .get_mut(&conn)
            .expect("only an open connection gets a session");
        assert!(state.session.is_none(), "one connection never holds two sessions");
        state.session = Some(key);
        self.referee.attached(self.sessions[&key].shard, key, now);
    }

    /// The report as it stands.
    pub fn report(&self, now: Tick) -> Report {
        let pending = self
            .sessions
            .values()
            .map(|session| (session.shard, session.pending_messages()));
        let (total, remaining, _) = self.budget(now);
        let mut report = self
            .referee
            .report(self.conns.len(), pending, total, remaining, now);
        report.messages = self.copies.counts();
        report
    }

    /// Forgets the past; what is live stays.
    pub fn reset_report(&mut self, now: Tick) {
        self.referee.reset(now);
        self.copies.reset();
    }

    /// Notes a broken rule and answers with its close code.
    pub fn refuse(&mut self, conn: ConnId, code: CloseCode, detail: &str, now: Tick) -> Refusal {
        self.referee
            .broke(code.rule(), self.shard_of(conn), detail.to_owned(), now);
        Refusal::Close(code)
    }
}
