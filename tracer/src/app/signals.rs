//! The signals tracer answers to.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Clone, Copy)]
pub(super) enum Signal {
    Stop,
    Summary,
    Reopen,
    Resize,
}

pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    summary: tokio::signal::unix::Signal,
    reopen: tokio::signal::unix::Signal,
    resize: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            summary: listen(SignalKind::user_defined1())?,
            reopen: listen(SignalKind::hangup())?,
            resize: listen(SignalKind::window_change())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.summary.recv() => Signal::Summary,
            _ = self.reopen.recv() => Signal::Reopen,
            _ = self.resize.recv() => Signal::Resize,
        }
    }
}
