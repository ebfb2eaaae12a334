//! Logits against the same model in double precision, written as in the papers.

use super::tiny::{EPSILON, FEED_FORWARD, HEAD, HEADS, KV_HEADS, LAYERS, ROPE_BASE, WIDTH};
use super::*;

/// The model again, in double precision, one token after the other, as it is
/// written in the papers.
struct Reference<'a> {
    model: &'a tiny::Gguf,
    keys: Vec<Vec<Vec<f64>>>,
    values: Vec<Vec<Vec<f64>>>,
}

impl Reference<'_> {
    fn product(&self, name: &str, input: &[f64]) -> Vec<f64> {
        let tensor = self.model.tensor(name);
        assert_eq!(tensor.columns, input.len());
        tensor
            .weights
            .chunks_exact(tensor.columns)
            .map(|row| {
                row.iter()
                    .zip(input)
                    .map(|(weight, value)| f64::from(*weight) * value)
                    .sum()
            })
            .collect()
    }

    fn norm(&self, name: &str, input: &[f64]) -> Vec<f64> {
        let square = input.iter().map(|value| value * value).sum::<f64>() / input.len() as f64;
        let scale = 1.0 / (square + f64::from(EPSILON)).sqrt();
        let weights = &self.model.tensor(name).weights;
        input
            .iter()
            .zip(weights)
            .map(|(value, weight)| value * scale * f64::from(*weight))
            .collect()
    }

    fn next(&mut self, token: Token) -> Vec<f64> {
        let embedding = self.model.tensor("token_embd.weight");
        let mut state: Vec<f64> = embedding.weights[token as usize * WIDTH..][..WIDTH]
            .iter()
            .copied()
            .map(f64::from)
            .collect();
        for layer in 0..LAYERS {
            let name = |name: &str| format!("blk.{layer}.{name}.weight");
            let input = self.norm(&name("attn_norm"), &state);
            let mut queries = self.product(&name("attn_q"), &input);
            let mut keys = self.product(&name("attn_k"), &input);
            let values = self.product(&name("attn_v"), &input);
            let position = self.keys[layer].len();
            for head in queries.chunks_exact_mut(HEAD).chain(keys.chunks_exact_mut(HEAD)) {
                turn(head, position);
            }
            self.keys[layer].push(keys);
            self.values[layer].push(values);
            let mut found = Vec::new();
            for head in 0..HEADS {
                found.extend(self.attend(layer, head, &queries[head * HEAD..][..HEAD]));
            }
            add(&mut state, &self.product(&name("attn_output"), &found));
            let input = self.norm(&name("ffn_norm"), &state);
            let gate = self.product(&name("ffn_gate"), &input);
            let up = self.product(&name("ffn_up"), &input);
            let both: Vec<f64> = gate
                .iter()
                .zip(up)
                .map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up)
                .collect();
            assert_eq!(both.len(), FEED_FORWARD);
            add(&mut state, &self.product(&name("ffn_down"), &both));
        }
        let state = self.norm("output_norm.weight", &state);
        let output = match self
            .model
            .tensors
            .iter()
            .any(|tensor| tensor.name == "output.weight")
        {
            true => "output.weight",
            false => "token_embd.weight",
        };
        self.product(output, &state)
    }

    fn attend(&self, layer: usize, head: usize, query: &[f64]) -> Vec<f64> {
        let at = head / (HEADS / KV_HEADS) * HEAD;
        let weights: Vec<f64> = self.keys[layer]
            .iter()
            .map(|key| {
                let product: f64 = query.iter().zip(&key[at..]).map(|(a, b)| a * b).sum();
                (product / (HEAD as f64).sqrt()).exp()
            })
            .collect();
        let sum: f64 = weights.iter().sum();
        (0..HEAD)
            .map(|index| {
                let values = self.values[layer].iter().zip(&weights);
                values
                    .map(|(value, weight)| value[at + index] * weight)
                    .sum::<f64>()
                    / sum
            })
            .collect()
    }
}

fn turn(head: &mut [f64], position: usize) {
    for pair in 0..HEAD / 2 {
        let angle = position as f64 / f64::from(ROPE_BASE).powf(2.0 * pair as f64 / HEAD as f64);
        let (x, y) = (head[2 * pair], head[2 * pair + 1]);
        head[2 * pair] = x * angle.cos() - y * angle.sin();
        head[2 * pair + 1] = x * angle.sin() + y * angle.cos();
    }
}

fn add(state: &mut [f64], values: &[f64]) {
    state
        .iter_mut()
        .zip(values)
        .for_each(|(state, value)| *state += value);
}

/// How far the engine is off, in parts of how much the logits vary.
fn off(model: &tiny::Gguf, tokens: &[Token]) -> f64 {
    let (mut engine, _) = read(&model.bytes(), 1).unwrap();
    let sequence = engine.open();
    let mut reference = Reference {
        model,
        keys: vec![Vec::new(); LAYERS],
        values: vec![Vec::new(); LAYERS],
    };
    let feed = Feed {
        sequence,
        tokens,
        want: Want::All,
    };
    let logits = engine.forward(&[feed]).unwrap();
    let (mut wrong, mut all) = (0.0, 0.0);
    for (row, token) in tokens.iter().enumerate() {
        for (found, exact) in logits.row(row).iter().zip(reference.next(*token)) {
            wrong += (f64::from(*found) - exact).powi(2);
            all += exact.powi(2);
        }
    }
    (wrong / all).sqrt()
}

#[test]
fn logits_are_those_of_the_papers() {
    for seed in 1..=3 {
        let off = off(&tiny::model(seed), &tokens(120, seed));
        println!("off by {:.2} %", off * 100.0);
        // Eight bits for weights and rows, over nine products.
        assert!(off < 0.05, "{off}");
    }
}

#[test]
fn an_output_matrix_of_its_own_is_used() {
    let mut model = tiny::model(1);
    let mut output = tiny::model(2).tensor("token_embd.weight").clone();
    output.name = "output.weight".into();
    model.tensors.push(output);
    assert!(off(&model, &tokens(40, 1)) < 0.05);
}

#[test]
fn a_wrong_turn_would_be_seen() {
    let mut model = tiny::model(1);
    let right = off(&model, &tokens(60, 1));
    model.set("llama.rope.freq_base", tiny::Value::F32(500.0));
    let wrong = off(&model, &tokens(60, 1));
    println!("{right} {wrong}");
    assert!(wrong > 0.1 && wrong > 3.0 * right);
}
