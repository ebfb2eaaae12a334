//! Stopping: quick, resumable, and without a word too many.

use std::time::{Duration, Instant};

use shardman_core::wire::ShardState;
use shardman_worker::Exit;

use crate::support::{BeatMode, Seen, Setup, World};

#[tokio::test]
async fn a_stop_leaves_the_session_resumable_and_hands_the_lease_back() {
    let mut world = World::start(Setup::default()).await;
    world.until_ready().await;
    let begun = Instant::now();
    world.stop();
    assert_eq!(world.exit().await, Exit::Stopped);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let seen = world.until(|seen| matches!(seen, Seen::Release)).await;
    assert!(
        seen.iter().any(|seen| matches!(seen, Seen::Closed(Some(4000)))),
        "{seen:#?}"
    );
    let Some(Seen::Beat(last)) = seen.iter().rev().find(|seen| matches!(seen, Seen::Beat(_))) else {
        panic!()
    };
    assert_eq!(last.state, Some(ShardState::Stopping));
    assert_eq!(last.gateway.as_ref().unwrap().sequence, 1);
}

#[tokio::test]
async fn a_lease_that_is_granted_to_who_stops_is_handed_back() {
    let mut world = World::start(Setup {
        holds_grants: true,
        ..Setup::default()
    })
    .await;
    world.until(|seen| matches!(seen, Seen::Connect)).await;
    world.stop();
    world.orders.grant();
    assert_eq!(world.exit().await, Exit::Stopped);
    world.until(|seen| matches!(seen, Seen::Release)).await;
}

#[tokio::test]
async fn a_stop_is_quick_when_the_manager_is_silent() {
    let mut world = World::start(Setup::default()).await;
    world.until_ready().await;
    world.orders.beats(BeatMode::Silent);
    let begun = Instant::now();
    world.stop();
    assert_eq!(world.exit().await, Exit::Stopped);
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_child_whose_manager_is_gone_stops_by_itself() {
    let mut world = World::start(Setup {
        max_seconds: 1.0,
        is_child: true,
        ..Setup::default()
    })
    .await;
    world.until_ready().await;
    world.orders.vanish();
    assert_eq!(world.exit().await, Exit::NoManager);
}
