//! How many shards to run: which numbers Discord takes, what a change costs,
//! and when another number is due.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::identify::IDENTIFY_GAP;
use crate::plan::{MAX_SHARDS, Plan};
use crate::rescale::steps;
use crate::wire::PlanReport;

#[cfg(test)]
mod tests;

/// Guilds that one shard may serve (Discord, "Gateway", Sharding). One more,
/// and IDENTIFY is answered with close code 4011.
pub const GUILDS_PER_SHARD: u64 = 2_500;

/// A shard with so many guilds is due to be split: 80 % of the most.
pub const SPLIT_AT: u64 = GUILDS_PER_SHARD * 80 / 100;

/// What Discord aims at, going by its recommendations.
const GUILDS_AIMED_AT: u64 = 1_000;

/// From there on the number must be a multiple of one that Discord assigned, or
/// IDENTIFY is answered with close code 4010 (Discord, "Gateway", Sharding for
/// Large Bots).
const LARGE_BOT_GUILDS: u64 = 150_000;

/// The assigned number of the original notice. Only large bots get a
/// `max_concurrency` that high, and then it is the assigned number.
const LARGE_BOT_MULTIPLE: u32 = 16;

/// What a step takes besides identifying: the holders hear of each phase with
/// their next beats.
const STEP_OVERHEAD: Duration = Duration::from_secs(3);

/// What is known of the bot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bot {
    /// What `GET /gateway/bot` recommends.
    pub recommended: Option<u32>,
    pub max_concurrency: u32,
    /// The guilds of all live shards, as far as one knows.
    pub guilds: u64,
    /// Those of the fullest one.
    pub most_guilds: u64,
}

impl Bot {
    /// What holders of some of `live` shards say, and Discord of the rest: a
    /// bot of which nobody has counted yet is not taken for a small one.
    pub fn new(recommended: Option<u32>, max_concurrency: u32, live: usize, counts: &[u64]) -> Self {
        let sum = counts
            .iter()
            .fold(0, |sum: u64, count| sum.saturating_add(*count));
        let guilds = match counts.len() as u64 {
            0 => u64::from(recommended.unwrap_or(0)) * GUILDS_AIMED_AT,
            counted => sum.saturating_mul(live as u64) / counted,
        };
        Self {
            recommended,
            max_concurrency,
            guilds,
            most_guilds: counts.iter().copied().max().unwrap_or(0),
        }
    }

    /// What the number of shards must be a multiple of.
    pub fn multiple(&self) -> u32 {
        if self.max_concurrency >= LARGE_BOT_MULTIPLE {
            self.max_concurrency
        } else if self.guilds > LARGE_BOT_GUILDS {
            LARGE_BOT_MULTIPLE
        } else {
            1
        }
    }

    /// Why this number is no number of shards for this bot, whatever its guilds.
    pub fn disallows(&self, total: u32) -> Option<String> {
        if total == 0 || total > MAX_SHARDS {
            return Some(format!("the number of shards must be from 1 to {MAX_SHARDS}"));
        }
        let multiple = self.multiple();
        let recommended = self
            .recommended
            .is_some_and(|recommended| recommended > 0 && total.is_multiple_of(recommended));
        if !total.is_multiple_of(multiple) && !recommended {
            let below = total / multiple * multiple;
            let above = below.saturating_add(multiple);
            let near = if below == 0 {
                above.to_string()
            } else {
                format!("{below} or {above}")
            };
            return Some(format!(
                "a bot of this size must run a multiple of {multiple} shards, or Discord closes them with code 4010; take {near}"
            ));
        }
        None
    }

    /// Why Discord would not take this number.
    pub fn refuses(&self, total: u32) -> Option<String> {
        if let Some(reason) = self.disallows(total) {
            return Some(reason);
        }
        let each = self.guilds / u64::from(total);
        (each > GUILDS_PER_SHARD).then(|| {
            format!(
                "{} guilds on {total} shards are about {each} each, and Discord closes shards with more than {GUILDS_PER_SHARD} (code 4011); take {} or more",
                self.guilds,
                self.guilds.div_ceil(SPLIT_AT)
            )
        })
    }

    /// The number that is due instead of `total`, and why. `closed_with` is a
    /// close code with which Discord refused the present one.
    pub fn due(&self, total: u32, closed_with: Option<u16>) -> Option<(u32, String)> {
        let recommended = self.recommended.unwrap_or(0);
        let why = match closed_with {
            Some(4010) if recommended > 0 && recommended != total => {
                let why = "Discord says that the number is no allowed one (close code 4010)";
                return Some((recommended, why.to_owned()));
            }
            Some(4011) => {
                "Discord says that there are too many guilds on one shard (close code 4011)".to_owned()
            }
            _ if self.most_guilds >= SPLIT_AT => format!(
                "a shard has {} guilds, of {GUILDS_PER_SHARD} that Discord allows",
                self.most_guilds
            ),
            _ if u64::from(recommended) * GUILDS_AIMED_AT >= u64::from(total) * SPLIT_AT => {
                format!("Discord recommends {recommended} shards")
            }
            _ => return None,
        };
        // Doubling goes shard by shard, and keeps every multiple.
        let enough = |total: u32| {
            total >= recommended && self.guilds / u64::from(total) < SPLIT_AT && self.refuses(total).is_none()
        };
        let mut next = total.max(1);
        loop {
            next = next.checked_mul(2).filter(|next| *next <= MAX_SHARDS)?;
            if enough(next) {
                return Some((next, why));
            }
        }
    }
}

/// What is asked of a change.
#[derive(Clone, Debug)]
pub struct Question {
    pub live: Plan,
    pub target: u32,
    pub bot: Bot,
    /// Session starts that may be used, and all that are left today.
    pub starts: Option<(u32, u32)>,
    /// The most shards that the workers can hold; `None` without a bound.
    pub places: Option<u32>,
    /// The memory of one shard, and what the host has left, in bytes.
    pub memory: Option<(u64, u64)>,
    /// A change is under way, which this one would end.
    pub under_way: bool,
    /// Why nothing may be started now.
    pub halted: Option<String>,
}

/// What a change costs, and what speaks against it.
pub fn price(question: &Question) -> PlanReport {
    let Question {
        live, target, bot, ..
    } = question;
    let target = *target;
    let possible = (1..=MAX_SHARDS).contains(&target);
    let steps = if possible { steps(live, target) } else { Vec::new() };
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let identifies: u32 = steps.iter().map(|(_, new)| count(new.len())).sum();
    let peak_shards = steps.iter().map(|(_, new)| count(new.len())).max().unwrap_or(0);
    let peak_bytes = question
        .memory
        .map(|(each, _)| each.saturating_mul(u64::from(peak_shards)));
    let time: Duration = steps
        .iter()
        .map(|(_, new)| rounds(new, bot.max_concurrency) * IDENTIFY_GAP + STEP_OVERHEAD)
        .sum();
    let mut refusals: Vec<String> = Vec::new();
    // To stay with what runs is always safe.
    let stays = possible && steps.is_empty();
    if !stays {
        refusals.extend(bot.refuses(target));
        refusals.extend(question.halted.clone());
    } else if !question.under_way {
        refusals.push(format!("{target} shards are what runs"));
    }
    if let Some((free, left)) = question.starts
        && identifies > free
    {
        refusals.push(format!(
            "it takes {identifies} session starts, and {free} may be used today ({left} are left, the rest is kept in reserve)"
        ));
    }
    if let Some(places) = question.places.filter(|places| *places < target && !stays) {
        refusals.push(format!(
            "WORKERS and SHARDS_PER_WORKER leave room for {places} shards; raise them first"
        ));
    }
    if let (Some(needed), Some((_, available))) = (peak_bytes, question.memory)
        && needed > available
    {
        refusals.push(format!(
            "it takes about {} MiB of memory for a while, and the host has {} MiB left",
            needed >> 20,
            available >> 20
        ));
    }
    PlanReport {
        from: totals(live),
        to: target,
        steps: count(steps.len()),
        identifies,
        starts_free: question.starts.map(|(free, _)| free),
        starts_left: question.starts.map(|(_, left)| left),
        seconds: time.as_secs_f64(),
        peak_shards,
        peak_bytes,
        refusals,
    }
}

/// How many shards of each total there are.
pub fn totals(plan: &Plan) -> BTreeMap<u32, u32> {
    let mut totals = BTreeMap::new();
    for shard in plan.iter() {
        *totals.entry(shard.total()).or_insert(0) += 1;
    }
    totals
}

/// How often the fullest bucket has to identify.
fn rounds(plan: &Plan, max_concurrency: u32) -> u32 {
    let mut buckets = BTreeMap::new();
    for shard in plan.iter() {
        *buckets.entry(shard.bucket(max_concurrency)).or_insert(0) += 1;
    }
    buckets.into_values().max().unwrap_or(0)
}
