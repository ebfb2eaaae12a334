//! Children that run and never hold a shard: noticed, named, and told what to
//! do about it.

use shardman_core::WorkerId;
use tracing::warn;

use super::{Alert, AlertKind, Effect, Fleet};
use crate::manager::settings::WorkerProgram;

/// Characters of a command that are told.
const SHOWN: usize = 60;

impl Fleet {
    /// A child is stopped because it held no shard in time. One alert until
    /// the place holds one again, however often it is tried.
    pub(super) fn never_registered(&mut self, worker: &WorkerId) {
        let text = self.says_unregistered(worker);
        warn!(worker.id = %worker, "{text}");
        let Some(entry) = self.workers.get_mut(worker) else {
            return;
        };
        if entry.unregistered.replace(text.clone()).is_some() {
            return;
        }
        let wall = self.clock.wall_ms();
        self.effects.push(Effect::Alert(
            Alert::new(AlertKind::Unregistered, text, wall).of_worker(worker),
        ));
    }

    /// What is said of those that never registered.
    pub(in crate::manager) fn unregistered_trouble(&self) -> Vec<String> {
        let said = self
            .workers
            .values()
            .filter_map(|entry| entry.unregistered.clone());
        said.collect()
    }

    fn says_unregistered(&self, worker: &WorkerId) -> String {
        let seconds = self.settings.register_within.as_secs();
        let WorkerProgram::Command(command) = &self.settings.program else {
            return format!("worker {worker} held no shard within {seconds} s of its start");
        };
        let command = shortened(command);
        let asked = self.workers.get(worker).is_some_and(|entry| entry.asked);
        if asked {
            return format!(
                "worker {worker} (`{command}`) called GET /connect and held no shard within {seconds} s of its start"
            );
        }
        let mut env = self.settings.worker_env.iter();
        let url = env
            .find(|(name, _)| *name == "SHARDMAN_URL")
            .map_or("$SHARDMAN_URL", |(_, url)| url);
        let remedy = match self.is_discord() {
            true => {
                "if your bot knows nothing of Shardman, put {shards} into WORKER_COMMAND or set WORKER_REGISTER=assigned"
            }
            false => "if it knows nothing of Shardman, set REGISTER of its pool to `process`",
        };
        format!(
            "worker {worker} (`{command}`) never called GET /connect at {url} within {seconds} s of its start; {remedy}"
        )
    }
}

/// Enough to know it by. What follows may be long, and nobody else's business.
fn shortened(command: &str) -> String {
    match command.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &command[..end]),
        None => command.to_owned(),
    }
}
