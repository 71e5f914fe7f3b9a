//! From families to the text that Prometheus reads, in either of its formats.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit as ClientUnit};

use crate::metrics::{Family, Kind, Number, Unit, Value};

/// How to say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own text format, which is older and every program reads.
    Prometheus,
}

impl Format {
    /// What to call it in `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }

    /// The one that an `Accept` header asks for: OpenMetrics if it is named and not liked less than
    /// plain text, as Prometheus does; a browser or curl, which take anything, get plain text.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let mut open_metrics = 0.0;
        let mut plain = 0.0_f32;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts
                .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
                .map_or(1.0, |quality| quality.trim().parse().unwrap_or(0.0));
            match media.as_str() {
                "application/openmetrics-text" => open_metrics = quality,
                "text/plain" => plain = plain.max(quality),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= plain {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

/// All of it as text.
///
/// # Errors
/// None that a string could give; the encoder's signature has one.
pub fn encode(families: &Arc<[Family]>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(Arc::clone(families))));
    let mut out = String::with_capacity(32 * 1024);
    match format {
        Format::OpenMetrics => text::encode(&mut out, &registry)?,
        Format::Prometheus => prometheus_text::encode(&mut out, &registry)?,
    }
    Ok(out)
}

#[derive(Debug)]
struct Families(Arc<[Family]>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Family { descriptor, series } in &*self.0 {
            let kind = match descriptor.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            let unit = descriptor.unit.map(|unit| match unit {
                Unit::Seconds => ClientUnit::Seconds,
                Unit::Bytes => ClientUnit::Bytes,
            });
            let mut metric = encoder.encode_descriptor(
                descriptor.stem(),
                descriptor.help,
                unit.as_ref(),
                kind,
            )?;
            for series in series {
                match &series.value {
                    Value::Info => metric.encode_info(&series.labels)?,
                    other if series.labels.is_empty() => value(&mut metric, other)?,
                    other => value(&mut metric.encode_family(&series.labels)?, other)?,
                }
            }
        }
        Ok(())
    }
}

fn value(metric: &mut MetricEncoder<'_>, value: &Value) -> Result<(), fmt::Error> {
    match value {
        Value::Counter(Number::Int(count)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(count, None)
        }
        Value::Counter(Number::Float(sum)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(sum, None)
        }
        Value::Gauge(Number::Int(value)) => metric.encode_gauge(value),
        Value::Gauge(Number::Float(value)) => metric.encode_gauge(value),
        Value::Histogram(histogram) => {
            let buckets: Vec<_> = histogram
                .buckets()
                .map(|(bound, count)| (bound.unwrap_or(f64::INFINITY), count))
                .collect();
            let (sum, count) = (histogram.sum(), histogram.count());
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        }
        Value::Info => Ok(()),
    }
}
