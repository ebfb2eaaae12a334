//! The inner loops compiled for what x86 processors may have. The safe functions
//! here are called with a level that was detected, and no other.
#![expect(
    unsafe_code,
    reason = "a function compiled for an instruction set may only run where it is there"
)]
#![expect(
    clippy::needless_range_loop,
    reason = "an iterator's closure would be compiled for another processor"
)]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    _mm_loadu_si128, _mm_set1_epi32, _mm256_add_epi32, _mm256_add_ps, _mm256_cvtepi8_epi16,
    _mm256_cvtepi32_ps, _mm256_cvtepu8_epi16, _mm256_cvtph_ps, _mm256_hadd_epi32, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_mul_ps, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_storeu_ps, _mm512_add_ps, _mm512_cvtepi32_ps,
    _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_load_si512, _mm512_loadu_ps, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_ps,
};

use super::super::matrix::{BLOCK, LANES, Tile, Values};
use super::{Attend, Level, Loops, Plain, Strided, attend_with};

pub(super) fn levels() -> Vec<Level> {
    let mut levels = vec![Level::Portable];
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
        levels.push(Level::Avx2);
    }
    if has_avx512() {
        levels.push(Level::Avx512Vnni);
    }
    levels
}

fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

#[inline]
pub(super) fn multiply_avx2(
    tiles: &[Tile],
    scales: &[[u16; LANES]],
    rows: &[Values],
    sums: &mut [[f32; LANES]],
) {
    assert_eq!(tiles.len(), scales.len(), "each tile has its scales");
    assert_eq!(
        rows.len(),
        sums.len() * tiles.len(),
        "each row has a block for each tile"
    );
    // SAFETY: the level is used only where `levels` found the instructions.
    unsafe { multiply_for_avx2(tiles, scales, rows, sums) }
}

/// Two rows at once: their sums fit the registers.
#[target_feature(enable = "avx2,f16c")]
fn multiply_for_avx2(tiles: &[Tile], scales: &[[u16; LANES]], rows: &[Values], sums: &mut [[f32; LANES]]) {
    let blocks = tiles.len();
    let mut row = 0;
    while row < sums.len() {
        let rows = &rows[row * blocks..];
        if row + 1 < sums.len() {
            rows_for_avx2::<2>(tiles, scales, rows, &mut sums[row..]);
        } else {
            rows_for_avx2::<1>(tiles, scales, rows, &mut sums[row..]);
        }
        row += 2;
    }
}

#[target_feature(enable = "avx2,f16c")]
fn rows_for_avx2<const N: usize>(
    tiles: &[Tile],
    scales: &[[u16; LANES]],
    rows: &[Values],
    sums: &mut [[f32; LANES]],
) {
    let blocks = tiles.len();
    let mut totals = [[_mm256_setzero_ps(); 2]; N];
    for block in 0..blocks {
        // Of four weights, the first two and the last two are added up apart.
        let mut products = [[_mm256_setzero_si256(); 4]; N];
        for quad in 0..BLOCK / 4 {
            let mut values = [_mm256_setzero_si256(); N];
            for row in 0..N {
                let quad = rows[row * blocks + block].quads[quad];
                values[row] = _mm256_cvtepi8_epi16(_mm_set1_epi32(quad));
            }
            for quarter in 0..4 {
                let weights = &tiles[block].0[quad][quarter * 16..][..16];
                // SAFETY: 16 bytes.
                let weights = unsafe { _mm_loadu_si128(weights.as_ptr().cast()) };
                let weights = _mm256_cvtepu8_epi16(weights);
                for row in 0..N {
                    let pairs = _mm256_madd_epi16(weights, values[row]);
                    products[row][quarter] = _mm256_add_epi32(products[row][quarter], pairs);
                }
            }
        }
        for half in 0..2 {
            let scale = &scales[block][half * 8..][..8];
            // SAFETY: 8 scales of two bytes are 16 bytes.
            let scale = _mm256_cvtph_ps(unsafe { _mm_loadu_si128(scale.as_ptr().cast()) });
            for row in 0..N {
                let values = &rows[row * blocks + block];
                let [first, second] = [products[row][half * 2], products[row][half * 2 + 1]];
                // Brings the columns 0, 1, 4, 5, 2, 3, 6, 7 into order.
                let product = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(first, second));
                let product = _mm256_add_epi32(product, _mm256_set1_epi32(values.offset));
                let scale = _mm256_mul_ps(scale, _mm256_set1_ps(values.scale));
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(product), scale);
                totals[row][half] = _mm256_add_ps(totals[row][half], product);
            }
        }
    }
    for row in 0..N {
        for half in 0..2 {
            let sums = &mut sums[row][half * 8..][..8];
            // SAFETY: 8 floats are 32 bytes.
            unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), totals[row][half]) };
        }
    }
}

#[inline]
pub(super) fn multiply_vnni(
    tiles: &[Tile],
    scales: &[[u16; LANES]],
    rows: &[Values],
    sums: &mut [[f32; LANES]],
) {
    assert_eq!(tiles.len(), scales.len(), "each tile has its scales");
    assert_eq!(
        rows.len(),
        sums.len() * tiles.len(),
        "each row has a block for each tile"
    );
    // SAFETY: the level is used only where `levels` found the instructions.
    unsafe {
        match sums.len() {
            1 => multiply_for_vnni::<1>(tiles, scales, rows, sums),
            2 => multiply_for_vnni::<2>(tiles, scales, rows, sums),
            3 => multiply_for_vnni::<3>(tiles, scales, rows, sums),
            4 => multiply_for_vnni::<4>(tiles, scales, rows, sums),
            5 => multiply_for_vnni::<5>(tiles, scales, rows, sums),
            6 => multiply_for_vnni::<6>(tiles, scales, rows, sums),
            7 => multiply_for_vnni::<7>(tiles, scales, rows, sums),
            8 => multiply_for_vnni::<8>(tiles, scales, rows, sums),
            more => unreachable!("{more} rows at once"),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_for_vnni<const N: usize>(
    tiles: &[Tile],
    scales: &[[u16; LANES]],
    rows: &[Values],
    sums: &mut [[f32; LANES]],
) {
    let blocks = tiles.len();
    // Plain loops: a closure would be compiled for another processor.
    let mut totals = [_mm512_setzero_ps(); N];
    for block in 0..blocks {
        let mut products = [_mm512_setzero_si512(); N];
        for row in 0..N {
            products[row] = _mm512_set1_epi32(rows[row * blocks + block].offset);
        }
        for quad in 0..BLOCK / 4 {
            // SAFETY: 64 bytes of a tile, which is aligned to 64 bytes.
            let weights = unsafe { _mm512_load_si512(tiles[block].0[quad].as_ptr().cast()) };
            for row in 0..N {
                let values = _mm512_set1_epi32(rows[row * blocks + block].quads[quad]);
                products[row] = _mm512_dpbusd_epi32(products[row], weights, values);
            }
        }
        // SAFETY: 16 scales of two bytes are 32 bytes.
        let scale = _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(scales[block].as_ptr().cast()) });
        for row in 0..N {
            let scale = _mm512_mul_ps(scale, _mm512_set1_ps(rows[row * blocks + block].scale));
            let product = _mm512_mul_ps(_mm512_cvtepi32_ps(products[row]), scale);
            totals[row] = _mm512_add_ps(totals[row], product);
        }
    }
    for row in 0..N {
        // SAFETY: 16 floats are 64 bytes.
        unsafe { _mm512_storeu_ps(sums[row].as_mut_ptr(), totals[row]) };
    }
}

#[inline]
pub(super) fn attend_avx2(attend: &Attend<'_>, scores: &mut Vec<f32>, out: &mut [f32]) {
    // SAFETY: the level is used only where `levels` found the instructions.
    unsafe { attend_for_avx2(attend, scores, out) }
}

#[target_feature(enable = "avx2")]
fn attend_for_avx2(attend: &Attend<'_>, scores: &mut Vec<f32>, out: &mut [f32]) {
    attend_with::<Plain>(attend, scores, out);
}

#[inline]
pub(super) fn attend_avx512(attend: &Attend<'_>, scores: &mut Vec<f32>, out: &mut [f32]) {
    // SAFETY: the level is used only where `levels` found the instructions.
    unsafe { attend_for_avx512(attend, scores, out) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn attend_for_avx512(attend: &Attend<'_>, scores: &mut Vec<f32>, out: &mut [f32]) {
    attend_with::<Avx512>(attend, scores, out);
}

/// The loops that are not compiled well from plain Rust. They are only reached
/// from a function that needs the instructions itself.
struct Avx512;

impl Loops for Avx512 {
    #[inline(always)]
    fn scores(queries: &[f32], keys: &[[f32; LANES]], stride: usize, scores: &mut [f32]) {
        let size = keys.len();
        for (index, queries) in queries.chunks(4 * size).enumerate() {
            let scores = &mut scores[index * 4 * stride..];
            // SAFETY: as for the function that called.
            unsafe {
                match queries.len() / size {
                    1 => scores_for_avx512::<1>(queries, keys, stride, scores),
                    2 => scores_for_avx512::<2>(queries, keys, stride, scores),
                    3 => scores_for_avx512::<3>(queries, keys, stride, scores),
                    _ => scores_for_avx512::<4>(queries, keys, stride, scores),
                }
            }
        }
    }

    #[inline(always)]
    fn mix(values: Strided<'_>, weights: &[f32], at: usize, out: &mut [f32]) {
        // SAFETY: as for the function that called.
        unsafe {
            match out.len() / LANES {
                1 => mix_for_avx512::<1>(values, weights, at, out),
                2 => mix_for_avx512::<2>(values, weights, at, out),
                3 => mix_for_avx512::<3>(values, weights, at, out),
                _ => mix_for_avx512::<4>(values, weights, at, out),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn scores_for_avx512<const N: usize>(
    queries: &[f32],
    keys: &[[f32; LANES]],
    stride: usize,
    scores: &mut [f32],
) {
    let size = keys.len();
    let queries = &queries[..N * size];
    let mut sums = [_mm512_setzero_ps(); N];
    for at in 0..size {
        // SAFETY: 16 floats are 64 bytes.
        let keys = unsafe { _mm512_loadu_ps(keys[at].as_ptr()) };
        for query in 0..N {
            let product = _mm512_mul_ps(_mm512_set1_ps(queries[query * size + at]), keys);
            sums[query] = _mm512_add_ps(sums[query], product);
        }
    }
    for query in 0..N {
        let scores = &mut scores[query * stride..][..LANES];
        // SAFETY: 16 floats are 64 bytes.
        unsafe { _mm512_storeu_ps(scores.as_mut_ptr(), sums[query]) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn mix_for_avx512<const C: usize>(values: Strided<'_>, weights: &[f32], at: usize, out: &mut [f32]) {
    let mut sums = [_mm512_setzero_ps(); C];
    for token in 0..weights.len() {
        let values = &values.piece(token)[at..][..C * LANES];
        let weight = _mm512_set1_ps(weights[token]);
        for chunk in 0..C {
            // SAFETY: `C` times 16 floats, of 64 bytes each 16.
            let values = unsafe { _mm512_loadu_ps(values.as_ptr().add(chunk * LANES)) };
            sums[chunk] = _mm512_add_ps(sums[chunk], _mm512_mul_ps(weight, values));
        }
    }
    for chunk in 0..C {
        let out = &mut out[chunk * LANES..][..LANES];
        // SAFETY: 16 floats are 64 bytes.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sums[chunk]) };
    }
}
