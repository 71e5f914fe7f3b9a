//! The figures of [`crate::metrics`] as OpenTelemetry metrics. `docs/otlp.md` says how their names
//! are made.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as PointValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram as HistogramData, HistogramDataPoint, Metric,
    NumberDataPoint, Sum,
};

use super::attribute::Attributes;
use super::queue::Counts;
use crate::core::event::MonoNs;
use crate::metrics::{Descriptor, Family, Histogram, Kind, Number, Series, Unit, Value, catalogue};
use crate::report::WallClock;

#[cfg(test)]
mod tests;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// All figures of a moment.
pub(super) struct Figures {
    families: Vec<Family>,
    span: Span,
}

/// What the points of a set cover, nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
}

impl Figures {
    /// `families` as they were at `at`, counted since `started`.
    pub(super) fn new(
        families: Vec<Family>,
        started: MonoNs,
        at: MonoNs,
        clock: &WallClock,
    ) -> Self {
        let unix = |at| u64::try_from(clock.unix_ns(at).max(0)).unwrap_or(u64::MAX);
        Self { families, span: Span { start: unix(started), end: unix(at) } }
    }

    /// With those of the export itself: `counts`, and how many records are `waiting`.
    pub(super) fn to_metrics(&self, counts: Counts, waiting: usize) -> Vec<Metric> {
        let mut all: Vec<Metric> =
            self.families.iter().filter_map(|family| metric(family, self.span)).collect();
        all.extend(own(counts, waiting, self.span));
        all
    }
}

/// A family under its name here; `None` for what the resource says.
fn metric(family: &Family, span: Span) -> Option<Metric> {
    let Family { descriptor, series } = family;
    let points = |number: fn(&Value) -> Option<Number>| {
        let point = |series: &Series| {
            let value = number(&series.value)?;
            Some(point(attributes(series), span, value))
        };
        series.iter().filter_map(point).collect::<Vec<_>>()
    };
    let counter = |value: &Value| match value {
        Value::Counter(number) => Some(*number),
        _ => None,
    };
    let gauge = |value: &Value| match value {
        Value::Gauge(number) => Some(*number),
        _ => None,
    };
    let data = match descriptor.kind {
        Kind::Counter => sum(points(counter), true),
        // The conventions have a sum here, since that of several processes means something.
        Kind::Gauge if std::ptr::eq(*descriptor, &catalogue::RESIDENT) => sum(points(gauge), false),
        Kind::Gauge if std::ptr::eq(*descriptor, &catalogue::STARTED) => {
            let started = gauge(&series.first()?.value)?.as_f64();
            let uptime = Number::Float((span.end as f64 / 1e9 - started).max(0.0));
            Data::Gauge(Gauge { data_points: vec![point(Vec::new(), span, uptime)] })
        }
        Kind::Gauge => Data::Gauge(Gauge { data_points: points(gauge) }),
        Kind::Histogram => {
            let point = |series: &Series| match &series.value {
                Value::Histogram(of) => Some(histogram(of, attributes(series), span)),
                _ => None,
            };
            Data::Histogram(HistogramData {
                data_points: series.iter().filter_map(point).collect(),
                aggregation_temporality: CUMULATIVE,
            })
        }
        Kind::Info => return None,
    };
    Some(Metric {
        name: name(descriptor),
        description: descriptor.help.to_owned(),
        unit: unit(descriptor).to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

/// For tracer's own: the name without its unit, its first word the namespace. What every process
/// has is named by the semantic conventions.
fn name(descriptor: &'static Descriptor) -> String {
    let conventional = [
        (&catalogue::CPU, "process.cpu.time"),
        (&catalogue::RESIDENT, "process.memory.usage"),
        (&catalogue::STARTED, "process.uptime"),
    ];
    match conventional.iter().find(|(of, _)| std::ptr::eq(*of, descriptor)) {
        Some((_, name)) => (*name).to_owned(),
        None => {
            let stem = descriptor.stem();
            // A name that is a unit keeps it; the Collector puts no unit twice into a name.
            let name = if stem.contains('_') { stem } else { descriptor.name };
            name.replacen('_', ".", 1)
        }
    }
}

/// UCUM; what is counted stands in braces, which Prometheus' names leave out.
fn unit(descriptor: &'static Descriptor) -> &'static str {
    match descriptor.unit {
        Some(Unit::Seconds) => return "s",
        Some(Unit::Bytes) => return "By",
        None => {}
    }
    let counted = [
        (&catalogue::CONNECTIONS, "{connection}"),
        (&catalogue::CONNECTIONS_OPEN, "{connection}"),
        (&catalogue::CONNECTIONS_EVICTED, "{connection}"),
        (&catalogue::HANDSHAKES_FAILED, "{handshake}"),
        (&catalogue::HANDSHAKE_RETRANSMITS, "{segment}"),
        (&catalogue::RETRANSMITS, "{segment}"),
        (&catalogue::STUCK, "{connection}"),
        (&catalogue::HALF_OPEN, "{connection}"),
        (&catalogue::SYN, "{segment}"),
        (&catalogue::SYN_REPEATED, "{segment}"),
        (&catalogue::SYN_UNPARSED, "{packet}"),
        (&catalogue::FLOODS, "{flood}"),
        (&catalogue::NOTICES, "{notice}"),
        (&catalogue::EVENTS, "{event}"),
        (&catalogue::EVENTS_LOST, "{event}"),
        (&catalogue::OUTPUT_DROPPED, "{record}"),
        (&catalogue::HOOK_RUNS, "{run}"),
    ];
    counted.iter().find(|(of, _)| std::ptr::eq(*of, descriptor)).map_or("", |(_, unit)| unit)
}

/// Figures of the export itself.
fn own(counts: Counts, waiting: usize, span: Span) -> [Metric; 3] {
    let Counts { sent, dropped, rejected, failures } = counts;
    let results = [("sent", sent), ("dropped", dropped), ("rejected", rejected)];
    let records = results.map(|(result, count)| {
        let mut attributes = Attributes::default();
        attributes.add("result", result);
        point(attributes.0, span, Number::Int(count))
    });
    let one = |value| vec![point(Vec::new(), span, Number::Int(value))];
    let metric = |name: &str, description: &str, unit: &str, data| Metric {
        name: name.to_owned(),
        description: description.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    };
    [
        metric(
            "tracer.otlp_records",
            "Records for --otlp: sent, dropped because the queue was full, or rejected by the \
             receiver",
            "{record}",
            sum(records.into(), true),
        ),
        metric(
            "tracer.otlp_failures",
            "Requests of --otlp that failed, those that were repeated included",
            "{request}",
            sum(one(failures), true),
        ),
        metric(
            "tracer.otlp_waiting",
            "Records that wait to be sent by --otlp",
            "{record}",
            Data::Gauge(Gauge { data_points: one(waiting as u64) }),
        ),
    ]
}

fn sum(data_points: Vec<NumberDataPoint>, is_monotonic: bool) -> Data {
    Data::Sum(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic })
}

fn attributes(series: &Series) -> Vec<KeyValue> {
    let mut all = Attributes::with_capacity(series.labels.len());
    for (name, value) in &series.labels {
        all.add(name, &**value);
    }
    all.0
}

fn point(attributes: Vec<KeyValue>, span: Span, value: Number) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: span.start,
        time_unix_nano: span.end,
        value: Some(match value {
            Number::Int(int) => PointValue::AsInt(i64::try_from(int).unwrap_or(i64::MAX)),
            Number::Float(float) => PointValue::AsDouble(float),
        }),
        ..NumberDataPoint::default()
    }
}

fn histogram(of: &Histogram, attributes: Vec<KeyValue>, span: Span) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: span.start,
        time_unix_nano: span.end,
        count: of.count(),
        sum: Some(of.sum()),
        bucket_counts: of.buckets().map(|(_, count)| count).collect(),
        explicit_bounds: of.buckets().filter_map(|(bound, _)| bound).collect(),
        ..HistogramDataPoint::default()
    }
}
