//! A file's weights, checked against what its header says of its shape, and
//! brought into eight bits.

use std::borrow::Cow;

use candle_core::CpuStorage;

use super::gguf::{Gguf, TensorPlace};
use super::matrix::{LANES, Matrix};
use super::pool::Pool;
use super::{Refusal, keys};

const MAX_LAYERS: usize = 1 << 10;
const MAX_WIDTH: usize = 1 << 20;
/// Beyond it a block's scale would not fit into half precision; far from any real one.
const MAX_WEIGHT: f32 = 1e6;

/// The model's dimensions.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) layers: usize,
    /// Values of a row between the layers.
    pub(super) width: usize,
    pub(super) feed_forward: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    /// Values of a head.
    pub(super) head: usize,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    pub(super) epsilon: f32,
    /// By how much each pair of a head's values turns from token to token.
    pub(super) turns: Vec<f64>,
}

pub(super) struct Layer {
    pub(super) attention_norm: Vec<f32>,
    pub(super) query_key_value: Matrix,
    pub(super) attention_out: Matrix,
    pub(super) feed_forward_norm: Vec<f32>,
    /// The gate's rows, then the others.
    pub(super) gate_up: Matrix,
    pub(super) down: Matrix,
}

pub(super) struct Weights {
    pub(super) embedding: Matrix,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Vec<f32>,
    /// None: the embedding is used both ways.
    output: Option<Matrix>,
}

impl Weights {
    pub(super) fn output(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.embedding)
    }
}

impl Shape {
    pub(super) fn read(file: &Gguf) -> Result<Self, Refusal> {
        let architecture = file.text("general.architecture")?.unwrap_or("unnamed");
        if architecture != "llama" {
            return Err(Refusal::unsupported(format!(
                "is of the architecture {architecture}"
            )));
        }
        if file.count("llama.expert_count")?.unwrap_or(0) > 0 {
            return Err(Refusal::unsupported("is a mixture of experts"));
        }
        let needed = |key: &str, most: usize| -> Result<usize, Refusal> {
            match file.count(key)? {
                Some(number) if (1..=most).contains(&number) => Ok(number),
                Some(number) => Err(Refusal::damaged(format!("{key} is {number}"))),
                None => Err(Refusal::damaged(format!("{key} is missing"))),
            }
        };
        let width = needed("llama.embedding_length", MAX_WIDTH)?;
        let heads = needed("llama.attention.head_count", MAX_WIDTH)?;
        let kv_heads = match file.count("llama.attention.head_count_kv")? {
            None => heads,
            Some(_) => needed("llama.attention.head_count_kv", heads)?,
        };
        let head = match file.count("llama.attention.key_length")? {
            None => width / heads,
            Some(_) => needed("llama.attention.key_length", MAX_WIDTH)?,
        };
        if file
            .count("llama.attention.value_length")?
            .is_some_and(|length| length != head)
        {
            return Err(Refusal::unsupported("has values of another size than keys"));
        }
        if heads % kv_heads != 0 || head % LANES != 0 || head == 0 {
            return Err(Refusal::unsupported(format!(
                "has {heads} heads on {kv_heads}, of {head} values each"
            )));
        }
        let vocabulary = file
            .texts("tokenizer.ggml.tokens")?
            .ok_or_else(|| Refusal::damaged("tokenizer.ggml.tokens is missing"))?
            .len();
        let epsilon = file
            .float("llama.attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| Refusal::damaged("llama.attention.layer_norm_rms_epsilon is missing"))?;
        if !(epsilon > 0.0 && epsilon < 1.0 && epsilon as f32 > 0.0) {
            return Err(Refusal::damaged(format!(
                "llama.attention.layer_norm_rms_epsilon is {epsilon}"
            )));
        }
        let context = needed("llama.context_length", 1 << 24)?;
        keys::refuse_unknown(file, vocabulary, context, head)?;
        Ok(Self {
            layers: needed("llama.block_count", MAX_LAYERS)?,
            width,
            feed_forward: needed("llama.feed_forward_length", MAX_WIDTH)?,
            heads,
            kv_heads,
            head,
            vocabulary,
            context,
            epsilon: epsilon as f32,
            turns: turns(file, head)?,
        })
    }

    /// Values of all queries of a row.
    pub(super) const fn query_width(&self) -> usize {
        self.heads * self.head
    }

    /// Values of all keys of a row.
    pub(super) const fn key_width(&self) -> usize {
        self.kv_heads * self.head
    }

    pub(super) const fn kv_bytes_per_token(&self) -> usize {
        self.layers * 2 * self.key_width() * size_of::<f32>()
    }
}

/// Rotary position embedding: the angle of each pair, per token.
fn turns(file: &Gguf, head: usize) -> Result<Vec<f64>, Refusal> {
    let base = file.float("llama.rope.freq_base")?.unwrap_or(10_000.0);
    let dimensions = file.count("llama.rope.dimension_count")?.unwrap_or(head);
    if !base.is_finite() || base <= 0.0 || dimensions > head || dimensions % 2 != 0 {
        return Err(Refusal::damaged(format!(
            "it turns {dimensions} of {head} values by a base of {base}"
        )));
    }
    let factor = keys::position_factor(file)?;
    let factors = match file.tensor("rope_freqs.weight") {
        None => vec![1.0; dimensions / 2],
        Some(_) => vector(file, "rope_freqs.weight", dimensions / 2)?,
    };
    let turns: Vec<f64> = factors
        .iter()
        .enumerate()
        .map(|(pair, own)| {
            let exponent = 2.0 * pair as f64 / dimensions as f64;
            base.powf(-exponent) / (factor * f64::from(*own))
        })
        .collect();
    let is_turn = |turn: &f64| turn.is_finite() && *turn > 0.0;
    if !turns.iter().all(is_turn) {
        return Err(Refusal::damaged("it turns positions by what is no angle"));
    }
    Ok(turns)
}

impl Weights {
    pub(super) fn read(file: &Gguf, shape: &Shape, pool: &Pool) -> Result<Self, Refusal> {
        refuse_unknown(file, shape.layers)?;
        // What the header promises is there before memory is taken for it.
        for name in file.tensor_names() {
            let (rows, columns) = expected(shape, name);
            let place = file.tensor(name).expect("its name was listed");
            if (place.rows, place.columns) != (rows, columns) {
                return Err(Refusal::damaged(format!(
                    "the tensor {name} is {} by {}, not {rows} by {columns}",
                    place.rows, place.columns
                )));
            }
        }
        let mut layers: Vec<Option<Result<Layer, Refusal>>> = (0..shape.layers).map(|_| None).collect();
        let mut whole = (None, None);
        let mut tasks: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
        let (embedding, output) = (&mut whole.0, &mut whole.1);
        tasks.push(Box::new(|| {
            *embedding = Some(matrix(file, &["token_embd.weight"]));
        }));
        if file.tensor("output.weight").is_some() {
            tasks.push(Box::new(|| *output = Some(matrix(file, &["output.weight"]))));
        }
        for (index, layer) in layers.iter_mut().enumerate() {
            tasks.push(Box::new(move || *layer = Some(read_layer(file, shape, index))));
        }
        pool.install(|| pool.each(tasks, |task| task()));
        Ok(Self {
            embedding: whole.0.expect("its task was done")?,
            layers: layers
                .into_iter()
                .map(|layer| layer.expect("its task was done"))
                .collect::<Result<_, _>>()?,
            norm: vector(file, "output_norm.weight", shape.width)?,
            output: whole.1.transpose()?,
        })
    }
}

fn read_layer(file: &Gguf, shape: &Shape, index: usize) -> Result<Layer, Refusal> {
    let name = |name: &str| format!("blk.{index}.{name}.weight");
    let matrix = |names: &[&str]| {
        let names: Vec<String> = names.iter().copied().map(name).collect();
        matrix(file, &names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    Ok(Layer {
        attention_norm: vector(file, &name("attn_norm"), shape.width)?,
        query_key_value: matrix(&["attn_q", "attn_k", "attn_v"])?,
        attention_out: matrix(&["attn_output"])?,
        feed_forward_norm: vector(file, &name("ffn_norm"), shape.width)?,
        gate_up: matrix(&["ffn_gate", "ffn_up"])?,
        down: matrix(&["ffn_down"])?,
    })
}

const LAYER_TENSORS: [&str; 9] = [
    "attn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_norm",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
];

/// A weight that is not computed with would make another model of it.
fn refuse_unknown(file: &Gguf, layers: usize) -> Result<(), Refusal> {
    let unknown = file.tensor_names().find(|name| {
        let in_layer = name.strip_prefix("blk.").and_then(|rest| {
            let (index, rest) = rest.split_once('.')?;
            let known = LAYER_TENSORS.contains(&rest.strip_suffix(".weight")?);
            Some(known && index.parse::<usize>().is_ok_and(|index| index < layers))
        });
        let known = [
            "token_embd.weight",
            "output.weight",
            "output_norm.weight",
            "rope_freqs.weight",
        ];
        !in_layer.unwrap_or(false) && !known.contains(name)
    });
    match unknown {
        Some(name) => Err(Refusal::unsupported(format!("has the unknown tensor {name}"))),
        None => Ok(()),
    }
}

/// Rows and columns that a tensor must have.
fn expected(shape: &Shape, name: &str) -> (usize, usize) {
    let kind = name.strip_suffix(".weight").unwrap_or(name);
    match kind.rsplit('.').next().unwrap_or(kind) {
        "token_embd" | "output" => (shape.vocabulary, shape.width),
        "attn_q" => (shape.query_width(), shape.width),
        "attn_k" | "attn_v" => (shape.key_width(), shape.width),
        "attn_output" => (shape.width, shape.query_width()),
        "ffn_gate" | "ffn_up" => (shape.feed_forward, shape.width),
        "ffn_down" => (shape.width, shape.feed_forward),
        "rope_freqs" => (1, shape.turns.len()),
        _ => (1, shape.width),
    }
}

fn place<'a>(file: &'a Gguf, name: &str) -> Result<&'a TensorPlace, Refusal> {
    file.tensor(name)
        .ok_or_else(|| Refusal::damaged(format!("the tensor {name} is missing")))
}

fn vector(file: &Gguf, name: &str, length: usize) -> Result<Vec<f32>, Refusal> {
    let place = place(file, name)?;
    if place.rows * place.columns != length {
        return Err(Refusal::damaged(format!(
            "the tensor {name} has not {length} values"
        )));
    }
    read(file, name, place, 0, place.rows)
}

/// The rows of these tensors, one under the other.
fn matrix(file: &Gguf, names: &[&str]) -> Result<Matrix, Refusal> {
    let places = names
        .iter()
        .map(|name| place(file, name))
        .collect::<Result<Vec<_>, _>>()?;
    let rows = places.iter().map(|place| place.rows).sum();
    let columns = places[0].columns;
    let mut matrix = Matrix::with_capacity(rows, columns);
    for (name, place) in names.iter().zip(places) {
        for first in (0..place.rows).step_by(LANES) {
            let rows = LANES.min(place.rows - first);
            for row in read(file, name, place, first, rows)?.chunks_exact(columns) {
                matrix.push(row);
            }
        }
    }
    Ok(matrix)
}

/// Some rows of a tensor, as floats.
fn read(
    file: &Gguf,
    name: &str,
    place: &TensorPlace,
    first: usize,
    rows: usize,
) -> Result<Vec<f32>, Refusal> {
    let bytes = file.read_rows(place, first, rows).map_err(Refusal::unreadable)?;
    let blocks = place.dtype.from_data(Cow::Owned(bytes));
    match blocks.dequantize(rows * place.columns) {
        Ok(CpuStorage::F32(values)) if values.iter().all(|value| value.abs() < MAX_WEIGHT) => Ok(values),
        Ok(_) => Err(Refusal::damaged(format!(
            "the tensor {name} has values that are no weights"
        ))),
        Err(error) => Err(Refusal::damaged(format!(
            "the tensor {name} cannot be read: {error}"
        ))),
    }
}
