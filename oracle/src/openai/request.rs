//! What a chat request may say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::content;
use super::error::{Invalid, Kind, shown};
use super::fields::{self, Fields};
use crate::engine::{Message, Token};

const DEFAULT_TEMPERATURE: f64 = 0.7;
const DEFAULT_MAX_TOKENS: i64 = 256;
const MAX_TOKENS: i64 = 2048;
const MAX_CHOICES: i64 = 4;
const MAX_TOP_LOGPROBS: i64 = 20;
const MAX_STOPS: usize = 4;
/// Longer than any that a client has a use for; it bounds what is held back.
const MAX_STOP_CHARS: usize = 1000;
/// Each of them is added to every row.
const MAX_BIASES: usize = 1024;
const MAX_METADATA: usize = 16;

/// Fields that OpenAI knows and this server does not.
const KNOWN: [&str; 12] = [
    "audio",
    "background",
    "function_call",
    "functions",
    "modalities",
    "moderation",
    "prediction",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "verbosity",
    "web_search_options",
];

/// What a request is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// The one model's id.
    pub model: &'a str,
    /// The most characters of all messages together, in Unicode code points.
    pub max_prompt_chars: usize,
    /// How many tokens the model knows.
    pub vocabulary: usize,
}

/// A request that can be served.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    pub messages: Vec<Message>,
    /// 0 to 2.
    pub temperature: f32,
    /// Above 0, at most 1.
    pub top_p: f32,
    pub seed: Option<i64>,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub logit_bias: BTreeMap<Token, f32>,
    /// 1 to 2048.
    pub max_tokens: usize,
    /// At most 4, none of them empty.
    pub stop: Vec<String>,
    /// 1 to 4.
    pub choices: u32,
    /// With so many of the most probable others, at most 20.
    pub logprobs: Option<u8>,
    pub stream: bool,
    /// Whether a stream ends with the usage.
    pub include_usage: bool,
}

/// Reads a body.
///
/// # Errors
///
/// The first thing in it that cannot be served.
pub fn parse(body: &[u8], limits: &Limits<'_>) -> Result<ChatRequest, Invalid> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Invalid::new(Kind::Syntax, "", format!("The body is no valid JSON: {error}")))?;
    let mut fields = Fields::of("", value)?;
    model(&mut fields, limits.model)?;
    let messages = fields.required("messages")?;
    let messages = content::messages(messages, limits.max_prompt_chars)?;
    let (stream, include_usage) = stream(&mut fields)?;
    let max_tokens = fields.integer("max_tokens", 1, MAX_TOKENS)?;
    let max_tokens = fields
        .integer("max_completion_tokens", 1, MAX_TOKENS)?
        .or(max_tokens)
        .unwrap_or(DEFAULT_MAX_TOKENS);
    let request = ChatRequest {
        messages,
        temperature: single(
            fields
                .number("temperature", 0.0, 2.0)?
                .unwrap_or(DEFAULT_TEMPERATURE),
        ),
        top_p: top_p(&mut fields)?,
        seed: fields.integer("seed", i64::MIN, i64::MAX)?,
        presence_penalty: single(fields.number("presence_penalty", -2.0, 2.0)?.unwrap_or(0.0)),
        frequency_penalty: single(fields.number("frequency_penalty", -2.0, 2.0)?.unwrap_or(0.0)),
        logit_bias: logit_bias(&mut fields, limits.vocabulary)?,
        max_tokens: small(max_tokens),
        stop: stop(&mut fields)?,
        choices: small(fields.integer("n", 1, MAX_CHOICES)?.unwrap_or(1)),
        logprobs: logprobs(&mut fields)?,
        stream,
        include_usage,
    };
    harmless(&mut fields)?;
    fields.finish(&KNOWN)?;
    Ok(request)
}

fn model(fields: &mut Fields, known: &str) -> Result<(), Invalid> {
    match fields.string("model")? {
        None => Err(Invalid::missing("model")),
        Some(model) if model == known => Ok(()),
        Some(model) => Err(Invalid::model_not_found(&model)),
    }
}

/// Whether it is a stream, and whether that ends with the usage.
fn stream(fields: &mut Fields) -> Result<(bool, bool), Invalid> {
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let Some(options) = fields.take("stream_options") else {
        return Ok((stream, false));
    };
    if !stream {
        return Err(Invalid::value("stream_options", "absent unless 'stream' is true"));
    }
    let mut options = Fields::of("stream_options", options)?;
    let include_usage = options.boolean("include_usage")?.unwrap_or(false);
    options.neutral("include_obfuscation", |value| value == false)?;
    options.finish(&[])?;
    Ok((true, include_usage))
}

fn top_p(fields: &mut Fields) -> Result<f32, Invalid> {
    let top_p = fields.number("top_p", 0.0, 1.0)?.unwrap_or(1.0);
    if top_p <= 0.0 {
        return Err(Invalid::value("top_p", "a number above 0, and at most 1"));
    }
    Ok(single(top_p).max(f32::MIN_POSITIVE))
}

fn logit_bias(fields: &mut Fields, vocabulary: usize) -> Result<BTreeMap<Token, f32>, Invalid> {
    let Some(value) = fields.take("logit_bias") else {
        return Ok(BTreeMap::new());
    };
    let Value::Object(map) = value else {
        return Err(Invalid::wrong_type("logit_bias", "an object of token numbers"));
    };
    if map.len() > MAX_BIASES {
        return Err(Invalid::value(
            "logit_bias",
            &format!("at most {MAX_BIASES} tokens"),
        ));
    }
    let mut biases = BTreeMap::new();
    for (token, bias) in map {
        let path = format!("logit_bias.{}", shown(&token));
        let known = token
            .parse::<Token>()
            .ok()
            .filter(|token| (*token as usize) < vocabulary)
            .ok_or_else(|| {
                Invalid::new(
                    Kind::Value,
                    &path,
                    format!(
                        "'{}' is no token: tokens have numbers below {vocabulary}",
                        shown(&token)
                    ),
                )
            })?;
        biases.insert(known, single(fields::number(&path, &bias, -100.0, 100.0)?));
    }
    Ok(biases)
}

/// A string, or an array of up to four.
fn stop(fields: &mut Fields) -> Result<Vec<String>, Invalid> {
    let expected = format!("a string or an array of at most {MAX_STOPS} strings");
    let stops = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(stops)) => stops
            .into_iter()
            .enumerate()
            .map(|(index, stop)| match stop {
                Value::String(stop) => Ok(stop),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    Err(Invalid::wrong_type(&format!("stop[{index}]"), "a string"))
                }
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(Invalid::wrong_type("stop", &expected)),
    };
    if stops.len() > MAX_STOPS {
        return Err(Invalid::value("stop", &expected));
    }
    let fits = |stop: &String| (1..=MAX_STOP_CHARS).contains(&stop.chars().count());
    if !stops.iter().all(fits) {
        return Err(Invalid::value(
            "stop",
            &format!("1 to {MAX_STOP_CHARS} characters each"),
        ));
    }
    Ok(stops)
}

/// `top_logprobs` means nothing without `logprobs`.
fn logprobs(fields: &mut Fields) -> Result<Option<u8>, Invalid> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let top = fields.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)?;
    match (wanted, top) {
        (false, Some(_)) => Err(Invalid::value("top_logprobs", "absent unless 'logprobs' is true")),
        (false, None) => Ok(None),
        (true, top) => Ok(Some(small(top.unwrap_or(0)))),
    }
}

/// Fields that change no answer, or have a value that changes none.
fn harmless(fields: &mut Fields) -> Result<(), Invalid> {
    for name in ["user", "safety_identifier", "prompt_cache_key"] {
        fields.string(name)?;
    }
    metadata(fields)?;
    fields.neutral("store", |value| value == false)?;
    fields.neutral("service_tier", |value| value == "auto" || value == "default")?;
    fields.neutral("response_format", |format| {
        format
            .as_object()
            .is_some_and(|format| format.len() == 1 && format.get("type").is_some_and(|kind| kind == "text"))
    })?;
    fields.neutral("modalities", |value| *value == serde_json::json!(["text"]))?;
    fields.neutral("reasoning_effort", |value| value == "none")?;
    fields.neutral("verbosity", |value| value == "medium")?;
    for list in ["tools", "functions"] {
        fields.neutral(list, |value| value.as_array().is_some_and(Vec::is_empty))?;
    }
    for choice in ["tool_choice", "function_call"] {
        fields.neutral(choice, |value| value == "none" || value == "auto")?;
    }
    fields.neutral("parallel_tool_calls", Value::is_boolean)
}

/// At most 16 short strings, which nobody keeps.
fn metadata(fields: &mut Fields) -> Result<(), Invalid> {
    let expected = "at most 16 strings, with names of up to 64 characters and values of up to 512";
    let Some(value) = fields.take("metadata") else {
        return Ok(());
    };
    let Value::Object(map) = value else {
        return Err(Invalid::wrong_type("metadata", expected));
    };
    let fits = |(name, value): (&String, &Value)| {
        let value = value.as_str().map(|value| value.chars().count());
        name.chars().count() <= 64 && value.is_some_and(|length| length <= 512)
    };
    if map.len() > MAX_METADATA || !map.iter().all(fits) {
        return Err(Invalid::value("metadata", expected));
    }
    Ok(())
}

fn single(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounded, and within a hundred")]
    let value = value as f32;
    value
}

fn small<T: TryFrom<i64>>(value: i64) -> T {
    T::try_from(value)
        .ok()
        .expect("the range was checked, and every type here holds it")
}
