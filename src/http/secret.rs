//! Who is calling. The secret comes in the `Authorization` header, bare or
//! behind `Bearer`; where the older version of the API took it from the query,
//! `?token=` counts when there is no such header.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::error::{Flaw, Place, Refusal};
use super::query::Query;
use crate::manager::{Caller, ManagerHandle};

/// The flaw of a request without the header.
pub(super) fn missing_header() -> Flaw {
    Flaw::missing(&[Place::Name("header"), Place::Name("authorization")])
}

/// Who sent these headers; `Ok(None)` when they hold no secret at all.
pub(super) fn from_header(manager: &ManagerHandle, headers: &HeaderMap) -> Result<Option<Caller>, Refusal> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let value = value.as_bytes();
    let caller = manager
        .authorize(value)
        .or_else(|| manager.authorize(behind_bearer(value)?))
        .or_else(|| manager.authorize(from_latin_1(value)?.as_bytes()));
    caller.map(Some).ok_or(Refusal::WrongSecret)
}

/// Who sent this `token`.
pub(super) fn from_token(manager: &ManagerHandle, token: &str) -> Result<Caller, Refusal> {
    manager.authorize(token.as_bytes()).ok_or(Refusal::WrongSecret)
}

/// Who sent this request, on a route that both published versions have: the
/// header counts before the query; `Ok(None)` when there is neither.
pub(super) fn from_either(
    manager: &ManagerHandle,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Option<Caller>, Refusal> {
    match (from_header(manager, headers)?, query.get("token")) {
        (Some(caller), _) => Ok(Some(caller)),
        (None, Some(token)) => from_token(manager, token).map(Some),
        (None, None) => Ok(None),
    }
}

/// The secret in `Bearer <secret>`; the scheme's case does not matter.
fn behind_bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = value.split_at_checked(b"bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| secret.trim_ascii_start())
}

/// A header beyond ASCII, as clients that send one byte a character mean it.
fn from_latin_1(value: &[u8]) -> Option<String> {
    (!value.is_ascii()).then(|| value.iter().copied().map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_is_a_scheme_in_any_case() {
        assert_eq!(behind_bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(behind_bearer(b"bearer  abc"), Some(&b"abc"[..]));
        assert_eq!(behind_bearer(b"Bearer"), None);
        assert_eq!(behind_bearer(b"Basic abc"), None);
        assert_eq!(behind_bearer(b""), None);
    }

    #[test]
    fn a_header_in_latin_1_is_read_as_text() {
        assert_eq!(from_latin_1(b"caf\xe9").as_deref(), Some("caf\u{e9}"));
        assert_eq!(from_latin_1(b"cafe"), None);
    }
}
