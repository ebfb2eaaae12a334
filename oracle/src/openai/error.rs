//! Why a request is refused, and the body that every refusal has.

use serde::Serialize;

/// What is wrong with a request's body. Which status that is, HTTP's side knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    pub kind: Kind,
    /// The way to the field, such as `messages[2].content`.
    pub param: Option<String>,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No JSON.
    Syntax,
    Missing,
    WrongType,
    /// The right type, and not a value that it may have.
    Value,
    /// A field of OpenAI's that this server does not honour.
    Unsupported,
    /// A field of nobody's.
    Unknown,
    ModelNotFound,
    PromptTooLarge,
}

impl Kind {
    /// The `code` of the error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Syntax => "invalid_json",
            Self::Missing => "missing_required_parameter",
            Self::WrongType => "invalid_type",
            Self::Value => "invalid_value",
            Self::Unsupported => "unsupported_parameter",
            Self::Unknown => "unknown_parameter",
            Self::ModelNotFound => "model_not_found",
            Self::PromptTooLarge => "prompt_too_large",
        }
    }
}

impl Invalid {
    pub(super) fn new(kind: Kind, param: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            param: (!param.is_empty()).then(|| param.to_owned()),
            message: message.into(),
        }
    }

    pub(super) fn missing(param: &str) -> Self {
        Self::new(
            Kind::Missing,
            param,
            format!("Missing required parameter: '{param}'"),
        )
    }

    pub(super) fn wrong_type(param: &str, expected: &str) -> Self {
        Self::new(
            Kind::WrongType,
            param,
            if param.is_empty() {
                format!("The body must be {expected}")
            } else {
                format!("'{param}' must be {expected}")
            },
        )
    }

    pub(super) fn value(param: &str, expected: &str) -> Self {
        Self::new(Kind::Value, param, format!("'{param}' must be {expected}"))
    }

    pub(super) fn unsupported(param: &str) -> Self {
        Self::new(
            Kind::Unsupported,
            param,
            format!("Unsupported parameter: '{param}' is not honoured by this server; leave it out"),
        )
    }

    /// A field that is honoured, with a value that is not.
    pub(super) fn unsupported_value(param: &str, honoured: &str) -> Self {
        Self::new(
            Kind::Unsupported,
            param,
            format!("Unsupported value of '{param}': this server honours {honoured} only"),
        )
    }

    pub fn model_not_found(model: &str) -> Self {
        Self::new(
            Kind::ModelNotFound,
            "model",
            format!("The model '{}' does not exist", shown(model)),
        )
    }
}

/// A text of the client's as it may be repeated: not all of a megabyte of it.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 64;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The body of every refusal: OpenAI's form, and the plain one beside it.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    error: ErrorObject<'a>,
    detail: &'a str,
}

#[derive(Debug, Serialize)]
struct ErrorObject<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

impl<'a> ErrorBody<'a> {
    pub fn new(message: &'a str, kind: &'a str, param: Option<&'a str>, code: Option<&'a str>) -> Self {
        Self {
            error: ErrorObject {
                message,
                kind,
                param,
                code,
            },
            detail: message,
        }
    }
}
