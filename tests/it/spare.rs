//! A worker that may run and has nothing to hold.

use crate::support::{Program, Shardman, Sim, eventually, seconds};

#[test]
fn a_worker_with_nothing_to_hold_is_spare() {
    let sim = Sim::start(2, 2, &[]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "1"),
        ("REGISTER_SECONDS", "3"),
    ]);
    shardman.wait_ready(seconds(60.0));
    assert_eq!(shardman.fleet().halted, None);
    let url = format!("http://{}", shardman.address);
    let told = |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--url", &url]);
        let (code, text, error) = Program::shardman(&all).env("SECRET", "test-secret").run();
        assert_eq!(code, 0, "{args:?}: {error}{text}");
        text
    };
    told(&["rescale", "1", "--no-wait"]);
    let rescale = shardman.fleet().rescale.expect("it takes some seconds");
    assert_eq!((rescale.from, rescale.to), (Some(2), 1));
    let spare = || {
        eventually(seconds(90.0), "those that are not needed are spare", || {
            let fleet = shardman.fleet();
            let (run, idle): (Vec<_>, Vec<_>) =
                fleet.workers.into_iter().partition(|worker| worker.pid.is_some());
            if fleet.rescale.is_some() || fleet.ready < 1 || run.len() != 1 {
                return None;
            }
            let all = idle.iter().all(|worker| worker.condition == "spare");
            (all && !idle.is_empty()).then_some(idle)
        })
    };
    let mut all = spare();
    let series = format!(
        "shardman_workers{{pool=\"discord\",condition=\"spare\"}} {}",
        all.len()
    );
    let worker = all.remove(0);
    assert_eq!(
        (worker.pid, worker.deadline_in, worker.restart_in),
        (None, None, None)
    );
    let name = worker.worker;
    assert!(told(&["why", &name]).contains("spare: there is nothing for it to hold"));
    let row = told(&["status"]);
    let row = row.lines().find(|line| line.starts_with(&name)).unwrap();
    assert!(row.contains("spare") && !row.contains("0 s"), "{row}");
    let metrics = crate::support::get(shardman.address, "/metrics", "test-secret").body;
    assert!(metrics.contains(&series), "{metrics}");

    // One that an operator stopped, whose shard somebody else has taken since.
    let other = shardman.workers().remove(0).0;
    told(&["stop", &other]);
    eventually(seconds(60.0), "somebody has taken it", || {
        (shardman.connect().status == 200 || shardman.fleet().ready == 1).then_some(())
    });
    told(&["start", &other]);
    eventually(seconds(20.0), "it is spare", || {
        let mut workers = shardman.fleet().workers.into_iter();
        let found = workers.find(|worker| worker.worker == other)?;
        (found.condition == "spare" && found.restart_in.is_none()).then_some(())
    });
    assert!(shardman.stop().success());
}
