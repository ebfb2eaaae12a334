//! One gateway connection: a task that writes what the rules have pending and
//! obeys the orders on its line.

use std::convert::Infallible;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::codec::Codec;
use crate::faults::Phase;
use crate::payload::{self, Scene};
use crate::rules::{CloseCode, ConnId, Dispatch, Event, MESSAGE_CONTENT};
use crate::server::{Order, Shared};

/// Dispatches written between two looks at what the client sends.
const BATCH: usize = 64;
/// How long a client has to answer a close frame.
const CLOSING: Duration = Duration::from_secs(2);
/// How long a batch may take to write.
const STUCK: Duration = Duration::from_secs(60);

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client is gone, with this code if it sent one.
    Gone(Option<u16>),
    /// A close frame is due. The rules have let go of the connection, if `told`.
    Close { code: u16, told: bool },
    /// No close frame.
    Drop,
}

pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) id: ConnId,
    resume_url: String,
    codec: Codec,
    wake: Arc<Notify>,
    cut: CancellationToken,
    /// Nothing is dispatched before (a slow READY).
    pub(super) hold_until: Option<Instant>,
    sink: Option<SplitSink<WebSocket, Message>>,
}

impl Connection {
    pub(super) fn open(shared: Arc<Shared>, by_resume_url: bool, resume_url: String, codec: Codec) -> Self {
        let now = shared.now();
        let mut state = shared.lock();
        let id = state.rules.connect(by_resume_url, now);
        let (wake, cut) = state.open_line(id);
        drop(state);
        Self {
            shared,
            id,
            resume_url,
            codec,
            wake,
            cut,
            hold_until: None,
            sink: None,
        }
    }

    pub(super) async fn run(mut self, socket: WebSocket, asks_right: Result<(), String>) {
        let (sink, mut stream) = socket.split();
        self.sink = Some(sink);
        let stopping = self.shared.stopping.clone();
        let cut = self.cut.clone();
        let end = tokio::select! {
            biased;
            () = cut.cancelled() => End::Drop,
            () = stopping.cancelled() => End::Drop,
            end = self.converse(&mut stream, asks_right) => end,
        };
        self.finish(end, stream).await;
    }

    async fn converse(&mut self, stream: &mut SplitStream<WebSocket>, asks_right: Result<(), String>) -> End {
        match self.try_converse(stream, asks_right).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_converse(
        &mut self,
        stream: &mut SplitStream<WebSocket>,
        asks_right: Result<(), String>,
    ) -> Result<Infallible, End> {
        if let Err(detail) = asks_right {
            return Err(self.refuse(CloseCode::InvalidVersion, &detail));
        }
        let interval = self.shared.lock().rules.limits().heartbeat_interval_ms;
        self.send(payload::hello(interval)).await?;
        self.end_after(Phase::Hello)?;
        loop {
            self.obey().await?;
            let more = self.pump().await?;
            let hold = self.hold_until;
            tokio::select! {
                biased;
                message = stream.next() => {
                    let message = message.and_then(Result::ok).ok_or(End::Gone(None))?;
                    self.receive(message).await?;
                }
                () = self.wake.notified() => {}
                () = at(hold) => self.hold_until = None,
                () = future::ready(()), if more => {}
            }
        }
    }

    async fn receive(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Text(text) => self.take(text.as_bytes()).await,
            Message::Binary(bytes) => self.take(&bytes).await,
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(frame) => Err(End::Gone(frame.map(|frame| frame.code))),
        }
    }

    /// Does what was ordered from outside, in order.
    async fn obey(&mut self) -> Result<(), End> {
        loop {
            let order = self.shared.lock().next_order(self.id);
            match order {
                Some(Order::Send(text)) => self.send(text).await?,
                Some(Order::Close(code)) => return Err(End::Close { code, told: true }),
                None => return Ok(()),
            }
        }
    }

    /// Writes a batch of what is pending. True when there may be more.
    async fn pump(&mut self) -> Result<bool, End> {
        if self.hold_until.is_some() {
            return Ok(false);
        }
        let (batch, frames, closes) = self.render();
        let Some(last) = batch.last() else {
            return Ok(false);
        };
        let ready = batch.iter().any(|dispatch| dispatch.event == Event::Ready);
        // A client that reads nothing at all cannot hold on for ever.
        timeout(STUCK, self.write(frames))
            .await
            .map_err(|_| End::Drop)??;
        let now = self.shared.now();
        self.shared.lock().rules.delivered(self.id, last.sequence, now);
        if ready && closes {
            self.end_after(Phase::Ready)?;
        }
        Ok(batch.len() == BATCH || closes)
    }

    async fn write(&mut self, frames: Vec<String>) -> Result<(), End> {
        for frame in frames {
            let message = self.codec.encode(frame);
            self.sink().feed(message).await.map_err(|_| End::Gone(None))?;
        }
        self.sink().flush().await.map_err(|_| End::Gone(None))
    }

    /// The next batch and its JSON. A connection that has to end after READY
    /// gets READY alone.
    fn render(&self) -> (Vec<Dispatch>, Vec<String>, bool) {
        let state = self.shared.lock();
        if state.is_deaf(self.id) {
            return (Vec::new(), Vec::new(), false);
        }
        let closes = state.standing.will_close(Phase::Ready);
        let batch = state.rules.pending(self.id, if closes { 1 } else { BATCH });
        let (Some(shard), Some(session)) = (state.rules.shard_of(self.id), state.rules.session_of(self.id))
        else {
            return (Vec::new(), Vec::new(), false);
        };
        let content = state.rules.intents_of(self.id) & MESSAGE_CONTENT != 0;
        let guilds = state.rules.guilds().clone();
        drop(state);
        let session_id = session.to_string();
        let scene = Scene {
            shard,
            session_id: &session_id,
            resume_gateway_url: &self.resume_url,
            content,
            guilds: &guilds,
        };
        let frames = batch
            .iter()
            .map(|next| payload::dispatch(next.sequence, &next.event, &scene))
            .collect();
        (batch, frames, closes)
    }

    fn sink(&mut self) -> &mut SplitSink<WebSocket, Message> {
        self.sink
            .as_mut()
            .expect("the sink is there from the start of `run`")
    }

    pub(super) async fn send(&mut self, text: String) -> Result<(), End> {
        let message = self.codec.encode(text);
        self.sink().send(message).await.map_err(|_| End::Gone(None))
    }

    /// Notes a broken rule and ends with its code.
    pub(super) fn refuse(&self, code: CloseCode, detail: &str) -> End {
        let now = self.shared.now();
        let _ = self.shared.lock().rules.refuse(self.id, code, detail, now);
        End::Close {
            code: code.number(),
            told: false,
        }
    }

    /// Ends here if a fault says so.
    pub(super) fn end_after(&self, phase: Phase) -> Result<(), End> {
        match self.shared.lock().standing.take_close(phase) {
            Some(Some(code)) => Err(End::Close { code, told: false }),
            Some(None) => Err(End::Drop),
            None => Ok(()),
        }
    }

    /// Leaves the rules first: whatever the client does with the close frame, it
    /// holds nothing from now on.
    async fn finish(mut self, end: End, mut stream: SplitStream<WebSocket>) {
        let now = self.shared.now();
        {
            let mut state = self.shared.lock();
            match end {
                End::Gone(code) => state.rules.disconnect(self.id, code, now),
                End::Close { code, told: false } => state.let_go(self.id, code, now),
                End::Close { told: true, .. } => {}
                End::Drop => state.rules.disconnect(self.id, None, now),
            }
            state.drop_line(self.id);
        }
        let sink = self.sink();
        let goodbye = async {
            match end {
                End::Gone(Some(_)) => drop(sink.flush().await),
                End::Close { code, .. } => {
                    let frame = CloseFrame {
                        code,
                        reason: reason(code).into(),
                    };
                    if sink.send(Message::Close(Some(frame))).await.is_ok() {
                        while let Some(Ok(_)) = stream.next().await {}
                    }
                }
                End::Gone(None) | End::Drop => {}
            }
        };
        // A client that does not answer is dropped; there is nobody to tell.
        let _ = timeout(CLOSING, goodbye).await;
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => future::pending().await,
    }
}

fn reason(code: u16) -> &'static str {
    const CODES: [CloseCode; 13] = [
        CloseCode::UnknownOpcode,
        CloseCode::DecodeError,
        CloseCode::NotAuthenticated,
        CloseCode::AuthenticationFailed,
        CloseCode::AlreadyAuthenticated,
        CloseCode::InvalidSequence,
        CloseCode::RateLimited,
        CloseCode::SessionTimedOut,
        CloseCode::InvalidShard,
        CloseCode::ShardingRequired,
        CloseCode::InvalidVersion,
        CloseCode::InvalidIntents,
        CloseCode::DisallowedIntents,
    ];
    CODES
        .iter()
        .find(|known| known.number() == code)
        .map_or("Unknown error.", |known| known.reason())
}
