//! A peer that keeps closing sees few connections and fewer identifies.

use std::time::Duration;

use crate::support::{Script, Seen, Setup, World};

/// Long enough for tens of thousands of connections without a back-off.
const WATCH: Duration = Duration::from_secs(8);

/// Counts connections and identifies over [`WATCH`]. With ceilings of 1, 2, 4
/// and 8 seconds, five connections are usual and more than a dozen impossible
/// for all practical purposes.
async fn check(script: Script, connections_max: usize) {
    let mut world = World::start(Setup {
        script,
        ..Setup::default()
    })
    .await;
    world.until(|seen| matches!(seen, Seen::Opened)).await;
    let seen = world.within(WATCH, |_| false).await.unwrap_err();
    let connections = 1 + seen.iter().filter(|seen| matches!(seen, Seen::Opened)).count();
    let identifies = seen.iter().filter(|seen| seen.is_op(2)).count();
    println!("{script:?}: {connections} connections, {identifies} identifies");
    assert!(
        (2..=connections_max).contains(&connections),
        "{script:?}: {connections} connections"
    );
    assert!(identifies <= connections, "{script:?}: {identifies} identifies");
}

#[tokio::test]
async fn a_peer_that_closes_after_hello_is_left_alone() {
    check(Script::CloseAfterHello, 14).await;
}

#[tokio::test]
async fn a_peer_that_closes_after_identify_is_left_alone() {
    check(Script::CloseAfterIdentify, 14).await;
}

#[tokio::test]
async fn a_peer_that_closes_after_ready_is_left_alone() {
    check(Script::CloseAfterReady, 14).await;
}

#[tokio::test]
async fn a_peer_that_keeps_asking_to_reconnect_is_left_alone() {
    check(Script::ReconnectAfterReady, 14).await;
}

#[tokio::test]
async fn a_peer_that_invalidates_every_session_is_left_alone() {
    check(Script::InvalidSession, 8).await;
}

/// The gateway client may reconnect unseen within a poll, so each of our
/// attempts can cost some connections, but never more than its polls allow.
#[tokio::test]
async fn a_peer_that_drops_the_connection_is_left_alone() {
    check(Script::DropAfterUpgrade, 168).await;
}
