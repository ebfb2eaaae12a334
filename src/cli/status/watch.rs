//! `shardman status --watch`: redrawn in place each second, until `q`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use shardman_core::wall::rfc3339_micros;
use shardman_core::wire::FleetView;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::{LOOK_EVERY, few, look, verdict, view};
use crate::cli::Signals;
use crate::cli::terminal::{self, Screen};
use crate::cli::text::{BAD, BOLD, DIM, Text, line};
use crate::client::{CallError, SLOWEST_LOOK};
use crate::clock::wall_ms;
use crate::config::{ConfigError, StatusArgs};

/// What is known of the fleet, and since when nothing newer is.
struct Known {
    fleet: FleetView,
    at: Instant,
    /// Why the manager does not answer.
    trouble: Option<String>,
}

pub(super) async fn watch(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    // Who cannot be asked at all is told so on the usual screen.
    let mut known = Known {
        fleet: look(args).await?.1,
        at: Instant::now(),
        trouble: None,
    };
    let mut signals = Signals::new()?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut suspended = signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?;
    let mut keys = terminal::keys();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut screen = Screen::open()?;
    loop {
        screen.draw(&render(args, &known))?;
        tokio::select! {
            biased;
            () = signals.next() => break,
            // Where nobody types any more, the rest goes on.
            Some(key) = keys.recv() => if matches!(key, b'q' | b'Q') {
                break;
            },
            _ = resized.recv() => screen.forget(),
            _ = suspended.recv() => {
                screen.leave();
                terminal::stop_here().await?;
                screen.enter()?;
            }
            _ = tick.tick() => {
                let answer = tokio::select! {
                    answer = tokio::time::timeout(SLOWEST_LOOK, look(args)) => answer,
                    () = signals.next() => break,
                    Some(b'q' | b'Q') = keys.recv() => break,
                };
                match answer {
                    Ok(Ok((_, fleet))) => known = Known { fleet, at: Instant::now(), trouble: None },
                    Ok(Err(error)) if is_final(&error) => return Err(error),
                    Ok(Err(error)) => known.trouble = Some(error.root_cause().to_string()),
                    Err(_) => known.trouble = Some("it takes too long".to_owned()),
                }
            }
        }
    }
    drop(screen);
    Ok(verdict(&known.fleet))
}

/// Another try would end the same way: it is not that nobody answers.
fn is_final(error: &anyhow::Error) -> bool {
    let unreachable = error.downcast_ref::<CallError>().is_some();
    error.downcast_ref::<ConfigError>().is_some() || !unreachable
}

fn render(args: &StatusArgs, known: &Known) -> String {
    let width = terminal::width();
    let time = rfc3339_micros(wall_ms());
    let time = time.get(11..19).unwrap_or_default().to_owned();
    let url = args.manager.url.trim_end_matches('/');
    let head = [
        Text::new("shardman status", BOLD),
        format!("  {url}  ").into(),
        Text::new(format!("{time} UTC, q leaves"), DIM),
    ];
    let mut text = line(&head, width);
    if let Some(trouble) = &known.trouble {
        let silent = known.at.elapsed().max(Duration::from_secs(1)).as_secs();
        let lost = format!("no answer for {silent} s ({trouble}); this is how it was, and it is tried again");
        text.push_str(&line(&[Text::new(lost, BAD)], width));
    }
    text.push('\n');
    let rows = terminal::size(std::io::stdout()).map_or(usize::MAX, |(_, rows)| rows);
    let fits = |body: &String| text.lines().count() + body.lines().count() <= rows;
    let body = view::render(&known.fleet, few(args), width);
    // Who cannot be shown one by one on this screen is shown together.
    let body = match args.all || fits(&body) {
        true => body,
        false => view::render(&known.fleet, 0, width),
    };
    text + &body
}
