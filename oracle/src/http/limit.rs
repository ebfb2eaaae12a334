//! How often a client may ask: a bucket of as many requests as a minute has,
//! which fills evenly. Plain rules; the time is an argument.
//!
//! Of each client only the moment is kept at which its bucket is full again
//! (GCRA), so a client whose moment has passed need not be kept at all.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Clients that are kept at one time, at some 40 bytes each.
const MAX_CLIENTS: usize = 65_536;

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// The key at this place of the list.
    Key(u32),
    /// Without a key: the address. Of IPv6 the first half, since one host has
    /// all of the other.
    V4([u8; 4]),
    V6([u8; 8]),
    /// Nobody knows who.
    Unknown,
}

impl Client {
    /// Tells clients apart where nobody needs to know who they are.
    pub(super) fn number(self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn of_address(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => Self::V4(address.octets()),
            Some(IpAddr::V6(address)) => {
                let mut network = [0; 8];
                network.copy_from_slice(&address.octets()[..8]);
                Self::V6(network)
            }
            None => Self::Unknown,
        }
    }
}

/// What a client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Until all of it is there again.
    pub(super) reset: Duration,
}

/// A request too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exceeded {
    pub(super) standing: Standing,
    /// Until there is room for one.
    pub(super) retry_after: Duration,
}

#[derive(Debug)]
pub(super) struct Limiter {
    limit: u32,
    /// Between two requests of a client that asks as often as it may.
    interval: Duration,
    max_clients: usize,
    /// When each bucket is full again.
    full_at: HashMap<Client, Duration>,
}

impl Limiter {
    /// So many requests in a minute, at least one.
    pub(super) fn new(limit: u32) -> Self {
        assert!(limit > 0);
        Self {
            limit,
            interval: MINUTE / limit,
            max_clients: MAX_CLIENTS,
            full_at: HashMap::new(),
        }
    }

    /// What a client has left, without taking of it.
    pub(super) fn standing(&self, client: Client, now: Duration) -> Standing {
        self.standing_of(self.used(client, now))
    }

    /// How much of a client's bucket would be used after one request more, if
    /// there is one; nothing is taken.
    pub(super) fn look(&self, client: Client, now: Duration) -> Result<Duration, Exceeded> {
        let used = self.used(client, now);
        let after = used + self.interval;
        let room = self.interval * self.limit;
        if after > room {
            return Err(Exceeded {
                standing: self.standing_of(used),
                retry_after: after - room,
            });
        }
        Ok(after)
    }

    /// Takes one request, if there is one.
    pub(super) fn take(&mut self, client: Client, now: Duration) -> Result<Standing, Exceeded> {
        let after = self.look(client, now)?;
        if self.full_at.len() >= self.max_clients && !self.full_at.contains_key(&client) {
            self.evict(now);
        }
        self.full_at.insert(client, now + after);
        Ok(self.standing_of(after))
    }

    fn used(&self, client: Client, now: Duration) -> Duration {
        self.full_at
            .get(&client)
            .map_or(Duration::ZERO, |full_at| full_at.saturating_sub(now))
    }

    fn standing_of(&self, used: Duration) -> Standing {
        let interval = self.interval.as_nanos().max(1);
        let taken = used.as_nanos().div_ceil(interval);
        Standing {
            limit: self.limit,
            remaining: self.limit - u32::try_from(taken).unwrap_or(self.limit).min(self.limit),
            reset: used,
        }
    }

    /// Forgets whose bucket is full. If none is, the fuller half: whoever asks
    /// most stays known, and one scan pays for many newcomers.
    fn evict(&mut self, now: Duration) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() < self.max_clients {
            return;
        }
        let mut moments: Vec<Duration> = self.full_at.values().copied().collect();
        let middle = moments.len() / 2;
        let (_, median, _) = moments.select_nth_unstable(middle);
        let median = *median;
        self.full_at.retain(|_, full_at| *full_at > median);
    }
}

/// Whole seconds after which it is surely so, at least one.
pub(super) fn seconds_up(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Client = Client::Key(0);
    const BOB: Client = Client::V4([10, 0, 0, 1]);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_minutes_worth_is_taken_at_once_and_comes_back_evenly() {
        let mut limiter = Limiter::new(60);
        for left in (0..60).rev() {
            assert_eq!(limiter.take(ALICE, at(0)).unwrap().remaining, left);
        }
        let exceeded = limiter.take(ALICE, at(0)).unwrap_err();
        assert_eq!(exceeded.retry_after, at(1000));
        assert_eq!(
            exceeded.standing,
            Standing {
                limit: 60,
                remaining: 0,
                reset: at(60_000)
            }
        );
        assert_eq!(limiter.take(ALICE, at(999)).unwrap_err().retry_after, at(1));
        limiter.take(ALICE, at(1000)).unwrap();
        limiter.take(ALICE, at(1000)).unwrap_err();
        assert_eq!(limiter.standing(ALICE, at(31_000)).remaining, 30);
        assert_eq!(limiter.standing(ALICE, at(61_000)).remaining, 60);
        assert_eq!(limiter.standing(ALICE, at(61_000)).reset, at(0));
    }

    #[test]
    fn after_the_time_that_it_was_told_a_client_is_served() {
        for limit in [1, 7, 59, 60, 1000, 1_000_000] {
            let mut limiter = Limiter::new(limit);
            for _ in 0..limit.min(2000) {
                limiter.take(ALICE, at(5)).unwrap();
            }
            if limit <= 2000 {
                let exceeded = limiter.take(ALICE, at(5)).unwrap_err();
                limiter.take(ALICE, at(5) + exceeded.retry_after).unwrap();
                let told = Duration::from_secs(seconds_up(exceeded.retry_after));
                assert!(told >= exceeded.retry_after);
            }
        }
    }

    #[test]
    fn clients_do_not_share_and_a_refusal_costs_nothing() {
        let mut limiter = Limiter::new(1);
        limiter.take(ALICE, at(0)).unwrap();
        limiter.take(BOB, at(0)).unwrap();
        for _ in 0..100 {
            limiter.take(ALICE, at(1)).unwrap_err();
        }
        limiter.take(ALICE, at(60_000)).unwrap();
    }

    #[test]
    fn hosts_are_told_apart_by_their_address_and_networks_by_half_of_it() {
        let of = |text: &str| Client::of_address(Some(text.parse().unwrap()));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    #[test]
    fn the_table_is_bounded_and_whoever_asks_most_stays_in_it() {
        let mut limiter = Limiter::new(10);
        limiter.max_clients = 100;
        for _ in 0..10 {
            limiter.take(ALICE, at(0)).unwrap();
        }
        for other in 0..10_000_u32 {
            limiter.take(Client::V4(other.to_be_bytes()), at(1)).unwrap();
            assert!(limiter.full_at.len() <= 100, "{}", limiter.full_at.len());
        }
        limiter.take(ALICE, at(2)).unwrap_err();
        // Once the buckets are full again nobody needs to be kept.
        for other in 0..100_u32 {
            limiter
                .take(Client::V4(other.to_be_bytes()), at(200_000))
                .unwrap();
        }
        assert_eq!(limiter.full_at.len(), 100);
        limiter.take(BOB, at(300_000)).unwrap();
        assert_eq!(limiter.full_at.len(), 1);
    }

    #[test]
    fn seconds_are_rounded_up_and_never_none() {
        let told = [0, 1, 999, 1000, 1001].map(|millis| seconds_up(at(millis)));
        assert_eq!(told, [1, 1, 1, 1, 2]);
    }
}
