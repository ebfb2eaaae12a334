//! The first worker proves itself, and an operator holds a restart.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Rolling, Standing};
use crate::id::{ShardId, WorkerId};

/// A canary whose shards were ready and then were not has so many tries.
/// Gateway connections end now and then, whatever the version.
const CANARY_FALLS: u32 = 3;

/// What it waits for when no time and no worker makes it go on.
pub(super) const OPERATOR: &str = "an operator: `shardman restart --continue` or `--cancel`";

/// The first worker, while it has to prove itself.
#[derive(Debug, Default)]
pub(super) struct Canary {
    ready: bool,
    falls: u32,
}

impl Rolling {
    /// The first worker is a canary: it has to be healthy for so long before the
    /// second one is stopped, and if it fails an operator has to decide.
    pub fn with_canary(mut self, healthy: Duration) -> Self {
        self.record.canary_ms = u64::try_from(healthy.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Whether an operator has to say that it goes on.
    pub fn needs_an_operator(&self) -> bool {
        self.record.on_hold || matches!(self.record.standing, Standing::Paused { canary: true, .. })
    }

    /// No further worker is stopped until [`Self::go_on`]. The current one comes
    /// back all the same.
    pub fn hold(&mut self) {
        self.record.on_hold = true;
    }

    /// An operator says that it goes on, whatever became of the last worker: the
    /// next one is stopped once the fleet is whole.
    pub fn go_on(&mut self) {
        self.record.on_hold = false;
        if self.paused().is_some() {
            self.record.standing = Standing::Running;
            self.record.canary_ms = 0;
            self.progress = None;
            self.whole_since = None;
        }
    }

    pub(super) fn settle_words(&self) -> String {
        match &self.record.current {
            Some(current) if self.is_canary() => format!(
                "the canary, worker {}, to stay healthy for {} s",
                current.stopped.worker,
                self.settle().as_secs_f64()
            ),
            Some(_) | None => "the fleet to stay whole for a moment".to_owned(),
        }
    }

    /// Whether the current worker is the first one, and has to prove itself.
    pub(super) fn is_canary(&self) -> bool {
        self.record.canary_ms > 0 && self.record.restarted.is_empty() && self.record.current.is_some()
    }

    /// Why the canary has failed although it runs: its shards do not stay ready.
    pub(super) fn fallen(&mut self, missing: &BTreeSet<ShardId>) -> Option<(WorkerId, String)> {
        let current = self.record.current.as_ref().filter(|_| self.is_canary())?;
        let away = current.shards.iter().any(|shard| missing.contains(shard));
        self.canary.falls += u32::from(self.canary.ready && away);
        self.canary.ready = !away;
        let failed = self.canary.falls >= CANARY_FALLS && self.record.standing == Standing::Running;
        let worker = current.stopped.worker.clone();
        let reason = format!(
            "the shards of worker {worker} did not stay ready after its restart: they were away {} times",
            self.canary.falls
        );
        failed.then_some((worker, reason))
    }
}
