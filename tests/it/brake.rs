//! Workers that fall silent together.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;

use crate::support::{Shardman, Sim, eventually, let_pass, seconds, signal, webhook};

/// How many processes: few enough for two cores, and more where time is no
/// object.
fn workers() -> u32 {
    if std::env::var_os("SHARDMAN_TEST_LONG").is_some() {
        200
    } else {
        60
    }
}

struct Fleet {
    sim: Sim,
    shardman: Shardman,
    /// The processes before anything happened.
    before: BTreeSet<i32>,
}

impl Fleet {
    fn of_one_shard_each(settings: &[(&str, &str)]) -> Self {
        let sim = Sim::start(workers(), workers(), &[]);
        let url = sim.url();
        let mut all = vec![
            ("DISCORD_API_URL", &*url),
            ("BOT_TOKEN", "t"),
            ("SHARDS_PER_WORKER", "1"),
            ("MAX_SECONDS", "8"),
        ];
        all.extend(settings);
        let shardman = Shardman::up(&all);
        shardman.wait_ready(seconds(60.0));
        let before: BTreeSet<_> = shardman.workers().into_iter().map(|(_, pid)| pid).collect();
        assert_eq!(before.len(), workers() as usize);
        Self {
            sim,
            shardman,
            before,
        }
    }

    fn signal_all(&self, what: Signal) {
        for pid in self.before.iter().filter(|pid| lives(**pid)) {
            signal(*pid, what);
        }
    }

    /// How many processes of before are gone, less the new ones that hold a
    /// shard. Processes are looked at first: what is back since counts as back.
    fn away(&self) -> usize {
        let gone = self.before.iter().filter(|pid| !lives(**pid)).count();
        let fleet = self.shardman.fleet();
        let back = fleet.workers.iter().filter(|worker| {
            let new = worker.pid.is_some_and(|pid| !self.before.contains(&pid));
            new && worker.holding > 0
        });
        gone.saturating_sub(back.count())
    }

    /// The same as the manager has it: killed and not gone, or started and not
    /// holding a shard.
    fn away_by_the_manager(&self) -> usize {
        let fleet = self.shardman.fleet();
        let away = fleet.workers.iter().filter(|worker| {
            let old = worker.pid.is_some_and(|pid| self.before.contains(&pid));
            match &*worker.state {
                "lapsed" => false,
                "running" => !old && worker.holding == 0,
                _ => true,
            }
        });
        away.count()
    }

    fn trouble(&self, words: &str) -> Option<String> {
        let trouble = self.shardman.fleet().trouble;
        trouble.into_iter().find(|line| line.contains(words))
    }
}

/// Whether the process runs; a dead one that nobody has buried does not.
fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn workers_that_freeze_together_are_replaced_a_few_at_a_time_and_no_session_is_lost() {
    let (url, messages) = webhook(&["204 No Content"]);
    let mut fleet = Fleet::of_one_shard_each(&[("WEBHOOK_URL", &*url)]);
    let frozen = Instant::now();
    fleet.signal_all(Signal::STOP);
    let words = eventually(seconds(20.0), "the brake is on", || {
        fleet.trouble("workers lapsed within")
    });
    println!("after {:?}: {words}", frozen.elapsed());
    let (mut most, mut most_by_the_manager) = (0, 0);
    eventually(seconds(90.0), "all are replaced", || {
        most = most.max(fleet.away());
        most_by_the_manager = most_by_the_manager.max(fleet.away_by_the_manager());
        let view = fleet.shardman.fleet();
        let all_new = fleet.before.iter().all(|pid| !lives(*pid));
        (all_new && view.ready == view.planned).then_some(())
    });
    println!(
        "{} frozen workers: replaced after {:?}, at most {most} (by the manager {most_by_the_manager}) away at once",
        workers(),
        frozen.elapsed()
    );
    let at_once = workers() as usize / 10;
    assert!((1..=at_once).contains(&most), "{most}");
    assert!(most_by_the_manager <= at_once, "{most_by_the_manager}");
    let report = fleet.sim.report();
    assert_eq!(
        (report.identify_count, report.resume_count),
        (workers().into(), workers().into()),
        "every session was resumed"
    );
    fleet.sim.assert_clean();
    eventually(seconds(20.0), "the end is told", || {
        fleet.trouble("workers").is_none().then_some(())
    });
    let (mut began, mut ended, mut of_shards) = (0, 0, 0);
    eventually(seconds(60.0), "the alert of the end", || {
        for message in messages.try_iter() {
            for embed in message["embeds"].as_array().unwrap() {
                let text = embed.to_string();
                began += u32::from(text.contains("workers lapsed within"));
                ended += u32::from(text.contains("are ready again"));
                of_shards += u32::from(text.contains("no beat for"));
            }
        }
        (ended > 0).then_some(())
    });
    println!("alerts: {began} of the begin, {ended} of the end, {of_shards} of single shards before");
    assert_eq!((began, ended), (1, 1));
    assert!(of_shards < workers() / 3, "those from before it was known");
    assert!(fleet.shardman.stop().success());
}

#[test]
fn workers_that_only_stood_still_come_back_by_themselves() {
    let mut fleet = Fleet::of_one_shard_each(&[("KILLS_AT_ONCE", "2")]);
    fleet.signal_all(Signal::STOP);
    eventually(seconds(20.0), "kills are held", || {
        fleet.trouble("kills are held")
    });
    fleet.signal_all(Signal::CONT);
    let awake = Instant::now();
    eventually(seconds(60.0), "the fleet is whole", || {
        let view = fleet.shardman.fleet();
        let calm = fleet.trouble("workers").is_none();
        (calm && view.ready == view.planned).then_some(())
    });
    let killed = fleet.before.iter().filter(|pid| !lives(**pid)).count();
    let lost = fleet.shardman.log().matches("lease lost on shard").count();
    println!(
        "{lost} of {} lost their lease, {killed} were killed, the fleet was whole after {:?}",
        workers(),
        awake.elapsed()
    );
    assert!(lost > 10, "{lost} lapsed");
    // Those that were killed before anyone could know that they are many, and
    // on a slow host a wave or two before they were woken.
    assert!(killed <= 6 * 2, "{killed}");
    let report = fleet.sim.report();
    assert_eq!(report.identify_count, u64::from(workers()));
    fleet.sim.assert_clean();
    assert!(fleet.shardman.stop().success());
}

#[test]
fn a_manager_that_stands_still_takes_no_lease_from_anyone() {
    let sim = Sim::start(6, 6, &[]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "1"),
        ("MAX_SECONDS", "3"),
    ];
    let mut shardman = Shardman::up(&settings);
    shardman.wait_ready(seconds(40.0));
    signal(shardman.pid(), Signal::STOP);
    let_pass(seconds(2.0 * 3.0));
    signal(shardman.pid(), Signal::CONT);
    eventually(seconds(20.0), "every shard resumed", || {
        (sim.report().resume_count == 6).then_some(())
    });
    shardman.wait_ready(seconds(20.0));
    let log = shardman.log();
    assert_eq!(log.matches("lease lost on shard").count(), 0);
    // A worker that reaches no manager for so long stops by itself.
    assert_eq!(log.matches("is stopped: a lease of it lapsed").count(), 0);
    assert_eq!(sim.report().identify_count, 6);
    sim.assert_clean();
    assert!(shardman.stop().success());
}
