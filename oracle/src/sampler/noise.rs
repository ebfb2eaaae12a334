//! Gumbel noise from a counter: the same for the same (seed, position, token),
//! whoever asks, in which order, and how often.

use std::f64::consts::LN_2;

use crate::engine::Token;

/// No noise is above this: -ln of the least distance of a sample from 1.
const CEILING: f64 = 53.0 * LN_2 + 1e-9;

/// The noise of one position.
#[derive(Clone, Copy, Debug)]
pub(super) struct At(u64);

impl At {
    pub(super) fn new(seed: u64, position: usize) -> Self {
        Self(mix(mix(seed).wrapping_add(position as u64)))
    }

    /// The token whose score and noise are highest; ties go to the lowest id.
    /// `first` is tried first, as what scores highest leaves little to others.
    pub(super) fn highest(
        self,
        scores: impl Iterator<Item = (Token, f64)> + Clone,
        first: Token,
    ) -> Option<Token> {
        let mut best: Option<(f64, Token)> = None;
        let ahead = scores.clone().filter(|&(token, _)| token == first).take(1);
        for (token, score) in ahead.chain(scores) {
            if score == f64::NEG_INFINITY {
                continue;
            }
            if let Some((highest, _)) = best {
                // Logarithms only for those that can still win.
                if score + CEILING < highest {
                    continue;
                }
                let bits = self.bits(token);
                if score + ceiling(bits) < highest {
                    continue;
                }
            }
            let total = score + gumbel(self.bits(token));
            let wins =
                best.is_none_or(|(highest, holder)| total > highest || (total == highest && token < holder));
            if wins {
                best = Some((total, token));
            }
        }
        best.map(|(_, token)| token)
    }

    fn bits(self, token: Token) -> u64 {
        mix(self.0 ^ u64::from(token).wrapping_mul(0xd6e8_feb8_6659_fd93)) >> 12
    }
}

/// -ln(-ln u) for the middle of the `bits`-th of 2^52 equal parts of (0, 1): with
/// one more bit the middle would not be a number of its own.
fn gumbel(bits: u64) -> f64 {
    // Near 1, `1 - u` has the digits that `u` has not.
    let from_one = (((1 << 52) - 1 - bits) as f64 + 0.5) * 2f64.powi(-52);
    -(-(-from_one).ln_1p()).ln()
}

/// At least [`gumbel`], without logarithms: -ln(-ln u) is at most -ln(1 - u).
fn ceiling(bits: u64) -> f64 {
    let from_one = (1u64 << 52) - 1 - bits;
    let zeros = from_one.leading_zeros() - 12;
    f64::from(zeros + 1) * LN_2 + 1e-9
}

/// A bijection of 64 bits in which each input bit moves every output bit
/// (the finalizer of `SplitMix64`).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheap_bound_is_never_below_the_noise() {
        for token in 0..200_000 {
            let bits = At::new(7, 3).bits(token);
            assert!(gumbel(bits) <= ceiling(bits), "{bits}");
        }
        for bits in [0, 1, (1 << 52) - 1, (1 << 52) - 2, 1 << 51] {
            let noise = gumbel(bits);
            assert!(
                noise.is_finite() && noise <= ceiling(bits) && noise <= CEILING,
                "{bits} {noise}"
            );
        }
    }

    #[test]
    fn skipping_those_that_cannot_win_changes_nothing() {
        for seed in 0..300 {
            let at = At::new(seed, 5);
            let scores: Vec<(Token, f64)> = (0..500)
                .map(|token| (token, -((token as f64 * 7.3) % 25.0)))
                .collect();
            let mut plain = (f64::NEG_INFINITY, 0);
            for &(token, score) in &scores {
                let total = score + gumbel(at.bits(token));
                if total > plain.0 {
                    plain = (total, token);
                }
            }
            assert_eq!(at.highest(scores.iter().copied(), 0), Some(plain.1));
        }
    }
}
