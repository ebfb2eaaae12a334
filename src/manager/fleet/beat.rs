//! What a beat says: the lease goes on, and the news of its shard.

use shardman_core::lease::{BeatError, BeatReport};
use shardman_core::wire::ShardState;
use shardman_core::{SessionId, ShardId, Tick};
use tracing::{debug, info};

use super::health::Signs;
use super::{Fleet, Told, holder};
use crate::manager::handle::Caller;

impl Fleet {
    /// Keeps a lease, and notes what the beat says of the shard.
    pub(in crate::manager) fn beat(
        &mut self,
        caller: &Caller,
        session: SessionId,
        mut report: BeatReport,
        now: Tick,
    ) -> Result<Told, BeatError> {
        if !self.is_discord() {
            return self.beat_of_pool(caller, session, report, now);
        }
        let point = report.gateway.take();
        let guild_count = report.guild_count;
        let signs = Signs::of(&report);
        // A plain beat says no state; a latency comes from a gateway connection.
        let has_gateway = report.state.is_none() && report.latency.is_some_and(|latency| latency > 0.0);
        let beaten = self.table.beat(&holder(caller), session, report, now);
        let beaten = match beaten {
            Ok(beaten) => beaten,
            Err(error) => {
                self.changed |= error == BeatError::OutOfPlan;
                return Err(error);
            }
        };
        if beaten.outdated {
            return Ok(self.told(beaten));
        }
        if let Some((before, after)) = beaten.change {
            self.state_changed(beaten.shard, before, after, now);
            self.note_state(beaten.shard, before, after, beaten.closed);
        }
        self.note_signs(beaten.shard, signs, beaten.change.map(|(_, after)| after), now);
        if has_gateway && self.line.connected(beaten.shard, now) {
            self.changed = true;
        }
        if let Some(code) = beaten.closed {
            self.connection_closed(beaten.shard, code, now);
        }
        if let Some(point) = point {
            self.resume
                .report(beaten.shard, point, guild_count, self.clock.wall_ms());
            self.flush_soon(now);
        }
        Ok(self.told(beaten))
    }

    fn state_changed(&mut self, shard: ShardId, before: Option<ShardState>, after: ShardState, now: Tick) {
        self.changed = true;
        self.tally.state(after);
        match after {
            ShardState::Identifying => {
                // A permit and a slot are spent when they are given.
                if !self.line.used(shard, now)
                    && let Some(holder) = self.table.lease(shard).map(|lease| lease.holder.clone())
                {
                    self.tally.unpermitted += 1;
                    self.spend_start(shard, &holder, now, now);
                    self.line.sent(shard, now);
                }
                self.resume.forget(shard);
            }
            // Whatever comes after IDENTIFY says at least that it was sent.
            ShardState::Ready | ShardState::StandingBy | ShardState::Disconnected => {
                self.line.used(shard, now);
                if after != ShardState::Disconnected {
                    self.starts.ready(shard);
                    self.line.answered(shard, now);
                }
            }
            ShardState::Starting | ShardState::Waiting | ShardState::Resuming | ShardState::Stopping => {}
        }
        let before = before.map_or("leased", ShardState::as_str);
        if after == ShardState::Ready {
            info!(shard.id = %shard, "shard {shard} is ready");
        } else {
            debug!(shard.id = %shard, "shard {shard} goes from {before} to {after}");
        }
    }
}
