//! One request of OTLP/HTTP, and what its answer means.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use ureq::http::header::{HeaderMap, RETRY_AFTER};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Error};

use super::settings::Settings;
use crate::report::escape::{Blanks, escape};

#[cfg(test)]
mod tests;

/// The longest answer that is read, bytes.
const ANSWER: u64 = 64 << 10;
/// The longest wait that a receiver may ask for.
const LONGEST: Duration = Duration::from_secs(3600);
const PROTOBUF: &str = "application/x-protobuf";

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Signal {
    Logs,
    Metrics,
}

impl Signal {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }
}

/// What the receiver said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It took all but so many of them, for a reason.
    Taken { rejected: u64, why: String },
    /// It may take them later; not before so much time.
    Later { after: Option<Duration>, why: String },
    /// It will never take them.
    Refused { status: u16, why: String },
}

/// Sends to one receiver.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    headers: Vec<(String, String)>,
    gzip: bool,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(settings: Settings) -> Self {
        let Settings { endpoint, headers, gzip, timeout, roots, resource: _, interval: _ } =
            settings;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(roots.map_or(RootCerts::PlatformVerifier, RootCerts::from))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A redirection of a POST is no place to send secrets to.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A Collector is near; a proxy meant for browsers is not asked.
            .proxy(None)
            .tls_config(tls)
            .user_agent(concat!("tracer/", env!("CARGO_PKG_VERSION")))
            .max_idle_age(Duration::from_secs(60))
            .build();
        Self { agent: agent.into(), endpoint, headers, gzip, timeout }
    }

    /// Where `signal` goes.
    pub(super) fn url(&self, signal: Signal) -> String {
        format!("{}/v1/{}", self.endpoint, signal.name())
    }

    /// Compresses what [`Self::send`] is given, if the user wants that.
    pub(super) fn pack(&self, body: Vec<u8>) -> Vec<u8> {
        if !self.gzip {
            return body;
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        // Memory does not fail to be written to.
        let packed = encoder.write_all(&body).and_then(|()| encoder.finish());
        packed.unwrap_or_default()
    }

    /// Sends `body`, packed, and waits for the answer, at most for `limit`.
    pub(super) fn send(&self, signal: Signal, body: &[u8], limit: Option<Duration>) -> Answer {
        let timeout = limit.map_or(self.timeout, |limit| limit.min(self.timeout));
        let mut request = self
            .agent
            .post(self.url(signal))
            .config()
            // No time at all would mean no limit.
            .timeout_global(Some(timeout.max(Duration::from_millis(10))))
            .build()
            .content_type(PROTOBUF);
        if self.gzip {
            request = request.header("content-encoding", "gzip");
        }
        for (name, value) in &self.headers {
            request = request.header(name.as_str(), value.as_str());
        }
        let mut response = match request.send(body) {
            Ok(response) => response,
            Err(error) => return self.failed(&error),
        };
        let status = response.status().as_u16();
        let read = response.body_mut().with_config().limit(ANSWER).read_to_vec();
        if status == 200 {
            // What can't be read of an answer takes nothing back.
            return partial(signal, &read.unwrap_or_default());
        }
        let reason = response.status().canonical_reason().unwrap_or_default();
        let mut why = format!("{status} {reason}").trim_end().to_owned();
        let said = message(response.headers(), &read.unwrap_or_default());
        if !said.is_empty() {
            why = format!("{why}: {said}");
        }
        match status {
            429 | 502 | 503 | 504 => {
                Answer::Later { after: retry_after(response.headers(), Timestamp::now()), why }
            }
            201..=299 => Answer::Taken { rejected: 0, why: String::new() },
            _ => Answer::Refused { status, why },
        }
    }

    fn failed(&self, error: &Error) -> Answer {
        let mut why = harmless(&error.to_string());
        if matches!(error, Error::Protocol(_)) && self.endpoint.ends_with(":4317") {
            why.push_str("; 4317 is the port of OTLP/gRPC, tracer speaks OTLP/HTTP (4318)");
        }
        Answer::Later { after: None, why }
    }
}

/// What an answer of success says.
fn partial(signal: Signal, body: &[u8]) -> Answer {
    let said = match signal {
        Signal::Logs => ExportLogsServiceResponse::decode(body)
            .ok()
            .and_then(|response| response.partial_success)
            .map(|partial| (partial.rejected_log_records, partial.error_message)),
        Signal::Metrics => ExportMetricsServiceResponse::decode(body)
            .ok()
            .and_then(|response| response.partial_success)
            .map(|partial| (partial.rejected_data_points, partial.error_message)),
    };
    let (rejected, why) = said.unwrap_or_default();
    Answer::Taken { rejected: u64::try_from(rejected).unwrap_or(0), why: harmless(&why) }
}

/// `google.rpc.Status`, which a failure's answer holds, without its details.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

/// What an answer of failure says, fit for a terminal.
fn message(headers: &HeaderMap, body: &[u8]) -> String {
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with(PROTOBUF) {
        return Status::decode(body).map(|status| harmless(&status.message)).unwrap_or_default();
    }
    if kind.starts_with("text/plain") || kind.starts_with("application/json") {
        return harmless(&String::from_utf8_lossy(body));
    }
    String::new()
}

/// The beginning of a stranger's text, with nothing in it that steers a terminal.
fn harmless(text: &str) -> String {
    let begin: String = text.trim().chars().take(200).collect();
    let mut out = String::with_capacity(begin.len());
    // A string takes whatever is written to it.
    let _ = escape(begin.as_bytes(), Blanks::Keep, &mut out);
    out
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        // A date that has passed: at once.
        Err(_) => {
            PARSER.parse_timestamp(text).ok()?.duration_since(now).try_into().unwrap_or_default()
        }
    };
    Some(after.min(LONGEST))
}
