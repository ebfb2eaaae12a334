//! The budget of session starts is never used up, whatever waits, and no
//! worker takes more than its share of it.

use crate::support::{Program, Shardman, Sim, eventually, let_pass, seconds, webhook};

/// `shardman` with these arguments, as an operator of that manager.
#[track_caller]
fn operate(shardman: &Shardman, args: &[&str]) -> String {
    let url = format!("http://{}", shardman.address);
    let mut program = Program::shardman(args)
        .dir(shardman.folder())
        .env("SECRET", "test-secret");
    for arg in ["--url", &url] {
        program = program.arg(arg);
    }
    let (code, output, error) = program.run();
    assert!(matches!(code, 0 | 3), "{error}");
    output
}

fn in_trouble(shardman: &Shardman, words: &str) -> Option<()> {
    let trouble = shardman.fleet().trouble;
    trouble
        .iter()
        .any(|trouble| trouble.contains(words))
        .then_some(())
}

#[test]
fn the_reserve_is_kept_until_an_operator_gives_it_and_the_last_start_is_never_exceeded() {
    let sim = Sim::start(7, 7, &["--budget", "20", "--budget-remaining", "6"]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("BUDGET_RESERVE", "15"),
    ]);
    eventually(seconds(20.0), "three shards start, three starts are kept", || {
        in_trouble(&shardman, "kept in reserve")
    });
    eventually(seconds(5.0), "the three are ready", || {
        (shardman.fleet().ready == 3).then_some(())
    });
    let_pass(seconds(6.0));
    assert_eq!(sim.report().identify_count, 3);

    operate(&shardman, &["start", "--spend-reserve"]);
    eventually(seconds(20.0), "the reserve is used and no more", || {
        in_trouble(&shardman, "used up")
    });
    let_pass(seconds(6.0));
    let report = sim.report();
    assert_eq!(
        (
            report.identify_count,
            report.budget.remaining,
            report.token_resets
        ),
        (6, 0, 0)
    );
    assert_eq!(shardman.fleet().ready, 6, "what runs, runs on");
    sim.assert_clean();
    assert!(shardman.stop().success());
}

/// Of two workers the first crashes six seconds after each start: late enough
/// that its bucket is open again each time.
fn one_crashes() -> String {
    let program = env!("CARGO_BIN_EXE_shardman");
    format!(
        "test $SHARDMAN_WORKER_ID = discord-0 || exec {program} worker; \
         {program} worker & sleep 6; kill -9 $!; echo out of cheese; exit 1"
    )
}

#[test]
fn a_worker_that_crashes_again_and_again_gets_its_share_of_the_starts_and_no_more() {
    // A session that nobody can resume: each crash costs a start.
    let sim = Sim::start(2, 2, &["--budget", "20", "--resume-window-ms", "1"]);
    let (webhook, messages) = webhook(&["204 No Content"]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("WORKER_COMMAND", &one_crashes()),
        ("WORKER_STARTS", "20"),
        ("WEBHOOK_URL", &webhook),
    ];
    let mut shardman = Shardman::up(&settings);
    eventually(seconds(90.0), "the first worker has had its share", || {
        in_trouble(
            &shardman,
            "worker discord-0 has had 4 of Discord's 20 session starts",
        )
    });
    let alert = eventually(seconds(5.0), "somebody is woken", || {
        let message = messages.try_recv().ok()?.to_string();
        message.contains("discord-0 has had 4").then_some(message)
    });
    assert!(
        alert.contains("most often: crash") && alert.contains("out of cheese"),
        "{alert}"
    );

    let fleet = shardman.fleet();
    let spent: Vec<_> = fleet
        .starts
        .by_worker
        .iter()
        .map(|worker| (&*worker.worker, worker.starts, &*worker.cause, worker.share))
        .collect();
    assert_eq!(
        spent,
        [
            ("discord-0", 4, "crash", Some(4)),
            ("discord-1", 1, "first start", Some(4))
        ]
    );
    assert_eq!(
        (fleet.starts.remaining, fleet.starts.reserve),
        (Some(15), Some(2))
    );
    let status = operate(&shardman, &["status"]);
    assert!(
        status.contains("starts  15 of 20 left (2 in reserve), resets in 24 h"),
        "{status}"
    );
    assert!(
        status.contains("last 24 h: discord-0 4 (crash), discord-1 1 (first start)"),
        "{status}"
    );

    shardman.kill();
    shardman.start();
    eventually(seconds(20.0), "the next manager knows what was spent", || {
        in_trouble(&shardman, "worker discord-0 has had 4")
    });
    assert_eq!(sim.report().identify_count, 5);
    operate(&shardman, &["start", "--spend-reserve"]);
    eventually(seconds(30.0), "an operator's word lets it start again", || {
        (sim.report().identify_count > 5).then_some(())
    });
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn a_plain_client_that_connects_again_and_again_is_told_to_wait() {
    let sim = Sim::start(1, 1, &["--budget", "20"]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("WORKERS", "0"),
        ("WORKER_STARTS", "10"),
    ]);
    let connect = || {
        let answer = shardman.connect();
        if answer.status == 200 {
            let session = answer.json()["session_id"].as_str().unwrap().to_owned();
            let path = format!("/disconnect?session_id={session}");
            let given_back = crate::support::get(shardman.address, &path, "test-secret");
            assert_eq!(given_back.status, 204);
        }
        answer
    };
    eventually(seconds(20.0), "Discord has answered", || {
        (connect().status == 200).then_some(())
    });
    assert_eq!(connect().status, 200);
    let refused = connect();
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(
        refused
            .body
            .contains("the external worker of shard 0/1 has had 2 of Discord's 20 session starts"),
        "{}",
        refused.body
    );
    assert!(refused.header("retry-after").is_some());
    assert!(in_trouble(&shardman, "the external worker of shard 0/1").is_some());
    operate(&shardman, &["start", "--spend-reserve"]);
    eventually(seconds(5.0), "an operator's word lets it", || {
        (connect().status == 200).then_some(())
    });
    assert!(shardman.fleet().trouble.is_empty());
    assert!(shardman.stop().success());
}
