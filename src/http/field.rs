//! Takes typed fields out of a JSON value with the published server's leniency:
//! numbers in strings, floats and booleans for integers, a list of pairs for an
//! object. Every flaw is kept, so that one answer names them all.

use serde_json::value::RawValue;

use super::error::{Context, Flaw, Place};
use super::json::{Node, Text, Value};
use super::number;

/// The largest age or lag, in seconds, that a beat may report: thirty years.
const MAX_SECONDS: f64 = 1e9;

/// The members of one object, and what was found wrong with them so far.
pub(super) struct Fields<'a> {
    source: &'a str,
    loc: Vec<Place>,
    members: Vec<(String, Node)>,
    flaws: Vec<Flaw>,
}

impl<'a> Fields<'a> {
    /// The members of `node`, or why it has none. `source` is the document that
    /// its spans index, `loc` its place in the request.
    pub(super) fn of(source: &'a str, node: Node, loc: &[Place]) -> Result<Self, Vec<Flaw>> {
        let members = members(node).map_err(|(msg, kind)| vec![Flaw::new(loc, msg, kind)])?;
        Ok(Self {
            source,
            loc: loc.to_vec(),
            members,
            flaws: Vec::new(),
        })
    }

    /// `value`, unless something was wrong.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<Flaw>> {
        match value {
            Some(value) if self.flaws.is_empty() => Ok(value),
            _ => Err(self.flaws),
        }
    }

    /// Takes no other members than these: what is misspelt must not count as
    /// left out.
    pub(super) fn nothing_but(&mut self, names: &[&str]) {
        let unknown: Vec<_> = self.members.iter().map(|(name, _)| name.as_str()).collect();
        for name in unknown.into_iter().filter(|name| !names.contains(name)) {
            let msg = format!("unknown field {name:?}; there is: {}", names.join(", "));
            self.flaws.push(Flaw::new(&self.loc, msg, "value_error.extra"));
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&mut self, name: &'static str) -> Option<String> {
        let node = self.required(name)?;
        self.text_of(name, node)
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        let node = self.optional(name)?;
        self.text_of(name, node)
    }

    fn text_of(&mut self, name: &'static str, node: Node) -> Option<String> {
        match node.value {
            Value::Text(text) if text.is_unicode => Some(text.text),
            Value::Text(_) => self.flaw(name, "text holds a lone surrogate", "value_error.unicode"),
            Value::Integer(literal) => Some(literal),
            Value::Float(float) => Some(float.to_string()),
            Value::Bool(bool) => Some(bool.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.flaw(name, "str type expected", "type_error.str")
            }
        }
    }

    pub(super) fn i64(&mut self, name: &'static str) -> Option<i64> {
        let number = self.integer(name, i64::MIN.into(), i64::MAX.into())?;
        i64::try_from(number).ok()
    }

    pub(super) fn u64(&mut self, name: &'static str) -> Option<u64> {
        let number = self.integer(name, u64::MIN.into(), u64::MAX.into())?;
        u64::try_from(number).ok()
    }

    /// As [`Fields::u64`], for a number that must be there.
    pub(super) fn required_u64(&mut self, name: &'static str) -> Option<u64> {
        let node = self.required(name)?;
        self.members.push((name.to_owned(), node));
        self.u64(name)
    }

    /// A finite number.
    pub(super) fn float(&mut self, name: &'static str) -> Option<f64> {
        let float = match self.optional(name)?.value {
            Value::Float(float) => Some(float),
            // An integer zero has no sign.
            Value::Integer(literal) => literal.parse().ok().map(|float: f64| float + 0.0),
            Value::Bool(bool) => Some(f64::from(u8::from(bool))),
            Value::Text(text) => number::float(&text.text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        };
        match float {
            Some(float) if float.is_finite() => Some(float),
            Some(_) => self.flaw(name, NOT_FINITE.0, NOT_FINITE.1),
            None => self.flaw(name, "value is not a valid float", "type_error.float"),
        }
    }

    /// A number of seconds that a clock can be asked for.
    pub(super) fn seconds(&mut self, name: &'static str) -> Option<f64> {
        let seconds = self.float(name)?;
        if seconds < 0.0 {
            return self.limit(name, Bound::AtLeast, 0.into());
        }
        if seconds > MAX_SECONDS {
            return self.limit(name, Bound::AtMost, 1_000_000_000.into());
        }
        Some(seconds)
    }

    /// One of some words.
    pub(super) fn member<T: Copy>(
        &mut self,
        name: &'static str,
        all: &[T],
        word: fn(T) -> &'static str,
    ) -> Option<T> {
        let value = self.optional(name)?.value;
        if let Value::Text(text) = &value
            && let Some(found) = all.iter().find(|member| word(**member) == text.text)
        {
            return Some(*found);
        }
        let words: Vec<_> = all.iter().map(|member| word(*member)).collect();
        let permitted = words
            .iter()
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(", ");
        let msg = format!("value is not a valid enumeration member; permitted: {permitted}");
        let flaw = Flaw::new(&self.place(name), msg, "type_error.enum");
        self.flaws
            .push(flaw.with(Context::Members { enum_values: words }));
        None
    }

    /// Any JSON value that can be stored, in its own words.
    pub(super) fn json(&mut self, name: &'static str) -> Option<Box<RawValue>> {
        let node = self.optional(name)?;
        if let Err(Unstorable { msg, kind, limit }) = storable(&node.value) {
            match limit {
                Some((bound, limit)) => return self.limit(name, bound, limit),
                None => return self.flaw(name, msg, kind),
            }
        }
        let raw = match &node.value {
            Value::Text(text) => serde_json::value::to_raw_value(&text.text).ok(),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::List(_)
            | Value::Map(_) => RawValue::from_string(self.source[node.span].to_owned()).ok(),
        };
        if raw.is_none() {
            self.flaw::<()>(name, "value is not valid JSON", "value_error.json");
        }
        raw
    }

    /// An object within this one.
    pub(super) fn nested<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Fields<'a>) -> Result<T, Vec<Flaw>>,
    ) -> Option<T> {
        let node = self.optional(name)?;
        let fields = Fields::of(self.source, node, &self.place(name));
        match fields.and_then(read) {
            Ok(value) => Some(value),
            Err(flaws) => {
                self.flaws.extend(flaws);
                None
            }
        }
    }

    fn integer(&mut self, name: &'static str, least: i128, most: i128) -> Option<i128> {
        let number = match self.optional(name)?.value {
            Value::Integer(literal) => Some(number::saturating(&literal)),
            // A fraction is cut off; the cast keeps to the nearest number there is.
            Value::Float(float) if float.is_finite() => Some(float as i128),
            Value::Bool(bool) => Some(i128::from(bool)),
            Value::Text(text) => number::integer(&text.text),
            Value::Float(_) | Value::Null | Value::List(_) | Value::Map(_) => None,
        };
        let Some(number) = number else {
            return self.flaw(name, "value is not a valid integer", "type_error.integer");
        };
        if number < least {
            return self.limit(name, Bound::AtLeast, limit_number(least));
        }
        if number > most {
            return self.limit(name, Bound::AtMost, limit_number(most));
        }
        Some(number)
    }

    /// The member's value; a null is not there.
    fn optional(&mut self, name: &str) -> Option<Node> {
        self.take(name).filter(|node| !matches!(node.value, Value::Null))
    }

    fn required(&mut self, name: &'static str) -> Option<Node> {
        match self.take(name) {
            None => {
                let missing = Flaw::missing(&self.place(name));
                self.flaws.push(missing);
                None
            }
            Some(Node {
                value: Value::Null, ..
            }) => self.flaw(
                name,
                "none is not an allowed value",
                "type_error.none.not_allowed",
            ),
            Some(node) => Some(node),
        }
    }

    /// Of two members with one name the later counts.
    fn take(&mut self, name: &str) -> Option<Node> {
        let at = self.members.iter().rposition(|(member, _)| member == name)?;
        Some(self.members.remove(at).1)
    }

    fn place(&self, name: &'static str) -> Vec<Place> {
        let mut place = self.loc.clone();
        place.push(Place::Name(name));
        place
    }

    fn flaw<T>(&mut self, name: &'static str, msg: &'static str, kind: &'static str) -> Option<T> {
        let flaw = Flaw::new(&self.place(name), msg, kind);
        self.flaws.push(flaw);
        None
    }

    fn limit<T>(&mut self, name: &'static str, bound: Bound, limit: serde_json::Number) -> Option<T> {
        let (msg, kind) = match bound {
            Bound::AtLeast => ("greater", "value_error.number.not_ge"),
            Bound::AtMost => ("less", "value_error.number.not_le"),
        };
        let msg = format!("ensure this value is {msg} than or equal to {limit}");
        let flaw = Flaw::new(&self.place(name), msg, kind);
        self.flaws.push(flaw.with(Context::Limit { limit_value: limit }));
        None
    }
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast,
    AtMost,
}

const NOT_FINITE: (&str, &str) = (
    "ensure this value is a finite number",
    "value_error.number.not_finite_number",
);

fn limit_number(limit: i128) -> serde_json::Number {
    serde_json::Number::from_i128(limit).expect("the limits are those of i64 and u64")
}

/// Why a value has no members, in words and as a word.
type NoMembers = (&'static str, &'static str);

const NO_DICT: NoMembers = ("value is not a valid dict", "type_error.dict");
const NAME_IS_NO_TEXT: NoMembers = ("keywords must be strings", "type_error");

/// An object's members, or those of a list of pairs.
fn members(node: Node) -> Result<Vec<(String, Node)>, NoMembers> {
    match node.value {
        Value::Map(members) => Ok(members
            .into_iter()
            .map(|(name, node)| (name.text, node))
            .collect()),
        Value::List(items) => {
            let pairs = items
                .into_iter()
                .map(pair)
                .collect::<Option<Vec<_>>>()
                .ok_or(NO_DICT)?;
            pairs.into_iter().collect::<Option<_>>().ok_or(NAME_IS_NO_TEXT)
        }
        Value::Text(text) if text.text.is_empty() => Ok(Vec::new()),
        Value::Text(_) | Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => Err(NO_DICT),
    }
}

/// The member that a list's item stands for: `Some(None)` when its name is no
/// text, `None` when it is no pair.
fn pair(item: Node) -> Option<Option<(String, Node)>> {
    let span = item.span;
    match item.value {
        Value::List(items) => {
            let [name, value] = <[Node; 2]>::try_from(items).ok()?;
            match name.value {
                Value::Text(name) => Some(Some((name.text, value))),
                Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => Some(None),
                Value::List(_) | Value::Map(_) => None,
            }
        }
        // Two characters; no field has so short a name.
        Value::Text(text) => {
            let is_pair = text.text.chars().count() == 2;
            is_pair.then(|| {
                Some((
                    String::new(),
                    Node {
                        value: Value::Null,
                        span,
                    },
                ))
            })
        }
        // The names of an object's two members.
        Value::Map(members) => {
            let mut names: Vec<Text> = Vec::new();
            for (name, _) in members {
                if !names.iter().any(|known| known.text == name.text) {
                    names.push(name);
                }
                if names.len() > 2 {
                    return None;
                }
            }
            let [name, value] = <[Text; 2]>::try_from(names).ok()?;
            Some(Some((
                name.text,
                Node {
                    value: Value::Text(value),
                    span,
                },
            )))
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => None,
    }
}

/// Why a value cannot be stored and shown again.
struct Unstorable {
    msg: &'static str,
    kind: &'static str,
    limit: Option<(Bound, serde_json::Number)>,
}

fn storable(value: &Value) -> Result<(), Unstorable> {
    let text = |text: &Text| match text.is_unicode {
        true => Ok(()),
        false => Err(Unstorable {
            msg: "text holds a lone surrogate",
            kind: "value_error.unicode",
            limit: None,
        }),
    };
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Float(float) if float.is_finite() => Ok(()),
        Value::Float(_) => Err(Unstorable {
            msg: NOT_FINITE.0,
            kind: NOT_FINITE.1,
            limit: None,
        }),
        Value::Integer(literal) => {
            let number = number::saturating(literal);
            let limit = if number < i64::MIN.into() {
                (Bound::AtLeast, i64::MIN.into())
            } else if number > i64::MAX.into() {
                (Bound::AtMost, i64::MAX.into())
            } else {
                return Ok(());
            };
            Err(Unstorable {
                msg: "",
                kind: "",
                limit: Some(limit),
            })
        }
        Value::Text(found) => text(found),
        Value::List(items) => items.iter().try_for_each(|item| storable(&item.value)),
        Value::Map(members) => members
            .iter()
            .try_for_each(|(name, node)| text(name).and_then(|()| storable(&node.value))),
    }
}
