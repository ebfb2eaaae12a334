//! Counts the guilds of a shard from the events that change them.

use std::collections::HashSet;

use serde::Deserialize;

/// The guilds that a shard is in. Only READY lists them all; after a resume of
/// somebody else's session their number is what that one last said.
#[derive(Debug, Default)]
pub(crate) struct Guilds {
    known: Option<HashSet<Box<str>>>,
    inherited: Option<i64>,
}

#[derive(Deserialize)]
struct Payload<T> {
    d: T,
}

#[derive(Deserialize)]
struct Ready {
    #[serde(default)]
    guilds: Vec<Guild>,
}

#[derive(Deserialize)]
struct Guild {
    id: Box<str>,
    #[serde(default)]
    unavailable: bool,
}

impl Guilds {
    /// What the last holder of the session counted.
    pub(crate) const fn inherited(count: Option<i64>) -> Self {
        Self {
            known: None,
            inherited: count,
        }
    }

    /// Takes in one dispatch; cheap for all but three kinds.
    pub(crate) fn observe(&mut self, kind: &str, text: &str) {
        match kind {
            "READY" => {
                self.known = serde_json::from_str::<Payload<Ready>>(text)
                    .ok()
                    .map(|ready| ready.d.guilds.into_iter().map(|guild| guild.id).collect());
            }
            "GUILD_CREATE" | "GUILD_DELETE" => {
                let Some(guilds) = &mut self.known else { return };
                let Ok(Payload { d: guild }) = serde_json::from_str::<Payload<Guild>>(text) else {
                    return;
                };
                if kind == "GUILD_CREATE" {
                    guilds.insert(guild.id);
                } else if !guild.unavailable {
                    // An outage makes a guild unavailable; the bot is still in it.
                    guilds.remove(&guild.id);
                }
            }
            _ => {}
        }
    }

    /// Forgets everything: the session is gone.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn count(&self) -> Option<i64> {
        let known = self
            .known
            .as_ref()
            .map(|guilds| i64::try_from(guilds.len()).unwrap_or(i64::MAX));
        known.or(self.inherited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_follows_joins_and_leaves_but_not_outages() {
        let mut guilds = Guilds::default();
        guilds.observe("GUILD_CREATE", r#"{"d":{"id":"1"}}"#);
        assert_eq!(guilds.count(), None, "only READY lists them all");

        guilds.observe(
            "READY",
            r#"{"d":{"guilds":[{"id":"1","unavailable":true},{"id":"2"}]}}"#,
        );
        assert_eq!(guilds.count(), Some(2));
        guilds.observe("GUILD_CREATE", r#"{"d":{"id":"1","name":"was already counted"}}"#);
        guilds.observe("GUILD_CREATE", r#"{"d":{"name":"new","id":"3"}}"#);
        assert_eq!(guilds.count(), Some(3));
        guilds.observe("GUILD_DELETE", r#"{"d":{"id":"2","unavailable":true}}"#);
        assert_eq!(guilds.count(), Some(3));
        guilds.observe("GUILD_DELETE", r#"{"d":{"id":"2"}}"#);
        guilds.observe("MESSAGE_CREATE", r#"{"d":{"id":"3"}}"#);
        assert_eq!(guilds.count(), Some(2));
        guilds.clear();
        assert_eq!(guilds.count(), None);
        assert_eq!(Guilds::inherited(Some(7)).count(), Some(7));
    }
}
