//! Numbers with a name, and their text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use crate::datasets::Dataset;

pub use prometheus_client::registry::Unit;

/// Names and values of what tells one number of a family from the others.
pub type Labels = Vec<(&'static str, String)>;

/// The labels of a tenant's dataset; empty where what is told is of none.
#[must_use]
pub fn labels(tenant: &str, dataset: Option<Dataset>) -> [(&'static str, String); 2] {
    let dataset = dataset.map_or(String::new(), |dataset| dataset.to_string());
    [("tenant", tenant.to_owned()), ("dataset", dataset)]
}

/// A count as it is told.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn number(count: u64) -> f64 {
    count as f64
}

/// Numbers of one name.
#[derive(Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    samples: Vec<(Labels, Number)>,
}

/// A number of a family.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// Of a counter or a gauge.
    One(f64),
    /// Durations: their sum in seconds, their number, and how many were at most so long; each is
    /// counted once, and the last bound is without end.
    Durations(f64, u64, Vec<(f64, u64)>),
}

impl Family {
    /// What goes up and down.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::of(MetricType::Gauge, name, help)
    }

    /// What only goes up until the process ends. Its name gets `_total`.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self::of(MetricType::Counter, name, help)
    }

    /// How long something takes.
    #[must_use]
    pub fn durations(name: &'static str, help: &'static str) -> Self {
        Self::of(MetricType::Histogram, name, help).in_unit(Unit::Seconds)
    }

    /// Words that stay as they are. The name gets `_info`.
    #[must_use]
    pub fn info<const N: usize>(
        name: &'static str,
        help: &'static str,
        words: [(&'static str, String); N],
    ) -> Self {
        Self::of(MetricType::Info, name, help).with(words, 1.0)
    }

    const fn of(kind: MetricType, name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            unit: None,
            kind,
            samples: Vec::new(),
        }
    }

    /// The same in a unit, which the name gets at its end.
    #[must_use]
    pub fn in_unit(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self
    }

    /// The same with one more number.
    #[must_use]
    pub fn with<const N: usize>(mut self, labels: [(&'static str, String); N], value: f64) -> Self {
        self.push(labels, value);
        self
    }

    /// Adds a number.
    pub fn push<const N: usize>(&mut self, labels: [(&'static str, String); N], value: f64) {
        self.samples.push((labels.into(), Number::One(value)));
    }

    /// Adds durations.
    pub fn push_durations<const N: usize>(
        &mut self,
        labels: [(&'static str, String); N],
        durations: Number,
    ) {
        self.samples.push((labels.into(), durations));
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family =
            encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), self.kind)?;
        for (labels, number) in &self.samples {
            match (self.kind, labels.is_empty()) {
                (MetricType::Info, _) => family.encode_info(labels)?,
                (_, true) => number.encode(self.kind, &mut family)?,
                (_, false) => number.encode(self.kind, &mut family.encode_family(labels)?)?,
            }
        }
        Ok(())
    }
}

impl Number {
    fn encode(&self, kind: MetricType, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::One(value) if matches!(kind, MetricType::Counter) => {
                encoder.encode_counter(value, None::<&Exemplar<NoLabelSet, f64>>)
            }
            Self::One(value) => encoder.encode_gauge(value),
            Self::Durations(sum_s, count, buckets) => {
                encoder.encode_histogram::<NoLabelSet>(*sum_s, *count, buckets, None)
            }
        }
    }
}

#[derive(Debug)]
struct All(Vec<Family>);

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let told = self.0.iter().filter(|family| !family.samples.is_empty());
        for family in told {
            family.encode(&mut encoder)?;
        }
        Ok(())
    }
}

/// Families as `OpenMetrics` text. One without a number is left out.
#[must_use]
pub fn text(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All(families)));
    let mut told = String::new();
    text::encode(&mut told, &registry).expect("a text takes everything");
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_each_kind_is_told_with_its_labels() {
        let mut took = Family::durations("took", "How long");
        let name = || [("name", "a\"b\\c\n".to_owned())];
        took.push_durations(
            name(),
            Number::Durations(1.5, 3, vec![(0.5, 2), (f64::INFINITY, 1)]),
        );
        let families = vec![
            Family::gauge("free", "Room")
                .in_unit(Unit::Bytes)
                .with([], 7.0),
            Family::counter("calls", "Calls").with(name(), 2.0),
            Family::gauge("nothing", "Nothing"),
            Family::info("build", "Version", [("version", "1.0".to_owned())]),
            took,
        ];
        let expected = [
            "# HELP free_bytes Room",
            "# TYPE free_bytes gauge",
            "# UNIT free_bytes bytes",
            "free_bytes 7.0",
            "# HELP calls Calls",
            "# TYPE calls counter",
            r#"calls_total{name="a\"b\\c\n"} 2.0"#,
            "# HELP build Version",
            "# TYPE build info",
            r#"build_info{version="1.0"} 1"#,
            "# HELP took_seconds How long",
            "# TYPE took_seconds histogram",
            "# UNIT took_seconds seconds",
            r#"took_seconds_sum{name="a\"b\\c\n"} 1.5"#,
            r#"took_seconds_count{name="a\"b\\c\n"} 3"#,
            r#"took_seconds_bucket{le="0.5",name="a\"b\\c\n"} 2"#,
            r#"took_seconds_bucket{le="+Inf",name="a\"b\\c\n"} 3"#,
            "# EOF",
        ];
        let text = text(families);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
