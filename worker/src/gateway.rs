//! One gateway connection, from the first byte to the close.
//!
//! The gateway client reconnects by itself, inside its poll and without any
//! wait once a handshake worked. So it never gets to: every connection is a
//! client of its own, its state is looked at after each single poll, and it is
//! dropped as soon as it has lost its connection. What outlives it, the session
//! and the sequence, is ours; the next one is made behind the back-off.

mod close;
mod poll;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use shardman_core::wire::ShardState;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::{debug, info, warn};
use twilight_gateway::{Config, ConfigBuilder, Session, Shard};

use crate::beat::Verdict;
use crate::header::{self, Header};
use crate::holder::{Holder, LeaseEnd};
use crate::permit::{self, Gate, LeaseLost};
use crate::session::GatewaySession;
use crate::sink::Event;
use poll::Step;
use shardman_lease::now;

/// From the first byte to HELLO; the client itself allows ten seconds for the
/// WebSocket handshake.
const HELLO_TIMEOUT: Duration = Duration::from_secs(25);
/// From IDENTIFY to READY, and between two messages of a replay.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The lease ended first.
    Lease(LeaseEnd),
    /// The connection ended, by a close frame with a code or without one.
    Closed(Option<u16>),
    /// The same, before RESUMED, and whether RESUME was sent.
    ResumeFailed { code: Option<u16>, sent: bool },
    /// Op 9: the session is gone.
    InvalidSession,
    /// Discord wants the session resumed on another connection: op 7, or op 9
    /// that says so, while all was well.
    Reconnect,
    /// The manager wants another connection: this one is deaf, or stuck.
    Asked,
    /// The sink took its last event for now.
    SinkFull,
}

type Asking = Pin<Box<dyn Future<Output = Result<(), LeaseLost>> + Send>>;

pub(crate) struct Connection<'a> {
    holder: &'a mut Holder,
    shard: Shard<Gate>,
    gate: Gate,
    /// The wait for an identify permit, with what passes it on to the client.
    asking: Option<(Asking, oneshot::Sender<()>)>,
    /// The permit was passed on; the next poll sends IDENTIFY.
    identify_due: bool,
    /// RESUME was sent on this connection.
    resume_sent: bool,
    /// The WebSocket was open once.
    opened: bool,
    /// The client was told to close, by op 7 or 9, and has a frame to send.
    client_closes: bool,
    /// Polls without an open WebSocket.
    idle_polls: u32,
    /// Set while something has to happen before long.
    phase_ends: Option<Instant>,
    active_since: Option<Instant>,
}

impl<'a> Connection<'a> {
    pub(crate) fn open(holder: &'a mut Holder) -> Self {
        let gate = Gate::default();
        let shard_id =
            twilight_gateway::ShardId::new(holder.lease.shard.number(), holder.lease.shard.total());
        let shard = Shard::with_config(shard_id, config(holder, &gate));
        if holder.session.is_none() {
            holder.beats.report(ShardState::Waiting);
        }
        Self {
            holder,
            shard,
            gate,
            asking: None,
            identify_due: false,
            resume_sent: false,
            opened: false,
            client_closes: false,
            idle_polls: 0,
            phase_ends: Some(Instant::now() + HELLO_TIMEOUT),
            active_since: None,
        }
    }

    /// Runs until the connection or the lease ends; says how long it was active.
    pub(crate) async fn run(mut self) -> (End, Duration) {
        let end = self.serve().await;
        self.close().await;
        let uptime = self.active_since.map_or(Duration::ZERO, |since| since.elapsed());
        let end = match end {
            // Codes 4004 to 4014 say more than that.
            End::Closed(code @ (None | Some(0..=4003 | 4005 | 4008 | 4015..)))
                if self.holder.session.is_some() && self.active_since.is_none() =>
            {
                End::ResumeFailed {
                    code,
                    sent: self.resume_sent,
                }
            }
            End::Closed(_)
            | End::Lease(_)
            | End::ResumeFailed { .. }
            | End::InvalidSession
            | End::Reconnect
            | End::Asked
            | End::SinkFull => end,
        };
        self.holder.beats.figures.set_latency(None);
        (end, uptime)
    }

    async fn serve(&mut self) -> End {
        let stop = self.holder.context.stop.clone();
        let mut verdict = self.holder.beats.verdict.clone();
        let mut timer = std::pin::pin!(sleep_until(Instant::now()));
        loop {
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => Err(End::Lease(LeaseEnd::Stopped)),
                changed = verdict.changed() => self.on_verdict(changed.is_ok()),
                () = timer.as_mut() => self.on_timer(timer.as_mut()),
                step = std::future::poll_fn(|cx| self.poll_step(cx)) => self.on_step(step),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn on_verdict(&mut self, alive: bool) -> Result<(), End> {
        let verdict = *self.holder.beats.verdict.borrow_and_update();
        let stood_by = self.holder.lane.is_standing_by();
        self.holder.obey(verdict).map_err(End::Lease)?;
        if self.holder.lane.is_standing_by() != stood_by && self.active_since.is_some() {
            self.report_ready();
        }
        if verdict == Verdict::Reconnect {
            Err(End::Asked)
        } else if alive {
            Ok(())
        } else {
            Err(End::Lease(LeaseEnd::Lost))
        }
    }

    /// Looks after what no message brings about.
    fn on_timer(&mut self, timer: Pin<&mut Sleep>) -> Result<(), End> {
        let left = self.holder.left_or_end().map_err(End::Lease)?;
        timer.reset(Instant::now() + left);
        self.holder.lane.pass_on();
        self.holder
            .beats
            .figures
            .set_latency(self.shard.latency().recent().first().copied());
        if self.phase_ends.is_some_and(|end| end <= Instant::now()) {
            warn!(shard.id = %self.holder.lease.shard, "the gateway is connected but does not answer");
            return Err(End::Closed(None));
        }
        Ok(())
    }

    fn on_permit(&mut self, granted: &Result<(), LeaseLost>) -> Result<(), End> {
        let Some((_, pass_on)) = self.asking.take() else {
            return Ok(());
        };
        if granted.is_err() {
            return Err(End::Lease(LeaseEnd::Lost));
        }
        // The lease is looked at once more: the wait may have been long.
        self.holder.left_or_end().map_err(End::Lease)?;
        self.identify_due = pass_on.send(()).is_ok();
        Ok(())
    }

    fn on_step(&mut self, step: Step) -> Result<(), End> {
        match step {
            Step::Expired => Err(End::Lease(
                self.holder.left_or_end().err().unwrap_or(LeaseEnd::Lost),
            )),
            Step::Closed(code) => Err(End::Closed(code)),
            Step::Nothing => Ok(()),
            Step::Permit(granted) => self.on_permit(&granted),
            Step::Text(text) => self.on_text(text),
        }
    }

    fn on_text(&mut self, text: String) -> Result<(), End> {
        let Some(Header { op, sequence, kind }) = Header::read(&text) else {
            return Ok(());
        };
        match (op, sequence, kind) {
            (header::DISPATCH, Some(sequence), Some(kind)) => {
                let kind = Box::from(kind.as_ref());
                self.on_dispatch(sequence, kind, text)
            }
            (header::HELLO, ..) => {
                self.on_hello();
                Ok(())
            }
            (header::RECONNECT | header::INVALID_SESSION, ..) => {
                self.client_closes = true;
                // Without a session there is nothing to resume, whatever it says.
                let resumable = self.holder.session.is_some() && header::is_resumable(&text);
                let gone = op == header::INVALID_SESSION && !resumable;
                Err(if gone {
                    End::InvalidSession
                } else if self.active_since.is_some() {
                    End::Reconnect
                } else {
                    End::Closed(None)
                })
            }
            _ => Ok(()),
        }
    }

    fn on_hello(&mut self) {
        if let Some(pass_on) = self.gate.take() {
            let (manager, lease) = (
                Arc::clone(&self.holder.context.manager),
                Arc::clone(&self.holder.lease),
            );
            let asking = Box::pin(async move { permit::ask(&manager, &lease).await });
            self.asking = Some((asking, pass_on));
            self.phase_ends = None;
        } else {
            self.resume_sent = true;
            self.holder.beats.report(ShardState::Resuming);
            self.phase_ends = Some(Instant::now() + READY_TIMEOUT);
        }
    }

    fn on_dispatch(&mut self, sequence: u64, kind: Box<str>, payload: String) -> Result<(), End> {
        let received = now();
        if self.holder.lease.deadline.is_past(received) {
            return Err(End::Lease(LeaseEnd::Lost));
        }
        self.holder.beats.figures.event_received(received);
        match kind.as_ref() {
            "READY" => self.on_ready(),
            "RESUMED" => self.on_resumed(),
            _ => {}
        }
        self.count_guilds(&kind, &payload);
        if self.active_since.is_none() && self.phase_ends.is_some() {
            self.phase_ends = Some(Instant::now() + READY_TIMEOUT);
        }
        let Some(session) = &mut self.holder.session else {
            return Ok(());
        };
        session.taken = sequence;
        let acks = session.acks.clone();
        if kind.as_ref() == "READY" {
            // A RESUME never brings it again, so the session can be handed on
            // before the sink has taken anything.
            acks.ack(sequence);
        }
        let lease = &self.holder.lease;
        let begins = matches!(kind.as_ref(), "READY" | "RESUMED");
        let event = Event {
            shard: lease.shard,
            epoch: lease.epoch,
            sequence,
            kind,
            payload,
            acks,
        };
        let taken = self.holder.lane.offer(event);
        if begins {
            // Not before: the `ready` beat carries the resume point if it can.
            self.report_ready();
        }
        if taken { Ok(()) } else { Err(End::SinkFull) }
    }

    fn report_ready(&self) {
        let standing_by = self.holder.lane.is_standing_by();
        self.holder.beats.report(if standing_by {
            ShardState::StandingBy
        } else {
            ShardState::Ready
        });
    }

    fn on_ready(&mut self) {
        let session = self.shard.session().map(|session| session.id().to_owned());
        let resume_url = self.shard.resume_url().unwrap_or_default().to_owned();
        self.holder.session = session.map(|id| GatewaySession::opened(id, resume_url));
        self.holder.publish_session();
        self.activate("ready");
    }

    fn on_resumed(&mut self) {
        if let Some(session) = &mut self.holder.session {
            session.resumed();
        }
        self.activate("resumed");
    }

    fn activate(&mut self, how: &str) {
        self.active_since = Some(Instant::now());
        self.phase_ends = None;
        info!(shard.id = %self.holder.lease.shard, "shard {} is {how}", self.holder.lease.shard);
    }

    /// Brings the count up to date.
    fn count_guilds(&mut self, kind: &str, payload: &str) {
        if matches!(kind, "READY" | "GUILD_CREATE" | "GUILD_DELETE") {
            self.holder.guilds.observe(kind, payload);
            self.holder
                .beats
                .figures
                .set_guild_count(self.holder.guilds.count());
        }
    }
}

fn config(holder: &Holder, gate: &Gate) -> Config<Gate> {
    let mut builder = ConfigBuilder::from(holder.context.gateway.clone()).queue(gate.clone());
    if let Some(url) = &holder.lease.gateway_url {
        builder = builder.proxy_url(url.clone());
    }
    if let Some(session) = &holder.session {
        debug!(shard.id = %holder.lease.shard, sequence = session.taken, "going to resume");
        builder = builder.session(Session::new(session.taken, session.id.clone()));
        if let Some(url) = session.url() {
            builder = builder.resume_url(url);
        }
    }
    builder.build()
}
