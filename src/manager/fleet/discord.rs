//! What Discord says of the bot: how many shards, how fast, how many starts.

use shardman_core::{Plan, ShardId, Tick};
use tracing::{info, warn};

use super::{Alert, AlertKind, Effect, Fleet};
use crate::manager::request::DiscordNews;
use crate::store::Write;

impl Fleet {
    /// Why nothing can be leased before Discord has answered.
    pub(in crate::manager) fn waits_for_discord(&self) -> Option<String> {
        let known = !self.settings.asks_discord || self.discord.is_some();
        if known && !self.table.plan().is_empty() {
            return self.count_refused();
        }
        Some(match &self.discord_trouble {
            Some(trouble) => format!("waiting for Discord: {trouble}"),
            None => "waiting for Discord to say how many shards to run".to_owned(),
        })
    }

    pub(super) fn discord_news(&mut self, news: DiscordNews, now: Tick) {
        self.changed = true;
        match news {
            DiscordNews::Facts(facts) => {
                if self.discord_trouble.take().is_some() || self.discord.is_none() {
                    info!(
                        "Discord recommends {} shards, max_concurrency {}, {} of {} session starts left",
                        facts.recommended_shards,
                        facts.max_concurrency,
                        facts.starts.remaining,
                        facts.starts.total
                    );
                }
                // The override of an operator lasts for one day's budget.
                let earlier = self.discord.as_ref().map(|facts| facts.starts.remaining);
                if earlier.is_some_and(|earlier| facts.starts.remaining > earlier) {
                    self.spend_reserve = false;
                }
                self.line.set_max_concurrency(facts.max_concurrency, now);
                if self.live.is_empty() {
                    self.adopt_plan(Plan::of_total(facts.recommended_shards), now);
                }
                self.look_at = None;
                self.writes.push(Write::Discord(facts.clone()));
                self.discord = Some(facts);
            }
            DiscordNews::Unreachable {
                reason,
                retry_seconds,
            } => {
                warn!("Discord cannot be asked, next try in {retry_seconds} s: {reason}");
                self.discord_trouble = Some(reason);
                if self.discord.is_some()
                    && self.table.plan().is_empty()
                    && let Some(plan) = self.fallback_plan.take()
                {
                    warn!("going on with the {} shards of the last run", plan.len());
                    self.adopt_plan(plan, now);
                }
            }
        }
    }

    /// Session starts that may be used now.
    pub(in crate::manager) fn starts_free(&self) -> u32 {
        let wall = self.clock.wall_ms();
        self.discord
            .as_ref()
            .map_or(u32::MAX, |facts| facts.starts.free(wall, self.spend_reserve))
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

    /// An operator lets the fleet use the reserve until Discord gives anew.
    pub(super) fn release_reserve(&mut self) {
        info!("an operator lets the fleet use the reserve of session starts");
        self.spend_reserve = true;
        self.changed = true;
    }

    /// So many promised IDENTIFYs will not be sent.
    pub(super) fn refund_starts(&mut self, starts: u32) {
        if let Some(facts) = &mut self.discord {
            facts.starts.refund(starts);
        }
    }

    /// One IDENTIFY of a shard is sent or promised.
    pub(super) fn spend_start(&mut self, shard: ShardId, now: Tick) {
        let wall = self.clock.wall_ms();
        let Some(facts) = &mut self.discord else { return };
        let alert = facts.starts.spend(wall);
        let left = facts.starts.left(wall);
        self.unflushed_counts = true;
        self.flush_soon(now);
        if let Some(share) = alert {
            let text = format!(
                "{share} % of today's session starts are used, {left} are left; the last went to shard {shard}"
            );
            warn!(shard.id = %shard, "{text}");
            self.effects.push(Effect::Alert(Alert {
                kind: AlertKind::Budget,
                shard: None,
                text,
                last_beat_ms: wall,
            }));
        }
    }
}
