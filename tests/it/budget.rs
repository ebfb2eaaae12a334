//! The budget of session starts is never used up, whatever waits.

use crate::support::{Program, Shardman, Sim, eventually, let_pass, seconds};

#[test]
fn the_reserve_is_kept_until_an_operator_gives_it_and_the_last_start_is_never_exceeded() {
    let sim = Sim::start(6, 6, &["--budget", "20", "--budget-remaining", "5"]);
    let mut shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    let in_trouble = |words: &str| {
        shardman
            .fleet()
            .trouble
            .iter()
            .any(|trouble| trouble.contains(words))
            .then_some(())
    };
    eventually(seconds(20.0), "three shards start, two starts are kept", || {
        in_trouble("kept in reserve")
    });
    eventually(seconds(5.0), "the three are ready", || {
        (shardman.fleet().ready == 3).then_some(())
    });
    let_pass(seconds(6.0));
    assert_eq!(sim.report().identify_count, 3);

    let (code, _, error) = Program::shardman(&[
        "start",
        "--spend-reserve",
        "--url",
        &format!("http://{}", shardman.address),
    ])
    .dir(shardman.folder())
    .env("SECRET", "test-secret")
    .run();
    assert_eq!(code, 0, "{error}");
    eventually(seconds(20.0), "the reserve is used and no more", || {
        in_trouble("used up")
    });
    let_pass(seconds(6.0));
    let report = sim.report();
    assert_eq!(
        (
            report.identify_count,
            report.budget.remaining,
            report.token_resets
        ),
        (5, 0, 0)
    );
    assert_eq!(shardman.fleet().ready, 5, "what runs, runs on");
    sim.assert_clean();
    assert!(shardman.stop().success());
}
