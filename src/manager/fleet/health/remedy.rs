//! What is done about a shard that is unwell, and when nothing is.

use std::collections::BTreeSet;
use std::time::Duration;

use shardman_core::close_code::{CloseMeaning, meaning};
use shardman_core::health::{RECONNECTS, RESTART_AGAIN, Remedy, Unwell, Watch};
use shardman_core::lease::Lease;
use shardman_core::rolling::Rolling;
use shardman_core::timeline::{Kind, Subject};
use shardman_core::wire::ShardState;
use shardman_core::{ShardId, Tick, WorkerId};
use tracing::{debug, error, info, warn};

use super::super::{Alert, AlertKind, Effect, Fleet, Run, Worker};
use super::{Case, SOON, UNDER_WAY};

/// So many shards may be helped at once.
const AT_ONCE: usize = 2;

/// When more than this part of the shards has the same trouble, and more than
/// [`AT_ONCE`], it is not the shards.
const TOGETHER: usize = 4;

/// When a shard whose remedies are used up is looked at again.
const LATER: Duration = Duration::from_secs(60);

impl Fleet {
    /// Judges one shard, does what is to be done, and says when to look again.
    pub(super) fn look_after(&mut self, shard: ShardId, now: Tick) -> Option<Tick> {
        let lease = self.table.lease(shard)?;
        if self.stopping || lease.is_leaving() || !self.table.plan().contains(shard) {
            return None;
        }
        let guilds = lease.figures.guild_count;
        let watch = self.health.watches.get(&shard)?;
        let limits = self.health.limits;
        let others_hear = |within| self.others_hear(shard, within, now);
        let Some(unwell) = watch.unwell(&limits, guilds, others_hear, now) else {
            let goes_on = self.health.cases.contains_key(&shard);
            // A silence that may yet turn out to be deafness.
            let floor = limits.deaf.filter(|floor| watch.hearing.silence() > *floor);
            let floor = floor.map(|floor| now + (floor / 4).max(Duration::from_millis(100)));
            let due = watch.due(guilds).filter(|due| *due > now);
            return floor
                .into_iter()
                .chain(due)
                .chain(goes_on.then_some(now + SOON))
                .min();
        };
        if told_already(unwell, lease) || self.halted.is_some() {
            return Some(now + LATER);
        }
        let known = self.health.cases.get(&shard);
        if known.is_none_or(|case| case.unwell != unwell) {
            let case = Case {
                unwell,
                found: now,
                told: false,
            };
            self.health.cases.insert(shard, case);
            self.tally.unwell(unwell);
        }
        Some(match unwell {
            Unwell::Blocked => self.blocked(shard, now),
            Unwell::Deaf | Unwell::Overdue(_) => self.does_not_serve(shard, unwell, now),
        })
    }

    /// Whether the others of the fleet went on hearing as usual for so long:
    /// three of four of those who are known well enough, and one at least.
    fn others_hear(&self, shard: ShardId, within: Duration, now: Tick) -> bool {
        let Some(floor) = self.health.limits.deaf else {
            return false;
        };
        let mut known = 0;
        let mut hear = 0;
        for (other, watch) in &self.health.watches {
            if *other != shard && watch.hearing.is_connected_and_busy(floor, now) {
                known += 1;
                hear += usize::from(watch.hearing.hears(floor, within, now));
            }
        }
        known > 0 && hear * 4 >= known * 3
    }

    fn does_not_serve(&mut self, shard: ShardId, unwell: Unwell, now: Tick) -> Tick {
        self.health.asked.retain(|_, at| now < *at + UNDER_WAY);
        let same = |case: &&Case| std::mem::discriminant(&case.unwell) == std::mem::discriminant(&unwell);
        let alike = self.health.cases.values().filter(same).count();
        if alike > AT_ONCE && alike * TOGETHER > self.live.len() {
            return self.hold_off(
                "so many shards at once that it may be Discord, or the network",
                now,
            );
        }
        if self.health.asked.len() >= AT_ONCE {
            return now + SOON;
        }
        let Some(lease) = self.table.lease(shard) else {
            return now + LATER;
        };
        let can_be_told = lease.figures.state.is_some();
        let worker = lease.holder.child().cloned();
        // Where nobody has a connection, a new process gets none either.
        let alone = unwell != Unwell::Overdue(ShardState::Disconnected) || self.somebody_is_ready();
        let may = worker.as_ref().filter(|_| alone);
        let (restartable, obstacle) = may.map_or((false, false), |worker| self.may_be_restarted(worker, now));
        let silence = self.words_for(shard, unwell, now);
        let Some(watch) = self.health.watches.get_mut(&shard) else {
            return now + LATER;
        };
        let remedy = watch.remedy(unwell, can_be_told, restartable && !obstacle, now);
        let times = watch.reconnects(now);
        match (remedy, worker) {
            (Remedy::Reconnect, _) => {
                warn!(shard.id = %shard, "{silence}; its holder is asked to reconnect ({times} of {RECONNECTS} in an hour)");
                self.note(
                    Kind::ReconnectAsked,
                    Subject::shard(shard),
                    format!(
                        "{silence}; its holder is asked to reconnect ({times} of {RECONNECTS} in an hour)"
                    ),
                );
                self.health.asked.insert(shard, now);
                self.health.held_off = None;
            }
            (Remedy::Restart, Some(worker)) => {
                self.tell(shard, format!("{silence}; worker {worker} is restarted"));
                self.restart_unwell(worker, unwell, now);
            }
            (Remedy::Restart | Remedy::Nothing, _) if obstacle => return now + SOON,
            (Remedy::Restart | Remedy::Nothing, _) => {
                self.tell(
                    shard,
                    format!("{silence}; what can be done was done, look at its holder"),
                );
                return now + LATER;
            }
        }
        let floor = self.health.limits.deaf.unwrap_or(LATER);
        now + floor.clamp(Duration::from_secs(1), LATER)
    }

    fn blocked(&mut self, shard: ShardId, now: Tick) -> Tick {
        let limits = self.health.limits;
        let watch = self.health.watches.get(&shard);
        let Some(since) = watch.and_then(|watch| watch.blocked_since(&limits, now)) else {
            return now + SOON;
        };
        let holder = self.table.lease(shard).and_then(|lease| lease.holder.child());
        let worker = holder.cloned();
        let workers = self.blocked_workers();
        let running = self.running().count();
        if workers.len() > 1 && workers.len() * 2 > running {
            self.health.starved = Some(now);
            return self.hold_off("most workers at once, so it is the host", now);
        }
        // Who suffered with the others has time to catch up.
        let since = self.health.starved.map_or(since, |starved| since.max(starved));
        if now < since + limits.blocked {
            return since + limits.blocked;
        }
        let seconds = now.since(since).as_secs_f64();
        let who = worker.as_ref().map_or_else(
            || "an external holder".to_owned(),
            |worker| format!("worker {worker}"),
        );
        let words = format!("{who} is blocked: its loop has lagged behind for {seconds:.0} s");
        let first = !self.health.cases.iter().any(|(other, case)| {
            case.unwell == Unwell::Blocked && case.told && *other != shard && self.holder_of(*other) == worker
        });
        if first {
            self.tell(shard, words);
        } else if let Some(case) = self.health.cases.get_mut(&shard) {
            // One word for all shards of a worker, whichever is well first.
            case.told = true;
        }
        let Some(worker) = worker else {
            return now + LATER;
        };
        let due = since + limits.blocked_for_long;
        if now < due {
            return due;
        }
        let (restartable, obstacle) = self.may_be_restarted(&worker, now);
        if obstacle {
            return now + SOON;
        }
        if restartable
            && let Some(watch) = self.health.watches.get_mut(&shard)
            && watch.remedy(Unwell::Blocked, false, true, now) == Remedy::Restart
        {
            self.restart_unwell(worker, Unwell::Blocked, now);
        }
        now + LATER
    }

    /// Whether a worker may be restarted for what is wrong with it, and whether
    /// something that will pass speaks against doing it now.
    fn may_be_restarted(&self, worker: &WorkerId, now: Tick) -> (bool, bool) {
        let last = self.health.restarted.get(worker);
        let rested = last.is_none_or(|at| now >= *at + RESTART_AGAIN);
        // A place that waits for its next run while nothing is left for it
        // holds up nobody.
        let returns = |entry: &Worker| entry.restarts_at_once && self.may_start(&entry.record.worker);
        let moving = self
            .workers
            .values()
            .any(|entry| entry.run == Run::Stopping || returns(entry));
        let rolls = self.rolling.as_ref().is_some_and(Rolling::active);
        let runs = self
            .workers
            .get(worker)
            .is_some_and(|entry| entry.run == Run::Running);
        let obstacle = moving
            || rolls
            || !runs
            || !self.may_restart()
            || self.lacks_starts_of_its_own(worker, 0).is_some()
            || self.brake.is_on()
            || !self.health.restarts.is_empty();
        (rested, rested && obstacle)
    }

    fn restart_unwell(&mut self, worker: WorkerId, unwell: Unwell, now: Tick) {
        self.health.restarted.insert(worker.clone(), now);
        self.health.restarts.insert(worker, unwell);
        self.health.held_off = None;
    }

    /// Nothing is done, and it is said once why.
    fn hold_off(&mut self, why: &'static str, now: Tick) -> Tick {
        if self.health.held_off.replace(why) != Some(why) {
            warn!("nothing is done about unwell shards: {why}");
        }
        now + SOON
    }

    /// An operator is told, once for each case.
    fn tell(&mut self, shard: ShardId, text: String) {
        let Some(case) = self.health.cases.get_mut(&shard) else {
            return;
        };
        let again = std::mem::replace(&mut case.told, true);
        if again {
            debug!(shard.id = %shard, "{text}");
            return;
        }
        error!(shard.id = %shard, "{text}");
        self.note(Kind::Unwell, Subject::shard(shard), &text);
        self.effects.push(Effect::Alert(Alert {
            kind: AlertKind::Unwell,
            shard: Some(shard),
            worker: None,
            pool: None,
            text,
            last_beat_ms: self.clock.wall_ms(),
        }));
    }

    /// A shard serves again; it is said where the trouble was.
    pub(super) fn case_over(&self, shard: ShardId, case: &Case) {
        if !case.told {
            return;
        }
        if case.unwell != Unwell::Blocked {
            info!(shard.id = %shard, "shard {shard} is well again");
            return;
        }
        let worker = self.holder_of(shard);
        if !self.blocked_workers().contains(&worker) {
            let who = worker.map_or_else(
                || "an external holder".to_owned(),
                |worker| format!("worker {worker}"),
            );
            info!(shard.id = %shard, "{who} is blocked no more");
        }
    }

    fn words_for(&self, shard: ShardId, unwell: Unwell, now: Tick) -> String {
        let watch = self.health.watches.get(&shard);
        match unwell {
            Unwell::Deaf => {
                let silence = watch.map_or(0.0, |watch| watch.hearing.silence().as_secs_f64());
                let after = self
                    .deaf_after(shard, now)
                    .map_or(0.0, |after| after.as_secs_f64());
                format!(
                    "shard {shard} is deaf: connected, and no event for {silence:.0} s (it counts as deaf after {after:.0} s)"
                )
            }
            Unwell::Overdue(state) => {
                let age = watch.map_or(0.0, |watch| now.since(watch.since()).as_secs_f64());
                format!("shard {shard} does not get on: {state} for {age:.0} s now")
            }
            Unwell::Blocked => format!("the loop of the holder of shard {shard} is blocked"),
        }
    }

    /// What is wrong, for those who ask.
    pub(in crate::manager) fn unwell_words(&self) -> Vec<String> {
        const MOST: usize = 4;
        let now = self.clock.now();
        let cases = &self.health.cases;
        let mut words: Vec<_> = cases
            .iter()
            .take(MOST)
            .map(|(shard, case)| self.words_for(*shard, case.unwell, now))
            .collect();
        if cases.len() > MOST {
            words.push(format!("{} more shards are unwell", cases.len() - MOST));
        }
        if let Some(why) = self.health.held_off.filter(|_| !cases.is_empty()) {
            words.push(format!("nothing is done about unwell shards: {why}"));
        }
        words
    }

    fn blocked_workers(&self) -> BTreeSet<Option<WorkerId>> {
        let cases = self.health.cases.iter();
        let blocked = cases.filter(|(_, case)| case.unwell == Unwell::Blocked);
        blocked.map(|(shard, _)| self.holder_of(*shard)).collect()
    }

    fn holder_of(&self, shard: ShardId) -> Option<WorkerId> {
        self.table.lease(shard)?.holder.child().cloned()
    }

    fn somebody_is_ready(&self) -> bool {
        let ready = |watch: &Watch| watch.state() == Some(ShardState::Ready);
        self.health.watches.values().any(ready)
    }
}

/// Discord refused the shard with a code that no new connection cures, and an
/// operator knows.
fn told_already(unwell: Unwell, lease: &Lease) -> bool {
    unwell == Unwell::Overdue(ShardState::Disconnected)
        && matches!(
            meaning(lease.figures.close_code),
            CloseMeaning::Plan | CloseMeaning::Halt(_)
        )
}
