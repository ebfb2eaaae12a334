//! What a worker is given when it starts, and what it is not.

use rustix::process::Signal;

use crate::support::{Shardman, eventually, seconds, signal};

fn proc(pid: i32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

/// A worker that sleeps, and its pid once it is what it is to be.
#[track_caller]
fn sleeper(shardman: &Shardman) -> i32 {
    eventually(seconds(10.0), "the worker sleeps", || {
        let (_, pid) = shardman.workers().into_iter().next()?;
        (proc(pid, "comm") == "sleep\n").then_some(pid)
    })
}

#[test]
fn a_worker_starts_with_a_session_of_its_own_and_nothing_that_others_left() {
    // What a careless parent may leave to the manager.
    let careless = "trap '' HUP INT USR1; umask 0002; exec 7</etc/passwd 8</etc/passwd";
    let settings = [
        ("MAX_SHARDS", "1"),
        ("WORKER_COMMAND", "exec sleep 1000"),
        ("WORKER_OPEN_FILES", "256"),
    ];
    let mut shardman = Shardman::up_after(careless, &settings);
    let manager = shardman.pid();
    assert!(
        std::path::Path::new(&format!("/proc/{manager}/fd/7")).exists(),
        "the manager has it"
    );
    let pid = sleeper(&shardman);
    let mut descriptors: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    descriptors.sort();
    assert_eq!(descriptors, ["0", "1", "2"]);
    let input = std::fs::read_link(format!("/proc/{pid}/fd/0")).unwrap();
    assert_eq!(input.to_str(), Some("/dev/null"));
    let stat = proc(pid, "stat");
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let own = pid.to_string();
    assert_eq!(fields[1], manager.to_string(), "the parent");
    assert_eq!(fields[2..5], [&own, &own, "0"], "group, session, no terminal");
    let status = proc(pid, "status");
    assert_eq!(line(&status, "Umask:"), "0022");
    for signals in ["SigIgn:", "SigBlk:", "SigPnd:"] {
        let set = u64::from_str_radix(line(&status, signals), 16).unwrap();
        // The C library keeps 32 and 33 to itself.
        assert_eq!(set & !(0b11 << 31), 0, "{signals} {set:x}");
    }
    assert!(line(&proc(pid, "limits"), "Max open files").starts_with("256 "));
    assert!(!line(&proc(manager, "limits"), "Max open files").starts_with("256 "));
    assert_eq!(
        std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
        shardman.folder()
    );
    assert!(shardman.stop().success());
}

#[test]
fn a_worker_is_started_again_although_the_managers_program_was_deleted() {
    let copy = "cp \"$0\" program; set -- up; exec ./program \"$@\"";
    let settings = [("MAX_SHARDS", "1"), ("WORKER_COMMAND", "exec sleep 1000")];
    let mut shardman = Shardman::up_after(copy, &settings);
    let pid = sleeper(&shardman);
    std::fs::remove_file(shardman.folder().join("program")).unwrap();
    signal(pid, Signal::KILL);
    eventually(seconds(10.0), "the next run", || {
        let (_, next) = shardman.workers().into_iter().next()?;
        (next != pid && proc(next, "comm") == "sleep\n").then_some(())
    });
    assert!(shardman.stop().success());
}

#[test]
fn the_umask_of_a_worker_is_never_more_open_than_that_of_its_manager() {
    let settings = [("MAX_SHARDS", "1"), ("WORKER_COMMAND", "exec sleep 1000")];
    let mut shardman = Shardman::up_after("umask 0077", &settings);
    let pid = sleeper(&shardman);
    assert_eq!(line(&proc(pid, "status"), "Umask:"), "0077");
    assert!(shardman.stop().success());
}

#[test]
fn a_worker_that_takes_too_much_memory_ends_and_its_manager_does_not() {
    // `tail` keeps a line until it ends, and this one does not.
    let command = "test -e ran && exec sleep 1000; touch ran; head -c 400000000 /dev/zero | tail | wc -c; \
                   exit 1";
    let settings = [
        ("MAX_SHARDS", "1"),
        ("WORKER_COMMAND", command),
        ("WORKER_MEMORY", "64M"),
    ];
    let mut shardman = Shardman::up(&settings);
    sleeper(&shardman);
    let fleet = shardman.fleet();
    let exit = fleet.workers[0].last_exit.as_deref();
    eprintln!("memory limit by {:?}: {exit:?}", fleet.memory_limit);
    let log = shardman.log();
    match fleet.memory_limit.as_deref() {
        Some("cgroup") => assert_eq!(exit, Some("out of memory (WORKER_MEMORY)")),
        Some("process") => {
            assert_eq!(exit, Some("exit code 1"));
            assert!(log.contains("said: tail: memory exhausted"), "{log}");
            assert!(log.contains("each process of a worker by itself"), "{log}");
        }
        other => panic!("{other:?}"),
    }
    assert!(shardman.stop().success());
}
