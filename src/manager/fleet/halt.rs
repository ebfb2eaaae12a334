//! The fleet halts when no restart can help: nothing is started, nothing
//! identifies, until an operator says that the cause is gone. What runs, runs on.

use shardman_core::close_code::{CloseMeaning, meaning};
use shardman_core::timeline::{Kind, Subject};
use shardman_core::{ShardId, Tick};
use tracing::{error, info};

use super::{Alert, AlertKind, Effect, Fleet, Run};
use crate::store::{HaltRecord, Write};

impl Fleet {
    /// A holder reported how its gateway connection ended.
    pub(super) fn connection_closed(&mut self, shard: ShardId, code: u16, now: Tick) {
        match meaning(Some(code)) {
            CloseMeaning::Halt(remedy) => self.halt(shard, code, remedy),
            CloseMeaning::Plan => {
                error!(shard.id = %shard, "Discord refused shard {shard} (close code {code}): the number of shards is wrong");
                self.number_refused(shard, code, now);
            }
            CloseMeaning::NewSession | CloseMeaning::Resume => {}
        }
    }

    /// One alert, however many shards meet the same wall.
    fn halt(&mut self, shard: ShardId, code: u16, remedy: &str) {
        if self.halted.is_some() {
            return;
        }
        let reason = format!("Discord closed shard {shard} with code {code}: {remedy}");
        error!(shard.id = %shard, "the fleet is halted. {reason}. Then run `shardman resume`");
        self.note(
            Kind::Halted,
            Subject::fleet(),
            format!("the fleet is halted: {reason}"),
        );
        self.effects.push(Effect::Alert(Alert {
            kind: AlertKind::Halted,
            shard: None,
            worker: None,
            pool: None,
            text: format!("the fleet is halted. {reason}. Then run `shardman resume`"),
            last_beat_ms: self.clock.wall_ms(),
        }));
        let record = HaltRecord {
            reason,
            at_ms: self.clock.wall_ms(),
        };
        self.writes.push(Write::Halt(Some(record.clone())));
        self.halted = Some(record);
        self.changed = true;
    }

    /// An operator says that the cause is gone. False when nothing was halted.
    pub(super) fn resume_fleet(&mut self, now: Tick) -> bool {
        let halted_places = self
            .workers
            .values_mut()
            .filter(|worker| worker.run == Run::Halted);
        let mut any = false;
        for worker in halted_places {
            worker.run = Run::BackingOff { until: now };
            worker.restarts.exits = 0;
            any = true;
        }
        if self.halted.take().is_some() {
            self.writes.push(Write::Halt(None));
            any = true;
        }
        if any {
            info!("an operator resumed the fleet");
            self.note(Kind::Resumed, Subject::fleet(), "an operator resumed the fleet");
        }
        any
    }

    /// The reason of a halt, alone.
    pub(in crate::manager) fn halt_reason(&self) -> Option<String> {
        self.halted.as_ref().map(|halt| halt.reason.clone())
    }

    /// Why nothing is started, while that is so.
    pub(in crate::manager) fn halted_because(&self) -> Option<String> {
        self.halted
            .as_ref()
            .map(|halt| format!("halted: {}. Then run `shardman resume`", halt.reason))
    }
}
