//! What Discord says of the bot: how many shards, how fast, how many starts.

use shardman_core::{Plan, Tick};
use tracing::{info, warn};

use super::Fleet;
use crate::manager::request::DiscordNews;
use crate::manager::settings::{Count, Settings};
use crate::store::{Saved, Write};

/// The plan to start with, and one to fall back on while Discord cannot be
/// asked. A fleet that runs keeps its plan; one that stopped asks anew.
pub(super) fn first_plan(settings: &Settings, saved: &Saved) -> (Plan, Option<Plan>) {
    match (settings.count, &saved.plan) {
        (Count::Fixed(total), _) => (Plan::of_total(total), None),
        (Count::Discord, Some(plan)) if !saved.leases.is_empty() => (plan.clone(), None),
        (Count::Discord, plan) => (Plan::default(), plan.clone()),
    }
}

impl Fleet {
    /// Why nothing can be leased before Discord has answered.
    pub(in crate::manager) fn waits_for_discord(&self) -> Option<String> {
        let known = !self.settings.asks_discord || self.discord.is_some();
        if known && !self.table.plan().is_empty() {
            return None;
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
                if self.discord_trouble.take().is_some() || self.discord.is_none() {
                    info!(
                        "Discord recommends {} shards, max_concurrency {}, {} of {} session starts left",
                        facts.recommended_shards,
                        facts.max_concurrency,
                        facts.starts.remaining,
                        facts.starts.total
                    );
                }
                // Discord has not seen what is promised and not yet used.
                let promised = self.line.promised(now);
                facts.starts.remaining = facts.starts.remaining.saturating_sub(promised);
                self.line.set_max_concurrency(facts.max_concurrency, now);
                if self.table.plan().is_empty() {
                    self.adopt_plan(Plan::of_total(facts.recommended_shards));
                } else if self.settings.count == Count::Discord
                    && facts.recommended_shards != self.table.plan().total()
                {
                    warn!(
                        "Discord recommends {} shards, {} are planned; stop the fleet and start it to take the new number",
                        facts.recommended_shards,
                        self.table.plan().total()
                    );
                }
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
                    self.adopt_plan(plan);
                }
            }
        }
    }

    fn adopt_plan(&mut self, plan: Plan) {
        info!("planned: {} shards", plan.len());
        self.writes.push(Write::Plan(plan.clone()));
        self.table.set_plan(plan);
    }
}
