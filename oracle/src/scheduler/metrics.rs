//! What the scheduler counts.

use prometheus::core::Collector;
use prometheus::{GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) queue: IntGauge,
    pub(super) answers: IntGauge,
    pub(super) rows: IntGauge,
    pub(super) kv_bytes: IntGauge,
    pub(super) passes: IntCounter,
    pub(super) failed_passes: IntCounter,
    pub(super) pass_seconds: Histogram,
    pub(super) first_token_seconds: Histogram,
    pub(super) token_gap_seconds: Histogram,
    pub(super) prompt_tokens: IntCounter,
    pub(super) completion_tokens: IntCounter,
    pub(super) cancelled: IntCounter,
    pub(super) drafted: IntCounterVec,
    pub(super) accepted: IntCounterVec,
    pub(super) draft_waits: IntCounter,
    pub(super) acceptance: GaugeVec,
    pub(super) speculates: IntGauge,
}

/// Seconds, from a fast pass to a long wait.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

impl Metrics {
    /// # Panics
    ///
    /// If `registry` has them already.
    pub(super) fn new(registry: &Registry) -> Self {
        let new = New(registry);
        Self {
            queue: new.gauge("oracle_queue_requests", "Requests that wait for their turn."),
            answers: new.gauge("oracle_active_answers", "Answers that are being written."),
            rows: new.gauge("oracle_rows", "Rows of the last pass; 0 when idle."),
            kv_bytes: new.gauge(
                "oracle_kv_bytes",
                "Memory that running requests have reserved for keys and values.",
            ),
            passes: new.counter("oracle_passes_total", "Passes of the model."),
            failed_passes: new.counter(
                "oracle_failed_passes_total",
                "Passes that the model could not compute.",
            ),
            pass_seconds: new.histogram("oracle_pass_seconds", "Time of a pass."),
            first_token_seconds: new.histogram(
                "oracle_time_to_first_token_seconds",
                "Time from a request's arrival in the queue to its first token.",
            ),
            token_gap_seconds: new.histogram(
                "oracle_token_gap_seconds",
                "Time from one pass that added to an answer to the next.",
            ),
            prompt_tokens: new.counter("oracle_prompt_tokens_total", "Tokens of prompts that were begun."),
            completion_tokens: new.counter(
                "oracle_completion_tokens_total",
                "Tokens of answers, also of those that were not wanted to the end.",
            ),
            cancelled: new.counter(
                "oracle_cancelled_total",
                "Requests whose reader went away before they were whole.",
            ),
            drafted: new.counters("oracle_drafted_tokens_total", "Drafted tokens that were checked."),
            accepted: new.counters("oracle_accepted_tokens_total", "Drafted tokens that followed."),
            draft_waits: new.counter("oracle_draft_waits_total", "Passes that waited for drafts."),
            acceptance: new.gauges(
                "oracle_draft_acceptance_ratio",
                "How probable it is by now that a token of this source's drafts follows.",
            ),
            speculates: new.gauge(
                "oracle_speculates",
                "1 if drafts may be checked; 0 if it is off, or the engine's rows are not exact.",
            ),
        }
    }
}

struct New<'a>(&'a Registry);

impl New<'_> {
    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(name, help), &["source"]))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), &["source"]))
    }

    fn histogram(&self, name: &str, help: &str) -> Histogram {
        self.add(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(SECONDS.to_vec()),
        ))
    }

    fn add<T: Collector + Clone + 'static>(&self, metric: prometheus::Result<T>) -> T {
        let metric = metric.expect("the name is well formed");
        self.0
            .register(Box::new(metric.clone()))
            .expect("each name is registered once");
        metric
    }
}
