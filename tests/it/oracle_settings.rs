//! `ORACLE`: what can be wrong with it is said before anything is started. The
//! oracle itself is run by the tests of its own crate.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::support::{How, Program, SECRET, Shardman, eventually, get, post, seconds, signal};

/// In place of the oracle: says how it was started.
const PROGRAM: &str = r#"#!/bin/sh
echo "run $1 of $SHARDMAN_POOL at $0 model ${ORACLE_MODEL-none} url ${ORACLE_URL-none} stop ${ORACLE_STOP_SECONDS-none}"
echo "keys ${SHARD_API_KEYS-none} token ${BOT_TOKEN-none} nice $(nice) oom $(cat /proc/self/oom_score_adj)"
[ -e /proc/self/autogroup ] && echo "session nice $(sed 's/.*nice //' /proc/self/autogroup)"
while :; do sleep 0.1; done
"#;

const BOT: &str = "echo keys ${SHARD_API_KEYS-none} nice $(nice) oom $(cat /proc/self/oom_score_adj); while :; do sleep 0.1; done";

/// A folder with a program that has the oracle's name, and a model beside it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("shardman-oracle");
        fs::write(&program, PROGRAM).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("model.gguf"), b"GGUF\x03\0\0\0").unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn program(&self, command: &str, path: &Path, variables: &[(&str, &str)]) -> (i32, String) {
        let mut program = Program::new(own(self).to_str().unwrap())
            .arg(command)
            .dir(self.path())
            .env("PATH", path.to_str().unwrap())
            .env("LISTEN", "127.0.0.1:1");
        for (name, value) in variables {
            program = program.env(name, value);
        }
        let (code, _, error) = program.run();
        (code, error)
    }
}

/// The manager in a folder of its own: the one that it is built into may hold
/// an oracle.
fn own(place: &Place) -> PathBuf {
    let folder = place.path().join("own");
    let program = folder.join("shardman");
    if !program.exists() {
        fs::create_dir_all(&folder).unwrap();
        let built = env!("CARGO_BIN_EXE_shardman");
        fs::hard_link(built, &program)
            .or_else(|_| fs::copy(built, &program).map(drop))
            .unwrap();
    }
    program
}

#[track_caller]
fn refused((code, error): (i32, String), words: &[&str]) {
    assert_eq!(code, 78, "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn what_is_wrong_with_an_oracle_is_one_line_with_its_remedy() {
    let place = Place::new();
    fs::write(place.path().join("page.gguf"), "<html>").unwrap();
    let check = |variables: &[(&str, &str)]| place.program("check", place.path(), variables);
    for (variables, words) in [
        (
            &[("ORACLE", "missing.gguf")][..],
            &["ORACLE is 'missing.gguf'", "No such file", "fetch-model.sh"][..],
        ),
        (
            &[("ORACLE", "page.gguf")],
            &["ORACLE is 'page.gguf'", "no GGUF file"],
        ),
        (
            &[("ORACLE", "fake"), ("SCOUT_MODEL", "page.gguf")],
            &["SCOUT_MODEL is 'page.gguf'", "no GGUF file"],
        ),
        (&[("ORACLE", "own")], &["ORACLE is 'own'", "no GGUF file"]),
        (
            &[("ORACLE", "fake"), ("SCOUTS", "many")],
            &["SCOUTS is 'many'", "whole number from 0 to 64"],
        ),
        (
            &[("ORACLE", "fake"), ("ORACLE_LISTEN", "8000")],
            &["ORACLE_LISTEN is '8000'", "address and a port"],
        ),
        (
            &[("ORACLE", "fake"), ("ORACLE_LISTEN", "127.0.0.1:0")],
            &["ORACLE_LISTEN is '127.0.0.1:0'", "give a port"],
        ),
        (
            &[("ORACLE", "fake"), ("ORACLE_LISTEN", "127.0.0.1:1")],
            &["ORACLE_LISTEN is '127.0.0.1:1'", "another port"],
        ),
        (
            &[("ORACLE", "fake"), ("POOLS", "web,scouts")],
            &["POOLS names 'scouts'", "leave it out of POOLS"],
        ),
        (
            &[("ORACLE", "fake"), ("POOL_SCOUTS_SIZE", "5")],
            &["POOL_SCOUTS_SIZE", "SCOUTS says how many"],
        ),
    ] {
        refused(check(variables), words);
    }
}

#[test]
fn a_missing_oracle_is_said_with_how_to_build_it() {
    let place = Place::new();
    let nowhere = place.path().join("own");
    for command in ["check", "up"] {
        let told = place.program(command, &nowhere, &[("ORACLE", "fake")]);
        refused(
            told,
            &[
                "shardman-oracle",
                "cargo build --release -p shardman-oracle",
                "PATH",
            ],
        );
    }
}

#[test]
fn an_oracle_is_found_on_the_path_or_beside_the_manager_and_needs_no_bot() {
    let place = Place::new();
    let good = |path: &Path, variables: &[(&str, &str)]| {
        let (code, error) = place.program("check", path, variables);
        assert_eq!(code, 0, "{error}");
        assert!(error.contains("no bot is run"), "{error}");
    };
    good(place.path(), &[("ORACLE", "model.gguf")]);
    // Without scouts their name is free.
    good(
        place.path(),
        &[("ORACLE", "fake"), ("SCOUTS", "0"), ("POOLS", "scouts")],
    );
    // What is set for an oracle that is not there is no harm.
    let (code, error) = place.program(
        "check",
        place.path(),
        &[("SCOUTS", "5"), ("ORACLE_LISTEN", "127.0.0.1:1"), ("ORACLE", "")],
    );
    assert!(code == 78 && error.contains("BOT_TOKEN"), "{error}");
    let beside = own(&place).with_file_name("shardman-oracle");
    fs::rename(place.path().join("shardman-oracle"), beside).unwrap();
    good(Path::new("/nowhere"), &[("ORACLE", "model.gguf")]);
}

fn log_of(shardman: &Shardman, worker: &str) -> String {
    get(shardman.address, &format!("/workers/{worker}/logs"), SECRET).body
}

#[track_caller]
fn says(shardman: &Shardman, worker: &str, words: &str, times: usize) -> String {
    let what = format!("{worker} says {words}");
    eventually(seconds(20.0), &what, || {
        Some(log_of(shardman, worker)).filter(|log| log.matches(words).count() >= times)
    })
}

#[test]
fn an_oracle_and_its_scouts_stand_back_for_shards_and_are_told_what_they_need() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("it's \"the\" {shards} $HOME");
    fs::create_dir(&place).unwrap();
    let program = place.join("shardman");
    fs::copy(env!("CARGO_BIN_EXE_shardman"), &program).unwrap();
    let oracle = place.join("shardman-oracle");
    fs::write(&oracle, PROGRAM).unwrap();
    fs::set_permissions(&oracle, fs::Permissions::from_mode(0o755)).unwrap();
    let model = place.join("a model.gguf");
    fs::write(&model, b"GGUF\x03\0\0\0").unwrap();
    let small = place.join("small.gguf");
    fs::copy(&model, &small).unwrap();
    let how = How {
        program: Some(program),
        ..How::default()
    };
    let settings = [
        ("ORACLE", model.to_str().unwrap()),
        ("ORACLE_LISTEN", "0.0.0.0:8123"),
        ("SCOUT_MODEL", small.to_str().unwrap()),
        ("SHARD_API_KEYS", "key-1"),
        ("MAX_SHARDS", "1"),
        ("WORKER_COMMAND", BOT),
        ("BOT_TOKEN", "a-token-of-a-bot"),
        ("DISCORD_API_URL", "http://127.0.0.1:9"),
    ];
    let mut shardman = Shardman::up_as(tempfile::tempdir().unwrap(), &settings, how);

    let run = |command: &str, pool: &str| format!("run {command} of {pool} at {}", oracle.display());
    let told = format!("{} model {}", run("serve", "oracle"), model.display());
    says(&shardman, "oracle-0", &told, 1);
    says(&shardman, "oracle-0", "keys key-1 token none nice 10 oom 500", 1);
    if Path::new("/proc/self/autogroup").exists() {
        says(&shardman, "oracle-0", "session nice 10", 1);
    }
    for scout in ["scouts-0", "scouts-1"] {
        let told = format!(
            "{} model {} url http://127.0.0.1:8123",
            run("scout", "scouts"),
            small.display()
        );
        says(&shardman, scout, &told, 1);
        says(&shardman, scout, "keys none token none nice 15 oom 500", 1);
    }

    // A reload keeps them as they are, and their next start as well.
    fs::write(shardman.folder().join(".env"), "STOP_SECONDS=3\n").unwrap();
    let done = post(shardman.address, "/reload", SECRET, "");
    assert!(
        done.status == 200 && done.body.contains("STOP_SECONDS"),
        "{}",
        done.body
    );
    let pid = |shardman: &Shardman| {
        let pools = shardman.fleet().pools;
        let mut workers = pools.into_iter().flat_map(|pool| pool.workers);
        let scout = workers.find(|worker| worker.worker == "scouts-1")?;
        scout.pid
    };
    let before = eventually(seconds(10.0), "its pid is known", || pid(&shardman));
    signal(before, Signal::KILL);
    says(&shardman, "scouts-1", "url http://127.0.0.1:8123", 2);
    let names: Vec<_> = shardman.fleet().pools.into_iter().map(|pool| pool.pool).collect();
    assert_eq!(names, ["oracle", "scouts"]);
    assert!(shardman.stop().success());
}

#[test]
fn a_bot_beside_an_oracle_does_not_stand_back_and_knows_none_of_its_keys() {
    let place = Place::new();
    let how = How {
        program: Some(own(&place)),
        ..How::default()
    };
    let path = format!("{}:{}", place.path().display(), std::env::var("PATH").unwrap());
    let settings = [
        ("PATH", &*path),
        ("ORACLE", "fake"),
        ("SCOUTS", "0"),
        ("SHARD_API_KEYS", "key-1"),
        ("POOLS", "web"),
        ("POOL_WEB_COMMAND", BOT),
    ];
    let mut shardman = Shardman::up_as(tempfile::tempdir().unwrap(), &settings, how);
    says(&shardman, "oracle-0", "model fake url none stop 7", 1);
    says(&shardman, "oracle-0", "keys key-1", 1);
    let oom = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let nice = rustix::process::getpriority_process(None).unwrap();
    says(
        &shardman,
        "web-0",
        &format!("keys none nice {nice} oom {}", oom.trim()),
        1,
    );
    assert!(shardman.stop().success());
}

#[test]
fn the_image_of_the_oracle_is_that_of_the_manager_with_one_program_more() {
    let text = include_str!("../../deploy/oracle.Dockerfile");
    let after = |word: &str| {
        let mut lines = text.lines().rev();
        lines.find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
    };
    assert_eq!(after("FROM"), Some("shardman"));
    let manifest = include_str!("../../oracle/Cargo.toml");
    let program = "shardman-oracle";
    assert!(manifest.contains(&format!("name = \"{program}\"")));
    assert!(after("RUN").unwrap().ends_with(&format!("--package {program}")));
    let copied = after("COPY").unwrap();
    assert!(
        copied.contains(&format!("/target/release/{program} ")),
        "{copied}"
    );
    assert!(
        copied.ends_with(&format!(" /usr/local/bin/{program}")),
        "{copied}"
    );
    let (name, listens) = after("ENV").unwrap().split_once('=').unwrap();
    let port = |address: &str| address.rsplit_once(':').unwrap().1.to_owned();
    let example = include_str!("../../.env.example").lines();
    let mut declared = example.filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    assert_eq!(port(listens), port(declared.next().unwrap()));
    assert_eq!(after("EXPOSE"), Some(&*port(listens)));
}
