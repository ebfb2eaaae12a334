//! One of the process's places for a shard: gets a lease, holds it, gets the
//! next.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info};

use crate::Context;
use crate::backoff::after;
use crate::exit::Exit;
use crate::holder::{Holder, LeaseEnd};
use crate::lease::acquire;
use shardman_lease::now;

/// Runs until the worker stops; an error stops the other places too.
pub(crate) async fn run(context: Arc<Context>) -> Result<(), Exit> {
    let mut losses = 0;
    loop {
        let Some(lease) = acquire(&context).await? else {
            return Ok(());
        };
        context.learn_lease_time(lease.lease_time);
        info!(shard.id = %lease.shard, epoch = lease.epoch.map(|epoch| epoch.0), "holding shard {}", lease.shard);
        let (shard, begun) = (lease.shard, now());
        let end = Holder::new(Arc::clone(&context), lease).run().await;
        debug!(shard.id = %shard, ?end, "the lease ended");
        match end {
            LeaseEnd::Stopped => return Ok(()),
            LeaseEnd::Refused(exit) => return Err(exit),
            LeaseEnd::Drained | LeaseEnd::Lost | LeaseEnd::Silent => {}
        }
        let wait = after(losses, now().since(begun), fastrand::f64());
        losses = wait.attempts;
        let wait = wait.delay.min(Duration::from_secs(30));
        tokio::select! {
            biased;
            () = context.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}
