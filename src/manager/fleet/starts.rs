//! Session starts: what may still be spent, by whom, and who spent it.
//!
//! Every IDENTIFY that is granted, promised or reported is entered here, and
//! nowhere else. Two limits hold until an operator lifts them for the day: the
//! reserve of the whole fleet, and each worker's share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shardman_core::budget::DAY_MS;
use shardman_core::lease::{EndCause, Holder, LeaseTable};
use shardman_core::ledger::{self, Ledger, Spender, StartCause};
use shardman_core::timeline::{Kind, Subject};
use shardman_core::wire::{StartsView, WorkerStarts};
use shardman_core::{SessionId, ShardId, Tick, WorkerId};
use tracing::{info, warn};

use super::{Alert, AlertKind, Effect, Fleet, Ground, Worker};

/// What the fleet knows of its session starts.
#[derive(Debug, Default)]
pub(in crate::manager) struct Starts {
    pub(in crate::manager) ledger: Ledger,
    /// Why the next start of a shard will be needed. A shard that is not here
    /// was not started by this manager.
    causes: BTreeMap<ShardId, StartCause>,
    /// Wall clock, milliseconds: an operator lifts reserve and shares until then.
    lifted_until: Option<u64>,
    /// Those that wanted a start over their share and still may have none.
    refused: BTreeSet<Spender>,
    /// Wall clock, milliseconds, of the last alert about a spender.
    alerted: BTreeMap<Spender, u64>,
}

impl Starts {
    /// `held` are the shards that holders of an earlier manager still have.
    pub(super) fn restore(ledger: Ledger, held: impl Iterator<Item = ShardId>) -> Self {
        Self {
            ledger,
            causes: held.map(|shard| (shard, StartCause::Unknown)).collect(),
            ..Self::default()
        }
    }

    /// A lease ended: what the next start of its shard will be due to.
    pub(super) fn lease_ended(&mut self, shard: ShardId, cause: EndCause, told: bool) {
        let cause = match cause {
            EndCause::Undone => return,
            EndCause::Lapsed => StartCause::Lapse,
            EndCause::WorkerGone if !told => StartCause::Crash,
            EndCause::WorkerGone | EndCause::Released | EndCause::OutOfPlan => StartCause::Restart,
        };
        if self.causes.contains_key(&shard) || self.ledger.knows(shard) {
            self.causes.insert(shard, cause);
        }
    }

    /// It has a gateway session now; only its loss needs another start.
    pub(super) fn ready(&mut self, shard: ShardId) {
        self.causes.insert(shard, StartCause::SessionLost);
    }

    fn cause(&self, shard: ShardId) -> StartCause {
        let known = self.causes.get(&shard).copied();
        known.unwrap_or_else(|| {
            if self.ledger.knows(shard) {
                StartCause::Unknown
            } else {
                StartCause::First
            }
        })
    }
}

/// What each holder may still spend.
pub(super) struct Shares<'a> {
    pub(super) table: &'a LeaseTable,
    pub(super) workers: &'a BTreeMap<WorkerId, Worker>,
    pub(super) ledger: &'a Ledger,
    /// Discord's total, unless nothing limits the shares.
    pub(super) total: Option<u32>,
    pub(super) percent: u32,
}

impl Shares<'_> {
    /// The most that it may spend within 24 hours; `None` while nothing says.
    pub(super) fn limit(&self, spender: &Spender) -> Option<u32> {
        let total = self.total?;
        let holding = match spender {
            Spender::External(_) => 1,
            Spender::Child(worker) => {
                let planned = self.workers.get(worker).map_or(0, |entry| entry.record.shards);
                let held = self.table.children().get(worker).copied().unwrap_or(0);
                planned.max(held)
            }
        };
        Some(ledger::limit(total, self.percent, holding))
    }

    pub(super) fn left(&self, spender: &Spender) -> u32 {
        let spent = self.ledger.spent(spender);
        // Most are far from their share: what they hold need not be counted.
        match self.total {
            None => u32::MAX,
            Some(total) if spent < ledger::limit(total, self.percent, 0) => {
                ledger::limit(total, self.percent, 0) - spent
            }
            Some(_) => self
                .limit(spender)
                .map_or(u32::MAX, |limit| limit.saturating_sub(spent)),
        }
    }

    /// Who holds the shard.
    pub(super) fn spender(&self, shard: ShardId) -> Option<Spender> {
        let lease = self.table.lease(shard)?;
        Some(Spender::of(&lease.holder, shard))
    }
}

impl Fleet {
    pub(in crate::manager) fn reserve(&self) -> Option<u32> {
        let starts = &self.discord.as_ref()?.starts;
        Some(starts.reserve(self.settings.reserve_percent))
    }

    /// Session starts that may be used now.
    pub(in crate::manager) fn starts_free(&self) -> u32 {
        let wall = self.clock.wall_ms();
        let kept = if self.lifted() {
            0
        } else {
            self.reserve().unwrap_or(0)
        };
        self.discord
            .as_ref()
            .map_or(u32::MAX, |facts| facts.starts.free(wall, kept))
    }

    /// Discord's total, unless nothing limits the shares of it.
    pub(super) fn shared_total(&self) -> Option<u32> {
        let total = self.discord.as_ref()?.starts.total;
        (!self.lifted()).then_some(total)
    }

    pub(super) fn shares(&self) -> Shares<'_> {
        Shares {
            table: &self.table,
            workers: &self.workers,
            ledger: &self.starts.ledger,
            total: self.shared_total(),
            percent: self.settings.worker_starts_percent,
        }
    }

    fn lifted(&self) -> bool {
        let until = self.starts.lifted_until;
        until.is_some_and(|until| self.clock.wall_ms() < until)
    }

    /// An operator lifts reserve and shares until Discord gives anew.
    pub(super) fn release_reserve(&mut self) {
        info!("an operator lets the fleet use the reserve of session starts and exceed the shares");
        let text = "an operator lets the fleet use the reserve of session starts";
        self.note(Kind::ReserveReleased, Subject::fleet(), text);
        let wall = self.clock.wall_ms();
        let resets_at = self.discord.as_ref().map(|facts| facts.starts.resets_at_ms);
        self.starts.lifted_until = Some(
            resets_at
                .filter(|at| *at > wall)
                .unwrap_or(wall.saturating_add(DAY_MS)),
        );
        self.starts.refused.clear();
        self.changed = true;
    }

    /// Why nothing identifies, while the budget is the reason.
    pub(in crate::manager) fn starts_used_up(&self) -> Option<String> {
        let starts = &self.discord.as_ref().filter(|_| self.starts_free() == 0)?.starts;
        let left = starts.left(self.clock.wall_ms());
        let seconds = starts.resets_at_ms.saturating_sub(self.clock.wall_ms()) / 1000;
        Some(if left == 0 {
            format!(
                "Discord's session starts of today are used up, the next are there in {seconds} s; one more would reset the token"
            )
        } else {
            format!(
                "the last {left} session starts of today are kept in reserve for {seconds} s; `shardman start --spend-reserve` uses them"
            )
        })
    }

    /// Those that get no start because they have had their share, in words.
    pub(in crate::manager) fn over_their_share(&self) -> Vec<String> {
        let refused = self.starts.refused.iter();
        refused
            .map(|spender| {
                format!(
                    "{}; `shardman start --spend-reserve` lets it",
                    self.says_enough(spender)
                )
            })
            .collect()
    }

    fn says_enough(&self, spender: &Spender) -> String {
        let ledger = &self.starts.ledger;
        let (spent, cause) = (ledger.spent(spender), ledger.cause(spender).as_str());
        let total = self.discord.as_ref().map_or(0, |facts| facts.starts.total);
        let percent = self.settings.worker_starts_percent;
        format!(
            "{spender} has had {spent} of Discord's {total} session starts within 24 h (most often: {cause}), its share is {percent} %, so it starts no shard for now"
        )
    }

    /// A start was refused to somebody that has had its share. One alert a day.
    pub(super) fn refuse_over_share(&mut self, spender: Spender) {
        let wall = self.clock.wall_ms();
        self.starts.refused.insert(spender.clone());
        let alerted = self.starts.alerted.get(&spender);
        if alerted.is_some_and(|at| wall < at.saturating_add(DAY_MS)) {
            return;
        }
        let mut text = self.says_enough(&spender);
        warn!("{text}; `shardman start --spend-reserve` lets it");
        self.note(Kind::PermitRefused, spender_subject(&spender), &text);
        if let Spender::Child(worker) = &spender
            && let Some(entry) = self.workers.get(worker)
            && let Some(how) = &entry.last_exit
        {
            text.push_str(&format!(
                ". It last ended with {how}\n{}",
                entry.last_lines.join("\n")
            ));
        }
        let mut alert = Alert::new(AlertKind::Share, text, wall);
        if let Spender::Child(worker) = &spender {
            alert = alert.of_worker(worker);
        }
        self.starts.alerted.insert(spender, wall);
        self.effects.push(Effect::Alert(alert));
    }

    /// Those within their share again may start.
    pub(super) fn review_shares(&mut self) {
        let wall = self.clock.wall_ms();
        self.starts.ledger.forget_old(wall);
        self.starts
            .alerted
            .retain(|_, at| wall < at.saturating_add(DAY_MS));
        if self.starts.refused.is_empty() {
            return;
        }
        let mut refused = std::mem::take(&mut self.starts.refused);
        let shares = self.shares();
        refused.retain(|spender| shares.left(spender) == 0);
        self.starts.refused = refused;
    }

    /// When more may be spent than now.
    pub(super) fn starts_timeout(&self, now: Tick) -> Option<Tick> {
        let wall = self.clock.wall_ms();
        let at = |at_ms: u64| now + Duration::from_millis(at_ms.saturating_sub(wall));
        let in_line = self.line.waiting().next().is_some();
        let renewed = self
            .discord
            .as_ref()
            .filter(|_| in_line && self.starts_free() == 0)
            .map(|facts| at(facts.starts.resets_at_ms));
        let forgotten = self
            .starts
            .ledger
            .ends_at()
            .filter(|_| !self.starts.refused.is_empty())
            .map(at);
        renewed.into_iter().chain(forgotten).min()
    }

    /// A grant was undone: the IDENTIFY that was promised with it will not be
    /// sent.
    pub(super) fn refund_start(&mut self, session: SessionId) {
        let Some((shard, lease)) = self.table.by_session(&Holder::External, session) else {
            return;
        };
        if let Some(cause) = self.starts.ledger.take_back(&lease.holder, shard) {
            self.starts.causes.insert(shard, cause);
        }
        if let Some(facts) = &mut self.discord {
            facts.starts.refund(1);
            self.tally.refunds += 1;
        }
    }

    /// Whether an alert's ground is gone once so many starts are given back:
    /// then the start that uses them again tells anew.
    pub(super) fn is_void(&self, ground: Ground, refunds: u32) -> bool {
        let wall = self.clock.wall_ms();
        let mut starts = self.discord.as_ref().map(|facts| facts.starts);
        if let Some(starts) = &mut starts {
            starts.refund(refunds);
        }
        match (ground, starts) {
            (Ground::Lapse, _) | (_, None) => false,
            (Ground::StartsUsed(share), Some(starts)) => starts.used_percent() < share,
            (Ground::StartsUsedUp, Some(starts)) => {
                let kept = if self.lifted() {
                    0
                } else {
                    self.reserve().unwrap_or(0)
                };
                starts.free(wall, kept) > 0
            }
        }
    }

    /// One IDENTIFY of a shard is sent or promised, for the moment `at`.
    pub(super) fn spend_start(&mut self, shard: ShardId, holder: &Holder, at: Tick, now: Tick) {
        let wall = self.clock.wall_ms();
        let cause = self.starts.cause(shard);
        self.tally.start_spent(cause);
        self.starts.causes.insert(shard, StartCause::SessionLost);
        self.starts.ledger.enter(holder, shard, cause, wall);
        if let Some(entry) = holder.child().and_then(|worker| self.workers.get_mut(worker)) {
            entry.last_start = Some(at);
        }
        self.unflushed_counts = true;
        self.flush_soon(now);
        let free = self.starts_free();
        let Some(facts) = &mut self.discord else { return };
        let share = facts.starts.spend(wall);
        let left = facts.starts.left(wall);
        let used_up = self.starts_used_up().filter(|_| free > 0);
        let used_up = used_up.map(|text| (Ground::StartsUsedUp, text));
        let told = used_up.or_else(|| {
            share.map(|share| {
                let text = format!(
                    "{share} % of today's session starts are used, {left} are left; the last went to shard {shard}"
                );
                (Ground::StartsUsed(share), text)
            })
        });
        if let Some((ground, text)) = told {
            warn!(shard.id = %shard, "{text}");
            self.note(Kind::BudgetAlert, Subject::fleet(), &text);
            let alert = Alert {
                kind: AlertKind::Budget,
                shard: None,
                worker: None,
                pool: None,
                text,
                last_beat_ms: wall,
            };
            self.effects.push(Effect::AlertOn(ground, alert));
        }
    }

    /// What the ledger tells others.
    pub(in crate::manager) fn starts_view(&self) -> StartsView {
        let wall = self.clock.wall_ms();
        let shares = self.shares();
        let ledger = &self.starts.ledger;
        let mut by_worker: Vec<_> = ledger
            .by_worker()
            .into_iter()
            .map(|(worker, spent)| WorkerStarts {
                starts: spent.starts,
                cause: spent.cause.as_str().to_owned(),
                share: worker
                    .clone()
                    .and_then(|worker| shares.limit(&Spender::Child(worker))),
                worker: worker.map_or_else(|| "external".to_owned(), |worker| worker.to_string()),
            })
            .collect();
        by_worker.sort_by_key(|worker| std::cmp::Reverse(worker.starts));
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let starts = self.discord.as_ref().map(|facts| &facts.starts);
        let resets_in = starts.map(|starts| starts.resets_at_ms.saturating_sub(wall));
        let free = self.starts_free();
        let used_up_in = ledger::used_up_in_ms(free, ledger.rate_per_hour(wall))
            .filter(|used_up_in| free > 0 && resets_in.is_some_and(|resets_in| *used_up_in < resets_in));
        StartsView {
            total: starts.map(|starts| starts.total),
            remaining: starts.map(|starts| starts.left(wall)),
            reserve: self.reserve(),
            resets_in: resets_in.map(seconds),
            used_up_in: used_up_in.map(seconds),
            by_worker,
        }
    }
}

fn spender_subject(spender: &Spender) -> Subject {
    match spender {
        Spender::Child(worker) => Subject::worker(worker),
        Spender::External(shard) => Subject::shard(*shard),
    }
}
