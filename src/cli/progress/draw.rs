//! The same in place, below the log of a terminal: a bar, the buckets, the
//! workers. Gone as soon as the fleet is whole.

use std::time::{Duration, Instant};

use shardman_core::identify::Outlook;

use crate::cli::terminal;
use crate::cli::text::{BAD, BOLD, DIM, GOOD, MOVING, PLAIN, Text, line};
use crate::manager::{ManagerHandle, Progress, Summary};
use crate::telemetry::Live;

/// Between two drawings.
const REDRAW: Duration = Duration::from_millis(250);

/// A fleet that was whole is shown again when it has not been for so long.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Cells of the bar, at most and at least.
const BAR: (usize, usize) = (60, 10);

/// Draws how far the fleet is while it starts or stops.
pub(in crate::cli) async fn draw(handle: ManagerHandle, live: Live) {
    if !live.is_possible() {
        return;
    }
    let mut summary = handle.summary();
    let mut was_whole = false;
    let mut began = None;
    loop {
        let now = summary.borrow_and_update().clone();
        let starts = now.planned > 0 && now.ready < now.planned && now.rescale.is_none();
        let stops = now.stopping && now.running > 0;
        if !stops && (now.stopping || !starts) {
            was_whole |= now.planned > 0;
            began = None;
            live.clear();
            if summary.changed().await.is_err() {
                return;
            }
            continue;
        }
        let since = *began.get_or_insert_with(Instant::now);
        let columns = terminal::size(std::io::stderr()).map(|(columns, _)| columns);
        // A line as wide as the terminal moves some of them on.
        let width = columns.map_or(79, |columns| columns.saturating_sub(1));
        if stops {
            live.show(&stopping(&now, width));
        } else if !was_whole || since.elapsed() >= AGAIN_AFTER {
            live.show(&render(&handle.progress(), width));
        }
        tokio::time::sleep(REDRAW).await;
    }
}

fn stopping(summary: &Summary, width: usize) -> String {
    let words = format!("{} workers still run", summary.running);
    line(&[head("stopping"), words.into()], Some(width))
}

fn head(word: &str) -> Text {
    Text::new(format!("{word:<9} "), BOLD)
}

fn render(progress: &Progress, width: usize) -> String {
    let mut text = line(&bar(progress, width), Some(width));
    if !progress.buckets.is_empty() {
        text.push_str(&line(&buckets(&progress.buckets, width), Some(width)));
    }
    text.push_str(&line(&workers(progress), Some(width)));
    if let Some(trouble) = progress.trouble.first() {
        text.push_str(&line(&[head("!"), Text::new(trouble, BAD)], Some(width)));
    }
    text
}

fn bar(progress: &Progress, width: usize) -> Vec<Text> {
    let (ready, planned) = (progress.ready, progress.planned.max(1));
    let words = format!(" {ready} of {planned} shards ready");
    let rest = match (progress.ready_in, progress.buckets.is_empty()) {
        (None, _) => String::new(),
        (Some(_), true) => ", the others connect".to_owned(),
        (Some(left), false) => format!(", all in about {}", about(left)),
    };
    let cells = width.saturating_sub(12 + words.len() + rest.len());
    let cells = cells.clamp(BAR.1, BAR.0);
    let share = |part: u32| (part as usize * cells) / planned as usize;
    let (done, on_the_way) = (share(ready), share(ready + progress.connecting));
    vec![
        head("starting"),
        Text::new("[", DIM),
        Text::new("=".repeat(done), GOOD),
        Text::new("-".repeat(on_the_way - done), MOVING),
        Text::new(" ".repeat(cells - on_the_way), PLAIN),
        Text::new("]", DIM),
        words.into(),
        Text::new(rest, DIM),
    ]
}

/// Those in which most wait come first; what has no room is counted.
fn buckets(buckets: &[Outlook], width: usize) -> Vec<Text> {
    let mut slowest: Vec<_> = buckets.iter().collect();
    slowest.sort_by_key(|bucket| (std::cmp::Reverse(bucket.left), bucket.bucket));
    // Alike: as many wait for the same.
    let mut alike: Vec<(u32, String, Vec<u32>)> = Vec::new();
    for bucket in slowest {
        let next = match (bucket.busy, bucket.next_in.as_secs_f64().ceil()) {
            (Some(shard), _) => format!("shard {} identifies", shard.number()),
            (None, 0.0) => "next now".to_owned(),
            (None, seconds) => format!("next in {seconds} s"),
        };
        let same = alike
            .iter_mut()
            .find(|(left, other, _)| (*left, other.as_str()) == (bucket.left, &next));
        match same {
            Some((.., numbers)) => numbers.push(bucket.bucket),
            None => alike.push((bucket.left, next, vec![bucket.bucket])),
        }
    }
    let mut texts = vec![head("buckets")];
    let mut room = width.saturating_sub(10);
    let mut behind = buckets.len();
    for (place, (left, next, numbers)) in alike.iter().enumerate() {
        let gap = if place > 0 { "; " } else { "" };
        let each = if numbers.len() > 1 { " each" } else { "" };
        let shards = format!("{gap}{}: {left} wait{each}, ", ranges(numbers));
        let more = match behind - numbers.len() {
            0 => 0,
            behind => format!("; {behind} more").len(),
        };
        if place > 0 && shards.len() + next.len() + more > room {
            texts.push(Text::new(format!("; {behind} more"), DIM));
            break;
        }
        behind -= numbers.len();
        room = room.saturating_sub(shards.len() + next.len());
        texts.push(shards.into());
        texts.push(Text::new(next.clone(), MOVING));
    }
    texts
}

/// "0-3,7": numbers in order.
fn ranges(numbers: &[u32]) -> String {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last += 1,
            Some(_) | None => found.push((*number, *number)),
        }
    }
    let named = found.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    named.collect::<Vec<_>>().join(",")
}

fn workers(progress: &Progress) -> Vec<Text> {
    let mut texts = vec![head("workers")];
    if progress.workers == 0 {
        texts.push(Text::new("none are started yet", DIM));
        return texts;
    }
    let style = match progress.running == progress.workers {
        true => PLAIN,
        false => MOVING,
    };
    let words = format!("{} of {} run", progress.running, progress.workers);
    texts.push(Text::new(words, style));
    match progress.restarts {
        0 => {}
        1 => texts.push(Text::new(", 1 restart", MOVING)),
        several => texts.push(Text::new(format!(", {several} restarts"), MOVING)),
    }
    texts
}

/// A time that is counted down: in seconds only at the end.
fn about(left: Duration) -> String {
    match left.as_secs_f64().ceil() {
        seconds @ ..100.0 => format!("{seconds} s"),
        seconds => format!("{:.0} min", (seconds / 60.0).ceil()),
    }
}

#[cfg(test)]
mod tests {
    use shardman_core::ShardId;

    use super::*;

    fn progress() -> Progress {
        let bucket = |bucket: u32, left: u32, busy: Option<u32>| Outlook {
            bucket,
            left,
            busy: busy.map(|number| ShardId::new(number, 64).unwrap()),
            next_in: Duration::from_millis(2_100),
            last_in: Duration::from_secs(u64::from(left) * 5),
        };
        Progress {
            planned: 64,
            ready: 16,
            connecting: 4,
            buckets: vec![
                bucket(0, 10, None),
                bucket(1, 12, Some(17)),
                bucket(2, 11, None),
                bucket(3, 11, None),
            ],
            ready_in: Some(Duration::from_secs(60)),
            running: 3,
            workers: 4,
            restarts: 2,
            trouble: vec!["worker discord-3 is halted".to_owned()],
        }
    }

    fn shown(width: usize) -> String {
        anstream::adapter::strip_str(&render(&progress(), width)).to_string()
    }

    #[test]
    fn a_start_is_drawn_within_the_width_of_the_terminal() {
        assert_eq!(
            shown(79),
            "starting  [======--                  ] 16 of 64 shards ready, all in about 60 s\n\
             buckets   1: 12 wait, shard 17 identifies; 3 more\n\
             workers   3 of 4 run, 2 restarts\n\
             !         worker discord-3 is halted\n"
        );
        let all = "buckets   1: 12 wait, shard 17 identifies; 2-3: 11 wait each, next in 3 s; 0: 10 wait, next in 3 s\n";
        assert!(shown(120).contains(all), "{}", shown(120));
        for width in 1..200 {
            let widest = shown(width).lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{width}: {widest:?}");
        }
    }
}
