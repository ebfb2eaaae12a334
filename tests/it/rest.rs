//! Discord's REST in trouble: the manager waits as long as it is told to.

use std::time::Instant;

use crate::support::{Shardman, Sim, eventually, seconds};

/// Starts a fleet of two while REST has trouble; answers with what the log
/// says, once the fleet is ready.
fn starts_through(fault: &str, words: &str) -> (Sim, String) {
    let sim = Sim::start(2, 2, &[]);
    sim.fault(fault);
    let mut shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    eventually(seconds(10.0), "the fleet view says why nothing starts", || {
        let trouble = shardman.fleet().trouble;
        trouble.iter().any(|line| line.contains(words)).then_some(())
    });
    shardman.wait_ready(seconds(30.0));
    assert!(
        shardman.fleet().trouble.is_empty(),
        "{:?}",
        shardman.fleet().trouble
    );
    let log = shardman.log();
    assert!(shardman.stop().success());
    sim.assert_clean();
    (sim, log)
}

#[test]
fn a_rate_limit_at_start_up_is_waited_for_and_not_asked_again_before() {
    let began = Instant::now();
    let fault = r#"{"kind":"rest","status":429,"times":2,"retry_after":3}"#;
    let (sim, log) = starts_through(fault, "wants 3 s of patience");
    assert!(began.elapsed() > seconds(6.0));
    assert_eq!(
        sim.report().rest,
        [(200, 1), (429, 2)].into(),
        "asked as often as it was told to"
    );
    assert_eq!(log.matches("next try in 3 s").count(), 2, "{log}");
}

#[test]
fn server_errors_at_start_up_are_tried_again_with_a_growing_pause() {
    let (sim, _) = starts_through(r#"{"kind":"rest","status":503,"times":3}"#, "503");
    assert_eq!(sim.report().rest, [(200, 1), (503, 3)].into());
}
