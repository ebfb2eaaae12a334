//! The fields of a JSON object, taken one by one; what is left at the end was
//! not meant for us, and is refused by name.

use serde_json::{Map, Number, Value};

use super::error::{Invalid, shown};

pub(super) struct Fields {
    /// The way to the object, empty for the body itself.
    at: String,
    map: Map<String, Value>,
}

impl Fields {
    pub(super) fn of(at: &str, value: Value) -> Result<Self, Invalid> {
        let Value::Object(map) = value else {
            return Err(Invalid::wrong_type(at, "an object"));
        };
        Ok(Self {
            at: at.to_owned(),
            map,
        })
    }

    /// The way to a field of this object.
    pub(super) fn path(&self, name: &str) -> String {
        if self.at.is_empty() {
            return shown(name);
        }
        format!("{}.{}", self.at, shown(name))
    }

    /// A field, if it is there; `null` counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn required(&mut self, name: &str) -> Result<Value, Invalid> {
        self.take(name).ok_or_else(|| Invalid::missing(&self.path(name)))
    }

    pub(super) fn string(&mut self, name: &str) -> Result<Option<String>, Invalid> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Invalid::wrong_type(&self.path(name), "a string")),
        }
    }

    pub(super) fn boolean(&mut self, name: &str) -> Result<Option<bool>, Invalid> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(Invalid::wrong_type(&self.path(name), "true or false")),
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn integer(&mut self, name: &str, least: i64, most: i64) -> Result<Option<i64>, Invalid> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let expected = format!("a whole number from {least} to {most}");
        let Value::Number(number) = value else {
            return Err(Invalid::wrong_type(&self.path(name), &expected));
        };
        whole(&number)
            .filter(|value| (least..=most).contains(value))
            .map(Some)
            .ok_or_else(|| Invalid::value(&self.path(name), &expected))
    }

    /// A number from `least` to `most`.
    pub(super) fn number(&mut self, name: &str, least: f64, most: f64) -> Result<Option<f64>, Invalid> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => number(&self.path(name), &value, least, most).map(Some),
        }
    }

    /// Accepts a field whose only honoured values change nothing.
    pub(super) fn neutral(&mut self, name: &str, is_neutral: impl Fn(&Value) -> bool) -> Result<(), Invalid> {
        match self.take(name) {
            Some(value) if !is_neutral(&value) => Err(Invalid::unsupported(&self.path(name))),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses what was not taken. `known` are those that others honour.
    pub(super) fn finish(self, known: &[&str]) -> Result<(), Invalid> {
        for (name, value) in &self.map {
            if !known.contains(&name.as_str()) {
                return Err(Invalid::new(
                    super::Kind::Unknown,
                    &self.path(name),
                    format!("Unknown parameter: '{}'", self.path(name)),
                ));
            }
            if !value.is_null() {
                return Err(Invalid::unsupported(&self.path(name)));
            }
        }
        Ok(())
    }
}

/// A number from `least` to `most`, wherever it stands.
pub(super) fn number(path: &str, value: &Value, least: f64, most: f64) -> Result<f64, Invalid> {
    let expected = format!("a number from {least} to {most}");
    let Value::Number(number) = value else {
        return Err(Invalid::wrong_type(path, &expected));
    };
    number
        .as_f64()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| Invalid::value(path, &expected))
}

/// `256` and `256.0`: some languages know no whole numbers.
fn whole(number: &Number) -> Option<i64> {
    /// Above it a float does not say which whole number is meant.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let from_float = |value: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole, and below 2^53")]
        (value.fract() == 0.0 && value.abs() < EXACT).then_some(value as i64)
    };
    match number.as_i64() {
        None if number.is_f64() => number.as_f64().and_then(from_float),
        value => value,
    }
}
