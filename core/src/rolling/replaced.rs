//! A worker that was stopped and whose shards others took: no new process of it
//! has shown anything.

use super::canary::OPERATOR;
use super::{Observed, READY_WITHIN, Rolling, Step};
use crate::tick::Tick;

impl Rolling {
    /// Whether the old process of the current worker is gone and no new one runs.
    pub(super) fn not_run_again(&self, observed: &Observed) -> bool {
        let current = self.record.current.as_ref();
        current.is_some_and(|current| !observed.runs.contains_key(&current.stopped.worker))
    }

    /// The fleet is whole without it. It may come yet; after a while a canary
    /// has failed to show anything, and any other counts as replaced.
    pub(super) fn without_a_new_run(&mut self, now: Tick) -> Option<Step> {
        self.whole_since = None;
        let worker = self.record.current.as_ref()?.stopped.worker.clone();
        let since = *self.replaced_since.get_or_insert(now);
        if now < since + READY_WITHIN {
            self.waiting_for = Some(format!("worker {worker} to run"));
            return None;
        }
        if self.is_canary() {
            let seconds = READY_WITHIN.as_secs();
            let reason = format!(
                "worker {worker} has not run again {seconds} s after it was stopped: others hold its shards, so its next run has shown nothing"
            );
            self.waiting_for = Some(OPERATOR.to_owned());
            return Some(self.pause(worker, reason));
        }
        self.record.current = None;
        Some(Step::Replaced(worker))
    }
}
