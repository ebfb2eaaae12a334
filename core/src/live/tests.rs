//! What is told again, and what is not.

use super::*;

fn shard(number: u32) -> ShardView {
    let row = serde_json::json!({
        "shard": ShardId::new(number, 8).unwrap(), "state": "ready", "condition": "ready", "condition_age": 100.0,
        "deadline_in": null, "deaf_after": 40.0, "epoch": 1, "worker": "discord-0", "beat_age": 1.0,
        "guild_count": 10, "latency": 0.1, "last_event_age": 0.1, "loop_lag": 0.001, "close_code": null,
    });
    serde_json::from_value(row).unwrap()
}

fn worker(name: &str) -> WorkerView {
    let row = serde_json::json!({
        "worker": name, "state": "running", "condition": "running", "deadline_in": null, "pid": 7, "shards": 8,
        "holding": 8, "exits": 0, "last_exit": null, "restart_in": null, "uptime": 100.0,
    });
    serde_json::from_value(row).unwrap()
}

fn fleet() -> FleetView {
    let view = serde_json::json!({
        "planned": 8, "leased": 8, "ready": 8, "max_concurrency": 1, "starts_remaining": 900, "starts_total": 1000,
        "starts": {"total": 1000, "remaining": 900, "reserve": 100, "resets_in": 5000.0, "used_up_in": null, "by_worker": []},
        "trouble": [], "shards": [], "workers": [],
    });
    FleetView {
        shards: (0..8).map(shard).collect(),
        workers: vec![worker("discord-0")],
        ..serde_json::from_value(view).unwrap()
    }
}

/// The same fleet, some seconds older, and with a beat of each shard.
fn older(seconds: f64) -> FleetView {
    let mut view = fleet();
    view.starts.resets_in = Some(5000.0 - seconds);
    for row in &mut view.shards {
        row.condition_age = Some(100.0 + seconds);
        row.beat_age = Some(seconds % 10.0);
        row.last_event_age = Some(seconds % 3.0);
    }
    view.workers[0].uptime = Some(100.0 + seconds);
    view
}

fn tick(seconds: f64) -> Tick {
    Tick((seconds * 1000.0) as u64 + 1_000_000)
}

fn told() -> Told {
    Told::all(&fleet(), tick(0.0))
}

#[test]
fn ages_and_beats_are_no_news() {
    let mut told = told();
    for second in 1..600 {
        let second = f64::from(second);
        let change = told.next(older(second), tick(second));
        assert!(change.is_empty(), "{change:?}");
    }
}

#[test]
fn what_a_shard_is_is_told_at_once_and_alone() {
    let mut told = told();
    let mut view = older(1.0);
    view.ready = 7;
    view.shards[3].condition = "silent".to_owned();
    let change = told.next(view, tick(1.0));
    assert_eq!(change.fleet, Map::from_iter([("ready".to_owned(), 7.into())]));
    assert_eq!(change.shards.len(), 1);
    assert_eq!(
        (change.shards[0].shard.number(), &*change.shards[0].condition),
        (3, "silent")
    );
    assert!(change.workers.is_empty() && change.gone.is_empty());
    let change = told.next(older(2.0), tick(2.0));
    assert_eq!((change.shards.len(), &change.fleet["ready"]), (1, &8.into()));
}

#[test]
fn figures_are_told_every_five_seconds_at_most_and_not_for_a_trifle() {
    let mut told = told();
    let at = |latency, seconds| {
        let mut view = older(seconds);
        view.shards[0].latency = Some(latency);
        view
    };
    let mut times = 0;
    for second in 1..=60 {
        let second = f64::from(second);
        let latency = if second % 2.0 == 0.0 { 0.1 } else { 0.2 };
        times += told.next(at(latency, second), tick(second)).shards.len();
    }
    assert_eq!(times, 12);
    assert!(told.next(at(0.105, 66.0), tick(66.0)).is_empty());
    // What waited for its time is told then.
    assert!(told.next(at(0.9, 66.0), tick(66.0)).shards.len() == 1);
    assert!(told.next(at(1.5, 68.0), tick(68.0)).is_empty());
    assert!(told.next(at(1.5, 71.0), tick(71.0)).shards.len() == 1);
}

#[test]
fn one_guild_more_is_told_in_time() {
    let mut told = told();
    let with = |seconds| {
        let mut view = older(seconds);
        view.shards[0].guild_count = Some(11);
        view
    };
    assert!(told.next(with(4.0), tick(4.0)).is_empty());
    assert_eq!(told.next(with(5.0), tick(5.0)).shards.len(), 1);
}

#[test]
fn rows_come_and_go() {
    let mut told = told();
    let mut view = older(1.0);
    view.shards.remove(7);
    view.workers = vec![worker("discord-1")];
    let change = told.next(view, tick(1.0));
    assert_eq!(change.gone.shards, [ShardId::new(7, 8).unwrap()]);
    assert_eq!(change.gone.workers, ["discord-0"]);
    assert_eq!(change.workers[0].worker, "discord-1");
    let change = told.next(older(2.0), tick(2.0));
    assert_eq!(change.shards.len(), 1);
    assert_eq!(
        (change.workers.len(), change.gone.workers),
        (1, vec!["discord-1".to_owned()])
    );
}

#[test]
fn a_pool_is_told_whole_when_something_of_it_changes() {
    let pool = |ready: u32, age: f64| PoolView {
        pool: "jobs".to_owned(),
        size: 1,
        leased: 1,
        ready,
        max_seconds: 60.0,
        restart: None,
        shards: vec![ShardView {
            condition_age: Some(age),
            beat_age: Some(0.5),
            ..shard(0)
        }],
        workers: Vec::new(),
    };
    let with = |pools, seconds| FleetView {
        pools,
        ..older(seconds)
    };
    let mut told = Told::all(&with(vec![pool(1, 0.0)], 0.0), tick(0.0));
    assert!(told.next(with(vec![pool(1, 9.0)], 9.0), tick(9.0)).is_empty());
    let change = told.next(with(vec![pool(0, 10.0)], 10.0), tick(10.0));
    assert_eq!((change.pools[0].ready, change.pools[0].shards.len()), (0, 1));
    assert_eq!(told.next(older(11.0), tick(11.0)).gone.pools, ["jobs"]);
}

#[test]
fn a_moment_that_moves_is_told_in_time() {
    let mut told = told();
    let with = |restart_in, seconds| {
        let mut view = older(seconds);
        view.workers[0].restart_in = restart_in;
        view
    };
    assert!(told.next(with(Some(30.0), 1.0), tick(1.0)).is_empty());
    assert_eq!(told.next(with(Some(26.0), 5.0), tick(5.0)).workers.len(), 1);
    assert!(told.next(with(Some(11.0), 20.0), tick(20.0)).is_empty());
    assert_eq!(told.next(with(Some(60.0), 21.0), tick(21.0)).workers.len(), 1);
}

#[test]
fn a_change_has_all_its_members_always() {
    let change = serde_json::to_string(&Change::default()).unwrap();
    assert_eq!(
        change,
        r#"{"fleet":{},"shards":[],"workers":[],"gone":{"shards":[],"workers":[],"pools":[]},"pools":[]}"#
    );
}

#[test]
fn when_the_session_starts_end_is_told_when_it_moves() {
    let mut told = told();
    let starts = |seconds: f64, resets_in: Option<f64>, used_up_in: Option<f64>| {
        let mut view = older(seconds);
        view.starts.resets_in = resets_in;
        view.starts.used_up_in = used_up_in;
        view
    };
    let mut news = |seconds: f64, resets_in, used_up_in| {
        let change = told.next(starts(seconds, resets_in, used_up_in), tick(seconds));
        assert!(change.shards.is_empty() && change.workers.is_empty());
        change.fleet.contains_key("starts")
    };
    assert!(!news(10.0, Some(4990.0), None));
    assert!(!news(20.0, Some(4977.0), None), "two readings of one moment");
    assert!(news(30.0, Some(86_400.0), None), "a new day begins");
    assert!(!news(40.0, Some(86_390.0), None));
    assert!(news(50.0, Some(86_380.0), Some(1000.0)));
    assert!(!news(60.0, Some(86_370.0), Some(960.0)), "it is an estimate");
    assert!(news(70.0, Some(86_360.0), Some(500.0)));
    assert!(news(80.0, Some(86_350.0), None));
}
