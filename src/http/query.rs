//! The query string: of a repeated parameter the last counts, unknown ones are
//! let pass.

use axum::http::Uri;

use super::error::{Flaw, Place};

/// The decoded parameters of one request.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may be repeated.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(known, _)| known == name);
        values.map(|(_, value)| value.clone()).collect()
    }

    /// A parameter that must be there; the flaw goes to `flaws`.
    pub(super) fn required(&self, name: &'static str, flaws: &mut Vec<Flaw>) -> Option<&str> {
        let value = self.get(name);
        if value.is_none() {
            flaws.push(Flaw::missing(&[Place::Name("query"), Place::Name(name)]));
        }
        value
    }

    /// A parameter that says yes or no, where it is there.
    pub(super) fn check_bool(&self, name: &'static str, flaws: &mut Vec<Flaw>) {
        const WORDS: [&str; 12] = [
            "0", "off", "f", "false", "n", "no", "1", "on", "t", "true", "y", "yes",
        ];
        if let Some(value) = self.get(name)
            && !WORDS.contains(&value.to_lowercase().as_str())
        {
            let loc = [Place::Name("query"), Place::Name(name)];
            flaws.push(Flaw::new(
                &loc,
                "value could not be parsed to a boolean",
                "type_error.bool",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repeated_parameter_the_last_counts() {
        let query = Query::of(&Uri::from_static("/beat?token=a&token=b+c%21&empty"));
        assert_eq!(query.get("token"), Some("b c!"));
        assert_eq!(query.get("empty"), Some(""));
        assert_eq!(query.get("other"), None);
        assert_eq!(query.all("token"), ["a", "b c!"]);
    }
}
