//! What was measured, as a table that can be put into a document.

use crate::config::BenchArgs;

/// One subject's medians.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) prefill: f64,
    pub(super) decode: f64,
    pub(super) batch: f64,
    pub(super) gap: f64,
    /// The part of all drafted tokens that were right.
    pub(super) accepted: f64,
}

/// Prints rows with their ratio to the first.
#[expect(clippy::print_stdout, reason = "a command's answer")]
pub(super) fn print(rows: &[Row], args: &BenchArgs) {
    println!(
        "tokens per second, {} thread(s) each, medians of {}; in brackets the ratio to plain",
        args.threads, args.rounds
    );
    println!();
    println!("| | prefill | decode, 1 stream | decode, 8 streams | longest gap | drafts that were right |");
    println!("|---|---|---|---|---|---|");
    let Some(plain) = rows.first() else { return };
    for row in rows {
        let cell = |value: f64, base: f64| format!("{value:.0} ({:.2})", value / base.max(1e-9));
        let accepted = if row.accepted.is_finite() && row.accepted > 0.0 {
            format!("{:.0} %", row.accepted * 100.0)
        } else {
            "-".to_owned()
        };
        println!(
            "| {} | {} | {} | {} | {:.0} ms | {accepted} |",
            row.name,
            cell(row.prefill, plain.prefill),
            cell(row.decode, plain.decode),
            cell(row.batch, plain.batch),
            row.gap * 1000.0,
        );
    }
}
