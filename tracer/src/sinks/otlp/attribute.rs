//! Attributes: what is not known has none, never a zero or an empty one.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};

use crate::report::units::micros;

/// A list of attributes that grows.
#[derive(Default)]
pub(super) struct Attributes(pub(super) Vec<KeyValue>);

impl Attributes {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Adds one, if there is a value.
    pub(super) fn add(&mut self, key: &str, value: impl IntoValue) {
        if let Some(value) = value.into_value() {
            let value = Some(AnyValue { value: Some(value) });
            self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
        }
    }

    /// Adds a duration, nanoseconds, as seconds: whole microseconds, as in the JSON records.
    pub(super) fn seconds(&mut self, key: &str, ns: impl Into<Option<u64>>) {
        self.add(key, ns.into().map(seconds));
    }

    /// Adds an address and its port under `network.local` or `network.peer`.
    pub(super) fn address(&mut self, address: &str, port: &str, of: SocketAddr) {
        self.add(address, of.ip().to_canonical().to_string());
        self.add(port, of.port());
    }

    /// Adds OSI layers 3 and 4 of a connection with this end.
    pub(super) fn layers(&mut self, of: SocketAddr) {
        self.add("network.transport", "tcp");
        self.add("network.type", if of.ip().to_canonical().is_ipv4() { "ipv4" } else { "ipv6" });
    }
}

/// Seconds with whole microseconds, of nanoseconds.
pub(super) fn seconds(ns: u64) -> f64 {
    micros(ns) as f64 / 1e6
}

/// What an attribute can hold.
pub(super) trait IntoValue {
    fn into_value(self) -> Option<Value>;
}

impl IntoValue for String {
    fn into_value(self) -> Option<Value> {
        Some(Value::StringValue(self))
    }
}

impl IntoValue for &str {
    fn into_value(self) -> Option<Value> {
        Some(Value::StringValue(self.to_owned()))
    }
}

impl IntoValue for bool {
    fn into_value(self) -> Option<Value> {
        Some(Value::BoolValue(self))
    }
}

impl IntoValue for u16 {
    fn into_value(self) -> Option<Value> {
        Some(Value::IntValue(self.into()))
    }
}

impl IntoValue for u32 {
    fn into_value(self) -> Option<Value> {
        Some(Value::IntValue(self.into()))
    }
}

impl IntoValue for u64 {
    fn into_value(self) -> Option<Value> {
        // Nothing that is counted here reaches 2^63.
        Some(Value::IntValue(i64::try_from(self).unwrap_or(i64::MAX)))
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> Option<Value> {
        self.is_finite().then_some(Value::DoubleValue(self))
    }
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Option<Value> {
        self.and_then(IntoValue::into_value)
    }
}

impl<T: IntoValue> IntoValue for Vec<T> {
    fn into_value(self) -> Option<Value> {
        let values = self.into_iter().map(|value| AnyValue { value: value.into_value() });
        Some(Value::ArrayValue(ArrayValue { values: values.collect() }))
    }
}

impl IntoValue for Attributes {
    fn into_value(self) -> Option<Value> {
        Some(Value::KvlistValue(KeyValueList { values: self.0 }))
    }
}
