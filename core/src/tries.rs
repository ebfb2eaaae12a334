//! How often somebody may guess a secret: a few times at once, then now and
//! then. Whoever guesses holds up nobody but itself, and not even itself for
//! long.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::Tick;

/// Wrong tries that are answered at once: more than a person makes.
const AT_ONCE: u32 = 10;

/// The time that each further one costs.
const EACH: Duration = Duration::from_secs(3);

/// Sources that are told apart. Those beyond share one account.
const SOURCES: usize = 1024;

/// Wrong tries by where they came from.
#[derive(Debug)]
pub struct Tries<K> {
    /// When the last wrong try of each is paid for.
    paid: HashMap<K, Tick>,
    others: Tick,
}

impl<K> Default for Tries<K> {
    fn default() -> Self {
        Self {
            paid: HashMap::new(),
            others: Tick::default(),
        }
    }
}

impl<K: Eq + Hash> Tries<K> {
    /// Whether `source` may try now.
    ///
    /// # Errors
    ///
    /// The time after which it may.
    pub fn may_try(&self, source: &K, now: Tick) -> Result<(), Duration> {
        let debt = self.paid(source).since(now);
        // One more must fit.
        match debt.checked_sub(EACH * (AT_ONCE - 1)) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(wait) => Err(wait),
        }
    }

    /// A try was wrong.
    pub fn wrong(&mut self, source: K, now: Tick) {
        let paid = self.paid(&source).max(now) + EACH;
        if !self.paid.contains_key(&source) && self.paid.len() >= SOURCES {
            self.paid.retain(|_, paid| *paid > now);
        }
        if self.paid.contains_key(&source) || self.paid.len() < SOURCES {
            self.paid.insert(source, paid);
        } else {
            self.others = paid;
        }
    }

    fn paid(&self, source: &K) -> Tick {
        let alone = self.paid.get(source).copied();
        let full = self.paid.len() >= SOURCES;
        alone.unwrap_or(if full { self.others } else { Tick::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Tick {
        Tick(seconds * 1000)
    }

    #[test]
    fn a_few_tries_are_free_and_then_one_each_three_seconds() {
        let mut tries = Tries::default();
        for _ in 0..10 {
            assert_eq!(tries.may_try(&1, seconds(100)), Ok(()));
            tries.wrong(1, seconds(100));
        }
        assert_eq!(tries.may_try(&1, seconds(100)), Err(Duration::from_secs(3)));
        assert_eq!(tries.may_try(&2, seconds(100)), Ok(()), "somebody else");
        assert_eq!(tries.may_try(&1, seconds(103)), Ok(()));
        tries.wrong(1, seconds(103));
        assert_eq!(tries.may_try(&1, seconds(104)), Err(Duration::from_secs(2)));
        // All is forgotten in time.
        assert_eq!(tries.may_try(&1, seconds(200)), Ok(()));
    }

    #[test]
    fn to_ask_too_early_costs_nothing() {
        let mut tries = Tries::default();
        (0..10).for_each(|_| tries.wrong(1, seconds(0)));
        for _ in 0..1000 {
            assert_eq!(tries.may_try(&1, seconds(1)), Err(Duration::from_secs(2)));
        }
        assert_eq!(tries.may_try(&1, seconds(3)), Ok(()));
    }

    #[test]
    fn many_sources_take_bounded_memory_and_the_last_ones_wait_together() {
        let mut tries = Tries::default();
        for source in 0..100_000 {
            if tries.may_try(&source, seconds(0)).is_ok() {
                tries.wrong(source, seconds(0));
            }
        }
        assert_eq!(tries.paid.len(), SOURCES);
        assert!(tries.may_try(&200_000, seconds(0)).is_err());
        assert_eq!(
            tries.may_try(&0, seconds(0)),
            Ok(()),
            "who came before is no worse off"
        );
        // And the next ones have accounts of their own again.
        tries.wrong(200_000, seconds(60));
        assert_eq!(tries.paid.len(), 1);
    }
}
