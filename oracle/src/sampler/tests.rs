use super::*;

const PLAIN: Sampling = Sampling {
    temperature: 1.0,
    top_p: 1.0,
    seed: 0,
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
    logit_bias: BTreeMap::new(),
};

/// Sixteen tokens, from e^2 to e^-5.5.
fn toy() -> Vec<f32> {
    (0..16).map(|token| 2.0 - token as f32 * 0.5).collect()
}

fn softmax(logits: &[f32], temperature: f32) -> Vec<f64> {
    let powers: Vec<f64> = logits.iter().map(|&z| f64::from(z / temperature).exp()).collect();
    let mass: f64 = powers.iter().sum();
    powers.iter().map(|power| power / mass).collect()
}

/// Draws many tokens, and returns how far they are from these probabilities:
/// chi-square, with those that are too rare put together.
fn chi_square(
    sampling: &Sampling,
    expected: &[f64],
    draws: usize,
    seed_of: impl Fn(usize) -> (u64, usize),
) -> (f64, usize) {
    let (mut sampler, logits, counts) = (Sampler::new(), toy(), Counts::default());
    let mut seen = [0usize; 16];
    for draw in 0..draws {
        let (seed, position) = seed_of(draw);
        let sampling = Sampling {
            seed,
            ..sampling.clone()
        };
        seen[sampler.choose(&logits, &sampling, position, &counts).unwrap() as usize] += 1;
    }
    let (mut distance, mut cells) = (0.0, 0);
    let (mut rare, mut rare_seen) = (0.0, 0.0);
    for (&probability, &seen) in expected.iter().zip(&seen) {
        let (wanted, seen) = (probability * draws as f64, seen as f64);
        if probability == 0.0 {
            assert_eq!(seen, 0.0, "what is filtered out is never drawn");
        } else if wanted < 10.0 {
            (rare, rare_seen) = (rare + wanted, rare_seen + seen);
        } else {
            distance += (seen - wanted).powi(2) / wanted;
            cells += 1;
        }
    }
    if rare > 0.0 {
        distance += (rare_seen - rare).powi(2) / rare.max(1.0);
        cells += 1;
    }
    (distance, cells - 1)
}

/// Far beyond the 99.99 % quantile for these degrees of freedom: 15 has 44.3.
const FAR: f64 = 45.0;

#[test]
fn draws_are_those_of_the_softmax() {
    for temperature in [0.3, 0.7, 1.0, 2.0] {
        let sampling = Sampling { temperature, ..PLAIN };
        let expected = softmax(&toy(), temperature);
        let by_position = chi_square(&sampling, &expected, 40_000, |draw| (42, draw));
        let by_seed = chi_square(&sampling, &expected, 40_000, |draw| (draw as u64, 7));
        println!(
            "T={temperature}: chi-square {:.1} and {:.1}, {} df",
            by_position.0, by_seed.0, by_seed.1
        );
        assert!(by_position.0 < FAR && by_seed.0 < FAR);
    }
}

#[test]
fn draws_within_top_p_are_those_of_its_tokens_alone() {
    let all = softmax(&toy(), 1.0);
    for top_p in [0.2, 0.5, 0.9, 0.999] {
        let mut reached = 0.0;
        let mut expected: Vec<f64> = all
            .iter()
            .map(|&probability| {
                let within = reached < top_p;
                reached += probability;
                if within { probability } else { 0.0 }
            })
            .collect();
        let mass: f64 = expected.iter().sum();
        expected.iter_mut().for_each(|probability| *probability /= mass);
        let sampling = Sampling {
            top_p: top_p as f32,
            ..PLAIN
        };
        let (distance, freedom) = chi_square(&sampling, &expected, 40_000, |draw| (9, draw));
        println!("top_p={top_p}: chi-square {distance:.1}, {freedom} df");
        assert!(distance < FAR);
    }
}

#[test]
fn choices_are_not_drawn_alike() {
    let mut sampler = Sampler::new();
    let (logits, counts) = (vec![0.0; 1000], Counts::default());
    let same = (0..1000).filter(|&position| {
        let mut draw = |choice| sampler.choose(&logits, &PLAIN.for_choice(choice), position, &counts);
        draw(0) == draw(1)
    });
    assert!(same.count() < 10);
}

fn check(logits: &[f32], sampling: &Sampling, expected: Option<Token>) {
    let mut sampler = Sampler::new();
    for position in 0..50 {
        let token = sampler.choose(logits, sampling, position, &Counts::default());
        assert_eq!(token, expected, "{logits:?} {sampling:?}");
    }
}

#[test]
fn greedy_takes_the_first_of_the_highest() {
    let greedy = Sampling {
        temperature: 0.0,
        ..PLAIN
    };
    check(&[1.0, 3.0, 3.0, 2.0], &greedy, Some(1));
    check(&[f32::NAN, -5.0, f32::NEG_INFINITY, f32::NAN], &greedy, Some(1));
    check(&[0.0, f32::INFINITY, 7.0, f32::INFINITY], &greedy, Some(1));
    check(&[f32::NAN, f32::NEG_INFINITY], &greedy, None);
    check(&[], &greedy, None);
}

#[test]
fn sampling_takes_only_what_is_a_number() {
    check(&[f32::NAN, 0.0, f32::NEG_INFINITY], &PLAIN, Some(1));
    check(&[0.0, f32::INFINITY, 7.0], &PLAIN, Some(1));
    check(&[f32::NAN, f32::NEG_INFINITY], &PLAIN, None);
    let half = Sampling { top_p: 0.5, ..PLAIN };
    check(&[f32::NAN, 0.0, f32::NEG_INFINITY], &half, Some(1));
    check(&[0.0, f32::INFINITY, 7.0], &half, Some(1));
    check(&[f32::NAN, f32::NEG_INFINITY], &half, None);
}

#[test]
fn the_smallest_set_has_one_token_and_ties_go_to_the_lowest() {
    let tiny = Sampling { top_p: 1e-6, ..PLAIN };
    check(&[1.0, 3.0, 3.0, 2.0], &tiny, Some(1));
    check(&toy(), &tiny, Some(0));
    // Of four that are as probable, half the mass is the first two.
    let mut sampler = Sampler::new();
    let half = Sampling { top_p: 0.5, ..PLAIN };
    let drawn: std::collections::BTreeSet<Token> = (0..200)
        .filter_map(|position| sampler.choose(&[0.0; 4], &half, position, &Counts::default()))
        .collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_cold_sample_is_greedy() {
    check(
        &[1.0, 1.1, 0.9],
        &Sampling {
            temperature: 1e-4,
            ..PLAIN
        },
        Some(1),
    );
}

#[test]
fn bias_and_penalties_move_logits_before_anything_else() {
    let greedy = Sampling {
        temperature: 0.0,
        ..PLAIN
    };
    let biased = Sampling {
        logit_bias: BTreeMap::from([(0, -100.0), (2, 5.0), (99, 100.0)]),
        ..greedy.clone()
    };
    check(&[9.0, 3.0, 0.0], &biased, Some(2));
    let mut sampler = Sampler::new();
    let mut counts = Counts::default();
    let mut choose =
        |sampling: &Sampling, counts: &Counts| sampler.choose(&[2.0, 1.0, 0.4], sampling, 0, counts);
    let frequent = Sampling {
        frequency_penalty: 0.6,
        ..greedy.clone()
    };
    let present = Sampling {
        presence_penalty: 1.5,
        ..greedy
    };
    counts.add(0);
    assert_eq!(choose(&frequent, &counts), Some(0), "2.0 - 0.6 is more than 1.0");
    assert_eq!(choose(&present, &counts), Some(1), "2.0 - 1.5 is less than 1.0");
    counts.add(0);
    assert_eq!(choose(&frequent, &counts), Some(1), "2.0 - 1.2 is less than 1.0");
    counts.add(1);
    counts.add(0);
    assert_eq!(
        choose(&present, &counts),
        Some(0),
        "a token is penalised for being there once"
    );
}

#[test]
fn logprobs_are_those_of_the_model() {
    let mut sampler = Sampler::new();
    let logits = [1.0, 3.0, 3.0, f32::NAN, f32::NEG_INFINITY];
    let logprob = sampler.logprob(&logits, 0, 3);
    let mass = 1f64.exp() + 2.0 * 3f64.exp();
    let near = |got: f32, z: f64| (f64::from(got) - (z - mass.ln())).abs() < 1e-6;
    assert!(near(logprob.logprob, 1.0));
    assert_eq!(
        logprob.top.iter().map(|&(token, _)| token).collect::<Vec<_>>(),
        [1, 2, 0]
    );
    assert!(near(logprob.top[0].1, 3.0) && near(logprob.top[2].1, 1.0));
    assert_eq!(sampler.logprob(&logits, 3, 0).logprob, f32::NEG_INFINITY);
    assert_eq!(sampler.logprob(&logits, 1, 20).top.len(), 5);
}

#[test]
fn a_vocabulary_of_a_real_size_is_sampled_exactly_and_fast() {
    let logits: Vec<f32> = (0..49_152u64)
        .map(|token| ((token * 2_654_435_761) % 1000) as f32 / 60.0)
        .collect();
    let mut sampler = Sampler::new();
    for sampling in [
        PLAIN,
        Sampling { top_p: 0.95, ..PLAIN },
        Sampling {
            temperature: 0.7,
            ..PLAIN
        },
    ] {
        let began = std::time::Instant::now();
        for position in 0..100 {
            let token = sampler.choose(&logits, &sampling, position, &Counts::default());
            assert_eq!(
                token,
                sampler.choose(&logits, &sampling, position, &Counts::default())
            );
        }
        println!(
            "T={} top_p={}: {:?} a row",
            sampling.temperature,
            sampling.top_p,
            began.elapsed() / 200
        );
    }
}
