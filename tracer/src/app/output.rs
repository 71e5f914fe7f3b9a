//! Where the reports go.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};

use super::pipeline::now;
use crate::cli::{Format, Options};
use crate::core::event::MonoNs;
use crate::report::terminal;
use crate::report::{Held, Json, Report, Screen, Text, WallClock, Writer};
use crate::system::host::ClockOffset;
use crate::system::privileges;

/// The clock as it is now, in the system's time zone.
pub(super) fn clock() -> Result<WallClock> {
    let offset = ClockOffset::read()?;
    let at = now();
    let clock = WallClock::new(at, i128::from(offset.realtime_ns(at.0)), WallClock::system_zone());
    Ok(clock.uncertain(offset.uncertainty_ns))
}

/// What a terminal, or whatever the output is, gets as text.
pub(super) fn screen(options: &Options) -> Screen {
    match options.output.output {
        Some(_) => Screen::file(options.output.color),
        None => Screen::detect(std::io::stdout().as_fd(), options.output.color),
    }
}

/// Where the reports go, opened before anything is attached.
pub(super) struct Output {
    report: Box<dyn Report>,
    file: Option<std::path::PathBuf>,
}

impl Output {
    pub(super) fn open(options: &Options) -> Result<Self> {
        match &options.output.output {
            Some(path) => {
                std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("cannot open the output file {}", path.display()))?;
            }
            None if terminal::stdout_may_be_closed() => {
                log::warn!(
                    "stdout is closed or /dev/null: the report goes nowhere without --output FILE"
                );
            }
            None => {}
        }
        let clock = match options.read.read {
            // A capture's times are those of the calendar.
            Some(_) => WallClock::new(MonoNs(0), 0, WallClock::system_zone()),
            None => clock()?,
        };
        let report: Box<dyn Report> = match options.output.format {
            Format::Json => Box::new(Json::new(clock)),
            Format::Text => {
                let filters = options.describe_filters();
                Box::new(Text::new(clock, screen(options)).filtered(&filters))
            }
        };
        let report = match options.output.top && options.output.output.is_none() {
            true => Box::new(Held::new(report)),
            false => report,
        };
        Ok(Self { report, file: options.output.output.clone() })
    }

    /// What is needed after the start; for a file also the right to create it anew on SIGHUP, in
    /// whoever's directory it is.
    pub(super) fn needed_later(&self) -> caps::CapsHashSet {
        &privileges::needed_later() | &self.needed_to_reopen()
    }

    /// The part of it that has to do with the file.
    pub(super) fn needed_to_reopen(&self) -> caps::CapsHashSet {
        self.file.iter().map(|_| caps::Capability::CAP_DAC_OVERRIDE).collect()
    }

    pub(super) fn start(self) -> Result<(Box<dyn Report>, Writer)> {
        let writer = match &self.file {
            Some(path) => Writer::file(path)
                .with_context(|| format!("cannot open the output file {}", path.display()))?,
            None => Writer::stdout().context("cannot write to stdout")?,
        };
        Ok((self.report, writer))
    }
}
