//! Children whose leases lapse: who is killed for it and when, and what becomes
//! of one that lives and gives up what it lost.

use std::collections::BTreeMap;

use shardman_core::brake::{Brake, Fate, HostSigns, Killed, Lapsed, Observed, Settings, Signs, Step};
use shardman_core::timeline::{Kind, Subject};
use shardman_core::wire::ShardState;
use shardman_core::{SessionId, ShardId, Tick, WorkerId};
use tracing::{info, warn};

use super::{Alert, AlertKind, Effect, Fleet, Ground, Run};
use crate::manager::handle::Caller;
use crate::manager::keys::run_of;
use crate::manager::settings::heartbeat_every;
use crate::store::Write;

pub(super) fn new(settings: &crate::manager::Settings) -> Brake {
    Brake::new(Settings {
        at_once: settings.kills_at_once,
        window: settings.max_seconds,
        moment: heartbeat_every(settings.max_seconds),
    })
}

impl Fleet {
    /// How the host is.
    pub(in crate::manager) fn set_host_signs(&mut self, signs: HostSigns) {
        self.host_signs = signs;
    }

    /// The children that are to be stopped now because they lost a lease.
    pub(super) fn lapsed_to_stop(&mut self, now: Tick) -> Vec<WorkerId> {
        let lapsed = self.lapsed_children();
        if lapsed.is_empty() && self.brake.is_idle() {
            return Vec::new();
        }
        let signs = self.signs();
        let observed = Observed {
            children: u32::try_from(self.places_for_children()).unwrap_or(u32::MAX),
            lapsed: &lapsed,
            signs: &signs,
        };
        let mut brake = std::mem::replace(&mut self.brake, new(&self.settings));
        let steps = brake.poll(&observed, |worker, killed| self.fate(worker, killed), now);
        self.brake = brake;
        let mut due = Vec::new();
        for step in steps {
            match step {
                Step::Kill(worker) => due.push(worker),
                Step::Begins(text) => {
                    warn!("{text}");
                    self.note(Kind::BrakeOn, Subject::fleet(), &text);
                    // One word for all of them.
                    self.effects.retain(|effect| !is_about_a_lapse(effect));
                    self.tell_of_lapses(AlertKind::Silent, text);
                }
                Step::Ends(text) => {
                    info!("{text}");
                    self.note(Kind::BrakeOff, Subject::fleet(), &text);
                    self.tell_of_lapses(AlertKind::Recovered, text);
                }
            }
        }
        due
    }

    /// A lost lease is given back by its holder, which has left the gateway
    /// then, as when it gives back a live one: the shard is free, and the child
    /// is not killed for it. Only its own run can say so.
    pub(super) fn give_up(&mut self, caller: &Caller, session: SessionId) -> Option<ShardId> {
        let Caller::Child { worker, run } = caller else {
            return None;
        };
        let entry = self.workers.get_mut(worker)?;
        if run_of(&entry.record.credential) != Some(*run) {
            return None;
        }
        let shard = self.table.give_up(worker, session)?;
        entry.record.condemned.retain(|condemned| *condemned != shard);
        // With its lost lease forgotten, the next manager lets it live, too.
        self.writes.push(Write::Worker(entry.record.clone()));
        self.changed = true;
        Some(shard)
    }

    /// A manager that died may have been in the midst of a wave.
    pub(super) fn suspect_replacements(&mut self, now: Tick) {
        if self.lapsed_children().is_empty() {
            return;
        }
        let held = self.table.children();
        for (worker, entry) in &self.workers {
            if entry.run == Run::Running && entry.record.condemned.is_empty() && !held.contains_key(worker) {
                self.brake.suspect(worker.clone(), now);
            }
        }
    }

    /// What it holds back, in words.
    pub(in crate::manager) fn brake_words(&self) -> Option<String> {
        self.brake.words()
    }

    fn lapsed_children(&self) -> BTreeMap<WorkerId, Lapsed> {
        let mut lapsed = BTreeMap::new();
        for (worker, entry) in &self.workers {
            if entry.run != Run::Running || entry.record.condemned.is_empty() {
                continue;
            }
            let run = run_of(&entry.record.credential).unwrap_or_default();
            let shards = entry.record.condemned.clone();
            lapsed.insert(worker.clone(), Lapsed { run, shards });
        }
        // One look at the leases, however many lapsed, and none where none did.
        if lapsed.is_empty() {
            return lapsed;
        }
        for (shard, lease) in self.table.leases() {
            let holder = lease.holder.child().and_then(|child| lapsed.get_mut(child));
            if let Some(holder) = holder {
                holder.shards.push(shard);
            }
        }
        lapsed
    }

    fn fate(&self, worker: &WorkerId, killed: &Killed) -> Fate {
        let Some(entry) = self.workers.get(worker) else {
            return Fate::Failed;
        };
        let same_run = run_of(&entry.record.credential) == Some(killed.run);
        let has_process = matches!(entry.run, Run::Running | Run::Stopping);
        let is_held = |shard: &ShardId| {
            let lease = self.table.lease(*shard);
            lease.is_some_and(|lease| lease.heard) || !self.table.plan().contains(*shard)
        };
        let covered = match killed.shards.is_empty() {
            true => self.table.children().contains_key(worker),
            false => killed.shards.iter().all(is_held),
        };
        match (same_run, has_process) {
            (true, true) => Fate::Away,
            _ if covered => Fate::Back,
            _ if matches!(entry.run, Run::Halted | Run::Resting | Run::Stopped) => Fate::Failed,
            _ if !same_run && !has_process => Fate::Failed,
            _ => Fate::Away,
        }
    }

    fn signs(&self) -> Signs {
        let leases = || self.table.leases().map(|(_, lease)| lease.figures.state);
        let gone = leases().filter(|state| *state == Some(ShardState::Disconnected));
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Signs {
            host: self.host_signs,
            leased: count(leases().count()),
            disconnected: count(gone.count()),
            discord_away: self.discord_trouble.is_some(),
        }
    }

    /// Places that were not given up, and whose work is not done: who rests has
    /// ended for good and cannot fall silent.
    fn places_for_children(&self) -> usize {
        let kept = self.workers.values();
        let kept = kept.filter(|entry| entry.record.shards > 0 && entry.run != Run::Resting);
        kept.count()
    }

    fn tell_of_lapses(&mut self, kind: AlertKind, text: String) {
        self.effects.push(Effect::Alert(Alert {
            kind,
            shard: None,
            worker: None,
            pool: (!self.is_discord()).then(|| self.settings.pool.clone()),
            text,
            last_beat_ms: self.clock.wall_ms(),
        }));
    }
}

fn is_about_a_lapse(effect: &Effect) -> bool {
    matches!(effect, Effect::AlertOn(Ground::Lapse, _))
}
