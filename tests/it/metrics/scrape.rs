//! One answer of `GET /metrics`, taken apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Shardman, call};

/// A sample: its name, its labels, its value.
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

#[derive(Default)]
pub struct Scrape {
    pub text: String,
    /// Type and help by family.
    pub families: BTreeMap<String, (String, String)>,
    pub samples: Vec<Sample>,
}

impl Scrape {
    #[track_caller]
    pub fn of(shardman: &Shardman) -> Self {
        let bearer = [("Authorization", "Bearer test-secret")];
        let answer = call(shardman.address, "GET", "/metrics", &bearer, None);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
        Self::parse(answer.body)
    }

    #[track_caller]
    fn parse(text: String) -> Self {
        let mut scrape = Self::default();
        for line in text.lines() {
            let words: Vec<_> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "HELP", name, help] => {
                    let before = scrape
                        .families
                        .insert(name.to_owned(), (String::new(), help.to_owned()));
                    assert!(before.is_none(), "{name} comes twice");
                }
                ["#", "TYPE", name, kind] => scrape.families.get_mut(name).unwrap().0 = kind.to_owned(),
                _ => scrape.samples.push(sample(line)),
            }
        }
        scrape.text = text;
        scrape
    }

    /// The sum of all samples with these labels, and others.
    #[track_caller]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matches = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|is| is == value);
            sample.name == name && labels.iter().all(has)
        };
        let found: Vec<_> = self.samples.iter().filter(matches).collect();
        assert!(!found.is_empty(), "no {name} with {labels:?}");
        found.iter().map(|sample| sample.value).sum()
    }

    /// How many series a family has.
    pub fn series(&self, name: &str) -> usize {
        self.samples.iter().filter(|sample| sample.name == name).count()
    }

    /// The family of a sample's name: that of a histogram has a suffix.
    pub fn family<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let parts = ["_bucket", "_sum", "_count"];
        let of_histogram = |part| {
            let family = name.strip_suffix(part)?;
            (self.families.get(family)?.0 == "histogram").then_some(family)
        };
        let plain = self
            .families
            .get(name)
            .is_some_and(|(kind, _)| kind != "histogram");
        plain
            .then_some(name)
            .or_else(|| parts.into_iter().find_map(of_histogram))
    }

    /// The labels of each family, without that of histograms.
    #[track_caller]
    pub fn labels(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for sample in &self.samples {
            let family = self
                .family(&sample.name)
                .unwrap_or_else(|| panic!("{}", sample.name));
            let names = sample.labels.keys().map(String::as_str);
            all.entry(family)
                .or_default()
                .extend(names.filter(|name| *name != "le"));
        }
        all
    }
}

#[track_caller]
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let pairs = labels
        .trim_end_matches('}')
        .split(',')
        .filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (label, value) = pair.split_once('=').unwrap_or_else(|| panic!("{line}"));
        (label.to_owned(), value.trim_matches('"').to_owned())
    };
    Sample {
        name: name.to_owned(),
        labels: pairs.map(pair).collect(),
        value: value.parse().unwrap_or_else(|_| panic!("{line}")),
    }
}
