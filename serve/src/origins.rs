//! Which web pages of other origins may call an API, as a setting lists them.

use axum::http::{HeaderValue, Uri};

/// Why a text is no list of origins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("'{0}' is not an origin: write it as https://example.org or http://localhost:3000")]
    Malformed(String),
    #[error("'*' stands for every origin, so it must stand alone")]
    AnyAndOthers,
}

/// Reads a comma-separated list of origins. `*` alone stands for every origin.
///
/// # Errors
///
/// If one of them is no origin.
pub fn parse_origins(text: &str) -> Result<Vec<HeaderValue>, OriginError> {
    let parts: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    if parts.len() > 1 && parts.contains(&"*") {
        return Err(OriginError::AnyAndOthers);
    }
    parts.into_iter().map(parse_origin).collect()
}

fn parse_origin(text: &str) -> Result<HeaderValue, OriginError> {
    let malformed = || OriginError::Malformed(text.to_owned());
    if text == "*" || text == "null" {
        return HeaderValue::try_from(text).map_err(|_| malformed());
    }
    // A slash at the end is a slip that would never match; the origin is meant.
    let origin = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (scheme, host) = origin.split_once("://").ok_or_else(malformed)?;
    let is_origin = !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', '@', '*']);
    if !is_origin || origin.parse::<Uri>().is_err() {
        return Err(malformed());
    }
    HeaderValue::try_from(origin).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_separated_by_commas() {
        let origins = parse_origins(" https://a.example , http://localhost:3000/,").unwrap();
        assert_eq!(origins, ["https://a.example", "http://localhost:3000"]);
        assert_eq!(parse_origins("").unwrap(), Vec::<HeaderValue>::new());
        assert_eq!(parse_origins("*").unwrap(), ["*"]);
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "example.org",
            "https://",
            "https://a/b",
            "https://a b",
            "://a",
            "https://*.a",
        ] {
            assert_eq!(
                parse_origins(text),
                Err(OriginError::Malformed(text.to_owned())),
                "{text}"
            );
        }
        assert_eq!(parse_origins("*,https://a"), Err(OriginError::AnyAndOthers));
    }
}
