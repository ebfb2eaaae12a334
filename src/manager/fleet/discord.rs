//! What Discord says of the bot: how many shards, how fast, how many starts.

use shardman_core::timeline::{Kind, Subject};
use shardman_core::{Plan, Tick};
use tracing::{info, warn};

use super::Fleet;
use crate::manager::request::DiscordNews;
use crate::manager::settings::Count;
use crate::store::Write;

impl Fleet {
    /// Why nothing can be leased before Discord has answered.
    pub(in crate::manager) fn waits_for_discord(&self) -> Option<String> {
        if self.settings.count == Count::Nothing {
            return None;
        }
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
            DiscordNews::Facts(mut facts) => {
                let was_away = self.discord_trouble.take().is_some();
                if was_away || self.discord.is_none() {
                    info!(
                        "Discord recommends {} shards, max_concurrency {}, {} of {} session starts left",
                        facts.recommended_shards,
                        facts.max_concurrency,
                        facts.starts.remaining,
                        facts.starts.total
                    );
                }
                if was_away {
                    self.note(Kind::DiscordBack, Subject::fleet(), "Discord answers again");
                }
                // Discord has not seen what is promised and not yet used.
                let promised = self.line.promised(now);
                facts.starts.remaining = facts.starts.remaining.saturating_sub(promised);
                self.line.set_max_concurrency(facts.max_concurrency, now);
                if self.live.is_empty() {
                    self.adopt_plan(Plan::of_total(facts.recommended_shards), now);
                }
                self.look_soon();
                self.writes.push(Write::Discord(facts.clone()));
                self.discord = Some(facts);
            }
            DiscordNews::Unreachable {
                reason,
                retry_seconds,
            } => {
                warn!("Discord cannot be asked, next try in {retry_seconds} s: {reason}");
                if self.discord_trouble.is_none() {
                    let text = format!("Discord cannot be asked: {reason}");
                    self.note(Kind::DiscordUnreachable, Subject::fleet(), text);
                }
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
}
