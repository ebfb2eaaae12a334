use super::*;
use crate::engine::{Message, Role, Text};

fn feed(sequence: SequenceId, tokens: &[Token], want: Want) -> Feed<'_> {
    Feed {
        sequence,
        tokens,
        want,
    }
}

#[test]
fn a_row_is_a_function_of_the_tokens_before_it() {
    let mut engine = FakeEngine::new(FakeSettings {
        memory: 100,
        ..FakeSettings::default()
    });
    let (a, b) = (engine.open(), engine.open());
    let whole = engine.forward(&[feed(a, &[5, 6, 7, 8], Want::All)]).unwrap();
    let first = engine.forward(&[feed(b, &[5, 6, 99], Want::All)]).unwrap();
    engine.truncate(b, 2);
    let c = engine.fork(b);
    let rest = engine
        .forward(&[feed(a, &[1], Want::Nothing), feed(c, &[7, 8], Want::Last)])
        .unwrap();
    assert_eq!(whole.row(1), first.row(1));
    assert_ne!(whole.row(2), first.row(2));
    assert_eq!(whole.row(3), rest.row(0));
    assert_eq!(rest.rows(), 1);
    for id in [a, b, c] {
        engine.close(id);
    }
    assert_eq!(engine.watch.open_sequences.load(Relaxed), 0);
    assert_eq!(engine.watch.held_tokens.load(Relaxed), 0);
}

#[test]
fn a_prompt_can_ask_for_a_failure() {
    let mut engine = FakeEngine::new(FakeSettings::default());
    let message = Message {
        role: Role::User,
        content: "go !fail-after=2! on".into(),
    };
    let prompt = FakeText::new().prompt(&[message]).unwrap();
    let id = engine.open();
    engine.forward(&[feed(id, &prompt, Want::Last)]).unwrap();
    engine.forward(&[feed(id, &[70], Want::Last)]).unwrap();
    engine.forward(&[feed(id, &[71], Want::Last)]).unwrap_err();
    engine.close(id);
}

#[test]
#[should_panic(expected = "truncated past its end")]
fn truncating_past_the_end_is_a_mistake() {
    let mut engine = FakeEngine::new(FakeSettings::default());
    let id = engine.open();
    engine.truncate(id, 1);
}

#[test]
#[should_panic(expected = "open sequence")]
fn feeding_what_is_closed_is_a_mistake() {
    let mut engine = FakeEngine::new(FakeSettings::default());
    let id = engine.open();
    engine.close(id);
    let _ = engine.forward(&[feed(id, &[1], Want::Last)]);
}
