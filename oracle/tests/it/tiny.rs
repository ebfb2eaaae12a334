//! A model of two layers with random weights, as a GGUF file of half a megabyte:
//! the whole way of a real one, without a download. It talks nonsense.

use std::path::Path;

/// A GGUF file in the making: tests change what they want to see refused.
#[derive(Clone, Debug)]
pub struct Gguf {
    pub values: Vec<(String, Value)>,
    pub tensors: Vec<Tensor>,
}

#[derive(Clone, Debug)]
pub enum Value {
    U32(u32),
    I32s(Vec<i32>),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
}

/// In full precision; `columns` is the inner dimension.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub columns: usize,
    pub rows: usize,
    pub weights: Vec<f32>,
}

pub const LAYERS: usize = 2;
/// Neither a whole number of blocks, nor of what a kernel computes at once.
pub const WIDTH: usize = 80;
pub const HEADS: usize = 5;
pub const KV_HEADS: usize = 1;
pub const HEAD: usize = 16;
pub const FEED_FORWARD: usize = 112;
pub const CONTEXT: usize = 1024;
pub const ROPE_BASE: f32 = 10_000.0;
pub const EPSILON: f32 = 1e-5;

pub const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' \
    + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Words that are one token, and so are all their beginnings.
const WORDS: [&str; 16] = [
    "system",
    "user",
    "assistant",
    " the",
    " and",
    " of",
    "Hello",
    " world",
    " you",
    " is",
    "ing",
    "er",
    " token",
    " shard",
    "answer",
    " a",
];

/// The model with the weights that this seed gives.
pub fn model(seed: u64) -> Gguf {
    let (tokens, types, merges) = vocabulary();
    let vocabulary = tokens.len();
    let text = |text: &str| Value::Text(text.to_owned());
    let values = [
        ("general.architecture", text("llama")),
        ("general.name", text("Tiny")),
        ("llama.block_count", Value::U32(LAYERS as u32)),
        ("llama.context_length", Value::U32(CONTEXT as u32)),
        ("llama.embedding_length", Value::U32(WIDTH as u32)),
        ("llama.feed_forward_length", Value::U32(FEED_FORWARD as u32)),
        ("llama.attention.head_count", Value::U32(HEADS as u32)),
        ("llama.attention.head_count_kv", Value::U32(KV_HEADS as u32)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(EPSILON)),
        ("llama.rope.freq_base", Value::F32(ROPE_BASE)),
        ("llama.rope.dimension_count", Value::U32(HEAD as u32)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("smollm")),
        ("tokenizer.ggml.tokens", Value::Texts(tokens)),
        ("tokenizer.ggml.token_type", Value::I32s(types)),
        ("tokenizer.ggml.merges", Value::Texts(merges)),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.chat_template", text(TEMPLATE)),
    ];
    let values = values.map(|(key, value)| (key.to_owned(), value)).to_vec();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tensors = Vec::new();
    let mut add = |name: String, rows: usize, columns: usize| {
        let weights = (0..rows * columns)
            .map(|_| match rows {
                // A norm's weights are around one.
                1 => 0.5 + random.f32(),
                _ => (random.f32() + random.f32() + random.f32() - 1.5) * 2.0 / (columns as f32).sqrt(),
            })
            .collect();
        tensors.push(Tensor {
            name,
            columns,
            rows,
            weights,
        });
    };
    add("token_embd.weight".into(), vocabulary, WIDTH);
    for layer in 0..LAYERS {
        let mut add = |name: &str, rows, columns| add(format!("blk.{layer}.{name}.weight"), rows, columns);
        add("attn_norm", 1, WIDTH);
        add("attn_q", HEADS * HEAD, WIDTH);
        add("attn_k", KV_HEADS * HEAD, WIDTH);
        add("attn_v", KV_HEADS * HEAD, WIDTH);
        add("attn_output", WIDTH, HEADS * HEAD);
        add("ffn_norm", 1, WIDTH);
        add("ffn_gate", FEED_FORWARD, WIDTH);
        add("ffn_up", FEED_FORWARD, WIDTH);
        add("ffn_down", WIDTH, FEED_FORWARD);
    }
    add("output_norm.weight".into(), 1, WIDTH);
    Gguf { values, tensors }
}

/// Tokens, their types and merges: three control tokens, one that any text may
/// hold, all bytes, and the beginnings of some words.
fn vocabulary() -> (Vec<String>, Vec<i32>, Vec<String>) {
    let mut tokens: Vec<String> = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>"]
        .map(str::to_owned)
        .to_vec();
    let mut types = vec![3, 3, 3, 4];
    tokens.extend((0..=u8::MAX).map(|byte| byte_char(byte).to_string()));
    let mut merges = Vec::new();
    for word in WORDS {
        let letters: Vec<char> = word.bytes().map(byte_char).collect();
        for length in 2..=letters.len() {
            let begin: String = letters[..length].iter().collect();
            if !tokens.contains(&begin) {
                let before: String = letters[..length - 1].iter().collect();
                merges.push(format!("{before} {}", letters[length - 1]));
                tokens.push(begin);
            }
        }
    }
    types.resize(tokens.len(), 1);
    (tokens, types, merges)
}

/// How byte-level vocabularies write a byte.
fn byte_char(byte: u8) -> char {
    let seen = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if seen(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !seen(*byte)).count() as u32;
    char::from_u32(256 + before).unwrap()
}

impl Gguf {
    pub fn set(&mut self, key: &str, value: Value) {
        self.remove(key);
        self.values.push((key.to_owned(), value));
    }

    pub fn remove(&mut self, key: &str) {
        self.values.retain(|(name, _)| name != key);
    }

    pub fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.iter().find(|tensor| tensor.name == name).unwrap()
    }

    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).unwrap();
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (mut bytes, _) = self.header();
        for tensor in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(32), 0);
            bytes.extend(tensor.weights.iter().flat_map(|weight| weight.to_le_bytes()));
        }
        bytes
    }

    /// The header, and where each of its parts ends.
    pub fn header(&self) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.values.len() as u64).to_le_bytes());
        let mut ends = vec![0, 4, 8, 16, bytes.len()];
        for (key, value) in &self.values {
            put_text(&mut bytes, key);
            ends.push(bytes.len());
            value.put(&mut bytes);
            ends.push(bytes.len());
        }
        let mut offset = 0_usize;
        for tensor in &self.tensors {
            put_text(&mut bytes, &tensor.name);
            ends.push(bytes.len());
            let dimensions: &[usize] = match tensor.rows {
                1 => &[tensor.columns],
                _ => &[tensor.columns, tensor.rows],
            };
            bytes.extend((dimensions.len() as u32).to_le_bytes());
            for dimension in dimensions {
                bytes.extend((*dimension as u64).to_le_bytes());
            }
            bytes.extend(0_u32.to_le_bytes());
            bytes.extend((offset as u64).to_le_bytes());
            offset = (offset + 4 * tensor.weights.len()).next_multiple_of(32);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }
}

impl Value {
    fn put(&self, bytes: &mut Vec<u8>) {
        let list = |bytes: &mut Vec<u8>, kind: u32, count: usize| {
            bytes.extend(9_u32.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend((count as u64).to_le_bytes());
        };
        match self {
            Self::U32(number) => bytes.extend([4, *number].into_iter().flat_map(u32::to_le_bytes)),
            Self::F32(number) => bytes.extend([6, number.to_bits()].into_iter().flat_map(u32::to_le_bytes)),
            Self::Bool(yes) => {
                bytes.extend(7_u32.to_le_bytes());
                bytes.push(u8::from(*yes));
            }
            Self::Text(text) => {
                bytes.extend(8_u32.to_le_bytes());
                put_text(bytes, text);
            }
            Self::I32s(numbers) => {
                list(bytes, 5, numbers.len());
                bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            }
            Self::Texts(texts) => {
                list(bytes, 8, texts.len());
                texts.iter().for_each(|text| put_text(bytes, text));
            }
        }
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
