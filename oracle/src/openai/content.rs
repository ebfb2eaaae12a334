//! Messages: who says what, as one string or as parts of text.

use serde_json::Value;

use super::error::{Invalid, Kind, shown};
use super::fields::Fields;
use crate::engine::{Message, Role};

/// The most messages of a request.
const MAX_MESSAGES: usize = 64;

/// The most characters of a message that is not an answer.
const MAX_CHARS: usize = 8000;

/// Fields that a message has elsewhere.
const KNOWN: [&str; 7] = [
    "name",
    "tool_calls",
    "tool_call_id",
    "function_call",
    "refusal",
    "audio",
    "annotations",
];

/// The messages of a request, which have at most `max_prompt_chars` characters
/// in all.
pub(super) fn messages(value: Value, max_prompt_chars: usize) -> Result<Vec<Message>, Invalid> {
    let Value::Array(items) = value else {
        return Err(Invalid::wrong_type("messages", "an array of messages"));
    };
    if items.is_empty() || items.len() > MAX_MESSAGES {
        return Err(Invalid::value(
            "messages",
            &format!("1 to {MAX_MESSAGES} messages"),
        ));
    }
    let messages: Vec<Message> = items
        .into_iter()
        .enumerate()
        .map(|(index, item)| message(&format!("messages[{index}]"), item))
        .collect::<Result<_, _>>()?;
    let lengths: Vec<usize> = messages
        .iter()
        .map(|message| message.content.chars().count())
        .collect();
    // First the whole: a prompt that is too large is that, however it is cut.
    if lengths.iter().sum::<usize>() > max_prompt_chars {
        return Err(Invalid::new(
            Kind::PromptTooLarge,
            "messages",
            format!("Prompt too large (>{max_prompt_chars} chars)"),
        ));
    }
    // What this server said may come back, empty or long as it was.
    let fits = |(message, length): (&Message, &usize)| {
        message.role == Role::Assistant || (1..=MAX_CHARS).contains(length)
    };
    match messages.iter().zip(&lengths).position(|pair| !fits(pair)) {
        None => Ok(messages),
        Some(index) => Err(Invalid::value(
            &format!("messages[{index}].content"),
            &format!("1 to {MAX_CHARS} characters"),
        )),
    }
}

fn message(at: &str, value: Value) -> Result<Message, Invalid> {
    let mut fields = Fields::of(at, value)?;
    let role = role(&mut fields)?;
    let content = fields.required("content")?;
    let content = text(&fields.path("content"), content)?;
    // An answer of ours or of the SDKs' may come back as it was given.
    for list in ["tool_calls", "annotations"] {
        fields.neutral(list, |value| value.as_array().is_some_and(Vec::is_empty))?;
    }
    fields.finish(&KNOWN)?;
    Ok(Message { role, content })
}

fn role(fields: &mut Fields) -> Result<Role, Invalid> {
    let path = fields.path("role");
    let Some(role) = fields.string("role")? else {
        return Err(Invalid::missing(&path));
    };
    match role.as_str() {
        "system" | "developer" => Ok(Role::System),
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "tool" | "function" => Err(Invalid::unsupported_value(
            &path,
            "system, developer, user and assistant",
        )),
        other => Err(Invalid::new(
            Kind::Value,
            &path,
            format!(
                "'{path}' is '{}'; it must be system, developer, user or assistant",
                shown(other)
            ),
        )),
    }
}

/// A string, or parts of text one after the other.
fn text(at: &str, value: Value) -> Result<String, Invalid> {
    let parts = match value {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(Invalid::wrong_type(at, "a string or an array of text parts"));
        }
    };
    let mut whole = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        whole.push_str(&text_part(&format!("{at}[{index}]"), part)?);
    }
    Ok(whole)
}

fn text_part(at: &str, value: Value) -> Result<String, Invalid> {
    let mut part = Fields::of(at, value)?;
    let path = part.path("type");
    match part.string("type")?.as_deref() {
        Some("text") => {}
        Some("image_url" | "input_audio" | "file" | "refusal") => {
            return Err(Invalid::unsupported_value(&path, "text"));
        }
        Some(_) => return Err(Invalid::value(&path, "text")),
        None => return Err(Invalid::missing(&path)),
    }
    let path = part.path("text");
    let text = part.string("text")?.ok_or_else(|| Invalid::missing(&path))?;
    part.finish(&[])?;
    Ok(text)
}
