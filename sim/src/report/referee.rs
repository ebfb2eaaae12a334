//! Keeps the score. The rules call it at each state change; it decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use shardman_core::id::ShardId;
use shardman_core::tick::Tick;

use super::{
    Absence, BrokenRule, BudgetReport, DoubleHold, EventCounts, Identified, ReadyShard, Report, ResumeReport,
    ShardMoment,
};
use crate::rules::SessionKey;

/// Lines kept of each list, so that a storm fits into memory.
const LINES: usize = 20_000;

#[derive(Debug, Default)]
pub(crate) struct Referee {
    report: Report,
    last_identify: BTreeMap<u32, Tick>,
    holders: BTreeMap<ShardId, BTreeSet<SessionKey>>,
    doubles: BTreeMap<ShardId, Tick>,
    /// When each shard last became ready, and whether it still is.
    ready: BTreeMap<ShardId, (Tick, bool)>,
    /// Shards that were ready and have no connection now, since when.
    away: BTreeMap<ShardId, Tick>,
}

impl Referee {
    pub(crate) fn connected(&mut self, live: usize) {
        let connections = &mut self.report.connections;
        connections.opened += 1;
        connections.max_live = connections.max_live.max(live as u64);
    }

    pub(crate) fn closed(&mut self, code: u16) {
        *self.report.closes.entry(code).or_default() += 1;
    }

    pub(crate) fn rest(&mut self, status: u16) {
        *self.report.rest.entry(status).or_default() += 1;
    }

    pub(crate) fn identified(&mut self, shard: ShardId, bucket: u32, ok: bool, now: Tick) {
        self.report.started_at_ms.get_or_insert(now.0);
        self.report.identify_count += 1;
        self.report.budget.spent += 1;
        *self.report.identifies_per_bucket.entry(bucket).or_default() += 1;
        if let Some(last) = self.last_identify.insert(bucket, now) {
            let gap = now.ms_since(last);
            self.report
                .min_gap_ms
                .entry(bucket)
                .and_modify(|min| *min = gap.min(*min))
                .or_insert(gap);
        }
        let line = Identified {
            shard: shard.number(),
            total: shard.total(),
            bucket,
            at_ms: now.0,
            ok,
        };
        append(&mut self.report.identifies, line);
    }

    pub(crate) fn resumed(
        &mut self,
        shard: Option<ShardId>,
        ok: bool,
        replayed: u64,
        by_resume_url: bool,
        now: Tick,
    ) {
        if ok {
            self.report.resume_count += 1;
        } else {
            self.report.resume_failures += 1;
        }
        let line = ResumeReport {
            shard: shard.map(ShardId::number),
            total: shard.map(ShardId::total),
            at_ms: now.0,
            ok,
            replayed,
            by_resume_url,
        };
        append(&mut self.report.resumes, line);
    }

    pub(crate) fn broke(&mut self, rule: &str, shard: Option<ShardId>, detail: String, now: Tick) {
        self.report.broken_rule_count += 1;
        append(
            &mut self.report.broken_rules,
            BrokenRule {
                at_ms: now.0,
                rule: rule.to_owned(),
                shard,
                detail,
            },
        );
    }

    pub(crate) fn token_reset(&mut self) {
        self.report.token_resets += 1;
    }

    pub(crate) fn taken_over(&mut self, shard: ShardId, now: Tick) {
        append(
            &mut self.report.takeovers,
            ShardMoment {
                at_ms: now.0,
                shard: Some(shard),
            },
        );
    }

    pub(crate) fn silent(&mut self, shard: Option<ShardId>, now: Tick) {
        append(&mut self.report.zombies, ShardMoment { at_ms: now.0, shard });
    }

    /// A session of the shard has a connection from now on.
    pub(crate) fn attached(&mut self, shard: ShardId, session: SessionKey, now: Tick) {
        let holders = self.holders.entry(shard).or_default();
        holders.insert(session);
        let count = u32::try_from(holders.len()).unwrap_or(u32::MAX);
        let max = self.report.max_holders.entry(shard).or_default();
        *max = count.max(*max);
        if count > 1 {
            self.doubles.entry(shard).or_insert(now);
        }
    }

    /// A session of the shard has no connection any more.
    pub(crate) fn detached(&mut self, shard: ShardId, session: SessionKey, now: Tick) {
        let Some(holders) = self.holders.get_mut(&shard) else {
            return;
        };
        holders.remove(&session);
        if holders.is_empty() {
            let was_live = self
                .ready
                .get_mut(&shard)
                .map(|(_, live)| std::mem::replace(live, false));
            if was_live == Some(true) {
                self.away.insert(shard, now);
            }
        }
        if holders.len() < 2
            && let Some(from) = self.doubles.remove(&shard)
            && now > from
        {
            self.report.double_holders.count += 1;
            append(
                &mut self.report.double_holders.list,
                double_hold(shard, from, Some(now)),
            );
        }
    }

    pub(crate) fn ready(&mut self, shard: ShardId, now: Tick) {
        self.ready.insert(shard, (now, true));
        if let Some(from) = self.away.remove(&shard) {
            let longest = self.report.longest_absence_ms.entry(shard).or_default();
            *longest = now.ms_since(from).max(*longest);
            append(&mut self.report.absences, absence(shard, from, Some(now)));
        }
        let started = self.report.started_at_ms;
        if self.report.all_ready_at_ms.is_none()
            && ShardId::all(shard.total()).all(|shard| self.is_live(shard))
        {
            self.report.all_ready_at_ms = started.map(|started| now.ms_since(Tick(started)));
        }
    }

    fn is_live(&self, shard: ShardId) -> bool {
        self.ready.get(&shard).is_some_and(|(_, live)| *live)
    }

    pub(crate) fn generated(&mut self, heard: bool) {
        self.report.generated += 1;
        self.report.unheard += u64::from(!heard);
    }

    pub(crate) fn sent(&mut self, shard: ShardId) {
        self.counts(shard).sent += 1;
    }

    pub(crate) fn delivered(&mut self, shard: ShardId, delivered: u64, replayed: u64, doubled: u64) {
        let counts = self.counts(shard);
        counts.delivered += delivered;
        counts.replayed += replayed;
        counts.doubled += doubled;
    }

    pub(crate) fn lost(&mut self, shard: ShardId, lost: u64, superseded: u64) {
        let counts = self.counts(shard);
        counts.lost += lost;
        counts.superseded += superseded;
    }

    fn counts(&mut self, shard: ShardId) -> &mut EventCounts {
        self.report.events.entry(shard).or_default()
    }

    pub(crate) fn report(
        &self,
        live: usize,
        pending: impl Iterator<Item = (ShardId, u64)>,
        total: u32,
        remaining: u32,
        now: Tick,
    ) -> Report {
        let mut report = self.report.clone();
        report.connections.live = live as u64;
        report.budget = BudgetReport {
            total,
            remaining,
            spent: self.report.budget.spent,
        };
        report.ready = self.ready.iter().map(ready_line).collect();
        for (shard, from) in &self.doubles {
            report.double_holders.count += 1;
            report.double_holders.list.push(double_hold(*shard, *from, None));
        }
        for (shard, from) in &self.away {
            let longest = report.longest_absence_ms.entry(*shard).or_default();
            *longest = now.ms_since(*from).max(*longest);
            report.absences.push(absence(*shard, *from, None));
        }
        for (shard, count) in pending {
            report.events.entry(shard).or_default().pending += count;
        }
        for counts in report.events.values() {
            report.events_total.add(counts);
        }
        report
    }

    /// Forgets the past. Who holds and who is ready now is not past.
    pub(crate) fn reset(&mut self, now: Tick) {
        self.report = Report::default();
        self.last_identify.clear();
        self.ready.retain(|_, (_, live)| *live);
        for (shard, holders) in self.holders.iter().filter(|(_, holders)| !holders.is_empty()) {
            let count = u32::try_from(holders.len()).unwrap_or(u32::MAX);
            self.report.max_holders.insert(*shard, count);
        }
        self.doubles.values_mut().for_each(|from| *from = now);
        self.away.values_mut().for_each(|from| *from = now);
    }
}

impl EventCounts {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.replayed += other.replayed;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.superseded += other.superseded;
        self.pending += other.pending;
    }
}

fn ready_line((shard, (at, live)): (&ShardId, &(Tick, bool))) -> ReadyShard {
    ReadyShard {
        shard: shard.number(),
        total: shard.total(),
        at_ms: at.0,
        live: *live,
    }
}

fn absence(shard: ShardId, from: Tick, to: Option<Tick>) -> Absence {
    Absence {
        shard: shard.number(),
        total: shard.total(),
        from_ms: from.0,
        to_ms: to.map(|to| to.0),
    }
}

fn double_hold(shard: ShardId, from: Tick, to: Option<Tick>) -> DoubleHold {
    DoubleHold {
        shard: shard.number(),
        total: shard.total(),
        from_ms: from.0,
        to_ms: to.map(|to| to.0),
    }
}

/// Appends a line; the oldest half goes when the list is full.
fn append<T>(lines: &mut Vec<T>, line: T) {
    if lines.len() >= LINES {
        lines.drain(..LINES / 2);
    }
    lines.push(line);
}
