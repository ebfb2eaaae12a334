//! Says how far the fleet is, one line a step, while it starts and whenever it
//! stops being whole.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{info, warn};

use crate::manager::Summary;

mod draw;

pub(super) use draw::draw;

/// The least time between two lines about progress.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows the fleet until the manager is gone. `drawn` says that how far it is
/// on its way is shown in place.
pub(super) async fn show(mut fleet: watch::Receiver<Summary>, drawn: bool) {
    let mut last = Summary::default();
    let mut began = Instant::now();
    while fleet.changed().await.is_ok() {
        // Changes come in bursts; the newest is worth a line.
        tokio::time::sleep(PAUSE).await;
        let now = fleet.borrow_and_update().clone();
        say(&last, &now, &mut began, drawn);
        last = now;
    }
}

fn say(last: &Summary, now: &Summary, began: &mut Instant, drawn: bool) {
    for trouble in now
        .trouble
        .iter()
        .filter(|trouble| !last.trouble.contains(trouble))
    {
        warn!("{trouble}");
    }
    if let Some(words) = now.rescale.as_ref() {
        if last.rescale.as_ref() != Some(words) {
            info!("{words}");
        }
        // Shards come and go on purpose.
        return;
    }
    if now.planned == 0 || now.stopping || now.ready == last.ready && now.leased == last.leased {
        return;
    }
    let whole = now.ready == now.planned;
    if last.planned > 0 && last.ready == last.planned && !whole {
        *began = Instant::now();
    }
    if whole {
        info!(
            "all {} shards are ready after {:.1} s",
            now.planned,
            began.elapsed().as_secs_f64()
        );
    } else if !drawn {
        // Where it is not shown in place.
        let (planned, ready, leased, waiting) = (now.planned, now.ready, now.leased, now.waiting);
        info!(
            "{ready} of {planned} shards ready, {leased} leased, {waiting} waiting for their turn to identify"
        );
    }
}
