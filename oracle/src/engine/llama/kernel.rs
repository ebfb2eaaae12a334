//! The inner loops, once in plain Rust, and compiled for what the processor has.
//!
//! Every variant does the same operations in the same order, without fused
//! ones, so each gives the same bits. Nothing is decided here.

#[cfg(target_arch = "x86_64")]
mod x86;

use super::matrix::{LANES, Tile, Values};

/// What the processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl Level {
    /// The best that this processor has.
    pub(super) fn detect() -> Self {
        Self::all().last().copied().unwrap_or(Self::Portable)
    }

    /// All that this processor has, the best last.
    pub(super) fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        return x86::levels();
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Portable]
    }
}

/// Rows times 16 columns of weights, all blocks of them, into `sums`. `rows` has
/// as many blocks for each row of `sums` as `tiles` has.
#[inline]
pub(super) fn multiply(
    level: Level,
    tiles: &[Tile],
    scales: &[[u16; LANES]],
    rows: &[Values],
    sums: &mut [[f32; LANES]],
) {
    match level {
        Level::Portable => multiply_plain(tiles, scales, rows, sums),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => x86::multiply_avx2(tiles, scales, rows, sums),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni => x86::multiply_vnni(tiles, scales, rows, sums),
    }
}

/// What one row's queries find in what came before: `out` becomes the mean of the
/// values, weighted by how well each one's key fits the query.
#[inline]
pub(super) fn attend(level: Level, attend: &Attend<'_>, scores: &mut Vec<f32>, out: &mut [f32]) {
    match level {
        Level::Portable => attend_with::<Plain>(attend, scores, out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => x86::attend_avx2(attend, scores, out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni => x86::attend_avx512(attend, scores, out),
    }
}

/// The queries of one row that share keys and values, and those.
pub(super) struct Attend<'a> {
    /// `size` values each.
    pub(super) queries: &'a [f32],
    /// In blocks of 16: the keys' first values, then their second ones.
    pub(super) keys: Strided<'a>,
    pub(super) values: Strided<'a>,
    /// Values of a query, a key or a value; a multiple of 16.
    pub(super) size: usize,
    /// How many keys there are.
    pub(super) length: usize,
}

/// Equal pieces of a slice: piece `i` begins at `first + i * stride`.
#[derive(Clone, Copy)]
pub(super) struct Strided<'a> {
    pub(super) data: &'a [f32],
    pub(super) first: usize,
    pub(super) stride: usize,
}

impl Strided<'_> {
    /// From where a piece begins.
    #[inline(always)]
    fn piece(&self, index: usize) -> &[f32] {
        &self.data[self.first + index * self.stride..]
    }
}

#[inline(always)]
fn multiply_plain(tiles: &[Tile], scales: &[[u16; LANES]], rows: &[Values], sums: &mut [[f32; LANES]]) {
    for (row, sums) in rows.chunks_exact(tiles.len()).zip(sums) {
        *sums = [0.0; LANES];
        for ((tile, scale), values) in tiles.iter().zip(scales).zip(row) {
            let mut products = [values.offset; LANES];
            for (weights, quad) in tile.0.iter().zip(values.quads) {
                let quad = quad.to_le_bytes().map(|value| i32::from(value as i8));
                for (product, weights) in products.iter_mut().zip(weights.as_chunks::<4>().0) {
                    for (weight, value) in weights.iter().zip(quad) {
                        *product = product.wrapping_add(i32::from(*weight).wrapping_mul(value));
                    }
                }
            }
            for ((sum, product), scale) in sums.iter_mut().zip(products).zip(scale) {
                let scale = half::f16::from_bits(*scale).to_f32() * values.scale;
                *sum += product as f32 * scale;
            }
        }
    }
}

/// The loops of attention that a level may have written for itself.
trait Loops {
    /// The products of queries with a block of 16 keys, whose first values come
    /// first; a query's 16 products go to `scores`, `stride` after the last one's.
    fn scores(queries: &[f32], keys: &[[f32; LANES]], stride: usize, scores: &mut [f32]);

    /// The sum of values, each times its weight: as many of a value's as `out`
    /// has, from `at` on; 64 at most.
    fn mix(values: Strided<'_>, weights: &[f32], at: usize, out: &mut [f32]);
}

struct Plain;

impl Loops for Plain {
    #[inline(always)]
    fn scores(queries: &[f32], keys: &[[f32; LANES]], stride: usize, scores: &mut [f32]) {
        for (queries, scores) in queries.chunks_exact(keys.len()).zip(scores.chunks_mut(stride)) {
            let mut sums = [0.0_f32; LANES];
            for (query, keys) in queries.iter().zip(keys) {
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum += query * key;
                }
            }
            scores[..LANES].copy_from_slice(&sums);
        }
    }

    #[inline(always)]
    fn mix(values: Strided<'_>, weights: &[f32], at: usize, out: &mut [f32]) {
        for (chunk, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let mut sums = [0.0_f32; LANES];
            for (token, weight) in weights.iter().enumerate() {
                let values = &values.piece(token)[at + chunk * LANES..][..LANES];
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += weight * value;
                }
            }
            *out = sums;
        }
    }
}

#[inline(always)]
fn attend_with<L: Loops>(attend: &Attend<'_>, scores: &mut Vec<f32>, out: &mut [f32]) {
    let padded = attend.length.next_multiple_of(LANES);
    let size = attend.size;
    scores.clear();
    scores.resize(attend.queries.len() / size * padded, 0.0);
    for block in 0..padded / LANES {
        let (keys, _) = attend.keys.piece(block).as_chunks::<LANES>();
        L::scores(
            attend.queries,
            &keys[..size],
            padded,
            &mut scores[block * LANES..],
        );
    }
    for (scores, out) in scores.chunks_exact_mut(padded).zip(out.chunks_exact_mut(size)) {
        let inverse = 1.0 / soften(scores, attend.length, 1.0 / (size as f32).sqrt());
        let weights = &scores[..attend.length];
        for (chunk, out) in out.chunks_mut(4 * LANES).enumerate() {
            L::mix(attend.values, weights, chunk * 4 * LANES, out);
            for out in out {
                *out *= inverse;
            }
        }
    }
}

/// Makes weights of the first `length` scores, each times `scale`, and none of
/// the others; gives what they add up to.
#[inline(always)]
fn soften(scores: &mut [f32], length: usize, scale: f32) -> f32 {
    scores[length..].fill(f32::NEG_INFINITY);
    let (blocks, _) = scores.as_chunks_mut::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for block in &*blocks {
        for (most, score) in most.iter_mut().zip(block) {
            *most = if *score > *most { *score } else { *most };
        }
    }
    let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0_f32; LANES];
    for block in blocks {
        for (sum, score) in sums.iter_mut().zip(block) {
            *score = exp((*score - most) * scale);
            *sum += *score;
        }
    }
    sums.into_iter().sum()
}

/// e to the power of a number that is not above 88; the same bits everywhere,
/// which the platform's own function does not promise. Right within 2 units in
/// the last place; zero below -87.
#[inline(always)]
pub(super) fn exp(number: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if number > -87.0 { number } else { -87.0 };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    // Two parts of ln 2, of which the first has few digits.
    let rest = clamped - whole * 0.693_359_4 - whole * -2.121_944_4e-4;
    let mut power = 1.987_569_2e-4_f32;
    for factor in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        power = power * rest + factor;
    }
    let power = power * rest * rest + rest + 1.0;
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if number > -87.0 { power * scale } else { 0.0 }
}

#[cfg(test)]
mod tests;
