//! A fleet comes up inside Discord's limits, and goes down leaving nothing.

use crate::support::{Program, Shardman, Sim, eventually, seconds, signal, webhook};

#[test]
fn one_command_brings_up_a_simulated_fleet_and_ctrl_c_ends_it_all() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("up.log");
    let listen = format!("127.0.0.1:{}", crate::support::free_port());
    let mut up = Program::shardman(&["up", "--sim", "8", "--listen", &listen])
        .dir(folder.path())
        .spawn(&log);
    eventually(seconds(60.0), "all shards are ready", || {
        up.log().contains("all 8 shards are ready").then_some(())
    });
    assert!(up.log().contains("of 8 shards ready"), "progress is visible");
    assert!(up.descendants().len() > 1, "there are workers");

    let (code, table, error) = Program::shardman(&["status", "--url", &format!("http://{listen}")])
        .dir(folder.path())
        .run();
    assert_eq!(code, 0, "{error}");
    assert!(table.starts_with("8 of 8 shards ready"), "{table}");

    signal(up.pid(), rustix::process::Signal::INT);
    assert!(up.wait(seconds(12.0)).success());
    assert_eq!(up.descendants(), Vec::<i32>::new());
}

/// Time from the first IDENTIFY until all are ready, over the time that
/// Discord's rules make everybody wait.
fn start_up_ratio(shards: u32, max_concurrency: u32) -> f64 {
    let sim = Sim::start(shards, max_concurrency, &[]);
    let mut shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    shardman.wait_ready(seconds(90.0));
    sim.assert_clean();
    let report = sim.report();
    assert_eq!(report.identify_count, u64::from(shards));
    assert_eq!(
        report.identifies_per_bucket.len(),
        usize::try_from(max_concurrency.min(shards)).unwrap()
    );
    assert!(
        report.min_gap_ms.values().all(|gap| *gap >= 5000),
        "{:?}",
        report.min_gap_ms
    );
    let ready = report.all_ready_at_ms.expect("all were ready");
    assert!(shardman.stop().success());
    let floor = (shards.div_ceil(max_concurrency) - 1) * 5000;
    let ratio = ready as f64 / f64::from(floor);
    eprintln!(
        "{shards} shards at max_concurrency {max_concurrency}: all ready after {ready} ms, {ratio:.3} of the floor"
    );
    ratio
}

/// The best of at most three: only the program may be slow, not the machine.
#[track_caller]
fn assert_close_to_the_floor(shards: u32, max_concurrency: u32) {
    let mut ratios = Vec::new();
    while ratios.len() < 3 {
        ratios.push(start_up_ratio(shards, max_concurrency));
        if ratios.last().is_some_and(|ratio| *ratio <= 1.10) {
            return;
        }
    }
    panic!("{shards} shards at max_concurrency {max_concurrency}: {ratios:?} of the floor");
}

#[test]
fn thirty_two_shards_start_sixteen_at_a_time_close_to_the_floor() {
    assert_close_to_the_floor(32, 16);
}

#[test]
fn six_shards_start_one_at_a_time_close_to_the_floor() {
    assert_close_to_the_floor(6, 1);
}

#[test]
fn a_refused_token_stops_with_one_clear_line() {
    let sim = Sim::start(1, 1, &["--token", "right"]);
    let folder = tempfile::tempdir().unwrap();
    let (code, _, error) = Program::shardman(&["up", "--listen", "127.0.0.1:0"])
        .dir(folder.path())
        .env("DISCORD_API_URL", &sim.url())
        .env("BOT_TOKEN", "wrong")
        .run();
    assert_eq!(code, 78, "{error}");
    assert_eq!(error.matches("BOT_TOKEN was refused").count(), 1, "{error}");
}

#[test]
fn an_unreachable_discord_is_waited_for() {
    let sim = Sim::start(2, 2, &[]);
    sim.fault(r#"{"kind":"rest","status":503}"#);
    let mut shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    eventually(seconds(10.0), "it says that it waits", || {
        shardman.log().contains("Discord cannot be asked").then_some(())
    });
    let answer = shardman.connect();
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.header("retry-after").is_some());
    sim.clear_faults();
    shardman.wait_ready(seconds(30.0));
    assert!(shardman.stop().success());
    sim.assert_clean();
}

#[test]
fn a_refused_token_takes_nothing_from_what_runs() {
    let sim = Sim::start(2, 2, &["--token", "right"]);
    let (url, messages) = webhook(&["204 No Content"]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "right"),
        ("WEBHOOK_URL", &url),
    ]);
    shardman.wait_ready(seconds(30.0));
    let workers = shardman.workers();
    shardman.kill();
    shardman.set("BOT_TOKEN", "wrong");
    shardman.start();
    eventually(seconds(15.0), "it says so", || {
        let trouble = shardman.fleet().trouble;
        trouble
            .iter()
            .any(|words| words.contains("BOT_TOKEN was refused"))
            .then_some(())
    });
    eventually(seconds(15.0), "an alert says so", || {
        messages
            .try_iter()
            .find(|message| message.to_string().contains("BOT_TOKEN was refused"))
    });
    shardman.wait_ready(seconds(10.0));
    assert_eq!(shardman.workers(), workers, "they were adopted and go on");
    assert!(shardman.stop().success());
    sim.assert_clean();
}

#[test]
fn a_refused_token_takes_nothing_from_other_pools() {
    let sim = Sim::start(1, 1, &["--token", "right"]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "wrong"),
        ("POOLS", "web"),
        ("POOL_WEB_COMMAND", "exec sleep 1000"),
        ("POOL_WEB_REGISTER", "process"),
    ]);
    eventually(seconds(15.0), "the token is refused and the pool runs", || {
        let pool = shardman.fleet().pools.into_iter().next()?;
        let refused = shardman.log().contains("BOT_TOKEN was refused");
        (refused && pool.workers.first()?.pid.is_some()).then_some(())
    });
    assert!(shardman.stop().success());
}

#[test]
fn a_worker_that_stops_already_keeps_its_time_when_the_manager_stops() {
    let command =
        "trap 'touch began; sleep 2; touch ended; exit 0' TERM; touch ready; while :; do sleep 0.1; done";
    let mut shardman = Shardman::up(&[
        ("MAX_SHARDS", "1"),
        ("STOP_SECONDS", "20"),
        ("WORKER_COMMAND", command),
    ]);
    let made = |shardman: &Shardman, name: &str| shardman.folder().join(name).exists();
    eventually(seconds(10.0), "it can be stopped", || {
        made(&shardman, "ready").then_some(())
    });
    let url = format!("http://{}", shardman.address);
    let (code, _, error) = Program::shardman(&["restart", "discord-0", "--no-wait", "--url", &url])
        .env("SECRET", "test-secret")
        .run();
    assert_eq!(code, 0, "{error}");
    eventually(seconds(10.0), "it begins to stop", || {
        made(&shardman, "began").then_some(())
    });
    assert!(!made(&shardman, "ended"), "it is not done when the manager stops");
    assert!(shardman.stop().success());
    assert!(made(&shardman, "ended"), "it was given its time");
}
