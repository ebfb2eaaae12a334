//! One connection to the oracle: the hello with the lease, and then what is
//! told, and what is guessed. It ends with the lease at the latest.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::dial::Socket;
use super::runner::Runner;
use crate::draft::frame::{Closing, FromOracle, FromScout};
use crate::slot::Lease;

/// From the hello to the welcome: the oracle asks the manager meanwhile.
const WELCOME_TIME: Duration = Duration::from_secs(20);
/// What is written is taken by then, or the connection ends.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// A sign of life is asked for this often, and missed so many times.
const PING_EVERY: Duration = Duration::from_secs(15);
const PINGS_MISSED: u32 = 3;
/// Guesses that are not sent yet; more are late anyway.
const GUESSES_MAX: usize = 256;

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The scout stops.
    Stopped,
    /// The slot is not surely ours any more.
    LeaseLost,
    /// The oracle ended it, and perhaps said why.
    Closed(Option<Closing>),
    /// It broke.
    Broken(String),
}

/// One connection, for as long as one lease.
pub(super) struct Session<'a> {
    pub(super) lease: Arc<Lease>,
    pub(super) held: watch::Receiver<Option<Arc<Lease>>>,
    pub(super) runner: &'a Runner,
    pub(super) stop: &'a CancellationToken,
}

impl Session<'_> {
    /// Runs to the end; `welcomed` is called when the oracle admits the scout.
    pub(super) async fn run(mut self, mut socket: Socket, welcomed: impl FnOnce()) -> End {
        let mut held = self.held.clone();
        let lease = Arc::clone(&self.lease);
        let lost = held.wait_for(|held| held.as_ref().is_none_or(|held| !Arc::ptr_eq(held, &lease)));
        let stop = self.stop;
        let end = tokio::select! {
            biased;
            () = stop.cancelled() => End::Stopped,
            _ = lost => End::LeaseLost,
            end = self.talk(&mut socket, welcomed) => end,
        };
        let close = socket.close(None);
        let _ = timeout(Duration::from_millis(200), close).await;
        end
    }

    async fn talk(&mut self, socket: &mut Socket, welcomed: impl FnOnce()) -> End {
        // The dial may have taken long, and the timer that looks be late.
        if self.lease.is_past() {
            return End::LeaseLost;
        }
        let (sender, guesses) = mpsc::channel(GUESSES_MAX);
        if self.runner.begin(sender).is_err() {
            return End::Broken("the engine takes nothing".to_owned());
        }
        let hello = FromScout::Hello {
            slot: self.lease.slot,
            session_id: self.lease.session_id.clone(),
            epoch: self.lease.epoch.0,
            vocabulary_hash: self.runner.vocabulary_hash().to_owned(),
        };
        let said = async {
            send(socket, &hello).await?;
            receive(socket).await
        };
        let welcome = match timeout(WELCOME_TIME, said).await {
            Ok(Ok(welcome @ FromOracle::Welcome { .. })) => welcome,
            Ok(Ok(_)) => return End::Broken("the oracle did not say welcome".to_owned()),
            Ok(Err(end)) => return end,
            Err(_) => return End::Broken("the oracle did not answer the hello".to_owned()),
        };
        if self.runner.frame(welcome).is_err() {
            return End::Broken("the engine takes nothing".to_owned());
        }
        welcomed();
        match self.relay(socket, guesses).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn relay(
        &self,
        socket: &mut Socket,
        mut guesses: mpsc::Receiver<FromScout>,
    ) -> Result<std::convert::Infallible, End> {
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                // What is told first: a guess may be late by then.
                biased;
                frame = socket.next() => {
                    heard = Instant::now();
                    if let Some(frame) = read(frame)?
                        && self.runner.frame(frame).is_err()
                    {
                        return Err(End::Broken("the engine takes nothing".to_owned()));
                    }
                }
                guess = guesses.recv() => match guess {
                    // Checked before each use of the lease, not only by a timer.
                    Some(_) if self.lease.is_past() => return Err(End::LeaseLost),
                    Some(guess) => send(socket, &guess).await?,
                    None => return Err(End::Broken("the engine has ended".to_owned())),
                },
                _ = pings.tick() => {
                    if heard.elapsed() > PING_EVERY * PINGS_MISSED {
                        return Err(End::Broken("the oracle gives no sign of life".to_owned()));
                    }
                    let ping = socket.send(Message::Ping(Bytes::new()));
                    match timeout(WRITE_TIME, ping).await {
                        Ok(sent) => sent.map_err(|error| broken(&error))?,
                        Err(_) => return Err(End::Broken("the oracle reads nothing".to_owned())),
                    }
                }
            }
        }
    }
}

async fn send(socket: &mut Socket, frame: &FromScout) -> Result<(), End> {
    let text = serde_json::to_string(frame).map_err(|error| End::Broken(error.to_string()))?;
    match timeout(WRITE_TIME, socket.send(Message::Text(Utf8Bytes::from(text)))).await {
        Ok(sent) => sent.map_err(|error| broken(&error)),
        Err(_) => Err(End::Broken("the oracle reads nothing".to_owned())),
    }
}

async fn receive(socket: &mut Socket) -> Result<FromOracle, End> {
    loop {
        if let Some(frame) = read(socket.next().await)? {
            return Ok(frame);
        }
    }
}

fn read(message: Option<Result<Message, Error>>) -> Result<Option<FromOracle>, End> {
    match message {
        Some(Ok(Message::Text(text))) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|_| End::Broken("the oracle says what makes no sense".to_owned())),
        Some(Ok(Message::Close(frame))) => {
            let code = frame.map(|frame| u16::from(frame.code));
            Err(End::Closed(code.and_then(Closing::of_code)))
        }
        Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
        Some(Err(error)) => Err(broken(&error)),
        None => Err(End::Closed(None)),
    }
}

fn broken(error: &Error) -> End {
    End::Broken(error.to_string())
}
