//! Other settings for a fleet that runs. Most rules ask the settings whenever
//! they decide, so it is enough to exchange them; what follows at once from a
//! change is here.

use std::sync::Arc;

use shardman_core::reload::ReloadEffect;
use shardman_core::timeline::{Kind, Subject};
use shardman_core::{Plan, Tick};
use tracing::info;

use super::{Fleet, Run};
use crate::manager::settings::Settings;

impl Fleet {
    /// Takes on `settings`, and returns the workers that are no longer halted:
    /// who ended because of its configuration is tried again in any case, as
    /// what somebody corrected need not be in `.env`.
    pub(super) fn reload(
        &mut self,
        settings: Arc<Settings>,
        changes: &[(String, ReloadEffect)],
        now: Tick,
    ) -> Vec<String> {
        self.note_reload(changes);
        let before = std::mem::replace(&mut self.settings, settings);
        self.changed = true;
        if before.max_shards() != self.settings.max_shards() {
            self.count_reloaded(now);
        }
        // Another mode, or other places, may make another number due.
        self.look_soon();
        let mut freed = Vec::new();
        for (id, worker) in &mut self.workers {
            if worker.run == Run::Halted {
                worker.run = Run::BackingOff { until: now };
                worker.restarts.exits = 0;
                info!(worker.id = %id, "worker {id} starts again: the configuration was read again");
                freed.push(id.to_string());
            }
        }
        freed
    }

    /// What changed, by name: what a variable says may be secret.
    fn note_reload(&mut self, changes: &[(String, ReloadEffect)]) {
        if changes.is_empty() {
            return;
        }
        let each = changes.iter();
        let each = each.map(|(variable, effect)| format!("{variable} ({})", effect.as_str()));
        let text = format!(
            "the configuration was read again: {}",
            each.collect::<Vec<_>>().join(", ")
        );
        self.note(Kind::Reloaded, Subject::fleet(), text);
    }

    /// `MAX_SHARDS` is another, as if the manager had been started with it: a
    /// fleet that runs is rescaled, if that is safe.
    fn count_reloaded(&mut self, now: Tick) {
        let max_shards = self.settings.max_shards();
        let runs = self.table.leases().next().is_some() || self.is_rescaling();
        self.want(max_shards, runs);
        if let Some(total) = max_shards.filter(|_| !runs) {
            self.adopt_plan(Plan::of_total(total), now);
        }
    }
}
