//! What a lease allows, and when it ends.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use shardman_core::wire::{Directive, ShardState};
use shardman_worker::Exit;

use crate::support::{BeatMode, Script, Seen, Setup, World};

#[tokio::test]
async fn a_fresh_shard_identifies_with_a_permit_and_tells_every_state_in_order() {
    let mut world = World::start(Setup::default()).await;
    let seen = world.until_ready().await;
    let position = |wanted: &dyn Fn(&Seen) -> bool| seen.iter().position(wanted).unwrap();
    let order = [
        position(&|seen| matches!(seen, Seen::Connect)),
        position(&|seen| seen.is_state(ShardState::Starting)),
        position(&|seen| matches!(seen, Seen::Opened)),
        position(&|seen| matches!(seen, Seen::Identify)),
        position(&|seen| seen.is_op(2)),
    ];
    assert!(order.is_sorted(), "{seen:#?}");
    let state = |seen: &Seen| {
        if let Seen::Beat(beat) = seen {
            beat.state
        } else {
            None
        }
    };
    let mut states: Vec<_> = seen.iter().filter_map(state).collect();
    states.dedup();
    use ShardState::{Identifying, Ready, Starting, Waiting};
    assert_eq!(states, [Starting, Waiting, Identifying, Ready]);
    let Some(Seen::Beat(ready)) = seen.last() else {
        panic!("{seen:#?}")
    };
    assert_eq!(ready.guild_count, Some(2));
    let point = ready.gateway.as_ref().unwrap();
    assert_eq!((point.session_id.as_str(), point.sequence), ("fresh", 1));
    let Some(Seen::Payload(_, identify)) = seen.iter().find(|seen| seen.is_op(2)) else {
        panic!()
    };
    assert_eq!(identify["shard"], serde_json::json!([1, 4]));
}

#[tokio::test]
async fn an_inherited_session_is_resumed_without_an_identify() {
    let mut world = World::start(Setup {
        resume_sequence: Some(42),
        ..Setup::default()
    })
    .await;
    let seen = world.until_ready().await;
    assert!(
        !seen
            .iter()
            .any(|seen| seen.is_op(2) || matches!(seen, Seen::Identify)),
        "{seen:#?}"
    );
    let Some(Seen::Payload(_, resume)) = seen.iter().find(|seen| seen.is_op(6)) else {
        panic!("{seen:#?}")
    };
    assert_eq!(
        (&resume["seq"], &resume["session_id"]),
        (&42.into(), &"inherited".into())
    );
    assert!(seen.iter().any(|seen| seen.is_state(ShardState::Resuming)));
    let Some(Seen::Beat(ready)) = seen.last() else {
        panic!("{seen:#?}")
    };
    assert_eq!(ready.gateway.as_ref().unwrap().sequence, 43);
    assert_eq!(ready.guild_count, None, "only READY lists the guilds");
}

#[tokio::test]
async fn unanswered_beats_close_the_gateway_before_the_lease_can_be_given_away() {
    let mut world = World::start(Setup {
        max_seconds: 2.0,
        ..Setup::default()
    })
    .await;
    world.until_ready().await;
    world.orders.beats(BeatMode::Silent);
    // The beat in front of this one was the last that can have been answered.
    world.until(|seen| matches!(seen, Seen::Beat(_))).await;
    let silent_since = Instant::now();
    let seen = world.until(|seen| matches!(seen, Seen::Closed(_))).await;
    let took = silent_since.elapsed();
    assert!(matches!(seen.last(), Some(Seen::Closed(Some(4000)))), "{seen:#?}");
    // 0.8 x 2 s, counted from the beat before, which was a third of a second
    // earlier; the lease is given away after 2 s.
    assert!((1.0..2.0).contains(&took.as_secs_f64()), "{took:?}");
    assert!(
        !seen.iter().any(|seen| matches!(seen, Seen::Release)),
        "nobody is told: {seen:#?}"
    );
    // Nobody else has it: with the next answer the same lease goes on.
    world.orders.beats(BeatMode::Answer(Directive::CarryOn));
    let seen = world.until_ready().await;
    assert!(
        !seen.iter().any(|seen| matches!(seen, Seen::Connect)),
        "{seen:#?}"
    );
}

#[tokio::test]
async fn a_proxy_that_answers_for_an_absent_manager_costs_no_lease() {
    let mut world = World::start(Setup {
        max_seconds: 3.0,
        ..Setup::default()
    })
    .await;
    world.until_ready().await;
    world.orders.beats(BeatMode::Proxy(StatusCode::NOT_FOUND));
    world.until(|seen| matches!(seen, Seen::Beat(_))).await;
    world.until(|seen| matches!(seen, Seen::Beat(_))).await;
    world.orders.beats(BeatMode::Answer(Directive::CarryOn));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.extend(world.until(|seen| matches!(seen, Seen::Beat(_))).await);
    }
    assert!(
        !seen.iter().any(|seen| matches!(seen, Seen::Closed(_))),
        "{seen:#?}"
    );
}

#[tokio::test]
async fn a_lost_lease_closes_the_gateway_at_once_is_given_up_then_and_connects_anew() {
    let mut world = World::start(Setup {
        max_seconds: 2.0,
        ..Setup::default()
    })
    .await;
    world.until_ready().await;
    world.orders.beats(BeatMode::Refuse(StatusCode::NOT_FOUND));
    let seen = world.until(|seen| matches!(seen, Seen::Closed(_))).await;
    assert!(matches!(seen.last(), Some(Seen::Closed(Some(4000)))), "{seen:#?}");
    let beats = seen.iter().filter(|seen| matches!(seen, Seen::Beat(_))).count();
    assert!(beats <= 2, "the first 404 is enough: {seen:#?}");
    assert!(
        !seen.iter().any(|seen| matches!(seen, Seen::Release)),
        "nothing is given up while the gateway is open: {seen:#?}"
    );
    world.until(|seen| matches!(seen, Seen::Release)).await;
    world.orders.beats(BeatMode::Answer(Directive::CarryOn));
    world.until(|seen| matches!(seen, Seen::Connect)).await;
    world.until_ready().await;
}

#[tokio::test]
async fn a_drained_shard_is_handed_back_with_its_resume_point() {
    let mut world = World::start(Setup {
        max_seconds: 2.0,
        ..Setup::default()
    })
    .await;
    world.until_ready().await;
    world.orders.beats(BeatMode::Answer(Directive::Drain));
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
async fn a_refused_token_ends_the_worker_and_is_told() {
    let mut world = World::start(Setup {
        script: Script::Refuse(4004),
        ..Setup::default()
    })
    .await;
    assert_eq!(world.exit().await, Exit::BadConfig);
    let told = |seen: &Seen| matches!(seen, Seen::Beat(beat) if beat.close_code == Some(4004));
    let seen = world.until(told).await;
    assert_eq!(seen.iter().filter(|seen| seen.is_op(2)).count(), 1, "{seen:#?}");
}

#[tokio::test]
async fn a_worker_that_is_asked_to_reconnect_resumes_and_keeps_its_lease() {
    let mut world = World::start(Setup {
        max_seconds: 2.0,
        ..Setup::default()
    })
    .await;
    world.until_ready().await;
    world.orders.beats(BeatMode::Answer(Directive::Reconnect));
    let seen = world.until(|seen| matches!(seen, Seen::Closed(_))).await;
    assert!(matches!(seen.last(), Some(Seen::Closed(Some(4000)))), "{seen:#?}");
    // Said again and again, it is obeyed once.
    let seen = world.until(|seen| seen.is_state(ShardState::Ready)).await;
    let opened = seen.iter().filter(|seen| matches!(seen, Seen::Opened)).count();
    assert_eq!(opened, 1, "{seen:#?}");
    assert!(seen.iter().any(|seen| seen.is_op(6)), "RESUME: {seen:#?}");
    assert!(
        !seen
            .iter()
            .any(|seen| seen.is_op(2) || matches!(seen, Seen::Release))
    );
    let mut later = Vec::new();
    for _ in 0..3 {
        later.extend(world.until(|seen| matches!(seen, Seen::Beat(_))).await);
    }
    assert!(
        !later.iter().any(|seen| matches!(seen, Seen::Closed(_))),
        "{later:#?}"
    );
}

#[tokio::test]
async fn a_wrong_secret_ends_the_worker() {
    let mut world = World::start(Setup {
        max_seconds: 1.0,
        ..Setup::default()
    })
    .await;
    world.until_ready().await;
    world.orders.refuse_connect(StatusCode::FORBIDDEN);
    world.orders.beats(BeatMode::Refuse(StatusCode::FORBIDDEN));
    assert_eq!(world.exit().await, Exit::WrongSecret);
}

#[tokio::test]
async fn a_permit_that_nobody_gives_sends_no_identify_when_the_lease_ends() {
    let mut world = World::start(Setup {
        max_seconds: 1.0,
        ..Setup::default()
    })
    .await;
    world.orders.withhold_permits();
    world.until(|seen| matches!(seen, Seen::Identify)).await;
    world.orders.beats(BeatMode::Silent);
    let seen = world
        .within(Duration::from_secs(5), |seen| matches!(seen, Seen::Closed(_)))
        .await
        .unwrap();
    assert!(!seen.iter().any(|seen| seen.is_op(2)), "{seen:#?}");
}
