//! Who may send IDENTIFY now.
//!
//! Discord: shards whose `shard_id % max_concurrency` is the same share a
//! bucket, and a bucket takes one IDENTIFY every five seconds (Discord,
//! "Gateway", Max Concurrency). One line serves the whole fleet. A holder
//! either *asks*, gets a permit, and reports its use, or is told to *sleep*
//! until a slot that is reserved for it.
//!
//! Who asks identifies within milliseconds of its permit. Who sleeps goes
//! through a log-in first, and how long that takes differs from run to run:
//! its slot says only when it will not have identified yet. So
//!
//! - the next sleeper's slot, which cannot be moved once it is told, keeps
//!   [`SLEEPER_SPREAD`] more of a distance;
//! - a permit waits until the sleeper before it has given a sign of life from
//!   the gateway, or has had [`USE_WITHIN`] to identify.
//!
//! What remains: a sleeper that is later than the one after it by more than the
//! spread, or late by more than [`USE_WITHIN`], can still meet another. Only
//! asking is exact.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::ShardId;
use crate::tick::Tick;

mod begin;
mod bucket;
mod outlook;
#[cfg(test)]
mod tests;

pub use begin::{BETWEEN_OWN, deadlines};

pub use outlook::Outlook;

use bucket::Bucket;

/// From the reported use of a permit to the next permit of its bucket:
/// Discord's five seconds and a margin.
///
/// Discord counts from arrival to arrival. The use is reported when IDENTIFY
/// has left, so between two arrivals lie this gap, the report's way to us, the
/// next permit's way to its holder and that holder's way to Discord, less the
/// first holder's way to Discord. The rule is broken only if one IDENTIFY takes
/// 50 ms longer to arrive than those three ways together. A holder that dies
/// reports nothing, but it sent nothing after we saw it die, and two of the
/// three ways remain.
pub const IDENTIFY_GAP: Duration = Duration::from_millis(5_000 + 50);

/// What comes on top of the margin at most.
const WIDEST_MARGIN: Duration = Duration::from_millis(300);

/// READY that comes sooner tells when its IDENTIFY had arrived at the latest.
/// One that comes later may be slow by itself.
const PROMPT_READY: Duration = Duration::from_millis(600);

/// READY was on its way to us for as long as the permit and the report of its
/// use, but for no longer than this, and Discord took this much to write it.
const READY_ON_ITS_WAY: Duration = Duration::from_millis(100);
const READY_WRITTEN: Duration = Duration::from_millis(25);

/// What a permit and the report of its use may take in a host that is well.
const USUAL_DELAY: Duration = Duration::from_millis(100);

/// The gap after a permit whose use was reported so long after it was granted.
/// Where that takes long, in a starved host or over a long way, an IDENTIFY may
/// take as long from its holder to Discord, and the next one may not.
fn gap_after(delay: Duration) -> Duration {
    IDENTIFY_GAP + delay.saturating_sub(USUAL_DELAY).min(WIDEST_MARGIN)
}

/// Between a sleeper's slot and what comes before or after it. A sleeper
/// reports no use: nothing but the margin makes up for its way to Discord and
/// for a timer that rings late.
const SLEEPER_GAP: Duration = Duration::from_millis(5_000 + 100);

/// How long a permit waits to be used. Then it counts as used at that moment,
/// because nobody can tell whether it was.
pub const USE_WITHIN: Duration = Duration::from_secs(5);

/// By how much one sleeper may be later than the next one of its bucket. On one
/// host, discord.py needs 5 to 100 ms from its slot to IDENTIFY, discord.js 25
/// to 310 ms; over the Internet, add six to eight round trips.
pub const SLEEPER_SPREAD: Duration = Duration::from_millis(900);

/// How long after its slot a sleeper may still be on its way to IDENTIFY.
const SLEPT_OF_LATE: Duration = Duration::from_secs(20);

/// How long the first of a line waits for company, so that shards that come
/// forward together are served lowest first.
const GATHER: Duration = Duration::from_millis(30);

/// The right of one shard to send one IDENTIFY now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    pub number: u64,
    pub shard: ShardId,
    pub granted_at: Tick,
}

impl Permit {
    /// From then on the next IDENTIFY of the bucket is safe, however late this
    /// permit was used.
    fn over(&self) -> Tick {
        self.granted_at + USE_WITHIN + IDENTIFY_GAP
    }
}

/// All identify buckets of one bot.
#[derive(Debug)]
pub struct IdentifyLine {
    max_concurrency: u32,
    next_permit: u64,
    /// Buckets that are not in the map are closed until here.
    closed_until: Tick,
    buckets: BTreeMap<u32, Bucket>,
}

impl IdentifyLine {
    /// A line in which nobody has identified before `open_from`.
    pub fn new(max_concurrency: u32, open_from: Tick) -> Self {
        Self {
            max_concurrency: max_concurrency.max(1),
            next_permit: 1,
            closed_until: open_from,
            buckets: BTreeMap::new(),
        }
    }

    pub fn max_concurrency(&self) -> u32 {
        self.max_concurrency
    }

    /// Discord named another `max_concurrency`: everyone keeps waiting, and no
    /// bucket opens before all old ones would have.
    pub fn set_max_concurrency(&mut self, max_concurrency: u32, now: Tick) {
        let max_concurrency = max_concurrency.max(1);
        if max_concurrency == self.max_concurrency {
            return;
        }
        let old = std::mem::take(&mut self.buckets);
        let latest = old
            .values()
            .map(|bucket| bucket.closed_until)
            .max()
            .unwrap_or(self.closed_until);
        let open = old.values().filter_map(Bucket::over).max();
        self.closed_until = latest.max(open.unwrap_or(now));
        self.max_concurrency = max_concurrency;
        for bucket in old.into_values() {
            for shard in bucket.waiting {
                self.bucket(shard).waiting.insert(shard);
            }
            for (shard, at) in bucket.reserved {
                self.bucket(shard).reserved.insert(shard, at);
            }
            for (shard, until) in bucket.begun {
                self.bucket(shard).begun.insert(shard, until);
            }
        }
    }

    /// Promises a slot to a holder that will sleep until then. Those already
    /// in the line go first.
    pub fn reserve(&mut self, shard: ShardId, now: Tick) -> Tick {
        let bucket = self.bucket(shard);
        bucket.settle(now);
        bucket.reserved.remove(&shard);
        let at = bucket.next_slot(now);
        bucket.reserved.insert(shard, at);
        at
    }

    /// The slot that is promised to a shard.
    pub fn reserved(&self, shard: ShardId) -> Option<Tick> {
        self.buckets
            .get(&shard.bucket(self.max_concurrency))?
            .reserved
            .get(&shard)
            .copied()
    }

    /// A slot that an earlier manager promised.
    pub fn restore_reservation(&mut self, shard: ShardId, at: Tick) {
        self.bucket(shard).reserved.insert(shard, at);
    }

    /// Joins the line. A slot that was reserved for this shard is given up.
    pub fn join(&mut self, shard: ShardId, now: Tick) {
        let bucket = self.bucket(shard);
        bucket.settle(now);
        bucket.reserved.remove(&shard);
        if bucket.waiting.is_empty() {
            bucket.gather_until = now + GATHER;
        }
        bucket.waiting.insert(shard);
    }

    /// Leaves the line without having been served.
    pub fn leave(&mut self, shard: ShardId) {
        self.bucket(shard).waiting.remove(&shard);
    }

    /// The lease is over: gives back its place, and counts an open permit and a
    /// slot that came up of late as used now, because nobody can tell when they
    /// were.
    pub fn forget(&mut self, shard: ShardId, now: Tick) {
        let bucket = self.bucket(shard);
        bucket.settle(now);
        bucket.waiting.remove(&shard);
        bucket.reserved.remove(&shard);
        self.used(shard, now);
    }

    /// The holder says that it sent IDENTIFY (or what can only follow one).
    /// False when it had neither a permit nor a slot that came up of late, and
    /// was not started to identify by itself.
    pub fn used(&mut self, shard: ShardId, now: Tick) -> bool {
        let bucket = self.bucket(shard);
        bucket.come_up(now);
        let permit = bucket.open.filter(|permit| permit.shard == shard);
        let slept = bucket.slept.remove(&shard).is_some() | bucket.begun.remove(&shard).is_some();
        let gap = if let Some(permit) = permit {
            let delay = now.since(permit.granted_at);
            bucket.open = None;
            bucket.used = Some((shard, now, delay));
            gap_after(delay)
        } else if slept {
            IDENTIFY_GAP
        } else {
            return false;
        };
        bucket.closed_until = bucket.closed_until.max(now + gap);
        true
    }

    /// READY came: its IDENTIFY may have arrived only just before, and Discord
    /// counts from there.
    pub fn answered(&mut self, shard: ShardId, now: Tick) {
        let bucket = self.bucket(shard);
        if let Some((_, used, delay)) = bucket.used.take_if(|(by, ..)| *by == shard)
            && now.since(used) <= PROMPT_READY
        {
            let way_back = delay.min(READY_ON_ITS_WAY) + READY_WRITTEN;
            let arrived = used.max(now - way_back);
            bucket.closed_until = bucket.closed_until.max(arrived + Duration::from_secs(5));
        }
    }

    /// The holder says that it sent IDENTIFY, with or without the right to: the
    /// bucket is used.
    pub fn sent(&mut self, shard: ShardId, now: Tick) {
        let bucket = self.bucket(shard);
        bucket.closed_until = bucket.closed_until.max(now + IDENTIFY_GAP);
    }

    /// The holder has a gateway connection. If it slept, or was started to
    /// identify by itself, it has by now; says whether that was news.
    pub fn connected(&mut self, shard: ShardId, now: Tick) -> bool {
        let key = shard.bucket(self.max_concurrency);
        let Some(bucket) = self.buckets.get_mut(&key) else {
            return false;
        };
        bucket.come_up(now);
        let slept = bucket.slept.remove(&shard).is_some() | bucket.begun.remove(&shard).is_some();
        if slept {
            bucket.closed_until = bucket.closed_until.max(now + IDENTIFY_GAP);
        }
        slept
    }

    /// The grant never reached its holder: it was surely not used.
    pub fn take_back(&mut self, permit: Permit) {
        let bucket = self.bucket(permit.shard);
        if bucket.open == Some(permit) {
            bucket.open = None;
        }
    }

    /// Grants what may be granted now, lowest shard of each bucket first, and
    /// no more than `most`. A shard for which `may` says no is passed over and
    /// keeps its place; a yes is a grant.
    pub fn poll(&mut self, now: Tick, most: u32, mut may: impl FnMut(ShardId) -> bool) -> Vec<Permit> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut granted = Vec::new();
        for bucket in self.buckets.values_mut() {
            bucket.settle(now);
            if granted.len() >= most {
                continue;
            }
            if bucket.waiting.is_empty() || bucket.opens_at(now).is_none_or(|at| at > now) {
                continue;
            }
            let Some(shard) = bucket.waiting.iter().copied().find(|shard| may(*shard)) else {
                continue;
            };
            bucket.waiting.remove(&shard);
            let permit = Permit {
                number: self.next_permit,
                shard,
                granted_at: now,
            };
            self.next_permit += 1;
            bucket.open = Some(permit);
            granted.push(permit);
        }
        granted
    }

    /// When [`Self::poll`] may have something to grant to a shard that `may`
    /// have it.
    pub fn poll_timeout(&self, now: Tick, may: impl Fn(ShardId) -> bool) -> Option<Tick> {
        self.buckets
            .values()
            .filter(|bucket| bucket.waiting.iter().any(|shard| may(*shard)))
            .filter_map(|bucket| bucket.opens_at(now).or_else(|| bucket.hangs_until(now)))
            .min()
    }

    /// How long this shard is likely to wait yet.
    pub fn wait(&mut self, shard: ShardId, now: Tick) -> Duration {
        let bucket = self.bucket(shard);
        let ahead = bucket.waiting.range(..shard).count();
        let first = bucket.opens_at(now).unwrap_or(now + IDENTIFY_GAP);
        (first + IDENTIFY_GAP.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX))).since(now)
    }

    /// How many IDENTIFYs are granted or promised whose use nobody reported.
    pub fn promised(&mut self, now: Tick) -> u32 {
        let promised = |bucket: &mut Bucket| {
            bucket.settle(now);
            bucket.reserved.len() + bucket.begun.len() + usize::from(bucket.open.is_some())
        };
        let promised: usize = self.buckets.values_mut().map(promised).sum();
        u32::try_from(promised).unwrap_or(u32::MAX)
    }

    /// Shards in the line, by bucket.
    pub fn waiting(&self) -> impl Iterator<Item = (u32, usize)> {
        self.buckets
            .iter()
            .map(|(key, bucket)| (*key, bucket.waiting.len()))
            .filter(|(_, waiting)| *waiting > 0)
    }

    fn bucket(&mut self, shard: ShardId) -> &mut Bucket {
        let closed_until = self.closed_until;
        self.buckets
            .entry(shard.bucket(self.max_concurrency))
            .or_insert_with(|| Bucket {
                closed_until,
                ..Bucket::default()
            })
    }
}
