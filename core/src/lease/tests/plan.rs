//! What becomes of leases when their shards leave the plan.

use super::*;

#[test]
fn a_shard_out_of_the_plan_ends_with_its_holders_next_beat() {
    let mut table = table(4);
    for n in 0..4 {
        claim(&mut table, n, at(0));
    }
    table.set_plan(Plan::of_total(2), at(0));
    assert_eq!(beat(&mut table, 3, at(1)), Err(BeatError::OutOfPlan));
    assert_eq!(beat(&mut table, 3, at(2)), Err(BeatError::UnknownSession));
    assert_eq!(
        claim(&mut table, 9, at(2)),
        Some(0),
        "shard 0 of 2 is not shard 0 of 4"
    );
}

#[test]
fn a_holder_that_understands_is_asked_to_leave_and_keeps_its_lease_meanwhile() {
    let mut table = table(4);
    claim(&mut table, 3, at(0));
    let shard = table.leases().next().unwrap().0;
    let beat = |table: &mut LeaseTable, now| {
        let report = BeatReport {
            state: Some(ShardState::Ready),
            ..BeatReport::default()
        };
        table.beat(&Holder::External, session(3), report, now)
    };
    assert!(!beat(&mut table, at(0)).unwrap().drain);
    table.set_plan(Plan::of_total(2), at(1));
    assert!(beat(&mut table, at(30)).unwrap().drain);
    table.set_plan(Plan::of_total(4), at(31));
    assert!(beat(&mut table, at(60)).unwrap().drain, "it leaves already");
    assert!(table.lease(shard).unwrap().is_leaving());
    assert_eq!(
        beat(&mut table, at(1) + DRAIN_WITHIN),
        Err(BeatError::OutOfPlan),
        "not for ever"
    );
}

#[test]
fn a_holder_that_was_not_told_to_leave_stays_when_the_plan_comes_back() {
    let mut table = table(4);
    claim(&mut table, 3, at(0));
    table.set_plan(Plan::of_total(2), at(1));
    table.set_plan(Plan::of_total(4), at(2));
    assert_eq!(beat(&mut table, 3, at(3)).map(|_| ()), Ok(()));
}
