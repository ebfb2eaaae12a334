use super::super::matrix::{BLOCK, Matrix, Rows};
use super::super::pool::Pool;
use super::*;

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| random.f32() * 4.0 - 2.0).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_level_multiplies_to_the_same_bits() {
    for (rows, columns) in [(16, 32), (40, 80), (33, 576), (7, 33)] {
        let mut matrix = Matrix::with_capacity(rows, columns);
        for row in random(rows * columns, 1).chunks_exact(columns) {
            matrix.push(row);
        }
        for count in 1..=19 {
            let mut inputs = Rows::default();
            inputs.set(&random(count * columns, count as u64), columns);
            let product = |level, threads| {
                let pool = Pool::new(threads).unwrap();
                let mut out = vec![f32::NAN; count * rows];
                pool.install(|| matrix.multiply(&inputs, &mut out, level, &pool));
                bits(&out)
            };
            let plain = product(Level::Portable, 1);
            for level in Level::all() {
                for threads in [1, 2, 3] {
                    assert_eq!(
                        product(level, threads),
                        plain,
                        "{level:?} {rows} {columns} {count}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_product_is_near_the_exact_one() {
    let (rows, columns, count) = (48, 576, 5);
    let (weights, inputs) = (random(rows * columns, 2), random(count * columns, 3));
    let mut matrix = Matrix::with_capacity(rows, columns);
    weights.chunks_exact(columns).for_each(|row| matrix.push(row));
    let mut held = Rows::default();
    held.set(&inputs, columns);
    let mut out = vec![0.0; count * rows];
    let pool = Pool::new(1).unwrap();
    matrix.multiply(&held, &mut out, Level::detect(), &pool);
    for (input, out) in inputs.chunks_exact(columns).zip(out.chunks_exact(rows)) {
        for (weights, out) in weights.chunks_exact(columns).zip(out) {
            let exact: f64 = weights
                .iter()
                .zip(input)
                .map(|(weight, value)| f64::from(*weight) * f64::from(*value))
                .sum();
            // Each value is off by 1/254 of the largest of its block at most.
            assert!((f64::from(*out) - exact).abs() < 0.5, "{out} {exact}");
        }
    }
}

#[test]
fn a_row_of_a_matrix_is_what_was_put_in() {
    let (rows, columns) = (21, 80);
    let weights = random(rows * columns, 4);
    let mut matrix = Matrix::with_capacity(rows, columns);
    weights.chunks_exact(columns).for_each(|row| matrix.push(row));
    for (index, weights) in weights.chunks_exact(columns).enumerate() {
        let mut row = vec![0.0; columns];
        matrix.row(index, &mut row);
        for (held, weight) in row.iter().zip(weights) {
            assert!((held - weight).abs() <= 2.0 / 254.0 + 1e-3, "{held} {weight}");
        }
    }
}

#[test]
fn what_is_in_eight_bits_already_does_not_change() {
    let weights: Vec<f32> = (0..BLOCK as i32)
        .map(|index| (index * 8 - 127) as f32 * 0.25)
        .collect();
    let mut matrix = Matrix::with_capacity(1, BLOCK);
    matrix.push(&weights);
    let mut row = vec![0.0; BLOCK];
    matrix.row(0, &mut row);
    assert_eq!(row, weights);
}

#[test]
fn every_level_attends_to_the_same_bits_and_near_the_exact_ones() {
    for (heads, group, size) in [(1, 5, 16), (3, 3, 64), (2, 4, 80), (1, 9, 128)] {
        for length in [1, 2, 15, 16, 17, 100] {
            let keys = random(length * heads * size, 5);
            let values = random(length * heads * size, 6);
            let mut cache = super::super::kv::Cache::new(1, heads, size);
            cache.resize(length);
            let width = heads * size;
            for token in 0..length {
                let range = token * width..(token + 1) * width;
                cache.set(0, token, &keys[range.clone()], &values[range]);
            }
            let queries = random(group * size, 7);
            for head in 0..heads {
                let task = Attend {
                    queries: &queries,
                    keys: cache.keys(0, head),
                    values: cache.values(0, head),
                    size,
                    length,
                };
                let found = |level| {
                    let mut out = vec![f32::NAN; group * size];
                    attend(level, &task, &mut Vec::new(), &mut out);
                    out
                };
                let plain = found(Level::Portable);
                for level in Level::all() {
                    assert_eq!(bits(&found(level)), bits(&plain), "{level:?}");
                }
                let exact = exact(&queries, &keys, &values, heads, head, size);
                for (out, exact) in plain.iter().zip(exact) {
                    assert!((f64::from(*out) - exact).abs() < 1e-5, "{out} {exact}");
                }
            }
        }
    }
}

fn exact(queries: &[f32], keys: &[f32], values: &[f32], heads: usize, head: usize, size: usize) -> Vec<f64> {
    let of = |all: &[f32]| -> Vec<Vec<f64>> {
        all.chunks_exact(heads * size)
            .map(|token| {
                token[head * size..][..size]
                    .iter()
                    .copied()
                    .map(f64::from)
                    .collect()
            })
            .collect()
    };
    let (keys, values) = (of(keys), of(values));
    let mut found = Vec::new();
    for query in queries.chunks_exact(size) {
        let weights: Vec<f64> = keys
            .iter()
            .map(|key| {
                let product: f64 = query.iter().zip(key).map(|(a, b)| f64::from(*a) * b).sum();
                (product / (size as f64).sqrt()).exp()
            })
            .collect();
        let sum: f64 = weights.iter().sum();
        for at in 0..size {
            let mixed: f64 = weights
                .iter()
                .zip(&values)
                .map(|(weight, value)| weight * value[at])
                .sum();
            found.push(mixed / sum);
        }
    }
    found
}

#[test]
fn the_exponential_is_right_within_two_units() {
    let mut number = -86.9_f32;
    while number < 88.0 {
        let exact = f64::from(number).exp();
        let off = (f64::from(exp(number)) - exact).abs() / exact;
        assert!(off < 2.0 * f64::from(f32::EPSILON), "{number}: {off}");
        number += 0.0137;
    }
    assert_eq!(exp(0.0), 1.0);
    assert_eq!(exp(-88.0), 0.0);
    assert_eq!(exp(f32::NEG_INFINITY), 0.0);
}

#[test]
#[ignore = "it measures"]
fn what_each_level_takes() {
    let (rows, columns) = (1536 * 2, 576);
    let mut matrix = Matrix::with_capacity(rows, columns);
    for row in random(rows * columns, 1).chunks_exact(columns) {
        matrix.push(row);
    }
    let pool = Pool::new(1).unwrap();
    for level in Level::all() {
        for count in [1, 4, 8] {
            let mut inputs = Rows::default();
            inputs.set(&random(count * columns, 2), columns);
            let mut out = vec![0.0; count * rows];
            let best = (0..50)
                .map(|_| {
                    let started = std::time::Instant::now();
                    matrix.multiply(&inputs, &mut out, level, &pool);
                    started.elapsed()
                })
                .min()
                .unwrap();
            let products = (rows * columns * count) as f64 / best.as_secs_f64() / 1e9;
            println!("{level:?}, {count} rows: {best:?}, {products:.0} billion products a second");
        }
    }
}
