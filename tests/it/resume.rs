//! Planned stops cost no identify and lose no event.

use std::time::Instant;

use crate::support::{Shardman, Sim, eventually, let_pass, seconds};

#[test]
fn a_fleet_that_is_stopped_and_started_resumes_every_session() {
    let sim = Sim::start(32, 16, &["--events-per-second", "200"]);
    let mut shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    shardman.wait_ready(seconds(40.0));
    let unheard = sim.report().unheard;
    let_pass(seconds(1.0));
    assert!(shardman.stop().success());
    assert_eq!(sim.report().connections.live, 0);
    let_pass(seconds(1.0));

    let started = Instant::now();
    shardman.start();
    eventually(seconds(20.0), "all 32 resume", || {
        (sim.report().resume_count == 32).then_some(())
    });
    eprintln!(
        "stopped and started: 32 shards resumed {:?} after the start",
        started.elapsed()
    );
    shardman.wait_ready(seconds(10.0));
    let guilds: i64 = shardman
        .fleet()
        .shards
        .iter()
        .filter_map(|shard| shard.guild_count)
        .sum();
    assert_eq!(
        guilds, 320,
        "a resumed session lists no guilds, the count is handed on"
    );
    sim.load(0.0);
    eventually(seconds(5.0), "everything is delivered", || {
        (sim.report().events_total.pending == 0).then_some(())
    });
    let report = sim.report();
    assert_eq!((report.identify_count, report.resume_failures), (32, 0));
    assert_eq!(
        (report.events_total.lost, report.unheard),
        (0, unheard),
        "{:?}",
        report.events_total
    );
    sim.assert_clean();
    assert!(shardman.stop().success());
}
