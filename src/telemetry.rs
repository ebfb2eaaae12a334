//! The log: standard error, one line an event. For a person at a terminal the
//! text alone; for a file the fields as well.

use std::fmt;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

mod live;

pub use live::Live;

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info";

/// Starts logging. Called once, before anything is logged. Returns what may be
/// shown below the log.
pub fn start() -> Live {
    let is_terminal = std::io::stderr().is_terminal();
    let live = if is_terminal {
        Live::possible()
    } else {
        Live::default()
    };
    let writer = match is_terminal {
        true => BoxMakeWriter::new(live.clone()),
        false => BoxMakeWriter::new(std::io::stderr),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // They would go to standard error as well, and panic where the full
        // disk that it is written to caused them.
        .log_internal_errors(false)
        .with_target(false);
    if is_terminal {
        let text_alone = debug_fn(|writer, field, value| match field.name() {
            "message" => write!(writer, "{value:?}"),
            _ => Ok(()),
        });
        // Colours are the library's default, unless NO_COLOR is set.
        log.with_timer(TimeOfDay).fmt_fields(text_alone).init();
    } else {
        log.with_ansi(false).init();
    }
    live
}

/// Hours, minutes and seconds, UTC.
struct TimeOfDay;

impl FormatTime for TimeOfDay {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let moment = shardman_core::wall::rfc3339_micros(crate::clock::wall_ms());
        writer.write_str(moment.get(11..19).unwrap_or(&moment))
    }
}
