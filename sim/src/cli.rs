//! `shardman sim`: flags, and the line that says where it listens.

use std::future::Future;
use std::io::{self, Write as _};

use tokio::net::TcpListener;

use crate::server::{SimConfig, serve};

/// A Discord that fits on a laptop: REST and gateway on one port, no token
/// needed. `GET /sim/report` tells what happened, `POST /sim/faults` breaks it.
#[derive(Clone, Debug, clap::Args)]
pub struct SimArgs {
    /// Address to listen on. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7979", value_name = "ADDR")]
    pub listen: String,

    /// Number of shards that GET /gateway/bot recommends.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub shards: u32,

    /// Identify buckets: how many shards may identify within one window.
    #[arg(long, default_value_t = 1, value_name = "M", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrency: u32,

    /// Guilds that the bot is in; the fault `guilds` changes it. Without it, ten
    /// per shard.
    #[arg(long, value_name = "N")]
    pub guilds: Option<u32>,

    /// What the number of shards has to be a multiple of, as Discord demands of
    /// very large bots; an IDENTIFY with another total is closed with 4010.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub large_bot_multiple: u32,

    /// MESSAGE_CREATE events a second, over all guilds. POST /sim/load changes it.
    #[arg(long, default_value_t = 10.0, value_name = "RATE", value_parser = rate)]
    pub events_per_second: f64,

    /// The only token that works. Without it, any but the empty one and "invalid".
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,

    /// Heartbeat interval in milliseconds. A client that sends none for two
    /// intervals is closed.
    #[arg(long, default_value_t = 41_250, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub heartbeat_ms: u64,

    /// Session starts a day. At 0 the token is reset.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub budget: u32,

    /// How many of them are left. Without it, all.
    #[arg(long, value_name = "N")]
    pub budget_remaining: Option<u32>,

    /// How long a session can be resumed, in milliseconds.
    #[arg(long, default_value_t = 90_000, value_name = "MS")]
    pub resume_window_ms: u64,

    /// Time between two IDENTIFYs of one bucket, in milliseconds.
    #[arg(long, default_value_t = 5_000, value_name = "MS")]
    pub identify_window_ms: u64,

    /// Seed of session ids and messages.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1_000_000.0).contains(&rate) {
        Ok(rate)
    } else {
        Err("not from 0 to 1000000".to_owned())
    }
}

impl SimArgs {
    pub fn config(&self) -> SimConfig {
        SimConfig {
            shards: self.shards,
            max_concurrency: self.max_concurrency,
            guilds: self.guilds.unwrap_or(self.shards.saturating_mul(10)),
            large_bot_multiple: self.large_bot_multiple,
            events_per_second: self.events_per_second,
            budget_total: self.budget,
            budget_remaining: self.budget_remaining,
            heartbeat_interval_ms: self.heartbeat_ms,
            resume_window_ms: self.resume_window_ms,
            token: self.token.clone(),
            identify_window_ms: self.identify_window_ms,
            seed: self.seed,
        }
    }
}

/// Listens, says where on stdout, and serves until `shutdown` is done.
pub async fn run(args: SimArgs, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let listener = TcpListener::bind(&args.listen).await?;
    let addr = listener.local_addr()?;
    let (shards, buckets) = (args.shards, args.max_concurrency);
    let line = format!(
        "sim: Discord at http://{addr} (gateway ws://{addr}), {shards} shards, max_concurrency {buckets}"
    );
    let mut stdout = io::stdout().lock();
    // Whoever started it may have closed stdout, which is no reason to stop.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    drop(stdout);
    serve(listener, args.config(), shutdown).await
}
