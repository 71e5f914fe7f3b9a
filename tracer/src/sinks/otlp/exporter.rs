//! The thread that sends: takes batches from the queue, repeats what failed, counts what is lost.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::client::{Answer, Client, Signal};
use super::logs::Item;
use super::queue::{Queue, RECORDS};
use crate::system::privileges;

#[cfg(test)]
mod tests;

/// First and longest wait before a request is repeated.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The same when the run is over.
const LAST_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

pub(super) struct Exporter {
    queue: Arc<Queue>,
    client: Client,
    resource: Resource,
    scope: InstrumentationScope,
    logs: Lane,
    metrics: Lane,
    said: Said,
}

/// Requests of one signal, one at a time.
#[derive(Default)]
struct Lane {
    /// Encoded; failed before, if there is one.
    body: Option<Vec<u8>>,
    /// Failures since the last success.
    failures: u32,
    /// Not before then.
    wait: Option<Wait>,
    /// The run was over at an attempt that failed, and it had failed before.
    given_up: bool,
}

struct Wait {
    until: Instant,
    /// It holds at the end of the run as well: the receiver asked for it, or it began then.
    firm: bool,
}

/// What the user has been told already.
#[derive(Default)]
struct Said {
    /// That the receiver can't be reached, or has no time.
    later: bool,
    refused: BTreeSet<(Signal, u16)>,
    partial: BTreeSet<Signal>,
    dropped: bool,
}

impl Lane {
    /// When the next request may be made; `None`: at any time.
    fn not_before(&self, over: bool) -> Option<Instant> {
        // At the end nobody waits for a pause of one's own that began before.
        let wait = self.wait.as_ref().filter(|wait| wait.firm || !over)?;
        Some(wait.until)
    }

    fn failed(&mut self, after: Option<Duration>, over: Option<Over>) {
        self.failures = self.failures.saturating_add(1);
        let pause = after.unwrap_or_else(|| {
            backoff(self.failures, if over.is_some() { LAST_BACKOFF } else { BACKOFF })
        });
        let until = Instant::now() + pause;
        self.wait = Some(Wait { until, firm: after.is_some() || over.is_some() });
        self.given_up = over.is_some_and(|over| over.failed_before || until >= over.until);
    }

    fn succeeded(&mut self) {
        *self = Self::default();
    }
}

/// The run is over.
#[derive(Clone, Copy)]
struct Over {
    until: Instant,
    /// The receiver could not be reached when it ended.
    failed_before: bool,
}

/// Doubles with each failure, and is up to a quarter shorter, so that the hosts of a fleet don't
/// come back all at once.
fn backoff(failures: u32, (first, longest): (Duration, Duration)) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
    let random = RandomState::new().hash_one(failures) % 1024;
    doubled - doubled / 4 * u32::try_from(random).unwrap_or(0) / 1024
}

impl Exporter {
    pub(super) fn new(queue: Arc<Queue>, client: Client, resource: Resource) -> Self {
        let scope = InstrumentationScope {
            name: "tracer".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        Self {
            queue,
            client,
            resource,
            scope,
            logs: Lane::default(),
            metrics: Lane::default(),
            said: Said::default(),
        }
    }

    /// Until the queue is to be finished.
    pub(super) fn run(mut self) {
        if let Err(error) = privileges::drop_all_in_this_thread() {
            log::warn!("OTLP: {error:#}");
        }
        let mut failed_before = None;
        loop {
            let state = self.queue.lock();
            let until = state.until;
            let now = Instant::now();
            if state.counts.dropped > 0 && !self.said.dropped {
                self.said.dropped = true;
                // Whoever fills the queue must not wait for a reader of stderr.
                drop(state);
                log::warn!(
                    "OTLP: {} takes records more slowly than they come; those for which there is \
                     no room are dropped and counted",
                    self.client.url(Signal::Logs)
                );
                continue;
            }
            let over = until.map(|until| Over {
                until,
                failed_before: *failed_before
                    .get_or_insert(self.logs.failures.max(self.metrics.failures) > 0),
            });
            let logs = match &self.logs.body {
                Some(_) => Some(now),
                None => state.due(),
            };
            let logs = logs.filter(|_| !self.logs.given_up);
            let logs = logs.map(|due| due.max(self.logs.not_before(over.is_some()).unwrap_or(due)));
            let metrics = state.figures.as_ref().filter(|_| !self.metrics.given_up);
            let metrics =
                metrics.map(|_| self.metrics.not_before(over.is_some()).unwrap_or(now).max(now));
            let next = [logs, metrics].into_iter().flatten().min();
            match (next, until) {
                // Nothing is left, or nothing that the time is enough for.
                (None, Some(_)) => break,
                (Some(next), Some(until)) if next >= until || now >= until => break,
                (Some(next), _) if next <= now => {
                    drop(state);
                    if logs.is_some_and(|due| due <= now) {
                        self.send_logs(over);
                    }
                    if metrics.is_some_and(|due| due <= now) {
                        self.send_metrics(over);
                    }
                }
                _ => self.queue.wait(state, next),
            }
        }
        self.queue.end();
    }

    fn send_logs(&mut self, over: Option<Over>) {
        let body = match self.logs.body.take() {
            Some(body) => body,
            None => {
                let items = self.queue.lock().take();
                self.client.pack(self.encode_logs(&items))
            }
        };
        let answer = self.client.send(Signal::Logs, &body, left(over));
        let url = self.client.url(Signal::Logs);
        self.said.tell(Signal::Logs, &url, &answer);
        let mut state = self.queue.lock();
        match answer {
            Answer::Taken { rejected, .. } => {
                state.taken(rejected);
                self.logs.succeeded();
            }
            Answer::Refused { .. } => {
                state.taken(u64::MAX);
                state.counts.failures += 1;
                self.logs.succeeded();
            }
            Answer::Later { after, .. } => {
                state.counts.failures += 1;
                self.logs.body = Some(body);
                self.logs.failed(after, over);
            }
        }
    }

    fn send_metrics(&mut self, over: Option<Over>) {
        let (figures, counts, waiting) = {
            let mut state = self.queue.lock();
            let Some(figures) = state.figures.take() else { return };
            (figures, state.counts, state.waiting())
        };
        let metrics = figures.to_metrics(counts, waiting);
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(self.scope.clone()),
                    metrics,
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        let body = self.client.pack(request.encode_to_vec());
        let answer = self.client.send(Signal::Metrics, &body, left(over));
        let url = self.client.url(Signal::Metrics);
        self.said.tell(Signal::Metrics, &url, &answer);
        let mut state = self.queue.lock();
        match answer {
            Answer::Taken { .. } => self.metrics.succeeded(),
            Answer::Refused { .. } => {
                state.counts.failures += 1;
                self.metrics.succeeded();
            }
            Answer::Later { after, .. } => {
                state.counts.failures += 1;
                // A newer set says all that this one did.
                state.figures.get_or_insert(figures);
                self.metrics.failed(after, over);
            }
        }
    }

    fn encode_logs(&self, items: &[Item]) -> Vec<u8> {
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(self.resource.clone()),
                scope_logs: vec![ScopeLogs {
                    scope: Some(self.scope.clone()),
                    log_records: items.iter().map(Item::to_log).collect(),
                    ..ScopeLogs::default()
                }],
                ..ResourceLogs::default()
            }],
        };
        request.encode_to_vec()
    }
}

/// Time left for a request.
fn left(over: Option<Over>) -> Option<Duration> {
    over.map(|over| over.until.saturating_duration_since(Instant::now()))
}

impl Said {
    /// Tells the user of trouble, each kind once until it is over.
    fn tell(&mut self, signal: Signal, url: &str, answer: &Answer) {
        match answer {
            Answer::Later { why, .. } => {
                if !std::mem::replace(&mut self.later, true) {
                    log::warn!(
                        "OTLP: {url}: {why}; it is tried again, up to {RECORDS} records wait \
                         meanwhile"
                    );
                }
            }
            Answer::Refused { status, why } => {
                if self.refused.insert((signal, *status)) {
                    log::warn!(
                        "OTLP: {url} refuses {}: {why}; they are not sent again, and counted",
                        signal.name()
                    );
                }
            }
            Answer::Taken { rejected, why } => {
                if std::mem::take(&mut self.later) {
                    log::warn!("OTLP: {url} takes data again");
                }
                if (*rejected > 0 || !why.is_empty()) && self.partial.insert(signal) {
                    log::warn!(
                        "OTLP: {url} took {} and rejected {rejected} of them: {why}",
                        signal.name()
                    );
                }
            }
        }
    }
}
