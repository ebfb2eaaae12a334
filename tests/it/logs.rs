//! What workers print: bounded on the disk, and told to whoever asks.

use std::time::{Duration, Instant};

use crate::support::{Shardman, call, eventually, seconds};

const MIB: u64 = 1024 * 1024;

#[test]
fn a_worker_that_floods_its_output_does_not_fill_the_disk() {
    let command = "timeout 4 yes flood; for i in $(seq 60); do echo last words $i; done; exit 78";
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "1"), ("WORKER_COMMAND", command)]);
    let log = shardman.folder().join("data/logs/discord-0.log");
    let older = log.with_extension("log.1");
    let length = |path| std::fs::metadata(path).map_or(0, |file: std::fs::Metadata| file.len());
    let (mut most, mut slowest) = (0, Duration::ZERO);
    eventually(seconds(20.0), "the flood ends", || {
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
    assert!(most < 2048 * MIB, "{most} bytes between two looks");
    assert!(slowest < seconds(1.0), "{slowest:?}");
    eventually(seconds(2.0), "the rest is cut as well", || {
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
    assert!(shardman.stop().success());
}
