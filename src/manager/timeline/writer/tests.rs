//! What is read back, on a real disk.

use shardman_core::timeline::{Filter, Kind};

use super::super::History;
use super::*;
use crate::metrics::Metrics;

fn numbers(timeline: &Timeline) -> Vec<u64> {
    timeline.all().iter().map(|event| event.number).collect()
}

fn read_back(path: &Path) -> Timeline {
    let mut timeline = Timeline::default();
    read(path, &mut timeline);
    timeline
}

#[tokio::test]
async fn events_are_read_back_and_numbers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.ndjson");
    for run in 1..=3 {
        let history = History::open(&path, Arc::new(Metrics::new()));
        history.tell(Kind::ManagerStarted, "a");
        history.tell(Kind::ManagerStopping, "b");
        history.close().await;
        assert_eq!(
            history.shared.timeline().last(),
            run * 2,
            "a clean end leaves no gap"
        );
    }
    assert_eq!(numbers(&read_back(&path)), [1, 2, 3, 4, 5, 6]);
    // Without the last line, some may have been told and not written.
    let history = History::open(&path, Arc::new(Metrics::new()));
    history.tell(Kind::ManagerStarted, "a");
    history.close().await;
    let text = fs::read_to_string(&path).unwrap();
    let torn = text.trim_end().rsplit_once('\n').unwrap().0;
    fs::write(&path, torn).unwrap();
    let history = History::open(&path, Arc::new(Metrics::new()));
    history.tell(Kind::ManagerStarted, "a");
    assert!(history.shared.timeline().last() > 10_000);
    history.close().await;
    assert_eq!(numbers(&read_back(&path)).len(), 8, "the torn end cost no line");
}

#[test]
fn a_file_that_somebody_broke_costs_only_its_broken_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.ndjson");
    let mut text = b"\xff\xfe\0\n{\"number\":1}\n[[[[\n".to_vec();
    text.extend_from_slice(&lines([&told(7)].into_iter()));
    text.extend(vec![b'['; 100_000]);
    text.extend_from_slice(
        b"\n{\"number\":18446744073709551615,\"at_ms\":1,\"kind\":\"ready\",\"cause\":\"\"}\n",
    );
    text.extend_from_slice(b"{\"number\":9,\"at_ms\":1,\"kind\":\"ready\",\"ca");
    fs::write(&path, text).unwrap();
    assert_eq!(numbers(&read_back(&path)), [7]);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(numbers(&read_back(&path)).is_empty());
}

fn told(number: u64) -> Event {
    let mut event = Event::new(Kind::Halted, shardman_core::timeline::Subject::fleet(), "x", 1);
    event.number = number;
    event
}

#[test]
fn a_file_that_has_grown_begins_anew_with_all_that_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.ndjson");
    let kept = Arc::new(Kept::default());
    let mut writer = Writer::new(&path, Arc::clone(&kept));
    let mut most = 0;
    for _ in 0..400 {
        let batch: Vec<_> = (0..100)
            .map(|_| {
                let mut event = told(0);
                event.cause = "y".repeat(390);
                kept.timeline().push(event)
            })
            .collect();
        writer.run(Job::Write(batch));
        most = most.max(fs::metadata(&path).unwrap().len());
    }
    assert!(
        older(&path).exists() && most > GROWS && most < 2 * GROWS,
        "{most}"
    );
    let here = numbers(&read_back(&path));
    let there = kept.timeline().latest(&Filter::default(), 10_000).events;
    assert_eq!(here, there.iter().map(|event| event.number).collect::<Vec<_>>());
}

#[test]
fn what_the_disk_did_not_take_is_written_once_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not there/events.ndjson");
    let kept = Arc::new(Kept::default());
    let mut writer = Writer::new(&path, Arc::clone(&kept));
    let tell = |writer: &mut Writer| {
        let event = kept.timeline().push(told(0));
        writer.run(Job::Write(vec![event]));
    };
    tell(&mut writer);
    tell(&mut writer);
    assert!(writer.failed_at.is_some());
    fs::create_dir(path.parent().unwrap()).unwrap();
    tell(&mut writer);
    assert!(!path.exists(), "not so soon after a failure");
    writer.failed_at = Instant::now().checked_sub(RETRY);
    tell(&mut writer);
    assert_eq!(numbers(&read_back(&path)), [1, 2, 3, 4]);
    // Those that found the queue full are caught up with as well.
    kept.timeline().push(told(0));
    kept.behind.store(true, Ordering::Relaxed);
    tell(&mut writer);
    assert_eq!(numbers(&read_back(&path)), [1, 2, 3, 4, 5, 6]);
}
