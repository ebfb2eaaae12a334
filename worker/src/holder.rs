//! Holds one lease: keeps the shard connected until the lease ends, one
//! gateway connection after another, each behind its back-off.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use shardman_core::close_code::{CloseMeaning, meaning};
use shardman_core::wire::ShardState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::Context;
use crate::backoff::{after, after_invalid_session, after_reconnect};
use crate::beat::{Beats, Verdict};
use crate::exit::Exit;
use crate::gateway::{Connection, End};
use crate::guilds::Guilds;
use crate::lease::Lease;
use crate::session::GatewaySession;
use crate::sink::Lane;
use shardman_lease::now;

/// How long a leaving shard waits for its sink: the whole stop stays well under
/// two seconds, also when nobody answers.
const FLUSH_STOPPING: Duration = Duration::from_millis(500);
/// How long a shard that was asked to leave waits for its sink. Its lease goes
/// on meanwhile.
const DRAIN_PATIENCE: Duration = Duration::from_secs(100);
/// How often a silent manager is looked for in the beats' answers.
const SILENCE_CHECK: Duration = Duration::from_millis(100);
const LAST_BEAT_TIMEOUT: Duration = Duration::from_millis(300);
/// After a close code that only a new plan can cure, between two tries.
const OUT_OF_PLAN_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseEnd {
    /// The worker stops.
    Stopped,
    /// The manager asked for the shard back.
    Drained,
    /// The manager gave it away.
    Lost,
    /// The manager was silent too long to be sure. The gateway is left; the
    /// lease is ours again as soon as a beat is answered.
    Silent,
    /// Discord refused for good; the whole worker stops.
    Refused(Exit),
}

pub(crate) struct Holder {
    pub(crate) context: Arc<Context>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) beats: Beats,
    pub(crate) lane: Lane,
    pub(crate) session: Option<GatewaySession>,
    pub(crate) guilds: Guilds,
}

impl Holder {
    pub(crate) fn new(context: Arc<Context>, mut lease: Lease) -> Self {
        let resume = lease.resume.take();
        let guilds = Guilds::inherited(resume.as_ref().and_then(|point| point.guild_count));
        let session = resume.map(GatewaySession::inherited);
        let lease = Arc::new(lease);
        let beats = Beats::start(Arc::clone(&context.manager), Arc::clone(&lease));
        let lane = Lane::new(context.sink.clone());
        let holder = Self {
            context,
            lease,
            beats,
            lane,
            session,
            guilds,
        };
        holder.publish_session();
        holder.beats.figures.set_guild_count(holder.guilds.count());
        holder
    }

    /// Runs until the lease ends.
    pub(crate) async fn run(mut self) -> LeaseEnd {
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        match end {
            LeaseEnd::Stopped => self.leave(FLUSH_STOPPING).await,
            LeaseEnd::Drained => {
                self.drain().await;
                self.leave(FLUSH_STOPPING).await;
            }
            LeaseEnd::Refused(_) => self.leave_refused().await,
            LeaseEnd::Lost => self.give_up().await,
            LeaseEnd::Silent => {}
        }
        end
    }

    /// Holds the shard, and waits through the manager's silences off the
    /// gateway: what comes back may be the same lease.
    async fn serve(&mut self) -> Result<std::convert::Infallible, LeaseEnd> {
        let mut attempts = 0;
        loop {
            match self.hold(&mut attempts).await {
                Err(LeaseEnd::Silent) => self.wait_for_answer().await?,
                ended => return ended,
            }
        }
    }

    async fn wait_for_answer(&mut self) -> Result<(), LeaseEnd> {
        self.beats.report_disconnected(None);
        while self.lease.deadline.is_past(now()) {
            tokio::select! {
                biased;
                verdict = news(&self.context.stop, &mut self.beats.verdict) => self.obey(verdict?)?,
                () = tokio::time::sleep(SILENCE_CHECK) => {}
            }
        }
        info!(shard.id = %self.lease.shard, "the manager answers again; shard {} is still ours", self.lease.shard);
        Ok(())
    }

    async fn hold(&mut self, attempts: &mut u32) -> Result<std::convert::Infallible, LeaseEnd> {
        // The first answer shows that the lease is still ours, however long the
        // answer to `/connect` was under way, and whether to stand by.
        self.first_answer().await?;
        loop {
            self.wait_for_room().await?;
            let (end, uptime) = Connection::open(self).run().await;
            let asked_to = matches!(end, End::Reconnect | End::Asked);
            let wait = if asked_to { after_reconnect } else { after };
            let wait = wait(*attempts, uptime, fastrand::f64());
            // A sink that fills is waited for above; the gateway is not to blame.
            if !matches!(end, End::SinkFull) {
                *attempts = wait.attempts;
            }
            let delay = self.judge(&end)?.max(wait.delay);
            self.pause(tokio::time::sleep(delay)).await?;
        }
    }

    /// What the end of a connection means; the least wait before the next one.
    fn judge(&mut self, end: &End) -> Result<Duration, LeaseEnd> {
        let shard = self.lease.shard;
        match *end {
            End::Lease(end) => return Err(end),
            End::Closed(code) if meaning(code) == CloseMeaning::Plan => {
                self.beats.report_disconnected(code);
                error!(
                    shard.id = %shard, close_code = code,
                    "Discord refused shard {shard}: the number of shards is wrong; change the plan, for instance with MAX_SHARDS"
                );
                return Ok(OUT_OF_PLAN_PAUSE);
            }
            End::Closed(Some(code)) if let CloseMeaning::Halt(remedy) = meaning(Some(code)) => {
                self.beats.report_disconnected(Some(code));
                error!(shard.id = %shard, close_code = code, "Discord refused shard {shard} (close code {code}): {remedy}");
                self.context
                    .refused
                    .store(code, std::sync::atomic::Ordering::Release);
                return Err(LeaseEnd::Refused(Exit::BadConfig));
            }
            End::Closed(code) => {
                self.beats.report_disconnected(code);
                info!(shard.id = %shard, close_code = code, "gateway connection of shard {shard} ended; coming back");
                if meaning(code) == CloseMeaning::NewSession {
                    self.forget_session("the gateway session cannot be resumed");
                }
            }
            End::ResumeFailed { code, sent } => {
                self.beats.report_disconnected(code);
                if !self.session.as_mut().is_some_and(|session| session.failed(sent)) {
                    self.forget_session("no RESUME was answered");
                }
            }
            End::InvalidSession => {
                self.beats.report_disconnected(None);
                self.forget_session("Discord has forgotten the gateway session");
                return Ok(after_invalid_session(fastrand::f64()));
            }
            End::Reconnect => {
                self.beats.report_disconnected(None);
                info!(shard.id = %shard, "Discord wants shard {shard} on another connection");
            }
            End::Asked => {
                self.beats.report_disconnected(None);
                warn!(shard.id = %shard, "the manager wants shard {shard} on another connection");
            }
            End::SinkFull => {
                self.beats.report_disconnected(None);
                warn!(shard.id = %shard, "the sink is full; shard {shard} is parked until it has drained");
            }
        }
        Ok(Duration::ZERO)
    }

    /// Identifies next time: events between the two sessions are lost.
    fn forget_session(&mut self, why: &str) {
        if let Some(session) = self.session.take() {
            warn!(shard.id = %self.lease.shard, last_sequence = session.taken, "{why}: a gap in the events");
        }
        self.guilds.clear();
        self.publish_session();
    }

    /// Lets the beats carry the session's resume point.
    pub(crate) fn publish_session(&self) {
        let session = self.session.as_ref();
        self.beats.figures.set_session(session.map(|session| {
            (
                session.id.clone(),
                session.resume_url.clone(),
                session.acks.clone(),
            )
        }));
    }

    async fn first_answer(&mut self) -> Result<(), LeaseEnd> {
        let mut verdict = self.beats.verdict.clone();
        let answered = async move {
            // An error means that the beats ended, which `pause` sees too.
            let _ = verdict.wait_for(|verdict| *verdict != Verdict::Unknown).await;
        };
        self.pause(answered).await?;
        let verdict = *self.beats.verdict.borrow_and_update();
        self.obey(verdict)
    }

    /// Waits for `done`, or for the end of the lease.
    async fn pause(&mut self, done: impl Future<Output = ()>) -> Result<(), LeaseEnd> {
        let mut done = std::pin::pin!(done);
        loop {
            let left = self.left_or_end()?;
            tokio::select! {
                biased;
                verdict = news(&self.context.stop, &mut self.beats.verdict) => self.obey(verdict?)?,
                () = &mut done => return Ok(()),
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Waits until the sink takes events again.
    async fn wait_for_room(&mut self) -> Result<(), LeaseEnd> {
        loop {
            let left = self.left_or_end()?;
            tokio::select! {
                biased;
                verdict = news(&self.context.stop, &mut self.beats.verdict) => self.obey(verdict?)?,
                () = self.lane.drained() => return Ok(()),
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Takes in what the manager answered.
    pub(crate) fn obey(&mut self, verdict: Verdict) -> Result<(), LeaseEnd> {
        match verdict {
            Verdict::Unknown => Ok(()),
            Verdict::StandBy => {
                self.lane.stand_by();
                Ok(())
            }
            // Without a connection there is none to leave; the lane is as it was.
            Verdict::Reconnect => Ok(()),
            Verdict::CarryOn | Verdict::GoLive => {
                self.lane.go_live();
                Ok(())
            }
            Verdict::Drain => Err(LeaseEnd::Drained),
            Verdict::Lost => {
                warn!(shard.id = %self.lease.shard, "the manager says that the lease of shard {} is no more", self.lease.shard);
                Err(LeaseEnd::Lost)
            }
        }
    }

    /// The time until the lease can no longer be trusted, in slices of at most
    /// a second: timers stand still while the host is suspended.
    pub(crate) fn left_or_end(&self) -> Result<Duration, LeaseEnd> {
        let now = now();
        if self.lease.deadline.is_past(now) {
            warn!(
                shard.id = %self.lease.shard,
                "no beat of shard {} was answered in time; letting go of it", self.lease.shard
            );
            return Err(LeaseEnd::Silent);
        }
        Ok(self.lease.deadline.left(now).min(Duration::from_secs(1)))
    }

    /// Delivers what was received, as long as that may take.
    async fn drain(&mut self) {
        let (stop, sink) = (self.context.stop.clone(), self.context.sink.clone());
        let delivered = async {
            self.lane.drained().await;
            sink.flush(DRAIN_PATIENCE).await;
        };
        let done = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            done = tokio::time::timeout(DRAIN_PATIENCE, delivered) => done,
        };
        if done.is_err() {
            warn!(shard.id = %self.lease.shard, "the sink did not take the last events of shard {}", self.lease.shard);
        }
    }

    /// Hands the shard back: the resume point first, then the lease.
    async fn leave(&mut self, patience: Duration) {
        self.lane.pass_on();
        self.context.sink.flush(patience).await;
        self.say_goodbye(ShardState::Stopping, None).await;
    }

    /// The gateway is left. A manager that has kept the shard from others until
    /// this process is gone need not kill it then.
    async fn give_up(&self) {
        if let Err(error) = self.context.manager.release(&self.lease.session_id).await {
            debug!(shard.id = %self.lease.shard, %error, "what was lost is not waited for");
        }
    }

    async fn leave_refused(&mut self) {
        let code = self.context.refused.load(std::sync::atomic::Ordering::Acquire);
        self.say_goodbye(ShardState::Disconnected, Some(code)).await;
    }

    async fn say_goodbye(&mut self, state: ShardState, close_code: Option<u16>) {
        if self.left_or_end().is_err() {
            return;
        }
        let beat = self.beats.figures.beat(&self.lease, state, close_code, now());
        let manager = &self.context.manager;
        if let Err(error) = manager.beat(&beat, LAST_BEAT_TIMEOUT).await {
            debug!(shard.id = %self.lease.shard, %error, "the last beat was not answered");
        }
        if let Err(error) = manager.release(&self.lease.session_id).await
            && !error.is_lease_lost()
        {
            warn!(shard.id = %self.lease.shard, %error, "shard {} was not handed back; its lease will lapse", self.lease.shard);
        }
    }
}

/// What interrupts every wait: the end of the worker, or a new verdict.
async fn news(stop: &CancellationToken, verdict: &mut watch::Receiver<Verdict>) -> Result<Verdict, LeaseEnd> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(LeaseEnd::Stopped),
        changed = verdict.changed() => match changed {
            Ok(()) => Ok(*verdict.borrow_and_update()),
            // The beats ended: the manager has said its last word.
            Err(_) => Err(LeaseEnd::Lost),
        },
    }
}
