//! What workers print: bounded on the disk, and told to whoever asks.

use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Program, Shardman, call, eventually, get, seconds, signal, webhook};

const SECRET: &str = "test-secret";

const MIB: u64 = 1024 * 1024;

#[test]
fn a_worker_that_floods_its_output_does_not_fill_the_disk() {
    // 20 MB a second, so that the disk is left for the others.
    let command = "for i in $(seq 40); do head -c 2000000 /dev/zero | tr '\\0' x | fold -w 99; sleep 0.1; done; \
                   for i in $(seq 60); do echo last words $i; done; exit 78";
    let (url, alerts) = webhook(&["204 No Content"]);
    let settings = [
        ("MAX_SHARDS", "1"),
        ("WORKER_COMMAND", command),
        ("WEBHOOK_URL", &*url),
    ];
    let mut shardman = Shardman::up(&settings);
    let log = shardman.folder().join("data/logs/discord-0.log");
    let older = log.with_extension("log.1");
    let length = |path| std::fs::metadata(path).map_or(0, |file: std::fs::Metadata| file.len());
    let (mut most, mut slowest) = (0, Duration::ZERO);
    eventually(seconds(40.0), "the flood ends", || {
        most = most.max(length(&log) + length(&older));
        assert!(length(&older) <= 8 * MIB);
        let asked = Instant::now();
        assert_eq!(call(shardman.address, "GET", "/health", &[], None).status, 200);
        slowest = slowest.max(asked.elapsed());
        shardman.log().contains("is halted").then_some(())
    });
    eprintln!(
        "at most {} MiB of logs, /health in at most {slowest:?}",
        most / MIB
    );
    assert!(most > 8 * MIB, "there was a flood");
    assert!(most < 64 * MIB, "{most} bytes of 80 million are there at once");
    assert!(slowest < seconds(5.0), "{slowest:?}");
    eventually(seconds(5.0), "the rest is cut as well", || {
        (length(&log) + length(&older) <= 16 * MIB).then_some(())
    });
    let manager = shardman.log();
    for line in 11..=60 {
        assert!(
            manager.contains(&format!("said: last words {line} ")),
            "line {line}"
        );
    }
    assert!(!manager.contains("said: last words 10 "), "the last fifty");
    let alert = alerts.recv_timeout(seconds(10.0)).unwrap();
    let told = alert["embeds"][0]["description"].as_str().unwrap();
    assert!(
        told.contains("\nlast words 11\n") && told.contains("\nlast words 60\n"),
        "{told}"
    );
    assert!(shardman.stop().success());
}

/// A worker that prints two hundred lines and stays.
const TALKS: &str = "for i in $(seq 200); do echo line $i; done; exec sleep 1000";

#[test]
fn an_operator_reads_the_log_of_a_worker_and_of_nothing_else() {
    let settings = [
        ("MAX_SHARDS", "1"),
        ("WORKER_COMMAND", TALKS),
        ("OPERATOR_SECRET", "op"),
    ];
    let mut shardman = Shardman::up(&settings);
    let logs = |query: &str| get(shardman.address, &format!("/workers/discord-0/logs{query}"), "op");
    eventually(seconds(10.0), "the last line", || {
        logs("?lines=1").body.contains("line 200").then_some(())
    });
    let last = logs("?lines=2");
    assert_eq!((last.status, last.body.as_str()), (200, "line 199\nline 200\n"));
    assert_eq!(last.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(last.header("shardman-log-next"), Some("1692"));
    assert_eq!(logs("").body.lines().count(), 100);
    assert_eq!(logs("?lines=99999999").body.lines().count(), 200);
    assert_eq!(logs("?after=1683").body, "line 200\n");
    assert_eq!(logs("?after=1692").body, "");
    assert_eq!(logs("?lines=x").status, 422);

    let path = "/workers/discord-0/logs";
    assert_eq!(get(shardman.address, path, SECRET).status, 403, "not an operator");
    assert_eq!(call(shardman.address, "GET", path, &[], None).status, 422);
    for worker in [
        "discord-1",
        "discord-0.log",
        "discord-0%00",
        "..",
        "..%2Fsecret",
        "..%2F..%2Fmanager",
        "%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%2Flogs%2Fdiscord-0",
        ".%2Fdiscord-0",
        "%2Fvar%2Flog%2Fsyslog",
        "%ff",
        "%20",
    ] {
        let answer = get(shardman.address, &format!("/workers/{worker}/logs"), "op");
        assert_eq!(answer.status, 404, "{worker}");
        assert!(
            answer.body.contains("Worker Not Found"),
            "{worker}: {}",
            answer.body
        );
    }
    assert!(shardman.stop().success());
}

#[test]
fn logs_are_followed_over_a_cut_and_over_restarts_of_worker_and_manager() {
    let command = "echo run $$; while ! test -e flood; do sleep 0.1; done; \
                   head -c 9000000 /dev/zero | tr '\\0' x | fold -w 999; echo flooded $$; \
                   while test -e flood; do sleep 0.1; done; echo dry $$; exec sleep 1000";
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "1"), ("WORKER_COMMAND", command)]);
    let url = format!("http://{}", shardman.address);
    let follow = Program::shardman(&["logs", "discord-0", "-f", "--url", &url]).env("SECRET", SECRET);
    let mut follow = follow.dir(shardman.folder()).pipe();
    let heard = Arc::new(Mutex::new(String::new()));
    let (mut output, ear) = (follow.stdout.take().unwrap(), Arc::clone(&heard));
    let listener = std::thread::spawn(move || {
        let mut bytes = [0; 65536];
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            ear.lock()
                .unwrap()
                .push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    });
    let hear = |what: &str| {
        let heard = || heard.lock().unwrap().contains(what).then_some(());
        eventually(seconds(20.0), what, heard);
    };
    let pid = eventually(seconds(10.0), "it runs", || Some(shardman.workers().first()?.1));
    hear(&format!("run {pid}\n"));
    let flood = shardman.folder().join("flood");
    std::fs::write(&flood, "").unwrap();
    hear(&format!("flooded {pid}\n"));
    let log = shardman.folder().join("data/logs/discord-0.log");
    eventually(seconds(15.0), "the cut", || {
        (std::fs::metadata(&log).unwrap().len() < MIB).then_some(())
    });
    std::fs::remove_file(&flood).unwrap();
    hear(&format!("dry {pid}\n"));

    signal(pid, Signal::KILL);
    let next = eventually(seconds(10.0), "the next run", || {
        let (_, next) = shardman.workers().into_iter().next()?;
        (next != pid).then_some(next)
    });
    hear(&format!("run {next}\n"));
    shardman.kill();
    shardman.start();
    signal(next, Signal::KILL);
    let last = eventually(seconds(10.0), "a run of the next manager", || {
        let (_, last) = shardman.workers().into_iter().next()?;
        (last != next).then_some(last)
    });
    hear(&format!("run {last}\n"));
    let heard = heard.lock().unwrap().clone();
    for line in [
        format!("run {pid}\n"),
        format!("dry {pid}\n"),
        format!("run {next}\n"),
    ] {
        assert_eq!(heard.matches(&line).count(), 1, "{line}");
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
    listener.join().unwrap();
    assert!(shardman.stop().success());
}
