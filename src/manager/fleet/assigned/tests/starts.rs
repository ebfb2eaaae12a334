//! Session starts for all shards of a process, and what is not done to it while
//! they are missing.

use shardman_core::health::Unwell;
use shardman_core::reconcile::StopCause;
use tokio::sync::oneshot;

use super::*;
use crate::manager::handle::{ConnectRequest, IdentifyPlan};

const BLOCKED: StopCause = StopCause::Unwell(Unwell::Blocked);

/// All leases are beaten; the holders of these shards lag behind.
fn run_blocked(den: &mut Den, shards: &[u32], seconds: u64) {
    for _ in 0..seconds / 5 {
        den.run(5 * SECOND);
        let leases = den.fleet.table.leases();
        let leases: Vec<_> = leases.map(|(shard, lease)| (shard, lease.session)).collect();
        for (shard, session) in leases {
            let lags = shards.contains(&shard.number());
            let report = BeatReport {
                loop_lag: Some(if lags { 20.0 } else { 0.0 }),
                ..BeatReport::default()
            };
            let now = den.clock.now();
            assert!(den.fleet.beat(&Caller::External, session, report, now).is_ok());
        }
    }
}

#[test]
fn a_process_is_started_only_with_session_starts_for_all_its_shards() {
    let mut den = Den::new(1, 4, 4, 4, (4, 40));
    den.run(60 * SECOND);
    assert_eq!(den.starts, 0, "four of 40 are the reserve");
    den.discord_says(4, (7, 40));
    den.run(60 * SECOND);
    assert_eq!(den.starts, 0);
    let trouble = den.fleet.assigned_trouble().unwrap();
    assert!(
        trouble.contains("needs 4 session starts and 3 may be used"),
        "{trouble}"
    );
    den.inbox.push(Request::SpendReserve);
    den.run(SECOND);
    assert_eq!(den.starts, 1);
    assert_eq!(den.fleet.assigned_trouble(), None);
    assert_eq!(den.fleet.starts_free(), 3);
}

#[test]
fn no_process_is_stopped_for_order_that_could_not_identify_its_shards_again() {
    // Four of 40 are the reserve, and two may be used once the first run has
    // had four.
    let mut den = Den::new(1, 4, 4, 4, (10, 40));
    den.run(60 * SECOND);
    assert_eq!((den.starts, den.fleet.starts_free()), (1, 2));
    run_blocked(&mut den, &[0, 1, 2, 3], 900);
    let worker = den.bots[0].worker.clone();
    for cause in [StopCause::Room, StopCause::Retired] {
        den.fleet.stop_if_it_may(worker.clone(), cause);
        let trouble = den.fleet.assigned_trouble().unwrap();
        assert!(
            trouble.contains("needs 4 session starts and may use 2"),
            "{trouble}"
        );
    }
    den.turn();
    assert_eq!(den.stopped, [], "neither for health nor for order");
    den.discord_says(4, (40, 40));
    run_blocked(&mut den, &[0, 1, 2, 3], 120);
    assert_eq!(den.stopped, [(worker, BLOCKED)]);
}

#[test]
fn a_cure_that_the_disk_did_not_take_is_tried_again_once_it_is_back() {
    let mut den = Den::new(1, 2, 2, 2, (100, 100));
    den.refused_stops = 1;
    run_blocked(&mut den, &[0, 1], 700);
    assert_eq!(den.refused_stops, 0);
    assert_eq!(den.stopped, [(den.bots[0].worker.clone(), BLOCKED)]);
}

#[test]
fn a_place_for_which_nothing_is_left_keeps_no_other_worker_from_its_cure() {
    let mut den = Den::new(1, 3, 1, 3, (100, 100));
    run_blocked(&mut den, &[0], 700);
    let first = den.bots[0].worker.clone();
    assert_eq!(den.stopped, [(first.clone(), BLOCKED)]);
    den.bots.remove(0);
    den.inbox.push(Request::Worker(WorkerEvent::Gone {
        worker: first,
        exit: Exit::Code(0),
        last_lines: Vec::new(),
    }));
    // Somebody else takes its shard in the moment in which it is free.
    let (reply, _answer) = oneshot::channel();
    let request = ConnectRequest {
        caller: Caller::External,
        identify: IdentifyPlan::Ask,
        idempotency_key: None,
    };
    den.inbox.push(Request::Connect { request, reply });
    run_blocked(&mut den, &[1], 700);
    assert_eq!(den.starts, 3, "nothing is left for the first one");
    assert_eq!(den.stopped[1..], [(den.bots[0].worker.clone(), BLOCKED)]);
}
