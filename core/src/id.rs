//! Ids are types, so that one is never taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// One shard of one total. Shard 3 of 16 is not shard 3 of 32: they receive
/// different guilds, so the total is part of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId {
    total: u32,
    number: u32,
}

/// Why a pair of numbers names no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardIdError {
    #[error("a shard total of 0 names no shard")]
    NoShards,
    #[error("shard {number} is out of range for a total of {total}")]
    OutOfRange { number: u32, total: u32 },
    #[error("'{0}' is not of the form NUMBER/TOTAL")]
    Malformed(String),
}

impl ShardId {
    /// Checks `number < total` once, at the door.
    pub const fn new(number: u32, total: u32) -> Result<Self, ShardIdError> {
        if total == 0 {
            return Err(ShardIdError::NoShards);
        }
        if number >= total {
            return Err(ShardIdError::OutOfRange { number, total });
        }
        Ok(Self { total, number })
    }

    /// Every shard of a total, lowest first.
    pub fn all(total: u32) -> impl Iterator<Item = Self> {
        (0..total).map(move |number| Self { total, number })
    }

    pub const fn number(self) -> u32 {
        self.number
    }

    pub const fn total(self) -> u32 {
        self.total
    }

    /// The identify bucket: Discord's `rate_limit_key = shard_id % max_concurrency`
    /// (Discord, "Gateway", Max Concurrency).
    pub const fn bucket(self, max_concurrency: u32) -> u32 {
        if max_concurrency == 0 {
            0
        } else {
            self.number % max_concurrency
        }
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.total)
    }
}

impl FromStr for ShardId {
    type Err = ShardIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ShardIdError::Malformed(text.to_owned());
        let (number, total) = text.split_once('/').ok_or_else(malformed)?;
        let number = number.parse().map_err(|_| malformed())?;
        let total = total.parse().map_err(|_| malformed())?;
        Self::new(number, total)
    }
}

impl Serialize for ShardId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShardId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The lease's fencing token. Only ever grows, across restarts too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The next epoch; the counter is wide enough never to wrap.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The lease's name, what `/beat` carries. Whoever knows it can keep or
/// release the lease, so it hides itself from `Debug`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Uuid);

impl SessionId {
    /// A session id made of 128 random bits.
    pub const fn from_random(bits: u128) -> Self {
        Self(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
    }

    /// Only the exact text that `/connect` handed out names a session.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 36 {
            return None;
        }
        let id = Uuid::try_parse(text).ok()?;
        let mut canonical = Uuid::encode_buffer();
        (id.hyphenated().encode_lower(&mut canonical) == text).then_some(Self(id))
    }

    /// The id in clear, for the holder and the store alone.
    pub fn reveal(&self) -> String {
        self.0.to_string()
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// A process slot that the supervisor keeps filled, such as `discord-0`. The
/// slot keeps its name over restarts of its process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(String);

impl WorkerId {
    /// The worker in place `index` of a pool.
    pub fn new(pool: &PoolId, index: u32) -> Self {
        Self(format!("{pool}-{index}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its pool: no pool's name ends where another's worker does.
    pub fn pool(&self) -> &str {
        self.0.rsplit_once('-').map_or("", |(pool, _)| pool)
    }

    /// Its place in the pool.
    pub fn index(&self) -> Option<u32> {
        self.0.rsplit_once('-').and_then(|(_, index)| index.parse().ok())
    }
}

impl From<&str> for WorkerId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A named set of numbered slots to keep held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PoolId(String);

/// The longest name of a pool.
const POOL_NAME: usize = 32;

impl PoolId {
    /// The pool that holds the bot's shards.
    pub fn discord() -> Self {
        Self("discord".to_owned())
    }

    pub fn is_discord(&self) -> bool {
        self.0 == "discord"
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that names no pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is a lower-case letter, then lower-case letters, digits and dashes, 32 characters at most")]
pub struct PoolIdError;

impl FromStr for PoolId {
    type Err = PoolIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letter = text.starts_with(|c: char| c.is_ascii_lowercase());
        let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if letter && text.len() <= POOL_NAME && text.chars().all(sound) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PoolIdError)
        }
    }
}

impl std::borrow::Borrow<str> for PoolId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_number_must_be_below_its_total() {
        assert_eq!(ShardId::new(0, 0), Err(ShardIdError::NoShards));
        assert_eq!(
            ShardId::new(4, 4),
            Err(ShardIdError::OutOfRange { number: 4, total: 4 })
        );
        assert_eq!(ShardId::new(3, 4).unwrap().to_string(), "3/4");
        assert_eq!("3/4".parse(), ShardId::new(3, 4));
    }

    #[test]
    fn shards_of_one_total_sort_by_number() {
        let shards: Vec<_> = ShardId::all(3).map(ShardId::number).collect();
        assert_eq!(shards, [0, 1, 2]);
    }

    #[test]
    fn a_worker_says_which_pool_and_place_it_is_of() {
        for (pool, index) in [("discord", 0), ("web", 12), ("web-1", 3)] {
            let worker = WorkerId::new(&pool.parse().unwrap(), index);
            assert_eq!((worker.pool(), worker.index()), (pool, Some(index)));
        }
        assert_eq!(WorkerId::from("x").pool(), "");
        for bad in ["", "1a", "-a", "Web", "a_b", "a b", "\u{e4}", &"a".repeat(33)] {
            assert!(bad.parse::<PoolId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_session_is_named_by_its_exact_text_only() {
        let id = SessionId::from_random(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
        let text = id.reveal();
        assert_eq!(SessionId::parse(&text), Some(id));
        assert_eq!(SessionId::parse(&text.to_uppercase()), None);
        assert_eq!(SessionId::parse(&text.replace('-', "")), None);
        assert_eq!(SessionId::parse(&format!("{{{text}}}")), None);
        assert_eq!(format!("{id:?}"), "SessionId(…)");
    }
}
