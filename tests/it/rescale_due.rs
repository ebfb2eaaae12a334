//! Another number of shards is due: said, or done, as `RESCALE` wants it.

use crate::support::{Shardman, Sim, eventually, let_pass, post, seconds, webhook};

const SECRET: &str = "test-secret";

/// Connects a plain client and beats once, with so many guilds.
fn client(shardman: &Shardman, guilds: u32) -> String {
    let session = shardman.connect().json()["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    beat(shardman, &session, guilds);
    session
}

fn beat(shardman: &Shardman, session: &str, guilds: u32) {
    let body = format!("{{\"session_id\":\"{session}\",\"guild_count\":{guilds}}}");
    let answer = post(shardman.address, "/beat", SECRET, &body);
    assert_eq!(answer.status, 204, "{}", answer.body);
}

#[test]
fn four_fifths_of_the_limit_are_told_once_and_nothing_changes_by_itself() {
    let (url, messages) = webhook(&["204 No Content"]);
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0"), ("WEBHOOK_URL", &url)]);
    let sessions = [client(&shardman, 1_999), client(&shardman, 1_500)];
    let_pass(seconds(1.0));
    assert_eq!(shardman.fleet().proposal, None);
    // Guilds join; the next look is half a minute away at most.
    beat(&shardman, &sessions[0], 2_000);
    let proposal = eventually(seconds(40.0), "a proposal", || shardman.fleet().proposal);
    for words in ["2000 guilds, of 2500", "4 shards are due", "`shardman rescale 4`"] {
        assert!(proposal.contains(words), "{proposal}");
    }
    assert_eq!(shardman.fleet().rescale, None);
    eventually(seconds(10.0), "an alert", || {
        let message = messages.try_recv().ok()?.to_string();
        message.contains("4 shards are due").then_some(())
    });
    assert!(shardman.stop().success());
}

#[test]
fn with_auto_it_is_done() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0"), ("RESCALE", "auto")]);
    let _sessions = [client(&shardman, 2_100), client(&shardman, 2_000)];
    let rescale = eventually(seconds(40.0), "a rescale", || shardman.fleet().rescale);
    assert_eq!((rescale.to, rescale.steps), (4, 2));
    assert!(rescale.cause.contains("2100 guilds"), "{}", rescale.cause);
    assert!(shardman.stop().success());
}

#[test]
fn close_code_4011_makes_another_number_due_at_once() {
    let sim = Sim::start(2, 2, &[]);
    let mut shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    shardman.wait_ready(seconds(30.0));
    sim.fault(r#"{"kind":"close","shard":1,"code":4011}"#);
    let proposal = eventually(seconds(10.0), "a proposal", || shardman.fleet().proposal);
    assert!(
        proposal.contains("4011") && proposal.contains("4 shards are due"),
        "{proposal}"
    );
    assert!(
        shardman
            .fleet()
            .trouble
            .iter()
            .all(|words| !words.contains("halted"))
    );
    assert!(shardman.stop().success());
}

#[test]
fn a_number_that_a_large_bot_may_not_run_is_refused_before_anything_identifies() {
    let sim = Sim::start(32, 16, &[]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("MAX_SHARDS", "20"),
    ]);
    let trouble = eventually(seconds(20.0), "the reason", || {
        let trouble = shardman.fleet().trouble;
        trouble
            .into_iter()
            .find(|words| words.contains("MAX_SHARDS is 20"))
    });
    for words in ["multiple of 16", "4010", "take 16 or 32"] {
        assert!(trouble.contains(words), "{trouble}");
    }
    assert_eq!(shardman.connect().status, 503);
    assert_eq!(sim.report().identify_count, 0);
    assert!(shardman.stop().success());
}
