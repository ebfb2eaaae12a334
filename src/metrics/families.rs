//! The families of one answer, in the text format 0.0.4 of Prometheus: every
//! family once, in the order of its name, with its help and its type.

use std::collections::BTreeMap;

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// Names and values of labels.
pub(crate) type Labels<'a> = &'a [(&'static str, &'a str)];

#[derive(Debug, Default)]
pub(crate) struct Families(BTreeMap<String, MetricFamily>);

impl Families {
    /// What is now.
    pub(crate) fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        value: impl Into<f64>,
    ) {
        let mut gauge = Gauge::default();
        gauge.set_value(value.into());
        let mut metric = Metric::default();
        metric.set_gauge(gauge);
        self.push(name, help, MetricType::GAUGE, labels, metric);
    }

    /// What was until now.
    pub(crate) fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        value: impl Into<f64>,
    ) {
        let mut counter = Counter::default();
        counter.set_value(value.into());
        let mut metric = Metric::default();
        metric.set_counter(counter);
        self.push(name, help, MetricType::COUNTER, labels, metric);
    }

    /// What the library has counted.
    pub(crate) fn add(&mut self, collected: Vec<MetricFamily>) {
        for mut family in collected {
            let name = family.name().to_owned();
            match self.0.get_mut(&name) {
                Some(known) => known.mut_metric().append(family.mut_metric()),
                None => drop(self.0.insert(name, family)),
            }
        }
    }

    fn push(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        labels: Labels<'_>,
        mut metric: Metric,
    ) {
        let pair = |(name, value): &(&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        metric.set_label(labels.iter().map(pair).collect());
        let family = self.0.entry(name.to_owned()).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(metric);
    }

    /// As it is answered. A family without a sample is left out.
    pub(crate) fn into_text(self) -> String {
        let filled: Vec<_> = self
            .0
            .into_values()
            .filter(|family| !family.get_metric().is_empty())
            .collect();
        TextEncoder::new()
            .encode_to_string(&filled)
            .expect("a text takes whatever has a name and samples")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_help_and_type_once_and_labels_are_escaped() {
        let mut families = Families::default();
        families.gauge("b", "Of two pools", &[("pool", "discord")], 1);
        families.counter("a_total", "First by name", &[], 3);
        families.gauge("b", "Of two pools", &[("pool", "a\"b\\c\nd")], f64::NAN);
        let expected = "# HELP a_total First by name\n# TYPE a_total counter\na_total 3\n\
                        # HELP b Of two pools\n# TYPE b gauge\nb{pool=\"discord\"} 1\n\
                        b{pool=\"a\\\"b\\\\c\\nd\"} NaN\n";
        assert_eq!(families.into_text(), expected);
    }
}
