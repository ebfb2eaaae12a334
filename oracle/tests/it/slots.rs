//! How a slot is held, lost and let go, by who holds it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use shardman_core::wire::ShardState;
use shardman_oracle::slot::{Holder, SlotError};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::fleet::{eventually, place};
use crate::leases::fleet;

#[test]
fn a_slot_is_let_go_by_who_is_not_well_or_has_the_wrong_secret() {
    let Some(mut fleet) = fleet("a_slot_is_let_go", &[]) else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let (held, mut lease) = watch::channel(None);
    let (_state, state) = watch::channel(ShardState::Ready);
    let well = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let stop = CancellationToken::new();
    let mut own = place(&fleet, "scouts");
    own.is_child = true;
    let holding = runtime.spawn({
        let (well, stop) = (Arc::clone(&well), stop.clone());
        async move {
            let healthy = || well.load(std::sync::atomic::Ordering::Relaxed);
            Holder::new(&own, state, healthy, &held).run(&stop).await
        }
    });
    let wait_for = |lease: &mut watch::Receiver<_>, is_held: bool| {
        let changed = lease.wait_for(|lease: &Option<_>| lease.is_some() == is_held);
        let changed = async {
            tokio::time::timeout(Duration::from_secs(15), changed)
                .await
                .map(drop)
        };
        runtime.block_on(changed).unwrap();
    };
    wait_for(&mut lease, true);
    eventually(5.0, "its state is told", || {
        (fleet.pool("scouts").shards[0].state == "ready").then_some(())
    });

    well.store(false, std::sync::atomic::Ordering::Relaxed);
    wait_for(&mut lease, false);
    eventually(15.0, "the manager takes the slot back", || {
        (fleet.pool("scouts").leased == 0).then_some(())
    });
    well.store(true, std::sync::atomic::Ordering::Relaxed);
    wait_for(&mut lease, true);
    eventually(5.0, "it has a slot again", || {
        (fleet.pool("scouts").leased == 1).then_some(())
    });

    let begun = Instant::now();
    fleet.kill();
    let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), holding).await });
    assert_eq!(ended.unwrap().unwrap(), Err(SlotError::NoManager));
    println!("a child of 3 s ends {:?} after its manager", begun.elapsed());
    assert_eq!(SlotError::NoManager.exit_code(), 69);
    fleet.start();

    let mut stranger = place(&fleet, "scouts");
    let wrong = fleet.client().on_behalf_of(HeaderValue::from_static("wrong"));
    stranger.manager = Arc::new(wrong);
    let (held, _lease) = watch::channel(None);
    let (_state, state) = watch::channel(ShardState::Ready);
    let ended = runtime.block_on(Holder::new(&stranger, state, || true, &held).run(&stop));
    assert_eq!(ended, Err(SlotError::WrongSecret));
    assert_eq!(SlotError::WrongSecret.exit_code(), 77);
}
