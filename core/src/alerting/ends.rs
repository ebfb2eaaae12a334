//! The end of an incident on its way to a receiver. It follows what it ends,
//! is told only where that was, and never once something new has begun.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{AlertKind, Entry, Key, Notice, Outbox, QUIET, Subject, WINDOW, Waiting};
use crate::{PoolId, Tick};

/// Ends that follow each other within this belong together.
const CLOSE: Duration = Duration::from_secs(10 * 60);

/// So many of those are taken for what they say; then it comes and goes.
const PATIENCE: u32 = 2;

/// What comes and goes is told again no sooner than this after its last end.
const FLAPPING: Duration = QUIET;

#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    pub(super) waiting: BTreeMap<PoolId, Waiting>,
    /// Pools whose trouble was told, and not its end.
    owed: BTreeSet<PoolId>,
    /// Pools that were hurt anew while a message was under way.
    overtaken: BTreeSet<PoolId>,
    told: BTreeMap<PoolId, Last>,
}

/// The last end that was told, and how many came close before it.
#[derive(Clone, Copy, Debug)]
struct Last {
    at: Tick,
    close: u32,
}

impl Ends {
    pub(super) fn hurt(&mut self, pool: &PoolId) {
        self.waiting.remove(pool);
        self.overtaken.insert(pool.clone());
    }

    /// A message is put together.
    pub(super) fn depart(&mut self) {
        self.overtaken.clear();
    }

    pub(super) fn put_back(&mut self, key: Key, entry: Entry, now: Tick) {
        if !self.overtaken.contains(&key.pool) {
            let waiting = Waiting { entry, due: now };
            self.waiting.entry(key.pool).or_insert(waiting);
        }
    }

    fn close(&self, pool: &PoolId, now: Tick) -> u32 {
        let last = self.told.get(pool);
        let last = last.filter(|last| now < last.at + CLOSE);
        last.map_or(0, |last| last.close + 1)
    }
}

/// How the key of an end is made: one waits for each pool.
pub(super) fn key(pool: &PoolId) -> Key {
    Key {
        kind: AlertKind::Recovered,
        pool: pool.clone(),
        cause: String::new(),
    }
}

fn hurts(key: &Key, pool: &PoolId) -> bool {
    key.kind.hurts() && key.pool == *pool
}

impl Outbox {
    pub(super) fn raise_end(&mut self, notice: Notice, now: Tick) {
        let pool = notice.pool.clone();
        let under_way = self.under_way.iter().any(|(key, _)| hurts(key, &pool));
        if !under_way && !self.is_owed(&pool) {
            return;
        }
        if self.ends.close(&pool, now) < PATIENCE {
            // The sum of what happened goes along.
            self.hasten(&pool, now);
        }
        let subject = Subject {
            shard: notice.shard,
            worker: notice.worker.clone(),
        };
        let mut entry = Entry::new(&notice, None);
        entry.add(notice, subject);
        let due = now + WINDOW;
        self.ends.waiting.insert(pool, Waiting { entry, due });
    }

    /// Whether trouble was told, or will be.
    fn is_owed(&self, pool: &PoolId) -> bool {
        self.ends.owed.contains(pool) || self.trouble_due(pool).is_some()
    }

    /// When all that waits of a pool's trouble is due.
    pub(super) fn trouble_due(&self, pool: &PoolId) -> Option<Tick> {
        let all = self.fresh.iter().chain(&self.again);
        let trouble = all.filter(|(key, _)| hurts(key, pool));
        trouble.map(|(_, waiting)| waiting.due).max()
    }

    fn hasten(&mut self, pool: &PoolId, now: Tick) {
        let trouble = self.again.iter_mut().filter(|(key, _)| hurts(key, pool));
        trouble.for_each(|(_, waiting)| waiting.due = waiting.due.min(now));
    }

    /// Notes what a receiver knows now of a pool's trouble, or of its end: what
    /// begins after that is told at once, but for what comes and goes.
    pub(super) fn mark_known(&mut self, key: &Key, now: Tick) {
        let pool = &key.pool;
        if key.kind.hurts() {
            self.ends.owed.insert(pool.clone());
        }
        if key.kind != AlertKind::Recovered {
            return;
        }
        self.ends.owed.remove(pool);
        let close = self.ends.close(pool, now);
        self.ends.told.insert(pool.clone(), Last { at: now, close });
        if close < PATIENCE {
            self.told.retain(|key, _| !hurts(key, pool));
            self.hasten(pool, now);
            return;
        }
        let latest = now + FLAPPING;
        let told = self.told.iter_mut().filter(|(key, _)| hurts(key, pool));
        for told in told.flat_map(|(_, subjects)| subjects.values_mut()) {
            told.quiet_until = told.quiet_until.min(latest);
        }
        let trouble = self.again.iter_mut().filter(|(key, _)| hurts(key, pool));
        trouble.for_each(|(_, waiting)| waiting.due = waiting.due.min(latest));
    }

    /// The end of what was refused is told to nobody.
    pub(super) fn forget_unowed(&mut self) {
        let pools: Vec<_> = self.ends.waiting.keys().cloned().collect();
        for pool in pools {
            if !self.is_owed(&pool) {
                self.ends.waiting.remove(&pool);
            }
        }
    }
}
