//! A receiver of OTLP/HTTP: takes what comes, says what it is told to say, decodes it.

#[path = "../../../src/sinks/otlp/receiver.rs"]
mod receiver;

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric, NumberDataPoint};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use serde_json::{Map, Value, json};

pub(crate) use receiver::Request;

use super::lab::Lab;

/// A log as an object: its attributes, and `event_name`, `severity`, `time_ns`.
pub(crate) type Log = Value;

/// Listens on host b's loopback, where the tracer is, until the test ends.
pub(crate) struct Receiver {
    all: receiver::Receiver,
    /// Which requests were taken (status 200), by their numbers.
    taken: Arc<Mutex<Vec<bool>>>,
    /// What comes is of this host, and says so.
    of_this_host: bool,
}

impl Receiver {
    /// Takes everything.
    pub(crate) fn start(lab: &Lab) -> Self {
        Self::answering(lab, |_, _| Some(200))
    }

    /// Says `status(number of the request, its path)`; with `None` nothing, and keeps the
    /// connection open.
    pub(crate) fn answering(
        lab: &Lab,
        status: impl Fn(usize, &str) -> Option<u16> + Send + Sync + 'static,
    ) -> Self {
        Self::listening(lab, 0, status)
    }

    /// Takes everything, which is of a capture: nobody knows of which host.
    pub(crate) fn of_capture(lab: &Lab) -> Self {
        Self { of_this_host: false, ..Self::start(lab) }
    }

    /// On this port; takes everything.
    pub(crate) fn at(lab: &Lab, port: u16) -> Self {
        Self::listening(lab, port, |_, _| Some(200))
    }

    fn listening(
        lab: &Lab,
        port: u16,
        status: impl Fn(usize, &str) -> Option<u16> + Send + Sync + 'static,
    ) -> Self {
        let listener = lab.b.listen(SocketAddr::from(([127, 0, 0, 1], port)));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&taken);
        let all = receiver::Receiver::on(listener, move |number, request| {
            let status = status(number, &request.path);
            // In the order of their numbers: one is asked for at a time.
            note.lock().unwrap_or_else(PoisonError::into_inner).push(status == Some(200));
            status.map(|status| receiver::answer(&format!("{status} Said"), &[], b""))
        });
        Self { all, taken, of_this_host: true }
    }

    /// For `--otlp`.
    pub(crate) fn endpoint(&self) -> String {
        self.all.endpoint()
    }

    /// Requests so far, their bodies unpacked.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let mut all = self.all.seen();
        for request in &mut all {
            if request.header("content-encoding") == Some("gzip") {
                let packed = std::mem::take(&mut request.body);
                let mut unpacked = flate2::read::GzDecoder::new(&*packed);
                unpacked.read_to_end(&mut request.body).expect("gzip");
            }
        }
        all
    }

    /// Bodies that were taken.
    fn taken(&self, path: &str) -> Vec<Vec<u8>> {
        let all = self.requests();
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = all.into_iter().zip(&*taken).filter(|(one, taken)| **taken && one.path == path);
        taken.map(|(one, _)| one.body).collect()
    }

    /// Logs that were taken, with the resource of each.
    #[track_caller]
    pub(crate) fn logs(&self) -> Vec<Log> {
        let mut logs = Vec::new();
        for body in self.taken("/v1/logs") {
            let request = ExportLogsServiceRequest::decode(&*body).expect("logs");
            for of_resource in request.resource_logs {
                self.check_resource(of_resource.resource.as_ref());
                for scope in of_resource.scope_logs {
                    assert_eq!(scope.scope.expect("a scope").name, "tracer");
                    for log in scope.log_records {
                        let mut object = attributes(&log.attributes);
                        object.insert("event_name".to_owned(), json!(log.event_name));
                        object.insert("severity".to_owned(), json!(log.severity_text));
                        object.insert("time_ns".to_owned(), json!(log.time_unix_nano));
                        logs.push(Value::Object(object));
                    }
                }
            }
        }
        logs
    }

    /// The last set of metrics that was taken.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        let body = self.taken("/v1/metrics").pop().expect("metrics");
        let request = ExportMetricsServiceRequest::decode(&*body).expect("metrics");
        let mut all = Vec::new();
        for of_resource in request.resource_metrics {
            self.check_resource(of_resource.resource.as_ref());
            all.extend(of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics));
        }
        Metrics(all)
    }

    #[track_caller]
    fn check_resource(&self, resource: Option<&Resource>) {
        let all = attributes(&resource.expect("a resource").attributes);
        assert_eq!(all["service.name"], "tracer");
        assert_eq!(all["os.type"], "linux");
        assert_eq!(all["service.version"], env!("CARGO_PKG_VERSION"));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host's name");
        let said = all.get("host.name").and_then(Value::as_str);
        assert_eq!(said, self.of_this_host.then_some(host.trim_end()));
    }
}

/// Metrics by their names.
pub(crate) struct Metrics(Vec<Metric>);

impl Metrics {
    #[track_caller]
    fn data(&self, name: &str) -> &Data {
        let metric = self.0.iter().find(|metric| metric.name == name);
        metric.and_then(|metric| metric.data.as_ref()).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Whether there is one of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|metric| metric.name == name)
    }

    /// The sum of a counter's or gauge's points that have these attributes.
    #[track_caller]
    pub(crate) fn sum(&self, name: &str, of: &[(&str, &str)]) -> u64 {
        let points: &[NumberDataPoint] = match self.data(name) {
            Data::Sum(sum) => &sum.data_points,
            Data::Gauge(gauge) => &gauge.data_points,
            other => panic!("{name}: {other:?}"),
        };
        let value = |point: &NumberDataPoint| match point.value {
            Some(Number::AsInt(int)) => u64::try_from(int).expect("no negative count"),
            other => panic!("{name}: {other:?}"),
        };
        points.iter().filter(|point| has(&point.attributes, of)).map(value).sum()
    }

    /// Points of a histogram.
    #[track_caller]
    pub(crate) fn histogram(&self, name: &str) -> &[HistogramDataPoint] {
        match self.data(name) {
            Data::Histogram(histogram) => &histogram.data_points,
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn has(attributes: &[KeyValue], wanted: &[(&str, &str)]) -> bool {
    let is = |one: &KeyValue, value: &str| one.value.as_ref().map(plain) == Some(json!(value));
    wanted.iter().all(|(key, value)| attributes.iter().any(|one| one.key == *key && is(one, value)))
}

fn attributes(all: &[KeyValue]) -> Map<String, Value> {
    let pairs =
        all.iter().map(|one| (one.key.clone(), one.value.as_ref().map_or(json!(null), plain)));
    let map: Map<String, Value> = pairs.collect();
    assert_eq!(map.len(), all.len(), "a key is there twice: {all:?}");
    map
}

fn plain(value: &AnyValue) -> Value {
    match value.value.as_ref().expect("a value") {
        Kind::StringValue(text) => json!(text),
        Kind::BoolValue(yes) => json!(yes),
        Kind::IntValue(int) => json!(int),
        Kind::DoubleValue(double) => json!(double),
        Kind::ArrayValue(array) => array.values.iter().map(plain).collect(),
        Kind::KvlistValue(list) => Value::Object(attributes(&list.values)),
        other => panic!("{other:?}"),
    }
}
