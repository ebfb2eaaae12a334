//! Who may ask: whoever presents one of the configured keys. Only their hashes
//! are kept, and all of them are compared, in the same time whatever is given.

use std::fmt;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

/// A shorter key is soon guessed.
const SHORT: usize = 8;

/// Hashes of the keys, in the order of the setting.
#[derive(Clone, Default)]
pub struct Keys {
    hashes: Vec<[u8; 32]>,
    short: usize,
}

/// Why a text is no list of keys. It never repeats one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("it names no key: give keys separated by commas, or unset it to let everybody ask")]
    Empty,
    #[error("a key has a space or a character that no header can carry: use visible ASCII")]
    NotVisible,
}

/// What became of the credentials of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// There are no keys.
    Open,
    /// The key at this place of the list.
    Key(u32),
    /// No key was presented.
    Missing,
    Wrong,
}

impl Keys {
    /// Reads keys that are separated by commas.
    ///
    /// # Errors
    ///
    /// If there is none, or one that cannot be sent.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let keys: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|key| !key.is_empty())
            .collect();
        if keys.is_empty() {
            return Err(KeysError::Empty);
        }
        if !keys
            .iter()
            .all(|key| key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(KeysError::NotVisible);
        }
        Ok(Self {
            short: keys.iter().filter(|key| key.len() < SHORT).count(),
            hashes: keys.into_iter().map(|key| hash(key.as_bytes())).collect(),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// How many of the keys have less than 8 characters.
    pub fn short(&self) -> usize {
        self.short
    }

    /// Either header may bring the key; one good key is enough.
    pub(super) fn entry(&self, headers: &HeaderMap) -> Entry {
        if self.is_empty() {
            return Entry::Open;
        }
        if !presents_one(headers) {
            return Entry::Missing;
        }
        presented(headers)
            .find_map(|key| self.place(key))
            .map_or(Entry::Wrong, Entry::Key)
    }

    fn place(&self, given: &[u8]) -> Option<u32> {
        let given = hash(given);
        // One above the last place: not found.
        let mut found = u32::MAX;
        for (place, key) in (0_u32..).zip(&self.hashes) {
            found.conditional_assign(&place, key.ct_eq(&given));
        }
        (found != u32::MAX).then_some(found)
    }
}

/// Whether a request brings a key, good or not; none is looked at.
pub(super) fn presents_one(headers: &HeaderMap) -> bool {
    presented(headers).next().is_some()
}

fn presented(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let plain = headers.get("x-api-key").map(HeaderValue::as_bytes);
    let authorization = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    plain.into_iter().chain(authorization.and_then(bearer))
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.hashes.len())
    }
}

fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// The token of `Bearer TOKEN`; the scheme is in any case (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_key_comes_in_either_header_and_the_scheme_in_any_case() {
        let keys = Keys::parse("alpha, beta,").unwrap();
        for (given, expected) in [
            (vec![("authorization", "Bearer alpha")], Entry::Key(0)),
            (vec![("authorization", "bEARER   beta ")], Entry::Key(1)),
            (vec![("x-api-key", "beta")], Entry::Key(1)),
            (
                vec![("x-api-key", "wrong"), ("authorization", "Bearer beta")],
                Entry::Key(1),
            ),
            (
                vec![("x-api-key", "beta"), ("authorization", "Basic eDp5")],
                Entry::Key(1),
            ),
            (vec![], Entry::Missing),
            (vec![("authorization", "alpha")], Entry::Missing),
            (vec![("authorization", "Bearer")], Entry::Missing),
            (vec![("authorization", "Bearer ")], Entry::Missing),
            (vec![("authorization", "Basic alpha")], Entry::Missing),
            (vec![("authorization", "Bearer alph")], Entry::Wrong),
            (vec![("authorization", "Bearer alphaa")], Entry::Wrong),
            (vec![("x-api-key", "alpha, beta")], Entry::Wrong),
            (vec![("x-api-key", "")], Entry::Wrong),
        ] {
            assert_eq!(keys.entry(&headers(&given)), expected, "{given:?}");
        }
    }

    #[test]
    fn without_keys_everybody_may_ask() {
        let given = headers(&[("authorization", "Bearer whatever")]);
        assert_eq!(Keys::default().entry(&given), Entry::Open);
    }

    #[test]
    fn a_list_without_a_key_is_a_mistake_and_no_key_is_ever_shown() {
        assert_eq!(Keys::parse(" , ").unwrap_err(), KeysError::Empty);
        for bad in ["a b", "schlüssel", "a\u{7f}"] {
            assert_eq!(Keys::parse(bad).unwrap_err(), KeysError::NotVisible, "{bad}");
        }
        let keys = Keys::parse("alpha,7-chars,8-chars-").unwrap();
        assert_eq!((format!("{keys:?}").as_str(), keys.short()), ("3 keys", 2));
    }
}
