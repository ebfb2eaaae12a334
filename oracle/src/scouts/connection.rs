//! One scout's connection, from its hello to its end.
//!
//! It is bounded in every way: who has said nothing yet in number and time, what
//! is read in size, what is drafted by what was asked for, what is written in
//! length and time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use axum::extract::{Extension, State, WebSocketUpgrade};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use futures_util::{SinkExt as _, StreamExt as _};
use shardman_serve::Peer;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::Shared;
use super::board::{Arrival, ConnectionId, OUTGOING_MAX, Outgoing};
use super::roster::{Claim, now_ms};
use super::strangers::{self, Closed, Place};
use crate::draft::frame::{Closing, FROM_SCOUT_MAX_BYTES, FromScout};

/// From the connection to the hello.
const HELLO_TIME: Duration = Duration::from_secs(5);
/// What is written is taken by then, or the connection ends.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// Why a caller is not heard as a scout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotHeard {
    #[error("Scouts hold leases: set SHARDMAN_URL and SECRET to those of the manager")]
    NoManager,
    #[error("Missing the secret of the manager")]
    NoSecret,
    #[error("The manager does not take this secret")]
    WrongSecret,
    #[error("Scouts speak WebSocket here")]
    NoWebSocket,
    #[error("Too many scouts say hello already")]
    Full,
    #[error("Too many hellos from this address came to nothing")]
    Failing,
    #[error("The manager cannot be asked now")]
    ManagerAway,
}

impl From<Closed> for NotHeard {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Full => Self::Full,
            Closed::Failing => Self::Failing,
        }
    }
}

/// `GET /v1/scouts/draft`.
pub(super) async fn connect(
    State(shared): State<Arc<Shared>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, NotHeard> {
    let roster = shared.roster.as_ref().ok_or(NotHeard::NoManager)?;
    let authorization = headers.get(AUTHORIZATION).cloned().ok_or(NotHeard::NoSecret)?;
    let upgrade = upgrade.map_err(|_| NotHeard::NoWebSocket)?;
    let address = peer.map(|Extension(peer)| peer.0);
    let mut place = strangers::enter(&shared.strangers, address, Instant::now())
        .inspect_err(|_| shared.metrics.refused.with_label_values(&["strangers"]).inc())?;
    match roster.knows(&authorization).await {
        Ok(()) => {}
        Err(Some(_)) => {
            place.failed();
            return Err(NotHeard::WrongSecret);
        }
        Err(None) => return Err(NotHeard::ManagerAway),
    }
    Ok(upgrade
        .max_message_size(FROM_SCOUT_MAX_BYTES)
        .max_frame_size(FROM_SCOUT_MAX_BYTES)
        .on_upgrade(async move |socket| {
            let hello = Hello {
                shared: &shared,
                authorization,
                address,
            };
            hello.run(socket, place).await;
        }))
}

/// A connection that has not proved yet whose it is.
struct Hello<'a> {
    shared: &'a Shared,
    authorization: HeaderValue,
    address: Option<std::net::IpAddr>,
}

impl Hello<'_> {
    async fn run(self, mut socket: WebSocket, mut place: Place) {
        let shared = self.shared;
        let admitted = tokio::select! {
            () = shared.stop.cancelled() => Err(Closing::Stopping),
            admitted = self.admit(&mut socket) => admitted,
        };
        // Who is only to come later has done nothing wrong.
        if matches!(&admitted, Err(closing) if !matches!(closing, Closing::TryAgain | Closing::Stopping)) {
            place.failed();
        }
        drop(place);
        let closing = match admitted {
            Ok(scout) => scout.run(&mut socket).await,
            Err(closing) => Some(closing),
        };
        if let Some(closing) = closing {
            debug!(reason = closing.as_str(), "the connection of a scout is closed");
            let reason = closing.as_str();
            shared.metrics.refused.with_label_values(&[reason]).inc();
            let frame = CloseFrame {
                code: closing.code(),
                reason: Utf8Bytes::from_static(reason),
            };
            let close = socket.send(Message::Close(Some(frame)));
            let _ = tokio::time::timeout(WRITE_TIME, close).await;
        }
    }

    /// Waits for the hello, and has it proved.
    async fn admit(&self, socket: &mut WebSocket) -> Result<Scout<'_>, Closing> {
        let first = tokio::time::timeout(HELLO_TIME, socket.recv());
        let Ok(Some(Ok(Message::Text(text)))) = first.await else {
            return Err(Closing::Malformed);
        };
        let Ok(FromScout::Hello {
            slot,
            session_id,
            epoch,
            vocabulary_hash,
        }) = serde_json::from_str(&text)
        else {
            return Err(Closing::Malformed);
        };
        let shared = self.shared;
        let Some(ours) = shared.vocabulary_hash.get() else {
            return Err(Closing::TryAgain);
        };
        let roster = shared.roster.as_ref().ok_or(Closing::TryAgain)?;
        // The manager is not asked again and again for who broke the rules.
        if shared.board().rests(slot, epoch, Instant::now()) {
            return Err(Closing::TryAgain);
        }
        let claim = Claim {
            slot,
            session_id,
            epoch,
        };
        let proved = roster.prove(&claim, self.authorization.clone()).await;
        let proved = proved.and_then(|()| match *ours == vocabulary_hash {
            true => Ok(()),
            false => Err(Closing::OtherVocabulary),
        });
        let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
        let joined = proved.and_then(|()| shared.board().join(slot, epoch, sender, Instant::now()));
        let connection = match joined {
            Ok(connection) => connection,
            Err(closing) => {
                // Of slots that there are, so that a stranger fills no memory.
                let is_slot = roster.held().is_some_and(|held| held.contains_key(&slot));
                if is_slot && closing != Closing::TryAgain {
                    shared.contacts().entry(slot).or_default().failures += 1;
                }
                return Err(closing);
            }
        };
        let now = now_ms();
        let mut contacts = shared.contacts();
        let contact = contacts.entry(slot).or_default();
        (contact.address, contact.connected_at_ms, contact.last_frame_ms) = (self.address, now, now);
        drop(contacts);
        let lost = shared.board().lost(slot, connection);
        info!(slot, epoch, "the scout of slot {slot} is connected");
        Ok(Scout {
            shared,
            slot,
            connection,
            outgoing,
            lost,
        })
    }
}

/// A connection that proved whose it is.
struct Scout<'a> {
    shared: &'a Shared,
    slot: u32,
    connection: ConnectionId,
    outgoing: mpsc::Receiver<Outgoing>,
    /// Cancelled when its seat is lost.
    lost: CancellationToken,
}

impl Drop for Scout<'_> {
    fn drop(&mut self) {
        let mut board = self.shared.board();
        board.leave(self.slot, self.connection, Instant::now());
        drop(board);
        info!(slot = self.slot, "the scout of slot {} is gone", self.slot);
    }
}

impl Scout<'_> {
    /// Until either side ends it: with what reason, if it is ours.
    async fn run(mut self, socket: &mut WebSocket) -> Option<Closing> {
        let end = self.talk(socket).await;
        if let Some(why) = end {
            let by = (self.slot, self.connection);
            self.shared.board().closing(by, why, Instant::now());
        }
        end
    }

    async fn talk(&mut self, socket: &mut WebSocket) -> Option<Closing> {
        let (mut sink, mut stream) = socket.split();
        loop {
            tokio::select! {
                biased;
                () = self.lost.cancelled() => return Some(self.why_lost()),
                outgoing = self.outgoing.recv() => {
                    let frame = match outgoing {
                        Some(Outgoing::Frame(frame)) => frame,
                        Some(Outgoing::Close(closing)) => return Some(closing),
                        // Its seat is gone, and there was no room to say why.
                        None => return Some(Closing::TooSlow),
                    };
                    let Ok(text) = serde_json::to_string(&frame) else {
                        return Some(Closing::Stopping);
                    };
                    let write = sink.send(Message::Text(text.into()));
                    let written = tokio::select! {
                        biased;
                        () = self.lost.cancelled() => return Some(self.why_lost()),
                        written = tokio::time::timeout(WRITE_TIME, write) => written,
                    };
                    match written {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return None,
                        Err(_) => return Some(Closing::TooSlow),
                    }
                }
                incoming = stream.next() => match incoming {
                    Some(Ok(Message::Text(text))) => {
                        if let Err(closing) = self.read(&text) {
                            return Some(closing);
                        }
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Binary(_))) | Some(Err(_)) => return Some(Closing::Malformed),
                    Some(Ok(Message::Close(_))) | None => return None,
                },
            }
        }
    }

    /// What is queued before the reason is for nobody any more.
    fn why_lost(&mut self) -> Closing {
        loop {
            match self.outgoing.try_recv() {
                Ok(Outgoing::Frame(_)) => {}
                Ok(Outgoing::Close(closing)) => return closing,
                // There was no room to say why.
                Err(_) => return Closing::TooSlow,
            }
        }
    }

    fn read(&self, text: &str) -> Result<(), Closing> {
        let Ok(FromScout::Draft { answer, base, tokens }) = serde_json::from_str(text) else {
            return Err(Closing::Malformed);
        };
        let by = (self.slot, self.connection);
        let arrival = self
            .shared
            .board()
            .arrived(by, answer, base, &tokens, Instant::now());
        match arrival {
            Arrival::Kept => self.shared.drafted.notify_all(),
            Arrival::Stale | Arrival::Stray => {}
            Arrival::Refused(closing) => return Err(closing),
        }
        if let Some(contact) = self.shared.contacts().get_mut(&self.slot) {
            contact.last_frame_ms = now_ms();
        }
        Ok(())
    }
}
