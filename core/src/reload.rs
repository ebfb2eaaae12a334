//! What became of a changed configuration: the answer of `POST /reload`.

use serde::{Deserialize, Serialize};

/// What a changed variable changes, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReloadEffect {
    #[serde(rename = "applied")]
    Applied,
    #[serde(rename = "applies to workers started from now on")]
    NewWorkers,
    #[serde(rename = "needs a restart of the manager")]
    ManagerRestart,
    /// The environment or a flag of the manager says otherwise, and counts.
    #[serde(rename = "has no effect: the environment or a flag sets it")]
    Overruled,
}

impl ReloadEffect {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::NewWorkers => "applies to workers started from now on",
            Self::ManagerRestart => "needs a restart of the manager",
            Self::Overruled => "has no effect: the environment or a flag sets it",
        }
    }
}

/// One variable that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadChange {
    pub variable: String,
    /// What it was; none when it was not set. `(hidden)` for what may be secret.
    pub before: Option<String>,
    pub now: Option<String>,
    pub effect: ReloadEffect,
}

/// A reload that was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadView {
    /// In the order of their names; empty when nothing changed.
    pub changes: Vec<ReloadChange>,
    /// Workers that had ended because of their configuration, and start again.
    pub freed: Vec<String>,
}

impl ReloadView {
    /// Whether workers that run have what was, until they are restarted.
    pub fn workers_lag(&self) -> bool {
        self.changes
            .iter()
            .any(|change| change.effect == ReloadEffect::NewWorkers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_reads_the_same_in_json_and_in_a_table() {
        for effect in [
            ReloadEffect::Applied,
            ReloadEffect::NewWorkers,
            ReloadEffect::ManagerRestart,
            ReloadEffect::Overruled,
        ] {
            assert_eq!(serde_json::to_value(effect).unwrap(), effect.as_str());
        }
    }
}
