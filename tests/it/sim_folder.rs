//! `up --sim` in a folder where something else ran before.

use std::fs;
use std::io::Read as _;

use crate::support::{How, Program, Shardman, eventually, seconds};

/// A fleet of `N` shards on a simulated Discord, with a secret of its own.
fn up(shards: &str) -> Shardman {
    let folder = tempfile::tempdir().unwrap();
    // What a manager with a bot made here.
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/secret"), "of-another-manager\n").unwrap();
    let how = How {
        script: Some("exec \"$0\" up --sim \"$N\" --sim-max-concurrency 16".to_owned()),
        ..How::default()
    };
    Shardman::up_as(folder, &[("SECRET", ""), ("N", shards)], how)
}

fn run(shardman: &Shardman, args: &[&str]) -> (i32, String, String) {
    program(shardman, args).run()
}

fn program(shardman: &Shardman, args: &[&str]) -> Program {
    let url = format!("http://{}", shardman.address);
    let mut all = args.to_vec();
    all.extend(["--url", &url]);
    Program::shardman(&all).dir(shardman.folder())
}

/// Waits until `status` says that all is well with so many shards.
#[track_caller]
fn ready(shardman: &Shardman, shards: u32) {
    eventually(seconds(60.0), &format!("{shards} shards are ready"), || {
        let (code, text, error) = run(shardman, &["status"]);
        assert!(error.is_empty(), "{error}");
        let all = format!("{shards} of {shards} shards ready");
        (code == 0 && text.starts_with(&all)).then_some(())
    });
}

#[test]
fn of_two_secrets_the_commands_use_the_one_that_the_manager_knows() {
    let mut shardman = up("2");
    ready(&shardman, 2);
    let mut events = program(&shardman, &["events", "-f", "-n", "1"]).pipe();
    let mut first = [0; 1];
    events.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    events.kill().unwrap();
    events.wait().unwrap();
    for args in [
        &["why", "0"][..],
        &["logs", "discord-0"],
        &["restart", "discord-0", "--no-wait"],
    ] {
        let (code, text, error) = run(&shardman, args);
        assert_eq!(code, 0, "{args:?}: {text}{error}");
    }
    // Where it knows neither, all commands say so alike.
    fs::write(shardman.folder().join("data/sim/secret"), "of-nobody\n").unwrap();
    let (code, _, error) = run(&shardman, &["status"]);
    assert_eq!(code, 1, "{error}");
    for word in [
        "refused the secret in the data folder",
        "OPERATOR_SECRET",
        "--data-dir",
    ] {
        assert!(error.contains(word), "{word}: {error}");
    }
    assert_eq!(run(&shardman, &["events", "-f"]).2, error);
    assert!(shardman.stop().success());
}

#[test]
fn another_number_of_simulated_shards_is_what_is_meant() {
    let mut shardman = up("2");
    ready(&shardman, 2);
    let (code, text, error) = run(&shardman, &["plan", "2", "--json"]);
    assert_eq!(code, 1, "{error}");
    assert!(text.contains("\"seconds\":0.0"), "nothing takes no time: {text}");
    let (code, _, error) = run(&shardman, &["rescale", "4"]);
    assert_eq!(code, 0, "{error}");
    ready(&shardman, 4);
    for shards in [3, 2] {
        assert!(shardman.stop().success());
        shardman.set("N", &shards.to_string());
        shardman.start();
        ready(&shardman, shards);
    }
    // Also in the middle of a change.
    let (code, _, error) = run(&shardman, &["rescale", "4", "--no-wait"]);
    assert_eq!(code, 0, "{error}");
    assert!(shardman.stop().success());
    shardman.start();
    ready(&shardman, 2);
    let (_, text, _) = run(&shardman, &["plan"]);
    assert_eq!(text, "2 shards\n");
    assert!(shardman.stop().success());
}

#[test]
fn a_plan_without_shards_says_why_there_are_none() {
    let pools = [("POOLS", "jobs"), ("POOL_JOBS_COMMAND", "sleep 600")];
    let waits = [("BOT_TOKEN", "t"), ("DISCORD_API_URL", "http://127.0.0.1:1")];
    for (settings, expected) in [
        (pools, "no shards: this"),
        (waits, "no shards yet: waiting for Discord"),
    ] {
        let mut shardman = Shardman::up(&settings);
        let plan = || program(&shardman, &["plan"]).env("SECRET", "test-secret").run();
        let (code, text, error) = plan();
        assert_eq!(code, 0, "{error}");
        assert!(text.starts_with(expected), "{text}");
        assert!(shardman.stop().success());
    }
}
