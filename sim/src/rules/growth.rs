//! What changes while a bot runs: how many guilds it is in, which totals
//! Discord takes of it, and sessions that Discord will not give.

use shardman_core::id::ShardId;
use shardman_core::tick::Tick;

use super::session::SessionKey;
use super::{CloseCode, ConnId, Event, GUILDS, Refusal, Resume, Rules};

impl Rules {
    /// From now on the total of an IDENTIFY has to be a multiple of this number
    /// (Discord, "Gateway", Sharding for Large Bots). With 1, any total will do.
    pub fn require_multiple(&mut self, multiple: u32) {
        self.multiple = multiple.max(1);
    }

    /// The lowest total from `shards` on that is a multiple of what Discord
    /// requires: "Get Gateway Bot" always recommends such a one.
    pub fn legal_total(&self, shards: u32) -> u32 {
        shards
            .checked_next_multiple_of(self.multiple)
            .unwrap_or(u32::MAX - u32::MAX % self.multiple)
    }

    pub(super) fn check_multiple(&mut self, conn: ConnId, shard: ShardId, now: Tick) -> Result<(), Refusal> {
        if shard.total().is_multiple_of(self.multiple) {
            return Ok(());
        }
        let detail = format!(
            "IDENTIFY for shard {shard}: the total is no multiple of {}",
            self.multiple
        );
        Err(self.refuse(conn, CloseCode::InvalidShard, &detail, now))
    }

    /// The bot joins or leaves guilds until it is in `count`. Sessions hear of
    /// each by GUILD_CREATE or GUILD_DELETE; one that would have to forget an
    /// undelivered event for that is gone. Answers with the connections that
    /// have something to write.
    pub fn set_guilds(&mut self, count: u32, now: Tick) -> Vec<ConnId> {
        let before = self.guilds.len();
        self.guilds.resize(count);
        let changed = before.min(count)..before.max(count);
        let (mut wake, mut broken) = (Vec::new(), Vec::new());
        for (key, session) in &mut self.sessions {
            if session.intents & GUILDS == 0 {
                continue;
            }
            let event = |guild| {
                if count > before {
                    Event::Guild(guild)
                } else {
                    Event::GuildLeft(guild)
                }
            };
            let kept =
                super::Guilds::among(&changed, session.shard).all(|guild| session.push(event(guild), false));
            if !kept {
                broken.push(*key);
            }
            wake.extend(session.conn);
        }
        for key in broken {
            self.end_session(key, now);
        }
        wake
    }

    /// Op 9 instead of READY: the IDENTIFY was taken and paid for, and there is
    /// no session.
    pub fn refuse_session(&mut self, conn: ConnId, resumable: bool, now: Tick) -> Refusal {
        self.suspend(conn, false, now);
        Refusal::InvalidSession { resumable }
    }

    /// Op 9 instead of the replay. Unless resumable, the session is gone.
    pub fn refuse_resume(
        &mut self,
        conn: ConnId,
        resume: &Resume<'_>,
        resumable: bool,
        now: Tick,
    ) -> Refusal {
        let by_url = self.conns.get(&conn).is_some_and(|state| state.by_resume_url);
        let key = SessionKey::parse(resume.session_id);
        let shard = key
            .and_then(|key| self.sessions.get(&key))
            .map(|session| session.shard);
        self.referee.resumed(shard, false, 0, by_url, now);
        if let Some(key) = key.filter(|_| !resumable) {
            self.end_session(key, now);
        }
        Refusal::InvalidSession { resumable }
    }
}
