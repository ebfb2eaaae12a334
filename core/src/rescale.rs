//! From one number of shards to another without a gap.
//!
//! Discord routes a guild to shard `(guild_id >> 22) % total` of every total
//! that has a session, and lets sessions of several totals live side by side
//! (Discord, "Gateway", Sharding). Shards `k/n` and `j/m` share guilds exactly
//! where `k ≡ j (mod gcd(n, m))`. So a change falls apart into `gcd` classes,
//! and each is replaced by itself: with 4 → 8, shard 1/4 gives way to 1/8 and
//! 5/8; with 5 → 7 there is one class, and the new set starts beside the old.
//!
//! In each step the new shards stand by until all of them are connected, then
//! go live, and only then the old ones drain. Whatever happens in between, the
//! old or the new holders of a class are live, so a half-done rescale may go
//! on, go back or stay.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::count::totals;
use crate::id::ShardId;
use crate::lease::{Lease, LeaseTable};
use crate::plan::Plan;
use crate::tick::Tick;
use crate::wire::ShardState;

#[cfg(test)]
mod tests;

/// How long after its identify slot a plain client that counts guilds is taken
/// to be connected; what it counts may be left from an earlier shard.
const PLAIN_COUNTS: Duration = Duration::from_secs(5);

/// How long after its identify slot a client that reports nothing but its beats
/// is taken to be connected.
const PLAIN_READY: Duration = Duration::from_secs(30);

/// A change of the number of shards, under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescale {
    /// The number before it; the most shards have it, where several are live.
    #[serde(default)]
    pub from: Option<u32>,
    pub target: u32,
    /// Why it was begun, in words.
    pub cause: String,
    /// Steps in all.
    pub steps: u32,
    pub done: u32,
    pub step: Option<Step>,
}

/// The replacement of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub old: Plan,
    pub new: Plan,
    pub phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The new shards connect and hold their events back; the old are live.
    StandBy,
    /// The new shards are told to deliver; the old are live.
    GoLive,
    /// The new shards are live; the old are told to leave.
    Drain,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StandBy => "stand_by",
            Self::GoLive => "go_live",
            Self::Drain => "drain",
        }
    }
}

/// Where a shard is, as its lease and its holder's beats say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Nobody has a lease of it.
    Free,
    /// Somebody has, and its gateway session does not run, as far as one knows.
    Away,
    /// Its session runs and its events are held back.
    StandingBy,
    /// Its events are delivered.
    Live,
}

impl Observed {
    /// What a lease says of its shard.
    pub fn of(table: &LeaseTable, shard: ShardId, now: Tick) -> Self {
        let Some(lease) = table.lease(shard) else {
            return Self::Free;
        };
        // Who was silent for long may be frozen, who leaves is as good as gone.
        let silent = !lease.assigned && now.since(lease.last_beat) > lease.ttl / 3;
        if !lease.heard || silent || lease.is_leaving() {
            return Self::Away;
        }
        match lease.figures.state {
            Some(ShardState::Ready) => Self::Live,
            Some(ShardState::StandingBy) => Self::StandingBy,
            Some(_) => Self::Away,
            None if is_connected(lease, now) => Self::Live,
            None => Self::Away,
        }
    }
}

/// Whether a client of the two published calls is connected, as far as one can
/// tell: it says nothing of the kind.
fn is_connected(lease: &Lease, now: Tick) -> bool {
    let Some(slot) = lease.identify_at else {
        return false;
    };
    // Whom its shards were assigned to says nothing; its slot is the latest
    // moment at which it was to identify.
    let counts = lease.assigned || lease.figures.guild_count.is_some_and(|guilds| guilds > 0);
    let since = now.since(slot);
    now >= slot && (since >= PLAIN_READY || counts && since >= PLAIN_COUNTS)
}

/// What a planned shard's holder is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    StandBy,
    Live,
}

/// What became of a look at a rescale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to do before something else happens.
    Waiting,
    /// The rescale changed, and must be made durable.
    Changed,
    /// The live plan changed with it.
    Replaced,
    /// The plan is the target; the rescale is over.
    Finished,
}

impl Rescale {
    /// A change from what is live to `target` shards. `None` when there is
    /// nothing to change.
    pub fn begin(live: &Plan, target: u32, cause: String) -> Option<Self> {
        Self::new(live, None, target, cause)
    }

    /// The same, in place of a change that is under way. A step that is past
    /// the point where its old shards are sure to serve is finished first.
    pub fn instead(
        &self,
        live: &Plan,
        target: u32,
        cause: String,
        observed: impl Fn(ShardId) -> Observed,
    ) -> Option<Self> {
        let serves = |plan: &Plan| plan.iter().all(|shard| observed(shard) == Observed::Live);
        let finished_first = self.step.clone().filter(|step| match step.phase {
            Phase::StandBy => false,
            Phase::GoLive => !serves(&step.old),
            Phase::Drain => true,
        });
        Self::new(live, finished_first, target, cause)
    }

    fn new(live: &Plan, step: Option<Step>, target: u32, cause: String) -> Option<Self> {
        let after = step.as_ref().map(|step| live.without(&step.old).with(&step.new));
        let steps = steps(after.as_ref().unwrap_or(live), target).len() + usize::from(step.is_some());
        let others = totals(live).into_iter().filter(|(total, _)| *total != target);
        (steps > 0).then(|| Self {
            from: others.max_by_key(|(_, count)| *count).map(|(total, _)| total),
            target,
            cause,
            steps: u32::try_from(steps).unwrap_or(u32::MAX),
            done: 0,
            step,
        })
    }

    /// A step that begins takes in the classes of those shards that go with its
    /// own, because one process holds them `together` and can only leave as a
    /// whole.
    pub fn widen(&mut self, live: &Plan, together: impl Fn(ShardId) -> Vec<ShardId>) {
        let Some(step) = self.step.as_mut().filter(|step| step.phase == Phase::StandBy) else {
            return;
        };
        let classes = steps(live, self.target);
        loop {
            let wanted: Plan = step.old.iter().flat_map(&together).collect();
            let belongs = |(old, _): &&(Plan, Plan)| {
                let mut old = old.iter();
                old.any(|shard| wanted.contains(shard) && !step.old.contains(shard))
            };
            let Some((old, new)) = classes.iter().find(belongs) else {
                return;
            };
            step.old = step.old.with(old);
            step.new = step.new.with(new);
            self.steps = self.steps.saturating_sub(1);
        }
    }

    /// The shards that may be held: what is live, and what stands by.
    pub fn held_plan(&self, live: &Plan) -> Plan {
        match &self.step {
            Some(step) => live.with(&step.new),
            None => live.clone(),
        }
    }

    /// What the holder of a planned shard is to do.
    pub fn role(&self, shard: ShardId) -> Role {
        match &self.step {
            Some(step) if step.phase == Phase::StandBy && step.new.contains(shard) => Role::StandBy,
            Some(_) | None => Role::Live,
        }
    }

    /// Goes as far as the holders are. `live` is the durable plan. A shard
    /// `owes` events when it is away and its next holder will replay what
    /// nobody else has.
    pub fn advance(
        &mut self,
        live: &mut Plan,
        observed: impl Fn(ShardId) -> Observed,
        owes: impl Fn(ShardId) -> bool,
    ) -> Progress {
        let Some(step) = &mut self.step else {
            let Some((old, new)) = steps(live, self.target).into_iter().next() else {
                return Progress::Finished;
            };
            self.step = Some(Step {
                old,
                new,
                phase: Phase::StandBy,
            });
            return Progress::Changed;
        };
        let all = |plan: &Plan, good: fn(Observed) -> bool| plan.iter().all(|shard| good(observed(shard)));
        let is_live = |at| at == Observed::Live;
        match step.phase {
            Phase::StandBy => {
                if !all(&step.new, |at| {
                    matches!(at, Observed::StandingBy | Observed::Live)
                }) {
                    return Progress::Waiting;
                }
                step.phase = Phase::GoLive;
            }
            Phase::GoLive => {
                let caught_up = |shard| observed(shard) == Observed::Live || !owes(shard);
                if !all(&step.new, is_live) || !step.old.iter().all(caught_up) {
                    return Progress::Waiting;
                }
                *live = live.without(&step.old).with(&step.new);
                step.phase = Phase::Drain;
                return Progress::Replaced;
            }
            Phase::Drain => {
                if !all(&step.old, |at| at == Observed::Free) {
                    return Progress::Waiting;
                }
                self.step = None;
                self.done += 1;
            }
        }
        Progress::Changed
    }

    /// The shards that the present step waits for.
    pub fn waiting_for(
        &self,
        observed: impl Fn(ShardId) -> Observed,
        owes: impl Fn(ShardId) -> bool,
    ) -> Vec<ShardId> {
        let Some(step) = &self.step else { return Vec::new() };
        let (new, old) = (step.new.iter(), step.old.iter());
        let waits = |shard: &ShardId| match (step.phase, observed(*shard)) {
            (Phase::StandBy, at) => {
                step.new.contains(*shard) && matches!(at, Observed::Free | Observed::Away)
            }
            (Phase::GoLive, at) if step.new.contains(*shard) => at != Observed::Live,
            (Phase::GoLive, at) => at != Observed::Live && owes(*shard),
            (Phase::Drain, at) => step.old.contains(*shard) && at != Observed::Free,
        };
        new.chain(old).filter(waits).collect()
    }

    /// Whether the present step brings this shard, and it is not live for good.
    pub fn brings(&self, shard: ShardId) -> bool {
        let step = self.step.as_ref();
        step.is_some_and(|step| step.phase != Phase::Drain && step.new.contains(shard))
    }

    /// Whether the present step is about this shard.
    pub fn concerns(&self, shard: ShardId) -> bool {
        let step = self.step.as_ref();
        step.is_some_and(|step| step.new.contains(shard) || step.old.contains(shard))
    }
}

/// What has to give way to what, class by class, until `live` is all of
/// `target`.
pub fn steps(live: &Plan, target: u32) -> Vec<(Plan, Plan)> {
    let old: Plan = live.iter().filter(|shard| shard.total() != target).collect();
    let new = Plan::of_total(target).without(live);
    let modulus = old.totals().into_iter().fold(target, gcd).max(1);
    let mut classes: BTreeMap<u32, (Vec<ShardId>, Vec<ShardId>)> = BTreeMap::new();
    for shard in old.iter() {
        classes.entry(shard.number() % modulus).or_default().0.push(shard);
    }
    for shard in new.iter() {
        classes.entry(shard.number() % modulus).or_default().1.push(shard);
    }
    let plans = |(old, new): (Vec<_>, Vec<_>)| (old.into_iter().collect(), new.into_iter().collect());
    classes.into_values().map(plans).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
