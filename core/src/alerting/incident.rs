//! When trouble that was told of is over, so that its end is told once.

use std::time::Duration;

use super::AlertKind;
use crate::Tick;

/// The fleet must have been whole for so long.
pub const CALM: Duration = Duration::from_secs(5);

/// What was told, and not yet that it is over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Incident {
    open: Option<Open>,
    whole_since: Option<Tick>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    began: Tick,
    alerts: u64,
}

/// The end of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    pub lasted: Duration,
    pub alerts: u64,
}

impl Incident {
    /// An alert was raised.
    pub fn raise(&mut self, kind: AlertKind, now: Tick) {
        if !kind.hurts() {
            return;
        }
        let open = self.open.get_or_insert(Open {
            began: now,
            alerts: 0,
        });
        open.alerts += 1;
        // What is known of the fleet may be older than the alert.
        self.whole_since = None;
    }

    /// Whether something is told, and not yet that it is over.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// How the fleet is. Says when it is to be looked at again, while there is
    /// something to wait for.
    pub fn look(&mut self, whole: bool, now: Tick) -> Option<Tick> {
        if !whole || self.open.is_none() {
            self.whole_since = None;
            return None;
        }
        Some(*self.whole_since.get_or_insert(now) + CALM)
    }

    /// The end, once it has come.
    pub fn over(&mut self, now: Tick) -> Option<Over> {
        let since = self.whole_since.filter(|since| now >= *since + CALM)?;
        let open = self.open.take()?;
        self.whole_since = None;
        Some(Over {
            lasted: since.since(open.began),
            alerts: open.alerts,
        })
    }
}
