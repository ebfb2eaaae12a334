//! `shardman-oracle bench`: what drafts and scouts are worth on this machine.
//!
//! Each subject is a server of its own on loopback, asked the same over HTTP,
//! one after the other and in several rounds, so that a machine that is busy
//! for a while is busy for all. Only the ratios are worth keeping.

mod client;
mod servers;
mod table;

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::config::BenchArgs;
use crate::serve::Failed;
use client::{Client, Timed};
use servers::{Server, Subject};
use table::Row;

/// Tokens of each answer that is timed.
const ANSWER_TOKENS: u32 = 96;

/// What one subject did in one round.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// Tokens per second, of the prompt and of one answer.
    prefill: f64,
    decode: f64,
    /// Tokens per second of eight answers together.
    batch: f64,
    /// Seconds, the longest between two pieces of the one answer.
    gap: f64,
}

/// Runs everything and prints the table.
///
/// # Errors
///
/// If a server cannot be started, or fails.
pub fn run(args: &BenchArgs) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::internal(format!("no runtime can be started: {error}")))?;
    runtime
        .block_on(bench(args))
        .map_err(|error| Failed::internal(format!("{error:#}")))
}

async fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    let subjects = servers::subjects(args)?;
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); subjects.len()];
    let mut accepted = vec![0.0; subjects.len()];
    for round in 0..args.rounds {
        for (at, subject) in subjects.iter().enumerate() {
            eprintln!("round {} of {}: {}", round + 1, args.rounds, subject.name());
            let server = Server::start(args, subject)
                .await
                .with_context(|| format!("{} did not start", subject.name()))?;
            let measured = measure(&server.client, round).await;
            if let Subject::Oracle { .. } = subject {
                accepted[at] = server.accepted().await?;
            }
            server.stop().await;
            rounds[at].push(measured.with_context(|| format!("{} failed", subject.name()))?);
        }
    }
    let rows: Vec<Row> = subjects
        .iter()
        .zip(&rounds)
        .zip(&accepted)
        .map(|((subject, rounds), accepted)| Row {
            name: subject.name(),
            prefill: median(rounds.iter().map(|round| round.prefill)),
            decode: median(rounds.iter().map(|round| round.decode)),
            batch: median(rounds.iter().map(|round| round.batch)),
            gap: median(rounds.iter().map(|round| round.gap)),
            accepted: *accepted,
        })
        .collect();
    table::print(&rows, args);
    Ok(())
}

async fn measure(client: &Client, round: u16) -> anyhow::Result<Round> {
    // What a server learns of its drafts, it learns by answering.
    for stream in 0..3 {
        client.ask(&story(99, stream), 4 * ANSWER_TOKENS).await?;
    }
    at_once(client, 99).await?;
    let read = client.ask(&long_text(round), 1).await?;
    let one = client.ask(&story(round, 0), ANSWER_TOKENS).await?;
    let all = at_once(client, round).await?;
    Ok(Round {
        prefill: f64::from(read.prompt_tokens) / seconds(read.first - read.sent),
        decode: f64::from(one.completion_tokens.saturating_sub(1)) / seconds(one.last - one.first),
        batch: together_per_second(&all),
        gap: one.longest_gap.as_secs_f64(),
    })
}

/// Eight answers at once.
async fn at_once(client: &Client, round: u16) -> anyhow::Result<Vec<Timed>> {
    let mut together = tokio::task::JoinSet::new();
    for stream in 0..8 {
        let (client, story) = (client.clone(), story(round, stream + 1));
        together.spawn(async move { client.ask(&story, ANSWER_TOKENS).await });
    }
    together.join_all().await.into_iter().collect()
}

/// Tokens per second of answers that were written together, from when all were
/// sent until the last was whole.
fn together_per_second(all: &[Timed]) -> f64 {
    let tokens: u32 = all.iter().map(|timed| timed.completion_tokens).sum();
    let (Some(begin), Some(end)) = (
        all.iter().map(|timed| timed.sent).min(),
        all.iter().map(|timed| timed.last).max(),
    ) else {
        return 0.0;
    };
    f64::from(tokens) / seconds(end - begin)
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64().max(1e-6)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Some six hundred tokens. They differ from the first word on, so that no
/// server has seen the beginning before.
fn long_text(round: u16) -> String {
    let mut text = format!("Report number {round}.");
    for (at, thing) in ["river", "engine", "garden", "letter", "harbour", "orchard"]
        .iter()
        .cycle()
        .take(36)
        .enumerate()
    {
        text.push_str(&format!(
            " On day {at} the {thing} was inspected and found to be in good order by everyone."
        ));
    }
    text
}

fn story(round: u16, stream: u16) -> String {
    let heroes = [
        "a lighthouse keeper",
        "a clever fox",
        "an old robot",
        "two sisters",
        "a young baker",
        "a lost whale",
        "a mountain guide",
        "a night train",
        "a paper boat",
    ];
    let hero = heroes[usize::from(stream) % heroes.len()];
    format!("Story {round}-{stream}: write a long story about {hero} who travels through many countries.")
}

/// Waits until `path` of the server answers.
async fn until_up(client: &Client, path: &str, patience: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !client.is_up(path).await {
        anyhow::ensure!(begun.elapsed() < patience, "nothing answered within {patience:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_nothing_has_none() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
