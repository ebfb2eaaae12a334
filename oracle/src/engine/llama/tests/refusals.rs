//! Files that must not be loaded, and what is said about them.

use proptest::prelude::*;

use super::tiny::Value;
use super::*;
use crate::engine::load;

fn refusal(bytes: &[u8]) -> String {
    let file = on_disk(bytes);
    let error = load(&file.path, 1)
        .err()
        .expect("it should be refused")
        .to_string();
    let named = format!("the model file {} ", file.path.display());
    let (_, said) = error.split_once(&named).expect("the file is named");
    assert!(!said.contains('\n'), "one line: {said}");
    said.to_owned()
}

fn changed(change: impl FnOnce(&mut tiny::Gguf)) -> String {
    let mut model = tiny::model(1);
    change(&mut model);
    refusal(&model.bytes())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

const FETCH: &str = "fetch it again, and compare its checksum";
const OTHER: &str = "use a GGUF file of a llama-family model, such as SmolLM2-135M-Instruct";

#[test]
fn a_file_that_is_cut_off_anywhere_is_refused() {
    let model = tiny::model(1);
    let bytes = model.bytes();
    let (header, ends) = model.header();
    let data = header.len()..bytes.len();
    let around = ends.iter().flat_map(|end| [end.saturating_sub(1), *end, end + 1]);
    for length in around.chain(data.step_by(9973)).chain([bytes.len() - 1]) {
        let said = refusal(&bytes[..length]);
        let expected = match length {
            0..4 => "is not a GGUF file: name a GGUF file".to_owned(),
            _ => format!("): {FETCH}"),
        };
        assert!(said.ends_with(&expected), "{length}: {said}");
    }
}

#[test]
fn what_is_no_model_file_is_refused() {
    let mut bytes = tiny::model(1).bytes();
    bytes[0] = b'X';
    assert_eq!(refusal(&bytes), "is not a GGUF file: name a GGUF file");
    bytes[0] = b'G';
    bytes[4] = 1;
    assert_eq!(refusal(&bytes), format!("is GGUF version 1, not 2 or 3: {OTHER}"));
    let folder = tempfile::tempdir().unwrap();
    let error = load(folder.path(), 1).err().unwrap().to_string();
    assert!(error.ends_with("is not a file: name a GGUF file"), "{error}");
    let error = load(&folder.path().join("none.gguf"), 1)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.ends_with("name a file that exists and may be read"),
        "{error}"
    );
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_taken() {
    let model = tiny::model(1);
    let bytes = model.bytes();
    let (header, ends) = model.header();
    let huge = (u64::MAX / 3).to_le_bytes();
    // The two counts, and the lengths of the first keys and values.
    for at in [8, 16, ends[4], ends[5] + 4, ends[6], ends[7] + 4] {
        let mut bytes = bytes.clone();
        bytes[at..at + 8].copy_from_slice(&huge);
        assert!(refusal(&bytes).ends_with(FETCH));
    }
    // Columns and rows, and the offset, of the first and the last tensor.
    let tensors = ends.len() - 2 * model.tensors.len();
    for tensor in [tensors, ends.len() - 2] {
        for at in [4, 12, 24] {
            let at = ends[tensor] + at;
            if at + 8 <= header.len() {
                let mut bytes = bytes.clone();
                bytes[at..at + 8].copy_from_slice(&huge);
                let said = refusal(&bytes);
                assert!(said.ends_with(FETCH) || said.ends_with(OTHER), "{said}");
            }
        }
    }
    let long = Value::Texts(vec![String::new(); 3]);
    let mut model = tiny::model(1);
    model.set("tokenizer.ggml.merges", long);
    let (header, _) = model.header();
    let at = header
        .windows(21)
        .position(|bytes| bytes == b"tokenizer.ggml.merges")
        .unwrap();
    let mut bytes = model.bytes();
    bytes[at + 29..at + 37].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    assert_eq!(
        refusal(&bytes),
        format!("is damaged (a list announces 1099511627776 elements): {FETCH}")
    );
}

#[test]
fn a_model_that_would_be_computed_wrongly_is_refused() {
    let cases = [
        changed(|model| model.set("general.architecture", text("gemma3"))),
        changed(|model| model.remove("general.architecture")),
        changed(|model| model.set("llama.expert_count", Value::U32(8))),
        changed(|model| model.set("llama.rope.scaling.type", text("yarn"))),
        changed(|model| model.tensors[1].name = "blk.0.attn_q.bias".into()),
        changed(|model| model.set("llama.attention.head_count_kv", Value::U32(2))),
        changed(|model| model.set("llama.attention.head_count", Value::U32(4))),
    ];
    let expected = [
        "is of the architecture gemma3",
        "is of the architecture unnamed",
        "is a mixture of experts",
        "scales its positions by yarn with factor 1",
        "has the unknown tensor blk.0.attn_q.bias",
        "has 5 heads on 2, of 16 values each",
        "has 4 heads on 1, of 20 values each",
    ];
    for (said, expected) in cases.into_iter().zip(expected) {
        assert_eq!(said, format!("{expected}: {OTHER}"));
    }
}

#[test]
fn a_header_that_contradicts_its_tensors_is_refused() {
    let cases = [
        changed(|model| model.set("llama.embedding_length", Value::U32(160))),
        changed(|model| model.set("llama.block_count", Value::U32(3))),
        changed(|model| model.set("llama.block_count", Value::U32(0))),
        changed(|model| model.set("llama.attention.head_count", Value::U32(0))),
        changed(|model| model.set("llama.context_length", text("long"))),
        changed(|model| model.set("llama.rope.freq_base", Value::F32(-1.0))),
        changed(|model| model.set("general.alignment", Value::U32(0))),
        changed(|model| model.remove("llama.feed_forward_length")),
        changed(|model| model.tensors.retain(|tensor| tensor.name != "output_norm.weight")),
        changed(|model| model.tensors[2].weights[7] = f32::NAN),
        changed(|model| model.tensors[1].weights[7] = f32::INFINITY),
        changed(|model| model.tensors.push(model.tensors[0].clone())),
        changed(|model| model.values.push(("general.name".into(), text("again")))),
    ];
    let expected = [
        "the tensor blk.0.attn_k.weight is 16 by 80, not 32 by 160",
        "the tensor blk.2.attn_norm.weight is missing",
        "llama.block_count is 0",
        "llama.attention.head_count is 0",
        "llama.context_length is no number",
        "it turns 16 of 16 values by a base of -1",
        "general.alignment is not a multiple of 8",
        "llama.feed_forward_length is missing",
        "the tensor output_norm.weight is missing",
        "the tensor blk.0.attn_q.weight has values that are no weights",
        "the tensor blk.0.attn_norm.weight has values that are no weights",
        "the tensor token_embd.weight is there twice",
        "general.name is there twice",
    ];
    for (said, expected) in cases.into_iter().zip(expected) {
        assert_eq!(said, format!("is damaged ({expected}): {FETCH}"));
    }
}

#[test]
fn a_tokenizer_that_is_not_known_or_broken_is_refused() {
    let said = changed(|model| model.set("tokenizer.ggml.pre", text("tekken")));
    assert_eq!(
        said,
        format!("has a tokenizer that is not known here (model gpt2, pre tekken): {OTHER}")
    );
    let said = changed(|model| model.set("tokenizer.ggml.model", text("llama")));
    assert_eq!(
        said,
        format!("has a tokenizer that is not known here (model llama, pre smollm): {OTHER}")
    );
    // The longest token's merge with itself is longer than any token.
    let beyond = Value::Texts(vec!["assistant assistant".into()]);
    for merges in [
        Value::Texts(vec!["sy stem".into()]),
        Value::Texts(vec!["a".into()]),
        beyond,
    ] {
        let said = changed(|model| model.set("tokenizer.ggml.merges", merges));
        assert_eq!(
            said,
            format!("is damaged (a merge is not of its vocabulary): {FETCH}")
        );
    }
    let said = changed(|model| model.set("tokenizer.ggml.token_type", Value::I32s(vec![1, 3])));
    assert!(said.starts_with("is damaged (it has "), "{said}");
    let said = changed(|model| model.set("tokenizer.ggml.eos_token_id", Value::U32(70_000)));
    assert!(
        said.starts_with("is damaged (tokenizer.ggml.eos_token_id is 70000, of "),
        "{said}"
    );
}

#[test]
fn a_chat_template_that_does_not_work_is_refused() {
    let said = changed(|model| model.remove("tokenizer.chat_template"));
    assert_eq!(
        said,
        "has no chat template: use a file of a model that was made for conversations"
    );
    for template in [
        "{% for message in messages %}",
        "{{ raise_exception('never') }}",
        "{% for a in range(9999) %}{% for a in range(9999) %}x{% endfor %}{% endfor %}",
        "{{ nobody.knows.this }}",
    ] {
        let said = changed(|model| model.set("tokenizer.chat_template", text(template)));
        assert!(
            said.starts_with("has a chat template that does not work here ("),
            "{said}"
        );
    }
    let said = changed(|model| model.set("tokenizer.chat_template", text("Hi")));
    assert_eq!(
        said,
        format!("has a chat template that leaves out what is said: {OTHER}")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever a header says, it is loaded or refused.
    #[test]
    fn no_header_makes_it_panic(changes in proptest::collection::vec((0.0..1.0_f64, any::<u8>()), 1..4), wide in any::<bool>()) {
        let model = tiny::model(1);
        let (header, ends) = model.header();
        let mut bytes = model.bytes();
        for (place, value) in changes {
            // Half of the cases aim at where sizes and types are.
            let at = match wide {
                true => (place * header.len() as f64) as usize,
                false => ends[(place * ends.len() as f64) as usize] + usize::from(value % 13),
            };
            if at < header.len() {
                bytes[at] = value;
            }
        }
        let file = on_disk(&bytes);
        if let Err(error) = load(&file.path, 1) {
            prop_assert!(error.to_string().contains("tiny.gguf "));
        }
    }
}
