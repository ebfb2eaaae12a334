//! A gateway that closes every connection must not be stormed.

use crate::support::{Shardman, Sim, let_pass, seconds};

/// How long each storm lasts. Five minutes where time is no object.
fn storm_seconds() -> f64 {
    if std::env::var_os("SHARDMAN_TEST_LONG").is_some() {
        300.0
    } else {
        45.0
    }
}

fn storm(phase: &str) {
    let sim = Sim::start(4, 1, &[]);
    sim.fault(&format!(
        r#"{{"kind":"close_after","phase":"{phase}","code":4000}}"#
    ));
    let mut shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    let lasts = storm_seconds();
    let_pass(seconds(lasts / 2.0));
    let half = sim.report();
    let_pass(seconds(lasts / 2.0));
    let whole = sim.report();
    let (first, second) = (half.identify_count, whole.identify_count - half.identify_count);
    let (opened, later) = (
        half.connections.opened,
        whole.connections.opened - half.connections.opened,
    );
    eprintln!("closed after {phase}: identifies {first} then {second}, connections {opened} then {later}");
    sim.assert_clean();
    assert!(
        whole.min_gap_ms.values().all(|gap| *gap >= 5000),
        "{:?}",
        whole.min_gap_ms
    );
    assert!(
        (first + second) as f64 <= lasts / 5.0 + 1.0,
        "at most one per bucket in 5 s"
    );
    assert!(
        later <= opened,
        "connections fall with the back-off: {opened} then {later}"
    );
    assert!(
        opened + later < 4 * 20,
        "four shards back off: {opened} then {later}"
    );
    sim.clear_faults();
    assert!(shardman.stop().success());
}

#[test]
fn a_gateway_that_closes_after_hello_is_not_stormed() {
    storm("hello");
}

#[test]
fn a_gateway_that_closes_after_identify_is_not_stormed() {
    storm("identify");
}

#[test]
fn a_gateway_that_closes_after_ready_is_not_stormed() {
    storm("ready");
}
