//! Statuses and headers of refusals.

use super::*;
use crate::manager::{BeatError, ConnectError, DisconnectError, IdentifyError};

fn status_of(refusal: Refusal) -> u16 {
    refusal.into_response().status().as_u16()
}

#[test]
fn an_unavailable_manager_says_when_to_come_back() {
    let refusal = Refusal::Unavailable {
        reason: "the disk is full".to_owned(),
        retry_seconds: 7,
    };
    let response = refusal.into_response();
    assert_eq!(response.status().as_u16(), 503);
    assert_eq!(response.headers()[RETRY_AFTER], "7");
}

#[test]
fn a_wrong_method_names_the_right_ones() {
    let response = Refusal::WrongMethod { allow: "GET, POST" }.into_response();
    assert_eq!(response.status().as_u16(), 405);
    assert_eq!(response.headers()[ALLOW], "GET, POST");
}

#[test]
fn the_two_versions_name_a_full_plan_differently() {
    let current = Refusal::connect(ConnectError::NoShardFree, Version::Current);
    let older = Refusal::beat(BeatError::OutOfPlan, Version::Older);
    assert_eq!(current.status_and_detail().1, "No Shards Available");
    assert_eq!(older.status_and_detail().1, "Too Many Shards");
    assert_eq!((status_of(current), status_of(older)), (401, 401));
}

#[test]
fn a_lost_session_is_not_found() {
    assert_eq!(
        status_of(Refusal::beat(BeatError::UnknownSession, Version::Current)),
        404
    );
    assert_eq!(status_of(DisconnectError::UnknownSession.into()), 404);
    assert_eq!(status_of(IdentifyError::UnknownSession.into()), 404);
    assert_eq!(status_of(IdentifyError::OutOfPlan.into()), 401);
}
