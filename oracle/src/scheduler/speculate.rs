//! Drafts: who is asked, what is checked, and what becomes of it. Nothing here
//! decides a token; a bad guess about what pays costs time alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::handle::Shared;
use super::plan::{self, Costs, Offer};
use super::settings::Speculate;
use super::trial::Trial;
use crate::draft::guarded::Guarded;
use crate::draft::{AnswerId, Draft, Drafter, Source};
use crate::engine::Token;
use crate::sampling::Sampling;

/// What a source is thought to be worth before it has shown anything.
const ACCEPTANCE_AT_FIRST: f64 = 0.6;
/// How much one token tells about a source, in this answer and in all.
const WEIGHT_IN_ANSWER: f64 = 0.15;
const WEIGHT_IN_ALL: f64 = 0.02;
/// How much one wait tells about whether drafts come.
const WEIGHT_OF_WAIT: f64 = 0.1;
/// After so many passes without drafts an answer tries a short one again.
const PROBE_AFTER: u32 = 32;
const PROBE_TOKENS: usize = 2;
/// No pass waits longer for drafts, unless the operator says so.
const WAIT_MOST: Duration = Duration::from_millis(2);

/// A draft that a pass checks.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    drafter: usize,
    draft: Draft,
}

impl Checked {
    pub(super) fn tokens(&self) -> &[Token] {
        &self.draft.tokens
    }
}

/// An answer that may have a draft: the first `base` tokens are certain, and at
/// most `limit` can be checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) answer: AnswerId,
    pub(super) base: usize,
    pub(super) limit: usize,
}

pub(super) struct Speculation {
    drafters: Vec<Guarded>,
    shared: Arc<Shared>,
    policy: Speculate,
    wait: Duration,
    /// How probable it is that a token of a source's draft follows.
    reputation: BTreeMap<Source, f64>,
    /// The same for one answer.
    trust: BTreeMap<(AnswerId, Source), f64>,
    /// Passes since an answer had a draft checked.
    idle: BTreeMap<AnswerId, u32>,
    /// How probable it is that waiting brings a draft.
    comes: f64,
    waits_skipped: u32,
    trial: Trial,
}

impl Speculation {
    pub(super) fn new(drafters: Vec<Box<dyn Drafter>>, shared: Arc<Shared>) -> Self {
        let asked = shared.settings().speculate;
        let exact = shared.facts().row_exact;
        let policy = match asked {
            Speculate::Auto if !exact => {
                warn!("rows of this model depend on who shares a pass; no drafts are checked");
                Speculate::Never
            }
            Speculate::Auto | Speculate::Always | Speculate::Never => asked,
        };
        shared
            .metrics
            .speculates
            .set(i64::from(policy != Speculate::Never && !drafters.is_empty()));
        let guarded = drafters.into_iter().map(Guarded::new);
        Self {
            drafters: if policy == Speculate::Never {
                Vec::new()
            } else {
                guarded.collect()
            },
            shared,
            policy,
            wait: Duration::ZERO,
            reputation: BTreeMap::new(),
            trust: BTreeMap::new(),
            idle: BTreeMap::new(),
            comes: 1.0,
            waits_skipped: 0,
            trial: Trial::default(),
        }
    }

    pub(super) fn calibrated(&mut self, costs: &Costs) {
        let quarter = Duration::from_secs_f64(costs.seconds(1) / 4.0);
        self.wait = self
            .shared
            .settings()
            .draft_wait
            .unwrap_or(quarter.min(WAIT_MOST));
    }

    pub(super) fn open(&mut self, answer: AnswerId, prompt: &[Token], sampling: &Sampling) {
        for drafter in &mut self.drafters {
            drafter.open(answer, prompt, sampling);
        }
    }

    pub(super) fn advance(&mut self, answer: AnswerId, base: usize, tokens: &[Token]) {
        for drafter in &mut self.drafters {
            drafter.advance(answer, base, tokens);
        }
    }

    pub(super) fn close(&mut self, answer: AnswerId) {
        for drafter in &mut self.drafters {
            drafter.close(answer);
        }
        self.idle.remove(&answer);
        self.trust.retain(|&(of, _), _| of != answer);
    }

    /// What to check for each of these answers in a pass that has `rows` rows
    /// anyway; waits for drafts if that should pay.
    pub(super) fn choose(&mut self, costs: &Costs, rows: usize, asking: &[Asking]) -> Vec<Option<Checked>> {
        let limit = self.shared.settings().draft_limit;
        let always = self.policy == Speculate::Always;
        if self.drafters.is_empty() || asking.is_empty() {
            return vec![None; asking.len()];
        }
        let is_off = !self.trial.drafts(asking.len()) || !plan::could_pay(costs, rows, asking.len(), limit);
        if !always && is_off {
            return vec![None; asking.len()];
        }
        let mut drafts: Vec<Option<Checked>> = asking.iter().map(|asking| self.ask(*asking)).collect();
        self.wait_for(costs, asking, &mut drafts);

        let offers: Vec<Offer> = asking
            .iter()
            .zip(&drafts)
            .map(|(asking, draft)| self.offer(asking.answer, draft.as_ref()))
            .collect();
        let mut counts = if always {
            offers.iter().map(|offer| offer.tokens).collect()
        } else {
            plan::draft_rows(costs, rows, asking.len(), &offers)
        };
        for (index, asking) in asking.iter().enumerate() {
            let idle = self.idle.entry(asking.answer).or_default();
            *idle += 1;
            if counts[index] == 0 && *idle > PROBE_AFTER {
                counts[index] = offers[index].tokens.min(PROBE_TOKENS);
            }
            if counts[index] > 0 {
                *idle = 0;
            }
        }
        let cut = |(draft, count): (Option<Checked>, usize)| {
            let mut checked = draft.filter(|_| count > 0)?;
            checked.draft.tokens.truncate(count);
            Some(checked)
        };
        drafts.into_iter().zip(counts).map(cut).collect()
    }

    /// What a pass took for these answers alone, with its drafts or without, and
    /// how many tokens it brought.
    pub(super) fn passed(&mut self, answers: usize, took: Duration, tokens: u64) {
        if self.policy == Speculate::Auto && !self.drafters.is_empty() && answers > 0 {
            self.trial.note(answers, took.as_secs_f64(), tokens);
        }
    }

    /// Takes what became of a draft that was checked. Of an answer that is whole
    /// the rest of it was never judged.
    pub(super) fn verdict(&mut self, answer: AnswerId, checked: &Checked, accepted: usize, whole: bool) {
        let Draft { source, ref tokens } = checked.draft;
        let label = label(source);
        let metrics = &self.shared.metrics;
        metrics
            .drafted
            .with_label_values(&[&label])
            .inc_by(tokens.len() as u64);
        metrics
            .accepted
            .with_label_values(&[&label])
            .inc_by(accepted as u64);
        if let Source::Scout { slot, .. } = source
            && !self.reputation.contains_key(&source)
        {
            // Whoever had the slot before is gone, and what it was worth.
            let was_there = |of: &Source| matches!(of, Source::Scout { slot: before, .. } if *before == slot);
            self.reputation.retain(|of, _| !was_there(of));
            self.trust.retain(|(_, of), _| !was_there(of));
        }
        let in_all = self.reputation.entry(source).or_insert(ACCEPTANCE_AT_FIRST);
        let here = self.trust.entry((answer, source)).or_insert(*in_all);
        // Of what was not accepted, only the first token was wrong for sure.
        let missed = usize::from(accepted < tokens.len() && !whole);
        for followed in std::iter::repeat_n(1.0, accepted).chain(std::iter::repeat_n(0.0, missed)) {
            *in_all += WEIGHT_IN_ALL * (followed - *in_all);
            *here += WEIGHT_IN_ANSWER * (followed - *here);
        }
        metrics.acceptance.with_label_values(&[&label]).set(*in_all);
        let mut judged = checked.draft.clone();
        if whole {
            judged.tokens.truncate(accepted);
        }
        self.drafters[checked.drafter].verdict(answer, &judged, accepted);
    }

    /// The best of what the drafters say now.
    fn ask(&mut self, asking: Asking) -> Option<Checked> {
        let limit = asking.limit.min(self.shared.settings().draft_limit);
        if limit == 0 {
            return None;
        }
        let vocabulary = self.shared.facts().vocabulary;
        let mut best: Option<(f64, Checked)> = None;
        for index in 0..self.drafters.len() {
            let Some(mut draft) = self.drafters[index].draft(asking.answer, asking.base, limit) else {
                continue;
            };
            // Nobody needs to keep to the limit, or to the vocabulary.
            let known = draft
                .tokens
                .iter()
                .take_while(|&&token| (token as usize) < vocabulary)
                .count();
            draft.tokens.truncate(known.min(limit));
            let checked = Checked {
                drafter: index,
                draft,
            };
            let expected = self.offer(asking.answer, Some(&checked)).expected();
            if expected > 0.0 && best.as_ref().is_none_or(|&(highest, _)| expected > highest) {
                best = Some((expected, checked));
            }
        }
        best.map(|(_, checked)| checked)
    }

    fn offer(&self, answer: AnswerId, checked: Option<&Checked>) -> Offer {
        let Some(Checked { draft, .. }) = checked else {
            return Offer {
                acceptance: 0.0,
                tokens: 0,
            };
        };
        let here = self.trust.get(&(answer, draft.source));
        let acceptance = here.or_else(|| self.reputation.get(&draft.source)).copied();
        Offer {
            acceptance: acceptance.unwrap_or(ACCEPTANCE_AT_FIRST),
            tokens: draft.tokens.len(),
        }
    }

    /// Asks again, after a while, for those that have no draft to speak of.
    fn wait_for(&mut self, costs: &Costs, asking: &[Asking], drafts: &mut [Option<Checked>]) {
        let missing: Vec<usize> = (0..asking.len())
            .filter(|&index| self.lacks(asking[index], drafts[index].as_ref()))
            .collect();
        if missing.is_empty() || self.wait.is_zero() || !self.waiting_pays(costs) {
            return;
        }
        let waiting: Vec<(AnswerId, usize)> = missing
            .iter()
            .map(|&index| (asking[index].answer, asking[index].base))
            .collect();
        self.shared.metrics.draft_waits.inc();
        let began = Instant::now();
        let deadline = began + self.wait;
        for drafter in &mut self.drafters {
            if Instant::now() < deadline {
                drafter.wait(&waiting, deadline);
            }
        }
        for &index in &missing {
            drafts[index] = self.ask(asking[index]);
        }
        let came = missing
            .iter()
            .any(|&index| !self.lacks(asking[index], drafts[index].as_ref()));
        // A drafter that knows that there is nothing to wait for costs nothing.
        if came || began.elapsed() > self.wait / 2 {
            self.comes += WEIGHT_OF_WAIT * (f64::from(u8::from(came)) - self.comes);
        }
    }

    /// Whether a scout could bring more than what an answer has.
    fn lacks(&self, asking: Asking, draft: Option<&Checked>) -> bool {
        let better = |checked: &Checked| {
            checked.draft.source != Source::Ngram
                || self.offer(asking.answer, Some(checked)).acceptance >= self.best_scout()
        };
        asking.limit > 0 && !draft.is_some_and(better)
    }

    /// What the best of the scouts is worth, as far as is known.
    fn best_scout(&self) -> f64 {
        let scouts = self
            .reputation
            .iter()
            .filter(|(source, _)| **source != Source::Ngram);
        scouts
            .map(|(_, &acceptance)| acceptance)
            .reduce(f64::max)
            .unwrap_or(ACCEPTANCE_AT_FIRST)
    }

    fn waiting_pays(&mut self, costs: &Costs) -> bool {
        let acceptance = self.best_scout();
        let pays = plan::wait_pays(costs, self.wait.as_secs_f64(), self.comes, acceptance);
        if pays || self.policy == Speculate::Always || self.waits_skipped >= PROBE_AFTER {
            self.waits_skipped = 0;
            return true;
        }
        self.waits_skipped += 1;
        false
    }
}

fn label(source: Source) -> String {
    match source {
        Source::Ngram => "ngram".into(),
        Source::Scout { slot, .. } => format!("scout-{slot}"),
    }
}
