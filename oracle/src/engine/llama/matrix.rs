//! Weights in eight bits, and rows multiplied by them.
//!
//! A block of 32 weights shares a scale, as in GGUF's Q8_0, and so does a block
//! of a row's values. Products within a block are whole numbers and exact; the
//! blocks are added up in order. So a result is a function of its row and its
//! column alone, and the same bits with every kernel, whoever shares the pass.

use std::ops::Range;

use super::kernel::{self, Level};
use super::pool::Pool;

/// Values that share a scale.
pub(super) const BLOCK: usize = 32;
/// Columns of the result that a kernel computes at once.
pub(super) const LANES: usize = 16;
/// Rows that a kernel multiplies at once: their sums fit the registers.
pub(super) const MAX_ROWS: usize = 8;

/// One block of 16 of a matrix's rows: for each four weights of a row, 16 rows
/// side by side, and 128 added to each, as the processor's instruction wants.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Tile(pub(super) [[u8; 64]; BLOCK / 4]);

/// A matrix of weights. Its rows are columns of a product.
pub(super) struct Matrix {
    /// Row by row of 16 rows, block by block.
    tiles: Vec<Tile>,
    /// As half-precision bits.
    scales: Vec<[u16; LANES]>,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// An empty matrix that `rows` rows will be added to.
    pub(super) fn with_capacity(rows: usize, columns: usize) -> Self {
        let tiles = rows.div_ceil(LANES) * columns.div_ceil(BLOCK);
        Self {
            tiles: Vec::with_capacity(tiles),
            scales: Vec::with_capacity(tiles),
            rows: 0,
            columns,
        }
    }

    /// Adds a row of weights, which must all be finite.
    pub(super) fn push(&mut self, weights: &[f32]) {
        assert_eq!(weights.len(), self.columns, "a row has the matrix's columns");
        let blocks = self.blocks();
        let lane = self.rows % LANES;
        if lane == 0 {
            let tiles = self.tiles.len() + blocks;
            // What no row fills stays zero.
            self.tiles.resize(tiles, Tile([[128; 64]; BLOCK / 4]));
            self.scales.resize(tiles, [0; LANES]);
        }
        let first = self.rows / LANES * blocks;
        for (block, values) in weights.chunks(BLOCK).enumerate() {
            let largest = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let scale = half::f16::from_f32(largest / 127.0);
            self.scales[first + block][lane] = scale.to_bits();
            // A scale that is zero in half precision stands for no weight at all.
            let inverse = if scale == half::f16::ZERO {
                0.0
            } else {
                1.0 / scale.to_f32()
            };
            for (index, value) in values.iter().enumerate() {
                let level = round((value * inverse).clamp(-127.0, 127.0)) + 128;
                self.tiles[first + block].0[index / 4][lane * 4 + index % 4] = level as u8;
            }
        }
        self.rows += 1;
    }

    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    /// One row's weights, as they are computed with.
    pub(super) fn row(&self, row: usize, weights: &mut [f32]) {
        let (first, lane) = (row / LANES * self.blocks(), row % LANES);
        for (block, values) in weights.chunks_mut(BLOCK).enumerate() {
            let scale = half::f16::from_bits(self.scales[first + block][lane]).to_f32();
            for (index, value) in values.iter_mut().enumerate() {
                let level = self.tiles[first + block].0[index / 4][lane * 4 + index % 4];
                *value = f32::from(i16::from(level) - 128) * scale;
            }
        }
    }

    /// Each row of `rows` times this matrix, into a row of `out`.
    pub(super) fn multiply(&self, rows: &Rows, out: &mut [f32], level: Level, pool: &Pool) {
        assert_eq!(rows.blocks, self.blocks(), "a row has the matrix's columns");
        let tiles = self.rows.div_ceil(LANES);
        let per_part = tiles.div_ceil(pool.parts(tiles));
        let mut parts: Vec<Part<'_>> = (0..tiles)
            .step_by(per_part)
            .map(|first| Part {
                tiles: first..(first + per_part).min(tiles),
                out: Vec::with_capacity(rows.len()),
            })
            .collect();
        for row in out.chunks_exact_mut(self.rows) {
            for (part, out) in parts.iter_mut().zip(row.chunks_mut(per_part * LANES)) {
                part.out.push(out);
            }
        }
        let blocks = self.blocks();
        pool.each(parts, |mut part| {
            let mut sums = [[0.0; LANES]; MAX_ROWS];
            for (index, tile) in part.tiles.enumerate() {
                let weights = tile * blocks..(tile + 1) * blocks;
                for (group, outs) in part.out.chunks_mut(MAX_ROWS).enumerate() {
                    let sums = &mut sums[..outs.len()];
                    kernel::multiply(
                        level,
                        &self.tiles[weights.clone()],
                        &self.scales[weights.clone()],
                        &rows.values[group * MAX_ROWS * blocks..][..outs.len() * blocks],
                        sums,
                    );
                    for (sums, out) in sums.iter().zip(outs) {
                        let at = index * LANES;
                        let end = (at + LANES).min(out.len());
                        out[at..end].copy_from_slice(&sums[..end - at]);
                    }
                }
            }
        });
    }
}

/// A range of a product's columns, in each of its rows.
struct Part<'a> {
    tiles: Range<usize>,
    out: Vec<&'a mut [f32]>,
}

/// Rows that are to be multiplied, in eight bits.
#[derive(Default)]
pub(super) struct Rows {
    /// Row by row, block by block.
    values: Vec<Values>,
    blocks: usize,
}

/// One block of a row.
#[derive(Clone, Copy)]
pub(super) struct Values {
    /// Four signed values in each, the first in the lowest byte.
    pub(super) quads: [i32; BLOCK / 4],
    pub(super) scale: f32,
    /// What the 128 of the weights add up to, to be taken off.
    pub(super) offset: i32,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.values.len().checked_div(self.blocks).unwrap_or(0)
    }

    /// Holds these rows of `columns` values each from now on.
    pub(super) fn set(&mut self, rows: &[f32], columns: usize) {
        self.set_strided(rows, columns, columns);
    }

    /// The same for the first `columns` of each `stride` values.
    pub(super) fn set_strided(&mut self, rows: &[f32], columns: usize, stride: usize) {
        self.values.clear();
        self.blocks = columns.div_ceil(BLOCK);
        for row in rows.chunks_exact(stride) {
            self.values.extend(row[..columns].chunks(BLOCK).map(|values| {
                if let Ok(values) = values.try_into() {
                    return Values::new(values);
                }
                let mut padded = [0.0; BLOCK];
                padded[..values.len()].copy_from_slice(values);
                Values::new(&padded)
            }));
        }
    }
}

/// To the nearest whole number, ties to even; right below 2^22.
#[inline(always)]
fn round(number: f32) -> i32 {
    // Adding 1.5 * 2^23 leaves no digits behind the point.
    const SHIFT: f32 = 12_582_912.0;
    (number + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i32
}

impl Values {
    fn new(values: &[f32; BLOCK]) -> Self {
        // As bits, so that what is not a number is the largest of all.
        let mut largest = [0_u32; 8];
        for chunk in values.as_chunks::<8>().0 {
            for (most, value) in largest.iter_mut().zip(chunk) {
                *most = (*most).max(value.abs().to_bits());
            }
        }
        let largest = f32::from_bits(largest.into_iter().fold(0, u32::max));
        if !largest.is_finite() {
            // Whatever it is multiplied by is not a number either.
            return Self {
                quads: [0; BLOCK / 4],
                scale: f32::NAN,
                offset: 0,
            };
        }
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let levels = values.map(|value| round(value * inverse));
        let sum = levels.iter().fold(0_i32, |sum, level| sum.wrapping_add(*level));
        let mut quads = [0; BLOCK / 4];
        for (quad, levels) in quads.iter_mut().zip(levels.as_chunks::<4>().0) {
            *quad = i32::from_le_bytes(levels.map(|level| level as u8));
        }
        Self {
            quads,
            scale: largest / 127.0,
            offset: sum.wrapping_mul(-128),
        }
    }
}
