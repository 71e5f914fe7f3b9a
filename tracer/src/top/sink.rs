//! The live view as one of those who are told what happens.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ColorChoice;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::counts::Counts;
use super::screen::{Screen, Shared};
use super::stderr::{self, Captured};
use super::tty;
use crate::core::event::nanos;
use crate::core::record::Record;
use crate::report::{Start, WallClock};
use crate::sinks::{Sink, Standing};

/// How often it looks for what is to be shown.
const PERIOD: Duration = Duration::from_millis(200);
/// How often figures are made anew when nothing else is to be shown.
const FIGURES: Duration = Duration::from_millis(400);

/// The live view.
pub struct Top {
    out: Arc<File>,
    color: bool,
    max_hosts: usize,
    limit: Option<u64>,
    captured: Option<Captured>,
    quit: Arc<Notify>,
    counts: Option<Counts>,
    screen: Option<Screen>,
    made: Option<Instant>,
    failed: Option<String>,
}

impl Top {
    /// Looks whether there is a terminal, and touches nothing yet. `limit` is how long the run is to
    /// take; `captured` is stderr, if it goes to a terminal; `quit` is notified when the user wants to end.
    ///
    /// # Errors
    /// There is no terminal that it could be shown on.
    pub fn open(
        color: ColorChoice,
        max_hosts: u32,
        limit: Option<Duration>,
        captured: Option<Captured>,
        quit: Arc<Notify>,
    ) -> Result<Self> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            bail!(
                "--top needs a terminal on stdin and stdout: leave it out, or use ssh -t or docker \
                 run -it"
            );
        }
        if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
            bail!("--top needs a terminal that can place text (TERM is unset or dumb)");
        }
        let screen = crate::report::Screen::detect(io::stdout().as_fd(), color);
        Ok(Self {
            out: tty::open().context("cannot open the terminal")?,
            color: screen.color,
            max_hosts: max_hosts as usize,
            limit: limit.map(nanos),
            captured,
            quit,
            counts: None,
            screen: None,
            made: None,
            failed: None,
        })
    }

    fn take_over(&mut self) -> Result<Screen> {
        let messages = match &mut self.captured {
            Some(captured) => Some(captured.collect().context("cannot collect messages")?),
            None => None,
        };
        // A panic's message belongs on the screen that was there before.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            tty::leave();
            stderr::restore();
            before(info);
        }));
        // The library that writes colours looks at NO_COLOR itself; --color decides.
        ratatui::crossterm::style::force_color_output(self.color);
        let quit = Arc::clone(&self.quit);
        let screen = Screen::start(Arc::clone(&self.out), self.color, messages, quit)
            .context("cannot take over the terminal")?;
        follow_job_control(&screen.shared)?;
        Ok(screen)
    }
}

/// SIGTSTP and SIGCONT: the terminal is given back and taken again.
fn follow_job_control(shared: &Arc<Shared>) -> Result<()> {
    let listen = |kind| signal(kind).context("cannot listen to signals");
    let mut stop = listen(SignalKind::from_raw(libc::SIGTSTP))?;
    let mut go_on = listen(SignalKind::from_raw(libc::SIGCONT))?;
    let shared = Arc::downgrade(shared);
    tokio::spawn(async move {
        loop {
            let stopped = tokio::select! {
                _ = stop.recv() => true,
                _ = go_on.recv() => false,
            };
            let Some(shared) = shared.upgrade() else { return };
            let flag = if stopped { &shared.suspend } else { &shared.resumed };
            flag.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

impl Sink for Top {
    fn start(&mut self, start: &Start, _clock: &WallClock) {
        self.counts = Some(Counts::new(start.time, self.max_hosts, self.limit));
        match self.take_over() {
            Ok(screen) => self.screen = Some(screen),
            Err(error) => {
                self.failed = Some(format!("{error:#}"));
                self.quit.notify_one();
            }
        }
    }

    fn record(&mut self, record: &Record, shown: bool, _clock: &WallClock) {
        if let Some(counts) = &mut self.counts {
            counts.record(record, shown);
        }
    }

    fn standing(&mut self, standing: &Standing<'_>, clock: &WallClock) {
        let (Some(counts), Some(screen)) = (&mut self.counts, &self.screen) else { return };
        let changed = counts.wish(&screen.shared.wish());
        if changed || self.made.is_none_or(|made| made.elapsed() >= FIGURES) {
            self.made = Some(Instant::now());
            screen.shared.show(Box::new(counts.view(standing, clock)));
        }
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    fn closing(&mut self) {
        if let Some(mut screen) = self.screen.take() {
            self.failed = screen.leave();
        }
        // What was said meanwhile comes before the summary.
        self.captured = None;
    }

    fn end(
        &mut self,
        _standing: &Standing<'_>,
        _clock: &WallClock,
        _deadline: Instant,
    ) -> Result<()> {
        match self.failed.take() {
            Some(why) => bail!("the live view can't go on: {why}"),
            None => Ok(()),
        }
    }
}
