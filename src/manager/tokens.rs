//! Who is signed in to the dashboard: tokens that say a role and an end, signed
//! with a key that comes from the operator's secret.
//!
//! Nothing is kept for them: they outlive the manager, and end with the secret.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use shardman_core::tries::Tries;

use super::handle::ManagerHandle;

/// How long an operator stays signed in, in seconds: a week.
const OPERATOR_SECONDS: u64 = 7 * DAY_SECONDS;

const DAY_SECONDS: u64 = 86_400;

/// The most days for which a link may be shared.
pub const MAX_SHARE_DAYS: u64 = 90;

/// No token of ours is longer, in bytes.
const MAX_TOKEN: usize = 128;

/// What somebody who is signed in may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Operator,
    /// Look.
    Viewer,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }
}

/// What somebody signs in with.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    Secret(&'a str),
    /// The token of a shared link.
    Share(&'a str),
}

/// A token, what it is good for, and until when.
pub struct SignedIn {
    pub token: String,
    pub role: Role,
    /// Seconds since 1970.
    pub expires_at: u64,
    /// Seconds from now.
    pub seconds: u64,
}

/// A session that is good for some time still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub role: Role,
    pub left: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    #[error("the secret is wrong")]
    WrongSecret,
    /// It was never one of ours, or its time is over.
    #[error("the link is not valid")]
    WrongShare,
    /// It is the workers', and operators have one of their own.
    #[error("the secret is not an operator's")]
    NotAnOperator,
    #[error("there were too many wrong tries")]
    TooMany { retry_seconds: u64 },
}

/// What a token is for: one is never taken for the other.
#[derive(Clone, Copy)]
enum Purpose {
    Session,
    Share,
}

/// The key, and who guesses.
pub(super) struct Seal {
    key: Hmac<Sha256>,
    cookie: String,
    tries: Mutex<Tries<IpAddr>>,
}

impl Seal {
    pub(super) fn new(secret: &str) -> Self {
        let keyed = |bytes: &[u8]| Hmac::new_from_slice(bytes).expect("a key may have any length");
        let derived = keyed(secret.as_bytes())
            .chain_update(b"shardman dashboard 1")
            .finalize();
        let key = keyed(&derived.into_bytes());
        let mac = key.clone().chain_update(b"cookie").finalize().into_bytes();
        let mark: String = mac.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self {
            key,
            cookie: format!("shardman_session_{mark}"),
            tries: Mutex::default(),
        }
    }

    fn sign(&self, purpose: Purpose, role: Role, expires_at: u64) -> String {
        let text = format!("1.{}.{expires_at}", role.as_str());
        let mac = self.mac(purpose, &text).finalize().into_bytes();
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{text}.{hex}")
    }

    /// The role and the end of a token that we signed.
    fn read(&self, purpose: Purpose, token: &str, now_seconds: u64) -> Option<(Role, u64)> {
        let (text, mac) = token.rsplit_once('.').filter(|_| token.len() <= MAX_TOKEN)?;
        let mac = super::keys::from_hex(mac)?;
        self.mac(purpose, text).verify_slice(&mac).ok()?;
        // It is in our words from here on.
        let (role, expires_at) = text.strip_prefix("1.")?.split_once('.')?;
        let role = [Role::Operator, Role::Viewer]
            .into_iter()
            .find(|known| known.as_str() == role)?;
        let expires_at = expires_at.parse().ok()?;
        (now_seconds < expires_at).then_some((role, expires_at))
    }

    fn mac(&self, purpose: Purpose, text: &str) -> Hmac<Sha256> {
        let purpose: &[u8] = match purpose {
            Purpose::Session => b"session ",
            Purpose::Share => b"share ",
        };
        self.key.clone().chain_update(purpose).chain_update(text)
    }
}

impl ManagerHandle {
    /// Signs somebody in. Whoever knows the secret gets in however many wrong
    /// tries came from the same address: behind a proxy all come from one.
    ///
    /// # Errors
    ///
    /// If the credential is wrong; it is not said how where wrong ones came too
    /// often from there.
    pub fn sign_in(&self, from: IpAddr, with: Credential<'_>) -> Result<SignedIn, SignInError> {
        match self.known(with) {
            Ok((role, expires_at)) => Ok(self.signed(Purpose::Session, role, expires_at)),
            Err(error) => Err(self.wrong_try(network(from), error)),
        }
    }

    /// What is said of a wrong credential.
    fn wrong_try(&self, source: IpAddr, error: SignInError) -> SignInError {
        let now = self.shared.clock.now();
        let mut tries = self.seal().tries.lock().unwrap_or_else(PoisonError::into_inner);
        match tries.may_try(&source, now) {
            Ok(()) => {
                tries.wrong(source, now);
                error
            }
            Err(wait) => SignInError::TooMany {
                retry_seconds: wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX),
            },
        }
    }

    fn known(&self, with: Credential<'_>) -> Result<(Role, u64), SignInError> {
        let now = self.now_seconds();
        match with {
            Credential::Secret(secret) => match self.authorize(secret.trim().as_bytes()) {
                Some(caller) if self.may_operate(&caller) => Ok((Role::Operator, now + OPERATOR_SECONDS)),
                Some(_) => Err(SignInError::NotAnOperator),
                None => Err(SignInError::WrongSecret),
            },
            Credential::Share(token) => self
                .seal()
                .read(Purpose::Share, token.trim(), now)
                .ok_or(SignInError::WrongShare),
        }
    }

    /// A token that lets whoever has it look for some days.
    pub fn share(&self, days: u64) -> SignedIn {
        let expires_at = self.now_seconds() + days.min(MAX_SHARE_DAYS) * DAY_SECONDS;
        self.signed(Purpose::Share, Role::Viewer, expires_at)
    }

    /// What the holder of this session's token may do; `None` where it is not
    /// ours, or its time is over.
    pub fn signed_in(&self, token: &str) -> Option<Session> {
        let now = self.now_seconds();
        let (role, expires_at) = self.seal().read(Purpose::Session, token, now)?;
        Some(Session {
            role,
            left: Duration::from_secs(expires_at - now),
        })
    }

    /// The name of the cookie that keeps a session. A browser sends a cookie to
    /// every port of a host, so managers with other secrets have other names.
    pub fn session_cookie(&self) -> &str {
        &self.seal().cookie
    }

    fn signed(&self, purpose: Purpose, role: Role, expires_at: u64) -> SignedIn {
        SignedIn {
            token: self.seal().sign(purpose, role, expires_at),
            role,
            expires_at,
            seconds: expires_at.saturating_sub(self.now_seconds()),
        }
    }

    #[cfg(test)]
    pub(crate) fn session_for(&self, role: Role, seconds: u64) -> String {
        let token = self
            .seal()
            .sign(Purpose::Session, role, self.now_seconds() + seconds);
        format!("{}={token}", self.session_cookie())
    }

    fn seal(&self) -> &Seal {
        &self.shared.keys.seal
    }

    fn now_seconds(&self) -> u64 {
        self.shared.clock.wall_ms() / 1000
    }
}

/// Who has one IPv6 address has a whole network of them (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_was_signed_until_its_time_is_over() {
        let seal = Seal::new("secret");
        let token = seal.sign(Purpose::Session, Role::Viewer, 1000);
        let read = |token: &str, now| seal.read(Purpose::Session, token, now);
        assert_eq!(read(&token, 999), Some((Role::Viewer, 1000)));
        assert_eq!(read(&token, 1000), None);
        // After a restart of the manager too, and not with another secret.
        assert!(Seal::new("secret").read(Purpose::Session, &token, 0).is_some());
        assert!(Seal::new("other").read(Purpose::Session, &token, 0).is_none());
        // A shared link is no session.
        assert!(seal.read(Purpose::Share, &token, 0).is_none());
    }

    #[test]
    fn a_token_that_was_changed_says_nothing() {
        let seal = Seal::new("secret");
        let token = seal.sign(Purpose::Session, Role::Viewer, 1000);
        let read = |token: &str| seal.read(Purpose::Session, token, 0);
        assert_eq!(read(&token.replace("viewer", "operator")), None);
        assert_eq!(read(&token.replace("1000", "9000")), None);
        for end in 0..token.len() {
            assert_eq!(read(&token[..end]), None);
        }
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] ^= 1;
            assert_eq!(read(std::str::from_utf8(&changed).unwrap()), None, "{at}");
        }
        let long = format!("{}{token}", "1.".repeat(1000));
        for hostile in [
            "",
            ".",
            "...",
            "1.operator.9999999999.",
            "é.é",
            &long,
            &format!("{token}."),
        ] {
            assert_eq!(read(hostile), None, "{hostile}");
        }
        let upper = token
            .rsplit_once('.')
            .map(|(text, mac)| format!("{text}.+{}", &mac[1..]));
        assert_eq!(read(&upper.unwrap()), None);
    }

    #[test]
    fn an_address_stands_for_its_network() {
        let at = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(at("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(at("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(at("10.0.0.1"), "10.0.0.1");
    }
}
