//! A bot that cannot go on ends as it would without a helper, and keeps no
//! shard from others.

use super::{Bench, DISCORD_JS, DISCORD_PY, HIKARI, Library};
use crate::support::{eventually, seconds, tools};

/// Discord's REST refuses the token.
fn ends(library: &Library) {
    let mut bench = Bench::new(1, "20");
    eventually(seconds(10.0), "the plan is there", || {
        (bench.shardman.fleet().planned == 1).then_some(())
    });
    bench.sim.fault(r#"{"kind":"rest","status":401}"#);
    let mut bot = bench.bot(library, library.after);
    let status = bot.wait(seconds(30.0));
    assert_eq!(status.code(), Some(1), "{}", bot.log());
    assert_eq!(bench.held(), 0, "its shard is given back");
    assert_eq!(bench.sim.report().connections.opened, 0);
    // Another bot's token is not the fleet's.
    assert!(
        bench
            .shardman
            .fleet()
            .trouble
            .iter()
            .all(|line| !line.contains("4004"))
    );
    assert!(bench.shardman.stop().success());
}

#[test]
fn a_discord_py_bot_with_a_refused_token_ends() {
    if tools("a discord.py bot with a refused token", &[DISCORD_PY.probe]) {
        ends(&DISCORD_PY);
    }
}

#[test]
fn a_discord_js_bot_with_a_refused_token_ends() {
    if tools("a discord.js bot with a refused token", &[DISCORD_JS.probe]) {
        ends(&DISCORD_JS);
    }
}

#[test]
fn a_hikari_bot_with_a_refused_token_ends() {
    if tools("a hikari bot with a refused token", &[HIKARI.probe]) {
        ends(&HIKARI);
    }
}
