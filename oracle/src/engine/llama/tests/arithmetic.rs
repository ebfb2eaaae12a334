//! Files that would be computed into nothing, or into another model.

use super::super::kernel::Level;
use super::super::pool::Pool;
use super::tiny::{self, Value};
use super::*;

fn said(change: impl FnOnce(&mut tiny::Gguf)) -> Option<String> {
    let mut model = tiny::model(1);
    change(&mut model);
    let file = on_disk(&model.bytes());
    let error = crate::engine::load(&file.path, 1).err()?.to_string();
    println!("{error}");
    Some(error)
}

fn logits(change: impl FnOnce(&mut tiny::Gguf)) -> Vec<f32> {
    let mut model = tiny::model(1);
    change(&mut model);
    let (mut engine, _) = read(&model.bytes(), 1).unwrap();
    let sequence = engine.open();
    let tokens = [3, 5, 8, 13];
    let feed = Feed {
        sequence,
        tokens: &tokens,
        want: Want::Last,
    };
    engine.forward(&[feed]).unwrap().values
}

#[test]
fn what_is_no_number_stays_none() {
    use super::super::matrix::{Matrix, Rows};
    let mut matrix = Matrix::with_capacity(16, 64);
    (0..16).for_each(|_| matrix.push(&[1.0; 64]));
    let pool = Pool::new(1).unwrap();
    for level in Level::all() {
        for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut row = [1.0; 64];
            row[37] = strange;
            let (mut rows, mut out) = (Rows::default(), vec![0.0; 16]);
            rows.set(&row, 64);
            pool.install(|| matrix.multiply(&rows, &mut out, level, &pool));
            assert!(out.iter().all(|value| value.is_nan()), "{level:?}: {out:?}");
        }
    }
}

#[test]
fn a_model_that_computes_nothing_is_refused() {
    let fill = |name: &'static str, weight: f32| {
        move |model: &mut tiny::Gguf| {
            let tensors = model.tensors.iter_mut();
            for tensor in tensors.filter(|tensor| tensor.name.contains(name)) {
                tensor.weights.fill(weight);
            }
        }
    };
    let nothing = "what it computes are no numbers, or the same for every token";
    for said in [
        said(fill("output_norm", 0.0)),
        said(|model| {
            for name in ["attn_norm", "attn_v", "attn_output"] {
                fill(name, 9e5)(model);
            }
        }),
    ] {
        assert!(
            said.as_ref().is_some_and(|said| said.contains(nothing)),
            "{said:?}"
        );
    }
    let epsilon =
        |epsilon| said(move |model| model.set("llama.attention.layer_norm_rms_epsilon", Value::F32(epsilon)));
    for wrong in [0.0, -1.0, 1.0, f32::NAN, f32::INFINITY] {
        let said = epsilon(wrong).unwrap();
        assert!(said.contains("layer_norm_rms_epsilon is"), "{said}");
    }
    let said = said(|model| {
        let mut turns = model.tensors[1].clone();
        turns.name = "rope_freqs.weight".to_owned();
        turns.rows = 1;
        turns.columns = tiny::HEAD / 2;
        turns.weights = vec![0.0; tiny::HEAD / 2];
        model.tensors.push(turns);
    });
    let said = said.unwrap();
    assert!(said.contains("it turns positions by what is no angle"), "{said}");
}

#[test]
fn lists_that_nobody_asks_for_are_passed_over_and_the_others_bounded() {
    let list = |model: &mut tiny::Gguf, key: &str, count: usize| {
        model.set(key, Value::Texts(vec![String::new(); count]));
    };
    let many = (1 << 20) + 1;
    let mut model = tiny::model(1);
    list(&mut model, "tokenizer.ggml.of_others", many);
    model.set("tokenizer.ggml.scores", Value::I32s(vec![7; 100]));
    let file = on_disk(&model.bytes());
    let read = Gguf::open(&file.path).unwrap();
    for key in ["tokenizer.ggml.of_others", "tokenizer.ggml.scores"] {
        assert_eq!(read.get(key), Some(&super::super::gguf::Value::Other), "{key}");
    }
    assert!(crate::engine::load(&file.path, 1).is_ok());
    let said = said(|model| list(model, "tokenizer.ggml.merges", many)).unwrap();
    assert!(said.contains("a list announces 1048577 elements"), "{said}");
}

#[test]
fn a_chat_template_has_an_end() {
    let long = format!("{}{}", tiny::TEMPLATE, " ".repeat(64 << 10));
    let said = said(|model| model.set("tokenizer.chat_template", Value::Text(long))).unwrap();
    assert!(said.contains("has a chat template of 6"), "{said}");
}

#[test]
fn positions_are_scaled_however_it_is_written() {
    let text = |text: &str| Value::Text(text.to_owned());
    let factor = |model: &mut tiny::Gguf| model.set("llama.rope.scaling.factor", Value::F32(4.0));
    let plain = logits(|_| ());
    let scaled = logits(|model| {
        model.set("llama.rope.scaling.type", text("linear"));
        factor(model);
    });
    assert!(plain != scaled);
    assert!(logits(factor) == scaled, "a factor alone is linear");
    let old = logits(|model| model.set("llama.rope.scale_linear", Value::F32(4.0)));
    assert!(old == scaled, "the older key");
    let none = logits(|model| {
        model.set("llama.rope.scaling.type", text("none"));
        factor(model);
    });
    assert!(none == plain);
}

#[test]
fn what_changes_the_arithmetic_is_refused_by_its_name() {
    let number = |key: &str, number: f32| {
        let key = key.to_owned();
        said(move |model| model.set(&key, Value::F32(number)))
    };
    let context = tiny::CONTEXT as f32;
    for (key, wrong, neutral) in [
        ("llama.attention.sliding_window", context - 1.0, context),
        ("llama.attention.scale", 0.125, 0.25),
        ("llama.logit_scale", 8.0, 1.0),
        ("llama.residual_scale", 0.5, 1.0),
        ("llama.embedding_scale", 12.0, 1.0),
        ("llama.rope.scaling.attn_factor", 1.5, 1.0),
    ] {
        let said = number(key, wrong).unwrap();
        let expected = format!("is computed with {key} = {wrong}, which is not done here");
        assert!(said.contains(&expected), "{said}");
        assert_eq!(number(key, neutral), None, "{key} = {neutral}");
    }
    let said = number("llama.attention.of_tomorrow", 0.0).unwrap();
    assert!(
        said.contains("is computed with llama.attention.of_tomorrow"),
        "{said}"
    );
}
