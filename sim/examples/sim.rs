//! The simulator alone, with the flags of `shardman sim`; stops on Ctrl-C.

use clap::Parser;
use shardman_sim::cli::{SimArgs, run};

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    sim: SimArgs,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let interrupted = async {
        // Without a handler Ctrl-C kills the process, which is as good.
        let _ = tokio::signal::ctrl_c().await;
    };
    run(Args::parse().sim, interrupted).await
}
