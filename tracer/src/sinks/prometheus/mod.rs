//! `--metrics`: OpenMetrics over HTTP, for Prometheus and all that read what it reads.

pub mod exposition;
mod server;
mod shared;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};

use self::server::Server;
use self::shared::Shared;
use super::{Sink, Standing};
use crate::core::record::Record;
use crate::metrics::{Config, Metrics};
use crate::report::start::metrics_url;
use crate::report::{Start, WallClock};

/// Counts, and hands the figures to a server on a thread of its own.
pub struct Prometheus {
    metrics: Metrics,
    shared: Shared,
    addr: SocketAddr,
    listener: Option<TcpListener>,
    server: Option<Server>,
}

impl Prometheus {
    /// Takes the port; nobody is answered before [`Sink::start`].
    ///
    /// # Errors
    /// The port can't be had: why, and what to do.
    pub fn open(addr: SocketAddr, config: &Config) -> Result<Self> {
        let listener = TcpListener::bind(addr).map_err(|error| refused(addr, &error))?;
        let addr = listener.local_addr().context("--metrics: cannot tell the port")?;
        listener.set_nonblocking(true).context("--metrics")?;
        Ok(Self {
            metrics: Metrics::new(config),
            shared: Shared::default(),
            addr,
            listener: Some(listener),
            server: None,
        })
    }

    /// Where it listens; the port is never 0.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn publish(&self) {
        self.shared.publish(self.metrics.families());
    }
}

fn refused(addr: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let port = addr.port();
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => anyhow!(
            "--metrics {addr}: another program listens there already (`ss -Hltnp sport = :{port}` \
             names it): end it, or give another port"
        ),
        Some(libc::EADDRNOTAVAIL) => anyhow!(
            "--metrics {addr}: no interface of this network namespace has that address; `ip addr` \
             lists those there are"
        ),
        Some(libc::EACCES) => anyhow!(
            "--metrics {addr}: ports below 1024 take CAP_NET_BIND_SERVICE; give a higher one"
        ),
        _ => anyhow!("--metrics {addr}: cannot listen there: {error}"),
    }
}

impl Sink for Prometheus {
    fn start(&mut self, start: &Start, _clock: &WallClock) {
        self.metrics.start(start);
        self.publish();
        let Some(listener) = self.listener.take() else { return };
        match Server::start(listener, self.shared.clone()) {
            Ok(server) => {
                self.server = Some(server);
                let others = if self.addr.ip().is_loopback() {
                    ""
                } else {
                    ": for everyone who can reach that address, without a password"
                };
                log::info!("metrics at {}{others}", metrics_url(self.addr));
            }
            Err(error) => log::error!("--metrics: {error:#}; nobody is served"),
        }
    }

    fn record(&mut self, record: &Record, _shown: bool, _clock: &WallClock) {
        self.metrics.record(record);
    }

    fn standing(&mut self, standing: &Standing<'_>, clock: &WallClock) {
        self.metrics.stuck(standing.core.stuck_by_state(standing.at));
        self.metrics.standing(standing, clock);
        self.publish();
    }

    fn end(&mut self, _: &Standing<'_>, _: &WallClock, deadline: Instant) -> Result<()> {
        if let Some(server) = self.server.take() {
            server.stop(deadline);
        }
        Ok(())
    }
}
