use std::collections::BTreeSet;

use super::*;
use crate::core::record::Record;
use crate::metrics::{Config, Metrics};
use crate::report::samples;

const COUNTS: Counts = Counts { sent: 10, dropped: 2, rejected: 3, failures: 4 };

/// Figures of a few connections and a flood.
fn families() -> Vec<Family> {
    let mut metrics = Metrics::new(&Config { named_ports: vec![8080], ports: 3 });
    metrics.start(&samples::start());
    for connection in samples::stream() {
        metrics.record(&Record::Connection(Box::new(connection)));
    }
    metrics.record(&Record::Alert(Box::new(samples::flood())));
    metrics.families()
}

fn all() -> Vec<Metric> {
    let clock = samples::clock();
    Figures::new(families(), samples::at(0), samples::at(samples::S), &clock).to_metrics(COUNTS, 7)
}

fn find<'a>(all: &'a [Metric], name: &str) -> &'a Metric {
    let found: Vec<_> = all.iter().filter(|metric| metric.name == name).collect();
    assert_eq!(found.len(), 1, "{name}");
    found[0]
}

/// What the Collector's Prometheus exporter makes of a name, a unit and a kind.
fn in_prometheus(metric: &Metric) -> Vec<String> {
    let suffix = match &*metric.unit {
        "s" => "_seconds",
        "By" => "_bytes",
        "1" => "_ratio",
        _ => "",
    };
    let mut base = metric.name.replace('.', "_");
    // Not twice.
    if !base.ends_with(suffix) {
        base.push_str(suffix);
    }
    match metric.data.as_ref().unwrap() {
        Data::Sum(sum) if sum.is_monotonic => vec![format!("{base}_total")],
        Data::Histogram(_) => ["bucket", "sum", "count"].map(|of| format!("{base}_{of}")).into(),
        _ => vec![base],
    }
}

#[test]
fn in_prometheus_they_have_the_names_of_metrics() {
    let span = Span { start: 1, end: 2 };
    let mut names = BTreeSet::new();
    for descriptor in catalogue::ALL {
        let family = Family { descriptor, series: Vec::new() };
        let Some(metric) = metric(&family, span) else {
            // The resource says this one, or it needs a value.
            assert!(["tracer_build", "process_start_time_seconds"].contains(&descriptor.name));
            continue;
        };
        assert!(names.insert(metric.name.clone()), "{} twice", metric.name);
        assert!(!metric.description.is_empty());
        if let Some(own) = metric.name.strip_prefix("tracer.") {
            assert!(!own.contains('.'), "{own}");
            assert_eq!(in_prometheus(&metric), descriptor.stored_names());
        } else {
            let conventional = ["process.cpu.time", "process.memory.usage"];
            assert!(conventional.contains(&&*metric.name), "{}", metric.name);
        }
    }
}

#[test]
fn points_are_cumulative_since_the_start() {
    for metric in all() {
        let (start, end) = (1_795_317_120_000_000_000, 1_795_317_121_000_000_000);
        let numbers = |points: &[NumberDataPoint]| {
            assert!(!points.is_empty(), "{}", metric.name);
            for point in points {
                assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (start, end));
            }
        };
        match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => {
                assert_eq!(sum.aggregation_temporality, CUMULATIVE);
                assert_eq!(sum.is_monotonic, metric.name != "process.memory.usage");
                numbers(&sum.data_points);
            }
            Data::Gauge(gauge) => numbers(&gauge.data_points),
            Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, CUMULATIVE);
                for point in &histogram.data_points {
                    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (start, end));
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                    assert!(point.explicit_bounds.is_sorted());
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn values_and_labels_are_those_of_the_model() {
    let (families, all) = (families(), all());
    for family in &families {
        if family.descriptor.kind == Kind::Info {
            continue;
        }
        let metric = find(&all, &name(family.descriptor));
        let (numbers, histograms) = match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => (&*sum.data_points, &[][..]),
            Data::Gauge(gauge) => (&*gauge.data_points, &[][..]),
            Data::Histogram(histogram) => (&[][..], &*histogram.data_points),
            other => panic!("{other:?}"),
        };
        assert_eq!(numbers.len() + histograms.len(), family.series.len(), "{}", metric.name);
        for (series, point) in family.series.iter().zip(numbers) {
            assert_eq!(point.attributes, attributes(series));
            match (&series.value, point.value.unwrap()) {
                (Value::Counter(Number::Int(int)) | Value::Gauge(Number::Int(int)), value) => {
                    // Memory of the process changes between two looks at it.
                    let same = value == PointValue::AsInt(*int as i64);
                    assert!(same || metric.name.starts_with("process."), "{}", metric.name);
                }
                // CPU time goes on.
                (Value::Counter(_) | Value::Gauge(_), value) => {
                    assert!(matches!(value, PointValue::AsDouble(of) if of >= 0.0));
                }
                other => panic!("{other:?}"),
            }
        }
        for (series, point) in family.series.iter().zip(histograms) {
            let Value::Histogram(of) = &series.value else { panic!("{series:?}") };
            assert_eq!((point.count, point.sum), (of.count(), Some(of.sum())));
        }
    }
    let Some(Data::Sum(sum)) = &find(&all, "tracer.connections").data else { panic!() };
    let of = |point: &NumberDataPoint| match point.value {
        Some(PointValue::AsInt(int)) => int,
        other => panic!("{other:?}"),
    };
    let total: i64 = sum.data_points.iter().map(of).sum();
    assert_eq!(total, samples::stream().len() as i64);
    assert_eq!(find(&all, "tracer.connections").unit, "{connection}");
    assert_eq!(find(&all, "tracer.handshake").unit, "s");
    assert_eq!(find(&all, "process.memory.usage").unit, "By");
}

#[test]
fn the_export_counts_itself() {
    let all = all();
    let Some(Data::Sum(sum)) = &find(&all, "tracer.otlp_records").data else { panic!() };
    let values: Vec<_> = sum.data_points.iter().map(|point| point.value.unwrap()).collect();
    assert_eq!(values, [10, 2, 3].map(PointValue::AsInt));
    let Some(Data::Sum(sum)) = &find(&all, "tracer.otlp_failures").data else { panic!() };
    assert_eq!(sum.data_points[0].value, Some(PointValue::AsInt(4)));
    let Some(Data::Gauge(gauge)) = &find(&all, "tracer.otlp_waiting").data else { panic!() };
    assert_eq!(gauge.data_points[0].value, Some(PointValue::AsInt(7)));
    // Not yet known: nothing is said of it.
    assert!(all.iter().all(|metric| metric.name != "tracer.connections_open"));
}
