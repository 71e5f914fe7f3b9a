//! Plain types: a family is all series of one name.

use std::borrow::Cow;

/// What a family measures, said once.
#[derive(PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// Name with its unit, without what a format appends (`_total`, `_bucket`, `_info`, ...).
    pub name: &'static str,
    /// One sentence without a full stop.
    pub help: &'static str,
    /// The last word of the name, if it is a unit.
    pub unit: Option<Unit>,
    /// How its values behave.
    pub kind: Kind,
    /// Names of the labels that its series may have.
    pub labels: &'static [&'static str],
}

impl Descriptor {
    /// The name without its unit.
    #[must_use]
    pub fn stem(&self) -> &'static str {
        let stem = self.unit.and_then(|unit| self.name.strip_suffix(unit.name()));
        stem.and_then(|stem| stem.strip_suffix('_')).unwrap_or(self.name)
    }

    /// Names that a Prometheus server stores its series under.
    #[must_use]
    pub fn stored_names(&self) -> Vec<String> {
        let suffixes: &[&str] = match self.kind {
            Kind::Counter => &["_total"],
            Kind::Gauge => &[""],
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Info => &["_info"],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", self.name)).collect()
    }
}

/// Base units; what is counted has none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the units' names")]
pub enum Unit {
    Seconds,
    Bytes,
}

impl Unit {
    /// As it ends a name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }
}

/// How a value behaves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Only grows while tracer runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
    /// Says something in its labels; its value is always 1.
    Info,
}

/// Names and values of a series' labels, in the descriptor's order. One that does not apply is left
/// out.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// All series of one name at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Family {
    /// What they measure.
    pub descriptor: &'static Descriptor,
    /// At most one for each set of labels; none where nothing is known.
    pub series: Vec<Series>,
}

/// One value with its labels.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// What tells it from its siblings.
    pub labels: Labels,
    /// Of the kind that the descriptor says.
    pub value: Value,
}

/// A value; counters and histograms begin at 0 when tracing does.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "see Kind")]
pub enum Value {
    Counter(Number),
    Gauge(Number),
    Histogram(Histogram),
    Info,
}

/// Whole where it counts, not whole where it measures.
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(missing_docs, reason = "the types' names")]
pub enum Number {
    Int(u64),
    Float(f64),
}

impl Number {
    /// As a float, as Prometheus stores all.
    #[must_use]
    pub const fn as_f64(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }

    /// Seconds, of nanoseconds.
    #[must_use]
    pub const fn seconds(ns: u64) -> Self {
        Self::Float(ns as f64 / 1e9)
    }
}

/// Durations by size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    /// Upper bounds of the buckets, ascending, nanoseconds; a duration equal to one is within. The
    /// last bucket has none.
    bounds: &'static [u64],
    /// How many in each bucket alone; one more than bounds.
    counts: Vec<u64>,
    /// Sum of all, nanoseconds.
    sum: u64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0 }
    }

    /// Adds a duration, nanoseconds.
    pub(super) fn record(&mut self, ns: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < ns);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(ns);
    }

    /// Each bucket's upper bound in seconds (`None`: no bound, the last one) and how many are in
    /// that bucket alone.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        let bounds = self.bounds.iter().map(|ns| Some(*ns as f64 / 1e9)).chain([None]);
        bounds.zip(self.counts.iter().copied())
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of all, seconds.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum as f64 / 1e9
    }
}
