//! Where a bot needs no cache, its gateway session goes to the next holder of
//! its shard: no IDENTIFY, and no event lost.

use rustix::process::Signal;

use super::{Bench, DISCORD_PY, GATEWAY_JS, HIKARI, Library, messages, wait_for_more_messages};
use crate::support::{eventually, seconds, signal, tools};

const RESUMING_PY: Library = Library {
    name: "discord.py, resume=True",
    after: "tests/it/clients/resuming.py",
    ..DISCORD_PY
};
const RESUMING_HIKARI: Library = Library {
    name: "hikari, resume=True",
    after: "tests/it/clients/resuming_hikari.py",
    ..HIKARI
};

/// Killed, then stopped: both times the next one resumes.
fn hands_over(library: &Library) {
    let mut bench = Bench::new(1, "3");
    let mut first = bench.bot(library, library.after);
    bench.wait_ready(1);
    wait_for_more_messages(&first);
    eventually(seconds(10.0), "the guilds are counted", || {
        (bench.shardman.fleet().shards[0].guild_count == Some(20)).then_some(())
    });
    let unheard = bench.sim.report().unheard;
    signal(first.pid(), Signal::KILL);
    first.wait(seconds(5.0));
    eventually(seconds(10.0), "its shard is free", || {
        (bench.held() == 0).then_some(())
    });

    let mut second = bench.bot(library, library.after);
    eventually(seconds(20.0), "the next one resumes", || {
        (bench.sim.report().resume_count == 1).then_some(())
    });
    wait_for_more_messages(&second);
    signal(second.pid(), Signal::TERM);
    assert!(second.wait(seconds(15.0)).success());
    assert_eq!(bench.held(), 0);

    let mut third = bench.bot(library, library.after);
    eventually(seconds(20.0), "and the one after", || {
        (bench.sim.report().resume_count == 2).then_some(())
    });
    bench.wait_ready(1);
    bench.sim.load(0.0);
    eventually(seconds(10.0), "everything is delivered", || {
        (bench.sim.report().events_total.pending == 0).then_some(())
    });
    let report = bench.sim.report();
    eprintln!("{}: {:?}", library.name, report.events_total);
    assert_eq!((report.identify_count, report.resume_failures), (1, 0));
    assert_eq!((report.events_total.lost, report.unheard), (0, unheard));
    assert!(messages(&third) > 0);
    signal(third.pid(), Signal::TERM);
    assert!(third.wait(seconds(15.0)).success());
    bench.sim.assert_clean();
    assert!(bench.shardman.stop().success());
}

#[test]
fn a_bare_gateway_goes_on_where_the_last_one_stopped() {
    if tools("@discordjs/ws that resumes", &[GATEWAY_JS.probe]) {
        hands_over(&GATEWAY_JS);
    }
}

#[test]
fn a_discord_py_bot_without_need_of_a_cache_goes_on_where_the_last_one_stopped() {
    if tools("a discord.py bot that resumes", &[RESUMING_PY.probe]) {
        hands_over(&RESUMING_PY);
    }
}

#[test]
fn a_hikari_bot_without_need_of_a_cache_goes_on_where_the_last_one_stopped() {
    if tools("a hikari bot that resumes", &[RESUMING_HIKARI.probe]) {
        hands_over(&RESUMING_HIKARI);
    }
}
