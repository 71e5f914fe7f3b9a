//! Renders what is told and hands it to the writer: at once, or on a thread of its own, so that whoever
//! tells can go on.

use std::io;
use std::time::Instant;

use anyhow::{Result, bail};

use super::apart::{Apart, Told};
use super::{PATIENCE, Slow};
use crate::core::event::MonoNs;
use crate::core::record::{End, Host, OpenConnection, Record};
use crate::report::{Covered, Report, Start, WallClock, Writer};

/// The report and its writer.
pub(super) struct Pen {
    way: Way,
    writer: Writer,
    slow: Slow,
}

enum Way {
    Here { report: Box<dyn Report>, out: Vec<u8> },
    Apart(Apart),
}

impl Pen {
    /// Renders at once.
    pub(super) fn new(report: Box<dyn Report>, writer: Writer, slow: Slow) -> Self {
        let out = Vec::with_capacity(64 * 1024);
        Self { way: Way::Here { report, out }, writer, slow }
    }

    /// Renders on a thread of its own from now on. What is slow then is waited for.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn apart(self) -> io::Result<Self> {
        let Self { way, writer, slow: _ } = self;
        let way = match way {
            Way::Here { report, out } => Way::Apart(Apart::start(report, out, writer.inlet())?),
            apart @ Way::Apart(_) => apart,
        };
        Ok(Self { way, writer, slow: Slow::Wait })
    }

    pub(super) const fn writer(&self) -> &Writer {
        &self.writer
    }

    pub(super) fn clock(&mut self) -> &mut WallClock {
        match &mut self.way {
            Way::Here { report, .. } => report.clock(),
            Way::Apart(apart) => apart.clock(),
        }
    }

    pub(super) fn resize(&mut self, width: usize) {
        match &mut self.way {
            Way::Here { report, .. } => report.resize(width),
            Way::Apart(apart) => apart.tell(Told::Resize(width)),
        }
    }

    /// Comes first, so [`Self::apart`] comes later.
    pub(super) fn start(&mut self, start: &Start) {
        if let Way::Here { report, out } = &mut self.way {
            report.start(start, out);
            self.writer.begin_files_with(report.head(start));
        }
    }

    pub(super) fn record(&mut self, record: Record) {
        match &mut self.way {
            Way::Here { report, out } => report.record(&record, out),
            Way::Apart(apart) => apart.record(record),
        }
    }

    pub(super) fn hosts(&mut self, hosts: Vec<Host>, covered: Covered) {
        match &mut self.way {
            Way::Here { report, out } => report.hosts(&hosts, covered, out),
            Way::Apart(apart) => apart.tell(Told::Hosts(hosts, covered)),
        }
    }

    pub(super) fn open(&mut self, open: Vec<OpenConnection>, at: MonoNs) {
        match &mut self.way {
            Way::Here { report, out } => report.open(&open, at, out),
            Way::Apart(apart) => apart.tell(Told::Open(open, at)),
        }
    }

    pub(super) fn end(&mut self, end: End, at: MonoNs) {
        match &mut self.way {
            Way::Here { report, out } => report.end(&end, at, out),
            Way::Apart(apart) => apart.tell(Told::End(Box::new(end), at)),
        }
    }

    /// What no report knows of, to go where it goes.
    pub(super) fn raw(&mut self, text: &str) {
        match &mut self.way {
            Way::Here { out, .. } => out.extend_from_slice(text.as_bytes()),
            Way::Apart(apart) => apart.tell(Told::Raw(text.to_owned())),
        }
    }

    /// Nothing waits for [`Self::flush`].
    pub(super) fn is_empty(&self) -> bool {
        match &self.way {
            Way::Here { out, .. } => out.is_empty(),
            Way::Apart(apart) => apart.is_empty(),
        }
    }

    /// Hands on what has been told, which makes so many records.
    pub(super) fn flush(&mut self, records: u64) {
        match &mut self.way {
            Way::Here { out, .. } => {
                match self.slow {
                    Slow::Drop => self.writer.give(out, records),
                    Slow::Wait => self.writer.push_all(out, records),
                };
                out.clear();
            }
            Way::Apart(apart) => apart.flush(records),
        }
    }

    /// As [`Self::flush`], and waits for a slow reader until `deadline`.
    pub(super) fn flush_last(&mut self, records: u64, deadline: Instant) {
        match &mut self.way {
            Way::Here { out, .. } if self.slow == Slow::Drop => {
                self.writer.push_wait(out, records, deadline);
                out.clear();
            }
            _ => self.flush(records),
        }
    }

    /// Waits until whoever renders and whoever reads has caught up.
    pub(super) async fn room(&self) {
        match &self.way {
            Way::Here { .. } => self.writer.room().await,
            Way::Apart(apart) => apart.room().await,
        }
    }

    /// Waits until everything told is rendered and written, or nothing ever will be.
    pub(super) async fn drained(&self) {
        if let Way::Apart(apart) = &self.way {
            apart.drained().await;
        }
        self.writer.drained().await;
    }

    /// Waits until everything is written, until `deadline` at most.
    ///
    /// # Errors
    /// The reader did not take it in time, or it could not be rendered.
    pub(super) fn finish(self, deadline: Instant) -> Result<()> {
        let done = match self.way {
            Way::Here { .. } => true,
            Way::Apart(apart) => apart.finish(deadline)?,
        };
        let bytes = match self.writer.finish(deadline) {
            Err(unwritten) => unwritten.bytes,
            Ok(()) if done => return Ok(()),
            Ok(()) => 0,
        };
        let what = if done { format!("the last {bytes} bytes") } else { "the last records".into() };
        bail!(
            "{what} were not taken within {} s: the output is full, or nobody reads it",
            PATIENCE.as_secs()
        );
    }
}
