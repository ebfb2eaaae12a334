//! What workers leave behind when they end, and that it does not outlive them.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rustix::process::Signal;

use crate::support::{Program, Shardman, eventually, let_pass, seconds, signal, tools};

/// Seconds to sleep for that nobody else in the world sleeps for.
pub fn mark() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}.{count:03}", 100_000_000 + u64::from(std::process::id()))
}

/// The processes that sleep for so long, whatever their environment.
pub fn sleeping(mark: &str) -> Vec<i32> {
    let line = format!("sleep\0{mark}\0");
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|args| args == line.as_bytes())
        })
        .collect()
}

/// Ways out: of the group; of the group and the environment; and, last, away
/// from the parent as well.
fn ways_out(mark: &str) -> String {
    format!(
        "setsid sleep {mark} & env -i setsid sleep {mark} & \
         (setsid sleep {mark} &); (env -i setsid sh -c 'sleep {mark} & sleep {mark} &' &)"
    )
}

/// Runs before the manager and takes the control groups away, where we may.
pub const NO_GROUPS: &str = "unshare -m true || exec \"$0\" up; \
    exec unshare -m sh -c 'for at in $(awk \"\\$3 == \\\"cgroup2\\\" { print \\$2 }\" /proc/mounts); do \
    mount -o remount,bind,ro $at; done; exec \"$0\" up' \"$0\"";

/// Two workers; the one that ends has left processes in every way there is, the
/// other one runs on and keeps what it started.
fn worker_ends(mut shardman: Shardman, left: &str, kept: &str) {
    eventually(seconds(15.0), "all of them sleep", || {
        (sleeping(left).len() == 5 && sleeping(kept).len() == 1).then_some(())
    });
    // Time to be looked at, also on a busy host.
    let_pass(seconds(2.5));
    let workers = shardman.workers();
    let leaver = workers.iter().find(|(name, _)| name == "discord-0").unwrap();
    let began = Instant::now();
    signal(leaver.1, Signal::KILL);
    eventually(seconds(10.0), "nothing is left of it", || {
        sleeping(left).is_empty().then_some(())
    });
    let method = shardman.fleet().kill_method;
    let url = format!("http://{}", shardman.address);
    let status = Program::shardman(&["status", "--url", &url]).env("SECRET", "test-secret");
    let said = format!(
        "workers are killed by {}",
        method.replace("cgroup", "control group").replace('_', " ")
    );
    assert!(status.run().1.contains(&said), "{said}");
    eprintln!("{method}: killed to nothing left: {:?}", began.elapsed());
    let stays = shardman
        .workers()
        .into_iter()
        .find(|(name, _)| name == "discord-1");
    assert_eq!(
        stays.as_ref(),
        workers.iter().find(|(name, _)| name == "discord-1")
    );
    assert_eq!(sleeping(kept).len(), 1, "what the other one started");
    assert!(shardman.stop().success());
    assert_eq!(sleeping(kept), [0; 0]);
    assert_eq!(shardman.running().descendants(), [0; 0]);
}

fn settings(left: &str, kept: &str) -> String {
    format!(
        "test -e ran-$SHARDMAN_WORKER_ID && exec sleep 1000; touch ran-$SHARDMAN_WORKER_ID; \
         if test $SHARDMAN_WORKER_ID = discord-0; then {}; \
         else (env -i setsid sleep {kept} &); fi; exec sleep 1000",
        ways_out(left)
    )
}

#[test]
fn nothing_that_a_worker_started_outlives_it() {
    let (left, kept) = (mark(), mark());
    let command = settings(&left, &kept);
    let shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKER_COMMAND", &command)]);
    worker_ends(shardman, &left, &kept);
}

#[test]
fn nothing_outlives_its_worker_either_where_there_are_no_control_groups() {
    let (left, kept) = (mark(), mark());
    // Every process is looked at once a second; one that hides for good within
    // that time stays until no older worker runs.
    let command = settings(&left, &kept)
        .replace("(env -i", "({ sleep 1.5; exec env -i")
        .replace(&format!("sleep {kept} &)"), &format!("sleep {kept}; }} &)"))
        .replace(
            &format!("sleep {left} &' &)"),
            &format!("sleep {left} & exec sleep 1.5'; }} &)"),
        );
    let settings = [("MAX_SHARDS", "2"), ("WORKER_COMMAND", &*command)];
    let shardman = Shardman::up_after(NO_GROUPS, &settings);
    assert_eq!(shardman.fleet().kill_method, "process_group");
    worker_ends(shardman, &left, &kept);
}

/// What a worker left goes with it although another manager started it.
fn next_manager_ends(while_no_manager_runs: bool) {
    let left = mark();
    let command = format!(
        "test -e ran && exec sleep 1000; touch ran; setsid sleep {left} & (env -i setsid sleep {left} &); \
         exec sleep 1000"
    );
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "1"), ("WORKER_COMMAND", &command)]);
    eventually(seconds(10.0), "both sleep", || {
        (sleeping(&left).len() == 2).then_some(())
    });
    let (_, pid) = shardman.workers().remove(0);
    shardman.kill();
    if while_no_manager_runs {
        signal(pid, Signal::KILL);
    }
    shardman.start();
    if !while_no_manager_runs {
        assert_eq!(shardman.workers()[0].1, pid, "it is adopted");
        signal(pid, Signal::KILL);
    }
    let may_stay = usize::from(shardman.fleet().kill_method != "cgroup");
    eventually(seconds(10.0), "nothing is left of it", || {
        (sleeping(&left).len() <= may_stay).then_some(())
    });
    for pid in sleeping(&left) {
        signal(pid, Signal::KILL);
    }
    eventually(seconds(10.0), "its next run", || {
        shardman
            .workers()
            .iter()
            .any(|(_, next)| *next != pid)
            .then_some(())
    });
    assert!(shardman.stop().success());
}

#[test]
fn nothing_that_an_adopted_worker_started_outlives_it() {
    next_manager_ends(false);
}

#[test]
fn nothing_outlives_a_worker_that_ended_while_no_manager_ran() {
    next_manager_ends(true);
}

/// The children of a process, dead ones included, with their state.
fn children(parent: i32) -> Vec<String> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let stats = pids.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let of_parent = |stat: &String| {
        let fields = stat.rsplit_once(") ").unwrap().1;
        fields.split(' ').nth(1) == Some(&parent.to_string())
    };
    stats.filter(of_parent).collect()
}

#[test]
fn as_the_first_process_of_a_container_the_manager_buries_whatever_it_is_given() {
    if !tools(
        "the first process",
        &[&["unshare", "--pid", "--fork", "--mount-proc", "true"]],
    ) {
        return;
    }
    let inside = "exec unshare --pid --fork --mount-proc \"$0\" up";
    let command = "for i in 1 2 3 4 5; do (sleep 2 &); done; exec sleep 1000";
    let mut shardman = Shardman::up_after(inside, &[("MAX_SHARDS", "1"), ("WORKER_COMMAND", command)]);
    let stat = children(shardman.pid()).remove(0);
    let manager: i32 = stat.split(' ').next().unwrap().parse().unwrap();
    eventually(seconds(10.0), "five orphans and a worker", || {
        (children(manager).len() == 6).then_some(())
    });
    eventually(seconds(10.0), "the worker alone, and no dead", || {
        let left = children(manager);
        (left.len() == 1 && !left[0].contains(") Z ")).then_some(())
    });
    assert_eq!(shardman.fleet().workers[0].exits, 0, "the worker was left alone");
    signal(manager, Signal::INT);
    assert!(shardman.running().wait(seconds(20.0)).success());
}

#[test]
fn as_the_first_process_of_a_container_the_manager_leaves_alone_what_came_in_from_outside() {
    let container = ["unshare", "--pid", "--fork", "--mount-proc", "true"];
    if !tools("a container", &[&container, &["nsenter", "--version"]]) {
        return;
    }
    let up = "exec \"$0\" up' ";
    let inside = NO_GROUPS.replace(up, &up.replace("exec", "exec unshare --pid --fork --mount-proc"));
    let settings = [("MAX_SHARDS", "1"), ("WORKER_COMMAND", "exec sleep 1000")];
    let mut shardman = Shardman::up_after(&inside, &settings);
    assert_eq!(shardman.fleet().kill_method, "process_group");
    let pid = |stat: String| -> i32 { stat.split(' ').next().unwrap().parse().unwrap() };
    let manager = pid(children(shardman.pid()).remove(0));
    let stranger = mark();
    let enter = Program::new("nsenter")
        .arg("-t")
        .arg(&manager.to_string())
        .arg("-p");
    let (code, _, error) = enter
        .arg("sh")
        .arg("-c")
        .arg(&format!("env -i setsid sleep {stranger} >/dev/null 2>&1 &"))
        .run();
    assert_eq!(code, 0, "{error}");
    let worker = eventually(seconds(10.0), "the manager has two children", || {
        let ours: Vec<_> = children(manager).into_iter().map(pid).collect();
        let strangers = sleeping(&stranger);
        let worker = ours.iter().find(|pid| !strangers.contains(pid)).copied();
        worker.filter(|_| ours.len() == 2 && strangers.len() == 1)
    });
    signal(worker, Signal::KILL);
    eventually(seconds(10.0), "the next run of the worker", || {
        let worker = shardman.fleet().workers.into_iter().next()?;
        (worker.exits > 0 && worker.pid.is_some()).then_some(())
    });
    // Time for another look.
    let_pass(seconds(2.5));
    assert_eq!(sleeping(&stranger).len(), 1, "it is none of ours");
    signal(manager, Signal::INT);
    assert!(shardman.running().wait(seconds(20.0)).success());
    eventually(seconds(5.0), "it goes with its container", || {
        sleeping(&stranger).is_empty().then_some(())
    });
}
