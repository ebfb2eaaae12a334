//! An answer as server-sent events: the role, the text as it is written, how it
//! ended, the usage if it was asked for, and `[DONE]`. What fails midway is
//! told as an error, and then nothing follows: it must not look like an end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::Response;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::chat::{Heading, contents};
use super::error::{Refusal, ok_stream, to_json};
use super::{Api, MODEL_ID};
use crate::engine::Text;
use crate::openai::{Chunk, ChunkChoice, Delta, Logprobs, Shard, Usage, finish_reason};
use crate::scheduler::{self, Event, Ticket};

/// How long nothing may come before a comment shows that the server is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const COMMENT: &str = ": waiting\n\n";

/// How long the status waits for the request's turn: what is refused meanwhile
/// gets a status that says so, which clients heed.
const TURN_TIME: Duration = KEEP_ALIVE;

/// How long it waits after that for the first text: what fails at once gets a
/// status of its own as well.
const FIRST_TEXT_TIME: Duration = Duration::from_secs(2);

/// The most events that are sent in one piece.
const EVENTS_AT_ONCE: usize = 64;

pub(super) async fn answer(
    api: &Api,
    heading: Heading,
    mut ticket: Ticket,
    include_usage: bool,
) -> Result<Response, Refusal> {
    let cutoff = api.0.ending.cutoff.clone();
    let first = tokio::select! { biased;
        first = first_of(&mut ticket) => first?,
        () = cutoff.cancelled() => return Err(Refusal::NotTaken(scheduler::Refusal::Stopping)),
    };
    let failures = api.0.metrics.chat_failures.clone();
    let teller = Teller {
        unfinished: heading.choices,
        heading,
        text: Arc::clone(&api.0.parts.text),
        include_usage,
        completion_tokens: 0,
    };
    let body = body(ticket, teller, first, cutoff, move || failures.inc());
    let mut response = ok_stream("text/event-stream", body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A proxy would hold the events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The first event that belongs into the body; nothing if it takes too long.
async fn first_of(ticket: &mut Ticket) -> Result<Option<Event>, Refusal> {
    let mut until = Instant::now() + TURN_TIME;
    loop {
        let Ok(event) = tokio::time::timeout_at(until, ticket.events.recv()).await else {
            return Ok(None);
        };
        match event {
            None => return Err(Refusal::NotTaken(scheduler::Refusal::Broken)),
            Some(Event::Begun) => until = Instant::now() + FIRST_TEXT_TIME,
            Some(Event::Failed(reason)) => return Err(Refusal::InferenceFailed(reason)),
            Some(Event::Refused(refusal)) => return Err(refusal.into()),
            Some(event @ (Event::Text { .. } | Event::Finished { .. })) => return Ok(Some(event)),
        }
    }
}

/// The events as they come. Dropping the body drops the ticket.
fn body(
    ticket: Ticket,
    mut teller: Teller,
    first: Option<Event>,
    cutoff: CancellationToken,
    failed: impl Fn() + Send + 'static,
) -> Body {
    let mut begin = teller.begin();
    let over = first.is_some_and(|event| teller.tell(event, &mut begin).is_break());
    let state = (ticket, teller, failed);
    let begun = futures_util::stream::once(std::future::ready(Ok::<_, Infallible>(Bytes::from(begin))));
    let rest = futures_util::stream::unfold((!over).then_some(state), move |state| {
        let cutoff = cutoff.clone();
        async move {
            let (mut ticket, mut teller, failed) = state?;
            let mut piece = String::new();
            let mut events = Vec::new();
            let received = tokio::select! { biased;
                received = ticket.events.recv_many(&mut events, EVENTS_AT_ONCE) => received,
                () = cutoff.cancelled() => {
                    let refusal = scheduler::Refusal::Stopping;
                    let _: Flow = teller.tell(Event::Refused(refusal), &mut piece);
                    return Some((Ok(piece.into()), None));
                }
                () = tokio::time::sleep(KEEP_ALIVE) => {
                    return Some((Ok(Bytes::from_static(COMMENT.as_bytes())), Some((ticket, teller, failed))));
                }
            };
            if received == 0 {
                events.push(Event::Failed(scheduler::Refusal::Broken.to_string()));
            }
            for event in events {
                if matches!(
                    event,
                    Event::Failed(_) | Event::Refused(scheduler::Refusal::Broken)
                ) {
                    failed();
                }
                if teller.tell(event, &mut piece).is_break() {
                    return Some((Ok(piece.into()), None));
                }
            }
            Some((Ok(piece.into()), Some((ticket, teller, failed))))
        }
    });
    Body::from_stream(futures_util::StreamExt::chain(begun, rest))
}

/// Turns events into what is sent.
struct Teller {
    heading: Heading,
    text: Arc<dyn Text>,
    include_usage: bool,
    unfinished: u32,
    completion_tokens: usize,
}

type Flow = std::ops::ControlFlow<()>;

impl Teller {
    /// The role of each answer.
    fn begin(&self) -> String {
        let mut out = String::new();
        for index in 0..self.heading.choices {
            let delta = Delta {
                role: Some("assistant"),
                content: Some(String::new()),
            };
            let mut chunk = self.chunk(vec![choice(index, delta, None)]);
            chunk.shard = Some(Shard {
                seed: self.heading.seed,
            });
            send(&mut out, &to_json(&chunk));
        }
        out
    }

    /// One event; it says whether it was the last.
    fn tell(&mut self, event: Event, out: &mut String) -> Flow {
        match event {
            Event::Begun => return Flow::Continue(()),
            Event::Text {
                choice: index,
                text,
                logprobs,
            } => {
                let logprobs = self.heading.has_logprobs.then(|| Logprobs {
                    content: contents(&logprobs, &*self.text),
                    refusal: None,
                });
                let delta = Delta {
                    role: None,
                    content: Some(text),
                };
                send(out, &to_json(&self.chunk(vec![choice(index, delta, logprobs)])));
                return Flow::Continue(());
            }
            Event::Finished {
                choice: index,
                finish,
                tokens,
            } => {
                self.completion_tokens += tokens;
                let mut choice = choice(index, Delta::default(), None);
                choice.finish_reason = Some(finish_reason(finish));
                send(out, &to_json(&self.chunk(vec![choice])));
                self.unfinished = self.unfinished.saturating_sub(1);
                if self.unfinished > 0 {
                    return Flow::Continue(());
                }
                if self.include_usage {
                    let mut chunk = self.chunk(Vec::new());
                    chunk.usage = Some(Some(self.usage()));
                    send(out, &to_json(&chunk));
                }
                send(out, "[DONE]");
            }
            Event::Failed(reason) => send(out, &Refusal::InferenceFailed(reason).body()),
            Event::Refused(refusal) => send(out, &Refusal::NotTaken(refusal).body()),
        }
        Flow::Break(())
    }

    fn usage(&self) -> Usage {
        self.heading.usage(self.completion_tokens)
    }

    fn chunk(&self, choices: Vec<ChunkChoice>) -> Chunk<'_> {
        Chunk {
            id: &self.heading.id,
            object: "chat.completion.chunk",
            created: self.heading.created,
            model: MODEL_ID,
            system_fingerprint: &self.heading.fingerprint,
            choices,
            usage: self.include_usage.then_some(None),
            shard: None,
        }
    }
}

fn choice(index: u32, delta: Delta, logprobs: Option<Logprobs>) -> ChunkChoice {
    ChunkChoice {
        index,
        delta,
        logprobs,
        finish_reason: None,
    }
}

fn send(out: &mut String, data: &str) {
    out.push_str("data: ");
    out.push_str(data);
    out.push_str("\n\n");
}

#[cfg(test)]
mod tests;
