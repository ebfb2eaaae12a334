//! When it makes no sense to go on with this model: the process ends, so that
//! it is started anew.

use std::time::Duration;

use crate::scheduler::Standing;

/// An engine that finishes no pass for so long will not: far longer than any
/// pass of a slow machine.
const STUCK: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Hopeless {
    #[error("the model has stopped computing")]
    Broken,
    #[error("one pass of the model after the other fails")]
    Failing,
    #[error("the model has not finished a pass for {} seconds", STUCK.as_secs())]
    Stuck,
}

impl Hopeless {
    pub(super) fn of(standing: &Standing) -> Option<Self> {
        if standing.broken {
            Some(Self::Broken)
        } else if standing.failing {
            Some(Self::Failing)
        } else if standing.stalled_for > STUCK {
            Some(Self::Stuck)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_does_not_get_on_is_hopeless_after_two_minutes() {
        let mut standing = Standing {
            queued: 1,
            active: 1,
            rows: 1,
            kv_bytes: 1,
            kv_budget: 1,
            measured: true,
            stalled_for: Duration::from_secs(119),
            stopping: false,
            stopped: false,
            broken: false,
            failing: false,
            idle_for: Duration::ZERO,
        };
        assert_eq!(Hopeless::of(&standing), None);
        standing.stalled_for = Duration::from_secs(121);
        assert_eq!(Hopeless::of(&standing), Some(Hopeless::Stuck));
        standing.failing = true;
        assert_eq!(Hopeless::of(&standing), Some(Hopeless::Failing));
        standing.broken = true;
        assert_eq!(Hopeless::of(&standing), Some(Hopeless::Broken));
    }
}
