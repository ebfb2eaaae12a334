//! What a session holds: looked up, and nothing changed by it.

use shardman_core::SessionId;
use shardman_core::wire::SessionView;

use super::fleet;
use super::handle::{Caller, ManagerHandle};

impl ManagerHandle {
    /// The lease of a session, where it has one and this caller may speak for
    /// it. The lease is not kept by being asked for.
    pub fn session(&self, caller: &Caller, session: SessionId) -> Option<SessionView> {
        let as_holder = fleet::holder(caller);
        let fleet = self.shared.of_session(caller, session);
        let (shard, lease) = fleet.table.by_session(&as_holder, session)?;
        Some(SessionView {
            pool: fleet.settings.pool.to_string(),
            shard_id: shard.number(),
            max_shards: shard.total(),
            epoch: lease.epoch,
            worker_id: lease.holder.child().map(ToString::to_string),
        })
    }
}
