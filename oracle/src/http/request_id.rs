//! The name of a request, by which an answer is found in the log.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const NAME: HeaderName = HeaderName::from_static("x-request-id");

const MAX_LENGTH: usize = 128;

/// The client's own, if it is fit for a log; else a new one.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(&NAME) {
        Some(given) if is_fit(given.as_bytes()) => given.clone(),
        Some(_) | None => new(),
    }
}

fn is_fit(id: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    (1..=MAX_LENGTH).contains(&id.len()) && id.iter().all(fits)
}

fn new() -> HeaderValue {
    HeaderValue::try_from(format!("req_{}", random_hex())).expect("hexadecimal digits are visible ASCII")
}

/// 32 digits that nobody guesses.
pub(super) fn random_hex() -> String {
    format!("{:032x}", u128::from_le_bytes(random()))
}

/// A seed for a request without one. Any JavaScript number can carry it.
pub(super) fn random_seed() -> i64 {
    i64::from_le_bytes(random()) & ((1 << 53) - 1)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes once it has booted");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_id_is_kept_and_any_other_is_replaced() {
        let of_given = |given: &[u8]| {
            let headers = HeaderMap::from_iter([(NAME, HeaderValue::from_bytes(given).unwrap())]);
            of(&headers)
        };
        let longest = "x".repeat(128);
        for fit in ["a", "6f1c-2.3:4_5", longest.as_str()] {
            assert_eq!(of_given(fit.as_bytes()), fit);
        }
        for unfit in [
            b"".as_slice(),
            b"a b",
            b"a,b",
            "x".repeat(129).as_bytes(),
            b"\xff",
            b"<script>",
        ] {
            let id = of_given(unfit);
            assert!(
                id.to_str().unwrap().starts_with("req_") && id.len() == 36,
                "{id:?}"
            );
        }
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
