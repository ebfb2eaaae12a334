//! `POST /v1/chat/completions`: from a body to a job, and from its events to an
//! answer. A client that goes away drops the handler, and the job with it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::error::{Refusal, ok};
use super::limit::Client;
use super::{Api, MODEL_ID, body, request_id, seconds_since_1970, stream};
use crate::engine::{Message, Text, Token};
use crate::openai::{
    Answer, ChatRequest, Choice, Completion, LogprobContent, Logprobs, Shard, TopLogprob, Usage,
    finish_reason, parse,
};
use crate::sampling::Sampling;
use crate::scheduler::{self, Event, Finish, Job, Logprob, Ticket};

pub(super) const PATH: &str = "/v1/chat/completions";

/// How long a request waits to be made into tokens.
pub(super) const PROMPT_TIME: Duration = Duration::from_secs(5);

/// What an answer says about itself in every part.
pub(super) struct Heading {
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) fingerprint: String,
    pub(super) seed: i64,
    pub(super) prompt_tokens: usize,
    pub(super) choices: u32,
    pub(super) has_logprobs: bool,
}

pub(super) async fn completions(
    State(api): State<Api>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    api.0.metrics.chat_requests.inc();
    let answered = answer(&api, client, &headers, body).await;
    if answered.as_ref().is_err_and(Refusal::is_failure) {
        api.0.metrics.chat_failures.inc();
    }
    answered
}

async fn answer(api: &Api, client: Client, headers: &HeaderMap, body: Body) -> Result<Response, Refusal> {
    let request = {
        let body = body::read(headers, body, client, &api.0.large_bodies).await?;
        parse(&body, &api.limits())?
    };
    let prompt = prompt(api, request.messages.clone()).await?;
    let seed = request.seed.unwrap_or_else(request_id::random_seed);
    let heading = Heading {
        id: format!("chatcmpl-{}", request_id::random_hex()),
        created: seconds_since_1970(),
        fingerprint: api.0.parts.facts.fingerprint.clone(),
        seed,
        prompt_tokens: prompt.len(),
        choices: request.choices,
        has_logprobs: request.logprobs.is_some(),
    };
    let (is_stream, include_usage) = (request.stream, request.include_usage);
    let ticket = api.0.parts.scheduler.submit(job(client, request, prompt, seed))?;
    if is_stream {
        return stream::answer(api, heading, ticket, include_usage).await;
    }
    tokio::select! { biased;
        whole = whole(ticket, heading, &*api.0.parts.text) => whole,
        () = api.0.ending.cutoff.cancelled() => Err(Refusal::NotTaken(scheduler::Refusal::Stopping)),
    }
}

/// The prompt as tokens. That takes the processor for a while, so only a few
/// are made at once, and no thread that serves others waits for it.
async fn prompt(api: &Api, messages: Vec<Message>) -> Result<Vec<Token>, Refusal> {
    let place = tokio::time::timeout(PROMPT_TIME, Arc::clone(&api.0.prompts).acquire_owned()).await;
    let place = place.map_err(|_| Refusal::TooManyPrompts)?;
    let place = place.map_err(|_| Refusal::Unexpected)?;
    // Whoever waited has learned nothing of what became of the model.
    may_be_answered(api)?;
    let text = Arc::clone(&api.0.parts.text);
    tokio::task::spawn_blocking(move || {
        // It works on when its client has gone, and has its place until then.
        let _place = place;
        text.prompt(&messages)
    })
    .await
    .map_err(|_| Refusal::Unexpected)?
    .map_err(|error| Refusal::Template(error.to_string()))
}

/// No work is done for a request that would be refused after it.
fn may_be_answered(api: &Api) -> Result<(), Refusal> {
    let standing = api.0.parts.scheduler.standing();
    if standing.broken {
        return Err(scheduler::Refusal::Broken.into());
    }
    if standing.stopping || standing.stopped {
        return Err(scheduler::Refusal::Stopping.into());
    }
    Ok(())
}

fn job(client: Client, request: ChatRequest, prompt: Vec<Token>, seed: i64) -> Job {
    Job {
        client: client.number(),
        prompt,
        sampling: Sampling {
            temperature: request.temperature,
            top_p: request.top_p,
            seed: seed.cast_unsigned(),
            presence_penalty: request.presence_penalty,
            frequency_penalty: request.frequency_penalty,
            logit_bias: request.logit_bias,
        },
        max_tokens: request.max_tokens,
        stop: request.stop,
        choices: request.choices,
        logprobs: request.logprobs,
    }
}

/// One of the answers, as far as it is there.
#[derive(Default)]
struct Written {
    text: String,
    logprobs: Vec<LogprobContent>,
    finish: Option<Finish>,
}

/// Collects the events of a job into one answer.
async fn whole(mut ticket: Ticket, heading: Heading, text: &dyn Text) -> Result<Response, Refusal> {
    let mut written: Vec<Written> = (0..heading.choices).map(|_| Written::default()).collect();
    let mut completion_tokens = 0;
    while written.iter().any(|written| written.finish.is_none()) {
        let choice = |choice: u32| usize::try_from(choice).unwrap_or(usize::MAX);
        match ticket.events.recv().await {
            Some(Event::Begun) => {}
            Some(Event::Text {
                choice: index,
                text: more,
                logprobs,
            }) => {
                let written = written.get_mut(choice(index)).ok_or(Refusal::Unexpected)?;
                written.text.push_str(&more);
                written.logprobs.extend(contents(&logprobs, text));
            }
            Some(Event::Finished {
                choice: index,
                finish,
                tokens,
            }) => {
                let written = written.get_mut(choice(index)).ok_or(Refusal::Unexpected)?;
                written.finish = Some(finish);
                completion_tokens += tokens;
            }
            Some(Event::Failed(reason)) => return Err(Refusal::InferenceFailed(reason)),
            Some(Event::Refused(refusal)) => return Err(refusal.into()),
            None => return Err(Refusal::NotTaken(scheduler::Refusal::Broken)),
        }
    }
    Ok(ok(&Completion {
        id: &heading.id,
        object: "chat.completion",
        created: heading.created,
        model: MODEL_ID,
        system_fingerprint: &heading.fingerprint,
        choices: (0..)
            .zip(written)
            .map(|(index, written)| written.into_choice(index, heading.has_logprobs))
            .collect(),
        usage: heading.usage(completion_tokens),
        shard: Shard { seed: heading.seed },
    }))
}

impl Written {
    fn into_choice(self, index: u32, has_logprobs: bool) -> Choice {
        Choice {
            index,
            message: Answer {
                role: "assistant",
                content: self.text,
                refusal: None,
            },
            logprobs: has_logprobs.then_some(Logprobs {
                content: self.logprobs,
                refusal: None,
            }),
            finish_reason: self.finish.map_or("stop", finish_reason),
        }
    }
}

impl Heading {
    pub(super) fn usage(&self, completion_tokens: usize) -> Usage {
        Usage {
            prompt_tokens: self.prompt_tokens,
            completion_tokens,
            total_tokens: self.prompt_tokens + completion_tokens,
        }
    }
}

/// Probabilities as the wire has them, with what each token stands for.
pub(super) fn contents(logprobs: &[Logprob], text: &dyn Text) -> Vec<LogprobContent> {
    let told = |token: Token, logprob: f32| TopLogprob::new(text.bytes(token), || text.name(token), logprob);
    logprobs
        .iter()
        .map(|logprob| LogprobContent {
            chosen: told(logprob.token, logprob.logprob),
            top_logprobs: logprob
                .top
                .iter()
                .map(|&(token, logprob)| told(token, logprob))
                .collect(),
        })
        .collect()
}
