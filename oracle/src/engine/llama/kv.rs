//! What a sequence was fed, as its keys and values: what its next rows attend to.

use super::kernel::Strided;
use super::matrix::LANES;

/// Room is made for so many tokens at a time: admission counts what is taken,
/// and to copy what is there once in so many tokens costs little.
pub(super) const BLOCK: usize = 64;

/// One layer's keys and values of one sequence.
#[derive(Clone, Debug, Default)]
struct Layer {
    /// Blocks of 16 tokens; in each, head by head, the first values of the 16
    /// keys, then their second ones: what scoring reads in order.
    keys: Vec<f32>,
    /// Token by token.
    values: Vec<f32>,
}

/// One sequence's keys and values.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    layers: Vec<Layer>,
    length: usize,
    heads: usize,
    size: usize,
}

impl Cache {
    /// An empty one, of so many layers with `heads` keys of `size` values.
    pub(super) fn new(layers: usize, heads: usize, size: usize) -> Self {
        Self {
            layers: vec![Layer::default(); layers],
            length: 0,
            heads,
            size,
        }
    }

    /// Tokens.
    pub(super) const fn length(&self) -> usize {
        self.length
    }

    /// What it takes of the memory.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let values: usize = self
            .layers
            .iter()
            .map(|layer| layer.keys.capacity() + layer.values.capacity())
            .sum();
        values * size_of::<f32>()
    }

    /// Makes room for so many tokens in all.
    pub(super) fn resize(&mut self, length: usize) {
        let width = self.heads * self.size;
        for layer in &mut self.layers {
            let room = length.next_multiple_of(BLOCK) * width;
            resize(&mut layer.keys, length.next_multiple_of(LANES) * width, room);
            resize(&mut layer.values, length * width, room);
        }
        self.length = length;
    }

    /// Sets one token's key and value, of all heads, in one layer.
    pub(super) fn set(&mut self, layer: usize, token: usize, key: &[f32], value: &[f32]) {
        let width = self.heads * self.size;
        let layer = &mut self.layers[layer];
        layer.values[token * width..][..width].copy_from_slice(value);
        let block = &mut layer.keys[token / LANES * LANES * width..][..LANES * width];
        for (values, key) in block.as_chunks_mut::<LANES>().0.iter_mut().zip(key) {
            values[token % LANES] = *key;
        }
    }

    pub(super) fn keys(&self, layer: usize, head: usize) -> Strided<'_> {
        Strided {
            data: &self.layers[layer].keys,
            first: head * self.size * LANES,
            stride: self.heads * self.size * LANES,
        }
    }

    pub(super) fn values(&self, layer: usize, head: usize) -> Strided<'_> {
        Strided {
            data: &self.layers[layer].values,
            first: head * self.size,
            stride: self.heads * self.size,
        }
    }
}

/// Doubling would hold twice what admission counts.
fn resize(values: &mut Vec<f32>, length: usize, room: usize) {
    if length > values.capacity() {
        values.reserve_exact(room - values.len());
    }
    values.resize(length, 0.0);
}
