//! Connections that have not proved yet whose they are: few at once from one
//! address, and not again and again from one whose hellos come to nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// At once, of all addresses and of one.
const PLACES: usize = 32;
const PLACES_OF_ONE: usize = 4;
/// Hellos of an address that may fail in a row, and how soon one is forgotten.
const FAILURES: u32 = 40;
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// Why a stranger is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    Full,
    Failing,
}

#[derive(Debug, Default)]
pub(super) struct Strangers {
    by_address: BTreeMap<IpAddr, Known>,
}

#[derive(Debug)]
struct Known {
    places: usize,
    failures: u32,
    /// Until when failures were forgotten.
    since: Instant,
}

impl Strangers {
    fn enter(&mut self, address: IpAddr, now: Instant) -> Result<(), Closed> {
        self.forget(now);
        let places: usize = self.by_address.values().map(|known| known.places).sum();
        let known = self.by_address.get(&address);
        if known.is_some_and(|known| known.failures >= FAILURES) {
            return Err(Closed::Failing);
        }
        if places >= PLACES || known.is_some_and(|known| known.places >= PLACES_OF_ONE) {
            return Err(Closed::Full);
        }
        let known = self.by_address.entry(address).or_insert(Known {
            places: 0,
            failures: 0,
            since: now,
        });
        known.places += 1;
        Ok(())
    }

    fn leave(&mut self, address: IpAddr, has_failed: bool, now: Instant) {
        if let Some(known) = self.by_address.get_mut(&address) {
            known.places = known.places.saturating_sub(1);
            if has_failed {
                if known.failures == 0 {
                    known.since = now;
                }
                known.failures += 1;
            }
        }
        self.forget(now);
    }

    /// Nobody is remembered for longer than its failures, so that an address
    /// takes memory for less than a minute.
    fn forget(&mut self, now: Instant) {
        self.by_address.retain(|_, known| {
            let passed = now.saturating_duration_since(known.since).as_secs() / FORGET_EVERY.as_secs();
            let passed = u32::try_from(passed).unwrap_or(u32::MAX);
            known.failures = known.failures.saturating_sub(passed);
            known.since += FORGET_EVERY.saturating_mul(passed);
            known.places > 0 || known.failures > 0
        });
    }
}

/// A place of an address, until it is dropped.
pub(super) struct Place {
    strangers: Arc<Mutex<Strangers>>,
    address: IpAddr,
    has_failed: bool,
}

impl Place {
    /// Nothing came of it.
    pub(super) fn failed(&mut self) {
        self.has_failed = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.strangers).leave(self.address, self.has_failed, Instant::now());
    }
}

pub(super) fn enter(
    strangers: &Arc<Mutex<Strangers>>,
    address: Option<IpAddr>,
    now: Instant,
) -> Result<Place, Closed> {
    let address = counted_as(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    lock(strangers).enter(address, now)?;
    Ok(Place {
        strangers: Arc::clone(strangers),
        address,
        has_failed: false,
    })
}

/// A host has as many IPv6 addresses of its network as it likes.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

fn lock(strangers: &Mutex<Strangers>) -> MutexGuard<'_, Strangers> {
    strangers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_few_places_and_leaves_the_others_theirs() {
        let strangers = Arc::default();
        let now = Instant::now();
        let from = |text: &str| enter(&strangers, Some(text.parse().unwrap()), now);
        let mut held: Vec<Place> = (0..4)
            .map(|host| from(&format!("2001:db8::{host}")).ok().unwrap())
            .collect();
        assert_eq!(from("2001:db8::9").err(), Some(Closed::Full));
        held.extend((0..28).map(|host| from(&format!("192.0.2.{host}")).ok().unwrap()));
        assert_eq!(from("192.0.2.99").err(), Some(Closed::Full), "of all");
        held.clear();
        assert!(from("2001:db8::9").is_ok());
        assert!(lock(&strangers).by_address.is_empty(), "nobody is remembered");
    }

    #[test]
    fn who_fails_again_and_again_waits_and_nobody_else_does() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        let [bad, good] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        for _ in 0..FAILURES {
            assert_eq!(strangers.enter(bad, now), Ok(()));
            strangers.leave(bad, true, now);
        }
        assert_eq!(strangers.enter(bad, now), Err(Closed::Failing));
        assert_eq!(strangers.enter(good, now), Ok(()));
        strangers.leave(good, false, now);
        let later = now + FORGET_EVERY;
        assert_eq!(strangers.enter(bad, later), Ok(()), "one is forgotten");
        strangers.leave(bad, true, later);
        assert_eq!(strangers.enter(bad, later), Err(Closed::Failing));
        strangers.forget(now + FORGET_EVERY * (FAILURES + 2));
        assert!(strangers.by_address.is_empty());
    }
}
