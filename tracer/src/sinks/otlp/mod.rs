//! `--otlp`: records as logs, and metrics, to an OpenTelemetry Collector by OTLP/HTTP.
//!
//! A thread of its own sends; between it and the thread that reads the ring is a bounded queue that
//! never makes anybody wait. What does not fit is dropped and counted.

mod attribute;
mod client;
mod exporter;
mod logs;
mod metrics;
mod queue;
#[cfg(test)]
mod receiver;
mod resource;
mod settings;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use self::client::Client;
use self::exporter::Exporter;
use self::logs::Item;
use self::metrics::Figures;
use self::queue::Queue;
use self::settings::Settings;
use super::{Sink, Standing};
use crate::cli::Options;
use crate::core::event::MonoNs;
use crate::core::record::Record;
use crate::metrics::Metrics;
use crate::report::{Start, WallClock};

/// Sends to an OpenTelemetry Collector.
pub struct Otlp {
    queue: Arc<Queue>,
    /// Until the thread is started.
    settings: Option<Settings>,
    interval: Duration,
    started: MonoNs,
    metrics: Metrics,
}

impl Otlp {
    /// What `options` ask for; `None` if they don't. Nothing is opened or started yet.
    ///
    /// # Errors
    /// What the environment's variables name can't be used.
    pub fn open(options: &Options) -> Result<Option<Self>> {
        let Some(endpoint) = &options.otlp.otlp else { return Ok(None) };
        let settings = Settings::new(endpoint, &options.otlp, |name| std::env::var(name).ok())?;
        Ok(Some(Self {
            queue: Arc::default(),
            interval: settings.interval,
            settings: Some(settings),
            started: MonoNs(0),
            metrics: Metrics::new(&options.metrics.config(&options.filters)),
        }))
    }
}

impl Sink for Otlp {
    fn start(&mut self, start: &Start, _clock: &WallClock) {
        self.started = start.time;
        self.metrics.start(start);
        let Some(settings) = self.settings.take() else { return };
        let resource = resource::resource(start, &settings.resource);
        let exporter = Exporter::new(Arc::clone(&self.queue), Client::new(settings), resource);
        let spawned =
            std::thread::Builder::new().name("tracer-otlp".into()).spawn(move || exporter.run());
        if let Err(error) = spawned {
            log::error!("OTLP: nothing is sent: no thread can be started: {error}");
            self.queue.end();
        }
    }

    fn record(&mut self, record: &Record, shown: bool, clock: &WallClock) {
        self.metrics.record(record);
        // As in the report: `--failed` and the like choose what is worth to be kept.
        if shown {
            self.queue.push(Item::new(record, clock, SystemTime::now()));
        }
    }

    fn standing(&mut self, standing: &Standing<'_>, clock: &WallClock) {
        self.metrics.standing(standing, clock);
        self.metrics.stuck(standing.core.stuck_by_state(standing.at));
        let families = self.metrics.families();
        self.queue.put(Figures::new(families, self.started, standing.at, clock));
    }

    fn period(&self) -> Duration {
        self.interval
    }

    fn end(&mut self, standing: &Standing<'_>, clock: &WallClock, deadline: Instant) -> Result<()> {
        // Some totals are believed only when they have been said twice.
        self.standing(standing, clock);
        let left = self.queue.finish(deadline);
        let counts = self.queue.lock().counts;
        if left > 0 || counts.dropped > 0 || counts.rejected > 0 {
            log::warn!(
                "OTLP: {} of {} records did not arrive: {} dropped because the queue was full, {} \
                 rejected, {left} not taken before the end",
                counts.dropped + counts.rejected + left as u64,
                counts.sent + counts.dropped + counts.rejected + left as u64,
                counts.dropped,
                counts.rejected
            );
        }
        Ok(())
    }
}
