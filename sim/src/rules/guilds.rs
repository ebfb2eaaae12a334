//! The bot's guilds: made up, always the same, spread as Discord spreads them.

use std::ops::Range;

use shardman_core::id::ShardId;

/// Milliseconds after Discord's epoch at which the first guild was created; the
/// others follow at one a millisecond, so that they spread evenly.
const FIRST_GUILD_MS: u64 = 200_000_000_000;

#[derive(Clone, Debug)]
pub struct Guilds {
    count: u32,
}

impl Guilds {
    pub(super) fn new(count: u32) -> Self {
        Self { count }
    }

    pub fn len(&self) -> u32 {
        self.count
    }

    pub(super) fn resize(&mut self, count: u32) {
        self.count = count;
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The snowflake of the guild with this index.
    pub const fn id(index: u32) -> u64 {
        (FIRST_GUILD_MS + index as u64) << 22
    }

    /// Which shard of `total` serves the guild: `(guild_id >> 22) % total`.
    pub fn shard(index: u32, total: u32) -> ShardId {
        let number = (Self::id(index) >> 22) % u64::from(total);
        let number = u32::try_from(number).expect("a remainder is below its divisor");
        ShardId::new(number, total).expect("a remainder is below its divisor")
    }

    /// How many guilds a shard serves.
    pub fn count(&self, shard: ShardId) -> u32 {
        let first = Self::first(shard);
        if first >= self.count {
            0
        } else {
            (self.count - 1 - first) / shard.total() + 1
        }
    }

    /// The guilds of a shard, lowest first.
    pub fn of(&self, shard: ShardId) -> impl Iterator<Item = u32> + use<> {
        Self::among(&(0..self.count), shard)
    }

    /// Those of a range that a shard serves, lowest first.
    pub(super) fn among(range: &Range<u32>, shard: ShardId) -> impl Iterator<Item = u32> + use<> {
        let (first, total) = (Self::first(shard), shard.total());
        let skipped = range.start.saturating_sub(first).div_ceil(total);
        let first = skipped
            .checked_mul(total)
            .and_then(|skip| first.checked_add(skip));
        (first.unwrap_or(range.end)..range.end).step_by(total as usize)
    }

    fn first(shard: ShardId) -> u32 {
        let offset = Self::shard(0, shard.total()).number();
        (shard.number() + shard.total() - offset) % shard.total()
    }
}
