//! A page under construction: families and their series, each series once.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use prometheus::proto;

/// What a family measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A family with `N` labels. Made by [`families`] only, so that every one is in its group's list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family<const N: usize> {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub labels: [&'static str; N],
}

/// Any family, as lists of them hold it: name, help text, labels.
pub(super) type Listed = (&'static str, &'static str, &'static [&'static str]);

/// Declares families as constants and lists all of them in `ALL`:
/// `NAME: kind "metric_name" ["label", ...] = "help text";`
macro_rules! families {
    ($($name:ident: $kind:ident $metric:literal [$($label:literal),*] = $help:literal;)+) => {
        $(const $name: $crate::metrics::page::Family<{ <[&str]>::len(&[$($label),*]) }> =
            $crate::metrics::page::Family {
                name: $metric,
                help: $help,
                kind: $crate::metrics::page::families!(@kind $kind),
                labels: [$($label),*],
            };)+
        /// The families of this group.
        pub(super) const ALL: &[$crate::metrics::page::Listed] = &[$(($metric, $help, &[$($label),*]),)+];
    };
    (@kind counter) => { $crate::metrics::page::Kind::Counter };
    (@kind gauge) => { $crate::metrics::page::Kind::Gauge };
    (@kind histogram) => { $crate::metrics::page::Kind::Histogram };
}
pub(super) use families;

/// Families by name, their series by label values.
#[derive(Debug, Default)]
pub(super) struct Page {
    families: BTreeMap<&'static str, Series>,
}

#[derive(Debug)]
struct Series {
    help: &'static str,
    kind: Kind,
    labels: Vec<&'static str>,
    values: BTreeMap<Vec<Label>, Value>,
}

/// The value of a label. Numbers stand before texts and in their own order, so that what is cut off a family of numbered
/// things is its end.
#[derive(Debug, PartialEq, Eq)]
struct Label(String);

impl Label {
    fn order(&self) -> (bool, usize, &str) {
        let number = !self.0.is_empty() && self.0.bytes().all(|b| b.is_ascii_digit());
        (!number, if number { self.0.len() } else { 0 }, &self.0)
    }
}

impl Ord for Label {
    fn cmp(&self, other: &Label) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Label {
    fn partial_cmp(&self, other: &Label) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Plain(f64),
    Histogram { buckets: Vec<(f64, u64)>, count: u64, sum: f64 },
}

impl Page {
    /// Adds to a series, which begins at 0: what several lcores count becomes one sum.
    pub fn add<const N: usize>(&mut self, family: &Family<N>, labels: [&str; N], n: u64) {
        let value = self.series(family, labels, Value::Plain(0.0));
        if let Value::Plain(sum) = value {
            *sum += n as f64;
        }
    }

    /// Sets a series.
    pub fn set<const N: usize>(&mut self, family: &Family<N>, labels: [&str; N], value: f64) {
        *self.series(family, labels, Value::Plain(0.0)) = Value::Plain(value);
    }

    /// Sets a histogram: `buckets` are upper bounds and how many observations fell between them and the bound
    /// before, `sum` is the sum of all observations.
    pub fn histogram<const N: usize>(
        &mut self,
        family: &Family<N>,
        labels: [&str; N],
        buckets: impl IntoIterator<Item = (f64, u64)>,
        sum: f64,
    ) {
        let mut count = 0;
        let cumulative = |(bound, n)| {
            count += n;
            (bound, count)
        };
        let buckets = buckets.into_iter().map(cumulative).collect();
        let value = Value::Histogram { buckets, count, sum };
        *self.series(family, labels, Value::Plain(0.0)) = value;
    }

    /// Cuts every family down to `limit` series, those with the smallest labels; returns how many went, by family.
    pub fn cut(&mut self, limit: usize) -> BTreeMap<&'static str, u64> {
        let mut gone = BTreeMap::new();
        for (name, series) in &mut self.families {
            let surplus = series.values.len().saturating_sub(limit);
            if surplus > 0 {
                (0..surplus).for_each(|_| drop(series.values.pop_last()));
                gone.insert(*name, surplus as u64);
            }
        }
        gone
    }

    /// The page as the encoder wants it; families without a series are left out.
    pub fn into_families(self) -> Vec<proto::MetricFamily> {
        let filled = self.families.into_iter().filter(|(_, series)| !series.values.is_empty());
        filled.map(|(name, series)| series.into_family(name)).collect()
    }

    fn series<const N: usize>(&mut self, family: &Family<N>, labels: [&str; N], new: Value) -> &mut Value {
        let series = self.families.entry(family.name).or_insert_with(|| Series {
            help: family.help,
            kind: family.kind,
            labels: family.labels.to_vec(),
            values: BTreeMap::new(),
        });
        series.values.entry(labels.map(|value| Label(value.to_owned())).into()).or_insert(new)
    }
}

impl Series {
    fn into_family(self, name: &str) -> proto::MetricFamily {
        let metrics =
            self.values.into_iter().map(|(labels, value)| metric(&self.labels, labels, self.kind, value));
        let mut family = proto::MetricFamily::default();
        family.set_metric(metrics.collect());
        family.set_name(name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.kind {
            Kind::Counter => proto::MetricType::COUNTER,
            Kind::Gauge => proto::MetricType::GAUGE,
            Kind::Histogram => proto::MetricType::HISTOGRAM,
        });
        family
    }
}

fn metric(names: &[&str], values: Vec<Label>, kind: Kind, value: Value) -> proto::Metric {
    let pair = |(name, Label(value)): (&&str, Label)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value);
        pair
    };
    let mut metric = proto::Metric::from_label(names.iter().zip(values).map(pair).collect());
    match value {
        Value::Plain(value) if kind == Kind::Counter => {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        Value::Plain(value) => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        Value::Histogram { buckets, count, sum } => metric.set_histogram(histogram(&buckets, count, sum)),
    }
    metric
}

fn histogram(buckets: &[(f64, u64)], count: u64, sum: f64) -> proto::Histogram {
    let bucket = |&(bound, cumulative): &(f64, u64)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    };
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.iter().map(bucket).collect());
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    histogram
}
