//! Totals that Discord does not take, and fleets that outgrow theirs.

use crate::support::{Shardman, Sim, eventually, let_pass, seconds};

/// The report's broken rules of one kind, and the shards that are live.
fn refused(sim: &Sim, rule: &str) -> (usize, usize) {
    let report = sim.report();
    let broken = report.broken_rules.iter().filter(|broken| broken.rule == rule);
    (
        broken.count(),
        report.ready.iter().filter(|shard| shard.live).count(),
    )
}

#[test]
fn a_very_large_bot_runs_the_multiple_that_discord_recommends() {
    let sim = Sim::start(10, 16, &["--large-bot-multiple", "16"]);
    let mut shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    shardman.wait_ready(seconds(40.0));
    assert_eq!(shardman.fleet().planned, 16);
    sim.assert_clean();
    assert!(shardman.stop().success());
}

/// Every shard is refused once with the code, and nobody tries again and again.
fn refuses_all(flags: &[&str], settings: &[(&str, &str)], rule: &str, code: u16) {
    let sim = Sim::start(2, 2, flags);
    let mut all = vec![
        ("DISCORD_API_URL", sim.url()),
        ("BOT_TOKEN", "t".to_owned()),
        ("RESCALE", "off".to_owned()),
    ];
    all.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let all: Vec<_> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut shardman = Shardman::up(&all);
    eventually(seconds(20.0), "both shards are refused", || {
        (refused(&sim, rule).0 == 2).then_some(())
    });
    let_pass(seconds(12.0));
    assert_eq!(refused(&sim, rule), (2, 0), "nobody tries again");
    let words = format!("close code {code}");
    assert!(shardman.log().contains(&words), "{}", shardman.log());
    assert_eq!(sim.report().closes, [(code, 2)].into());
    sim.assert_clean_but(&[rule]);
    assert!(shardman.stop().success());
}

#[test]
fn a_total_that_is_no_multiple_is_refused_once_a_shard_and_not_stormed() {
    refuses_all(
        &["--large-bot-multiple", "16"],
        &[("MAX_SHARDS", "2")],
        "invalid_shard",
        4010,
    );
}

#[test]
fn shards_that_would_be_too_full_are_refused_once_each_and_not_stormed() {
    refuses_all(&["--guilds", "5002"], &[], "sharding_required", 4011);
}

#[test]
fn the_beats_of_a_growing_bot_say_how_full_its_shards_are() {
    let sim = Sim::start(2, 2, &["--guilds", "3000"]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("MAX_SECONDS", "3"),
        ("RESCALE", "off"),
    ]);
    shardman.wait_ready(seconds(40.0));
    for count in [3000, 4400, 4390] {
        sim.fault(&format!(r#"{{"kind":"guilds","count":{count}}}"#));
        eventually(seconds(10.0), "the counts follow", || {
            let shards = shardman.fleet().shards;
            shards
                .iter()
                .all(|shard| shard.guild_count == Some(count / 2))
                .then_some(())
        });
    }
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn a_slow_ready_is_waited_for_while_the_line_moves_on() {
    let sim = Sim::start(2, 1, &[]);
    sim.fault(r#"{"kind":"slow_ready","ms":8000}"#);
    let mut shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    shardman.wait_ready(seconds(40.0));
    let report = sim.report();
    assert_eq!(report.identify_count, 2);
    assert!(
        report.min_gap_ms[&0] < 7_000,
        "the bucket is free five seconds after IDENTIFY, not after READY"
    );
    assert_eq!(report.all_ready_at_ms.map(|ms| ms < 20_000), Some(true));
    sim.assert_clean();
    assert!(shardman.stop().success());
}
