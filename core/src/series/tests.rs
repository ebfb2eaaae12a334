//! What is kept, how it is rolled up, and what it takes.

use super::*;

fn seconds(seconds: u64) -> Tick {
    Tick(seconds * 1000)
}

fn ready(count: f64) -> Sample {
    Sample {
        shards_ready: Some(count),
        ..Sample::default()
    }
}

fn line(lines: &Lines, name: &str) -> Vec<Option<f64>> {
    lines.series[name].clone()
}

#[test]
fn the_step_grows_with_what_is_asked_for() {
    let series = Series::default();
    let shape = |asked| {
        let lines = series.fleet(asked, seconds(5));
        let lengths: Vec<_> = lines.series.values().map(Vec::len).collect();
        assert!(lengths.iter().all(|length| *length == lengths[0]) && lengths.len() == 8);
        (lines.step_seconds, lengths[0])
    };
    assert_eq!(shape(1), (10, 1));
    assert_eq!(shape(3600), (10, 360));
    assert_eq!(shape(3601), (60, 61));
    assert_eq!(shape(86_400), (60, 1440));
    assert_eq!(shape(86_401), (600, 145));
    assert_eq!(shape(604_800), (600, 1008));
    assert_eq!(shape(u64::MAX), (600, 1008));
}

#[test]
fn readings_of_one_step_become_one_each_by_its_rule() {
    let mut series = Series::default();
    for (number, second) in [(4.0, 0), (2.0, 10), (6.0, 20)] {
        let sample = Sample {
            shards_ready: Some(number),
            shards_total: Some(number),
            guilds: Some(number),
            latency_p50_ms: Some(number),
            latency_p99_ms: Some(number),
            events_per_second: Some(number),
            starts_remaining: None,
            workers: Some(number),
        };
        series.add(&sample, seconds(second));
    }
    let lines = series.fleet(86_400, seconds(20));
    let last = |name| *lines.series[name].last().unwrap();
    assert_eq!(last("shards_ready"), Some(2.0), "a dip does not vanish");
    assert_eq!(last("workers"), Some(2.0));
    assert_eq!(last("shards_total"), Some(6.0));
    assert_eq!(last("guilds"), Some(6.0));
    assert_eq!(last("latency_p50_ms"), Some(4.0));
    assert_eq!(last("events_per_second"), Some(4.0));
    assert_eq!(last("latency_p99_ms"), Some(6.0));
    assert_eq!(last("starts_remaining"), None);
    assert_eq!(lines.end, seconds(60));
    // In the short steps each reading stands alone.
    let short = series.fleet(40, seconds(30));
    assert_eq!(
        line(&short, "shards_ready"),
        [Some(4.0), Some(2.0), Some(6.0), None]
    );
}

#[test]
fn time_in_which_nothing_was_read_is_a_gap() {
    let mut series = Series::default();
    series.add(&ready(1.0), seconds(0));
    series.add(&ready(2.0), seconds(35));
    let lines = series.fleet(60, seconds(49));
    assert_eq!(
        line(&lines, "shards_ready"),
        [None, Some(1.0), None, None, Some(2.0), None]
    );
    // Before the manager began there was nothing either.
    assert_eq!(
        line(&series.fleet(3600, seconds(49)), "shards_ready")[..355],
        [None; 355]
    );
    // A host that was suspended for a day.
    series.add(&ready(3.0), seconds(86_400));
    let lines = series.fleet(3600, seconds(86_405));
    let known: Vec<_> = line(&lines, "shards_ready").into_iter().flatten().collect();
    assert_eq!(known, [3.0]);
    assert_eq!(series.fleet[0].steps.len(), 1);
}

#[test]
fn a_week_and_more_is_bounded_and_the_newest_is_kept() {
    let mut series = Series::default();
    for second in (0..8 * 86_400).step_by(10) {
        series.add(&ready(second as f64), seconds(second));
    }
    let lengths = series.fleet.each_ref().map(|scale| scale.steps.len());
    assert_eq!(lengths, [360, 1440, 1008]);
    let bytes = lengths.iter().sum::<usize>() * size_of::<Step>();
    assert!(bytes < 500_000, "{bytes}");
    let now = seconds(8 * 86_400 - 1);
    let lines = series.fleet(3600, now);
    let expected: Vec<_> = (0..360)
        .map(|at| Some((8 * 86_400 - 3600 + at * 10) as f64))
        .collect();
    assert_eq!(line(&lines, "shards_ready"), expected);
    let week = line(&series.fleet(604_800, now), "shards_ready");
    assert_eq!(
        (week[0], week[1007]),
        (Some(86_400.0), Some((8 * 86_400 - 600) as f64))
    );
}

#[test]
fn a_shard_has_its_last_hour_by_minute() {
    let mut series = Series::default();
    let shard = ShardId::new(3, 8).unwrap();
    let sample = |latency| ShardSample {
        latency_ms: Some(latency),
        events_per_second: Some(latency),
        guilds: None,
    };
    for (latency, second) in [(50.0, 0), (90.0, 30), (70.0, 50), (20.0, 200)] {
        series.add_shards([(shard, sample(latency))], seconds(second));
    }
    let lines = series.shard(3, None, seconds(200));
    let end = |name| line(&lines, name)[56..].to_vec();
    assert_eq!(
        (lines.step_seconds, lines.end, line(&lines, "guilds").len()),
        (60, seconds(240), 60)
    );
    assert_eq!(end("latency_ms"), [Some(90.0), None, None, Some(20.0)]);
    assert_eq!(end("events_per_second"), [Some(70.0), None, None, Some(20.0)]);
    assert!(
        line(&series.shard(4, None, seconds(200)), "latency_ms")
            .iter()
            .all(Option::is_none)
    );
    // An hour later nothing is left of what was before.
    series.add_shards([(shard, sample(1.0))], seconds(3700));
    let known: Vec<_> = line(&series.shard(3, None, seconds(3700)), "latency_ms");
    let known: Vec<_> = known.into_iter().flatten().collect();
    assert_eq!(known, [20.0, 1.0]);
    series.add_shards([], seconds(3700 + 3600));
    assert!(series.shards.is_empty());
}

#[test]
fn four_thousand_shards_take_less_than_ten_megabytes() {
    let mut series = Series::default();
    let all =
        |total| (0..total).map(move |number| (ShardId::new(number, total).unwrap(), ShardSample::default()));
    for second in (0..7200).step_by(60) {
        series.add_shards(all(4096), seconds(second));
    }
    // A node of the map is at least half full.
    let row = size_of::<ShardId>() + size_of::<Shard>();
    let bytes = series.shards.len() * (2 * row + size_of::<[[f32; 3]; SHARD_STEPS]>() + 16);
    assert!(series.shards.len() == 4096 && bytes < 10_000_000, "{bytes}");
    // Other shards take their place within an hour.
    for second in (7200..10_860).step_by(60) {
        series.add_shards(all(16), seconds(second));
    }
    assert_eq!(series.shards.len(), 16);
}

#[test]
fn a_percentile_is_one_of_the_values() {
    let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    assert_eq!(percentile(&mut values, 50), Some(51.0));
    assert_eq!(percentile(&mut values, 99), Some(100.0));
    assert_eq!(percentile(&mut [7.0], 99), Some(7.0));
    assert_eq!(percentile(&mut [], 50), None);
}
