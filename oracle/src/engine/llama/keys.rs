//! What a header says of the arithmetic beyond the model's shape. What is not
//! computed with here must say nothing, or the model would be another one.

use super::Refusal;
use super::gguf::{Gguf, Value};

/// Keys that are computed with, are checked elsewhere, or change nothing.
const KNOWN: [&str; 20] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "vocab_size",
];

/// Keys that are not computed with, and the values with which they change nothing.
const NEUTRAL: [(&str, &[f64]); 11] = [
    ("attention.causal", &[1.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attn_logit_softcapping", &[0.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("final_logit_softcapping", &[0.0]),
    ("leading_dense_block_count", &[0.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("rope.scaling.attn_factor", &[1.0]),
    ("use_parallel_residual", &[0.0]),
];

/// Refuses a model that is computed with more than there is here.
pub(super) fn refuse_unknown(
    file: &Gguf,
    vocabulary: usize,
    context: usize,
    head: usize,
) -> Result<(), Refusal> {
    for (key, value) in file.values() {
        let Some(name) = key.strip_prefix("llama.") else {
            continue;
        };
        let number = match value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
            Value::Text(_) | Value::Integers(_) | Value::Texts(_) | Value::Other => None,
        };
        let is_neutral = match name {
            "vocab_size" => number == Some(vocabulary as f64),
            // Whoever sees its whole context has no window.
            "attention.sliding_window" => {
                number.is_some_and(|window| window == 0.0 || window >= context as f64)
            }
            "attention.scale" => {
                let usual = 1.0 / (head as f64).sqrt();
                number.is_some_and(|scale| scale == 0.0 || (scale - usual).abs() < 1e-6 * usual)
            }
            _ if KNOWN.contains(&name) => true,
            _ => {
                let neutral = NEUTRAL.iter().find(|(key, _)| *key == name);
                neutral
                    .zip(number)
                    .is_some_and(|((_, neutral), number)| neutral.contains(&number))
            }
        };
        if !is_neutral {
            let said = number.map_or_else(String::new, |number| format!(" = {number}"));
            return Err(Refusal::unsupported(format!(
                "is computed with {key}{said}, which is not done here"
            )));
        }
    }
    Ok(())
}

/// Positions are divided by this. A factor without a type is linear, and older
/// files have a key of their own for it, as llama.cpp reads both.
pub(super) fn position_factor(file: &Gguf) -> Result<f64, Refusal> {
    let scaling = file.text("llama.rope.scaling.type")?.unwrap_or("linear");
    let factor = match file.float("llama.rope.scaling.factor")? {
        None => file.float("llama.rope.scale_linear")?,
        factor => factor,
    };
    let factor = factor.unwrap_or(1.0);
    match scaling {
        "none" => Ok(1.0),
        "linear" if factor == 0.0 => Ok(1.0),
        "linear" if factor.is_finite() && factor > 0.0 => Ok(factor),
        _ => Err(Refusal::unsupported(format!(
            "scales its positions by {scaling} with factor {factor}"
        ))),
    }
}
