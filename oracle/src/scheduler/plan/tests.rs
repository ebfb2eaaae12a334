use proptest::prelude::*;

use super::*;

/// Rows are nearly free up to eight, then each costs as much as a pass.
fn staircase() -> Costs {
    Costs::new(vec![(1, 1.0), (2, 1.1), (4, 1.2), (8, 1.3), (16, 8.0)])
}

fn linear() -> Costs {
    Costs::new(vec![(1, 1.0), (16, 16.0)])
}

fn offer(acceptance: f64, tokens: usize) -> Offer {
    Offer { acceptance, tokens }
}

#[test]
fn costs_between_and_beyond_what_was_measured_are_in_proportion() {
    let costs = Costs::new(vec![(8, 3.0), (1, 1.0), (4, 2.0), (2, 0.9)]);
    let seconds: Vec<f64> = [0, 1, 2, 3, 4, 6, 8, 16]
        .into_iter()
        .map(|rows| costs.seconds(rows))
        .collect();
    assert_eq!(
        seconds,
        [1.0, 1.0, 1.0, 1.5, 2.0, 2.5, 3.0, 6.0],
        "and never fall"
    );
}

#[test]
fn costs_follow_what_passes_take_now() {
    let pays = |costs: &Costs| draft_rows(costs, 1, 1, &[offer(0.7, 7)])[0];
    let mut costs = staircase();
    assert!(pays(&costs) > 0);
    // Texts have become long, and each row has its own to read.
    for _ in 0..100 {
        let rows = 1 + pays(&costs);
        costs.observe(rows, 0.4 + 3.6 * rows as f64);
        costs.observe(1, 4.0);
    }
    assert_eq!(pays(&costs), 0, "{costs:?}");
    assert!((3.5..4.5).contains(&costs.seconds(1)), "{costs:?}");
    // One pause of the machine is not what passes take.
    let before = costs.seconds(1);
    costs.observe(1, 1000.0);
    assert!(costs.seconds(1) < before * 1.5);
}

#[test]
fn a_prompt_is_fed_so_that_running_answers_hardly_pause() {
    assert_eq!(prefill_budget(&linear(), 4, 20.0), 16);
    assert_eq!(prefill_budget(&linear(), 40, 20.0), 1, "it always gets on");
    assert_eq!(prefill_budget(&linear(), 0, 20.0), 80, "nobody pauses");
    assert_eq!(prefill_budget(&linear(), 0, 1e9), 512);
}

#[test]
fn short_prompts_are_fed_first_and_a_long_one_gets_on() {
    assert_eq!(prefill(&[5, 7, 9], 8), [5, 3, 0]);
    assert_eq!(prefill(&[4000, 20, 300, 10], 100), [25, 20, 45, 10]);
    assert_eq!(prefill(&[4000, 5000], 100), [100, 0]);
    assert_eq!(prefill(&[5000, 4000], 100), [25, 75]);
    assert_eq!(prefill(&[4000, 20], 1), [1, 0]);
    assert_eq!(prefill(&[5, 7], 100), [5, 7]);
    assert_eq!(prefill(&[], 8), [0usize; 0]);
}

#[test]
fn drafts_are_checked_where_rows_are_nearly_free() {
    assert_eq!(
        draft_rows(&staircase(), 1, 1, &[offer(0.9, 12)]),
        [7],
        "up to the eighth row"
    );
    assert_eq!(
        draft_rows(&staircase(), 1, 1, &[offer(0.05, 7)]),
        [0],
        "not what hardly follows"
    );
    assert_eq!(
        draft_rows(&linear(), 1, 1, &[offer(0.9, 7)]),
        [0],
        "not where each row costs as much"
    );
    assert_eq!(
        draft_rows(&staircase(), 8, 8, &[offer(0.9, 7); 8]),
        [0; 8],
        "not where the pass is full"
    );
}

#[test]
fn the_better_draft_is_checked_further() {
    let counts = draft_rows(&staircase(), 2, 2, &[offer(0.5, 7), offer(0.95, 7)]);
    assert_eq!(counts.iter().sum::<usize>(), 6);
    assert!(counts[1] > counts[0], "{counts:?}");
}

#[test]
fn nobody_is_asked_where_even_perfect_drafts_would_not_pay() {
    assert!(could_pay(&staircase(), 1, 1, 7));
    assert!(!could_pay(&linear(), 1, 1, 7));
    assert!(!could_pay(&staircase(), 8, 8, 7));
    assert!(!could_pay(&staircase(), 1, 1, 0));
}

#[test]
fn a_wait_is_worth_what_it_spares() {
    assert!(wait_pays(&linear(), 0.25, 0.9, 0.6));
    assert!(!wait_pays(&linear(), 0.25, 0.1, 0.6), "drafts hardly come");
    assert!(!wait_pays(&linear(), 0.25, 0.9, 0.1), "and hardly follow");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_is_slower_than_none(
        times in prop::collection::vec(0.01f64..5.0, 5),
        rows in 1usize..30,
        offers in prop::collection::vec((0.0f64..1.0, 0usize..9), 1..8),
    ) {
        let costs = Costs::new([1, 2, 4, 8, 16].into_iter().zip(times).collect());
        let offers: Vec<Offer> = offers.into_iter().map(|(acceptance, tokens)| offer(acceptance, tokens)).collect();
        let answers = offers.len().min(rows);
        let counts = draft_rows(&costs, rows, answers, &offers);
        let width: usize = counts.iter().sum();
        prop_assert!(counts.iter().zip(&offers).all(|(&count, offer)| count <= offer.tokens));
        let made: f64 = counts.iter().zip(&offers).map(|(&tokens, of)| Offer { tokens, ..*of }.expected()).sum();
        let rate = (answers as f64 + made) / costs.seconds(rows + width);
        prop_assert!(rate >= answers as f64 / costs.seconds(rows) - 1e-9);
    }

    #[test]
    fn costs_stay_rising_whatever_is_observed(
        seen in prop::collection::vec((1usize..40, 0.0f64..10.0), 0..60),
    ) {
        let mut costs = staircase();
        for (rows, seconds) in seen {
            costs.observe(rows, seconds);
        }
        for rows in 1..40 {
            prop_assert!(costs.seconds(rows) > 0.0);
            prop_assert!(costs.seconds(rows) <= costs.seconds(rows + 1) * (1.0 + 1e-9));
        }
    }

    #[test]
    fn a_pass_takes_what_there_is_up_to_its_budget(
        remaining in prop::collection::vec(0usize..50, 0..6),
        budget in 0usize..120,
    ) {
        let shares = prefill(&remaining, budget);
        prop_assert!(shares.iter().zip(&remaining).all(|(share, tokens)| share <= tokens));
        prop_assert_eq!(shares.iter().sum::<usize>(), budget.min(remaining.iter().sum()));
        if let Some(&first) = remaining.first() {
            prop_assert!(shares[0] >= first.min(budget.div_ceil(4)), "the first one ends");
        }
    }
}
