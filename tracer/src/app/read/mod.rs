//! `--read`: the same report out of a capture. Nothing of the kernel's is touched, and no privilege
//! is needed.

mod feed;
mod pace;
mod reading;
mod source;
mod start;

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use tokio::time::Instant;

use self::feed::{Batch, Feed};
use self::pace::Pace;
use self::reading::{Next, Reading};
use self::source::Source;
use super::alert::AlertRunner;
use super::failures;
use super::outlet::{Outlet, PATIENCE, Slow};
use super::output::Output;
use super::run::{hung_up, output_closed, until as sleep_until};
use super::setup;
use super::signals::{Signal, Signals};
use super::sinks::Sinks;
use crate::capture::file::CaptureError;
use crate::capture::life::Lives;
use crate::capture::segment::Captured;
use crate::cli::{Format, Options};
use crate::core::event::{MonoNs, nanos};
use crate::report::writer::Closed;
use crate::report::{Progress, progress, terminal};
use crate::system::privileges;
use crate::top::stderr;

/// How long nothing comes through a pipe before time passes by itself.
const TICK: Duration = Duration::from_millis(100);
/// A capture whose newest segment came so soon, nanoseconds, is being made now.
const FRESH: u64 = 10_000_000_000;
/// What such a segment may wait on its way, nanoseconds: it must not come after its time.
const HELD_BACK: u64 = 300_000_000;
/// How often the progress is drawn.
const DRAW: Duration = Duration::from_secs(1);

/// Reads the capture `path` and reports what it holds.
///
/// # Errors
/// What failed, why, and what to do, for the user. Of a damaged capture what comes before the damage
/// has been reported.
pub(super) async fn read(options: &Options, path: &Path) -> Result<()> {
    let source = Source::open(path, options)?;
    let mut signals = Signals::new()?;
    let output = Output::open(options)?;
    // As for a live run: before anybody inherits stderr, and before there is a second thread.
    let captured = match options.output.top {
        true => stderr::Captured::redirect().context("cannot collect what goes to stderr")?,
        false => None,
    };
    let alerts = AlertRunner::new(options)?;
    let sinks = Sinks::open(options, captured)?;
    let quit = sinks.quit();
    tokio::pin!(quit);
    // Whoever made the file is a stranger.
    let needed_later = &output.needed_to_reopen() | sinks.needed_later();
    privileges::drop_privileges(&needed_later)?;

    let name = source.name.clone();
    let size = source.size;
    // What comes through a pipe may be captured this very moment.
    let follows = size.is_none() && options.read.speed.is_none();
    let mut feed = Feed::start(source, options.read.decap)?;
    // What has to be known to begin: when, and on what interfaces.
    let first = tokio::select! {
        biased;
        () = stop(&mut signals) => None,
        batch = feed.next() => batch,
    };
    let mut queue = Queue::default();
    let mut reading = {
        let first = first.unwrap_or_else(|| Batch { over: Some(Ok(())), ..Batch::default() });
        if first.segments.is_empty()
            && first.counts.frames == 0
            && let Some(Err(error)) = first.over
        {
            // Nothing can be reported of it.
            return Err(source::described(&name, error, false));
        }
        let began = match first.segments.first() {
            Some(segment) => segment.at,
            None => present()?,
        };
        let (report, writer) = output.start()?;
        let shown = setup::shown(options);
        let mut outlet = Outlet::new(report, writer, Slow::Wait, shown, options.show.count);
        outlet.tell_of_alerts(alerts);
        outlet.tell(sinks);
        outlet.show_progress(drawn(options));
        let interfaces = first.interfaces.as_deref().unwrap_or_default();
        let start = start::start_record(options, &name, interfaces, began);
        let width = (options.output.format == Format::Text)
            .then(|| terminal::width(std::io::stderr().as_fd()));
        outlet.start(&start, width);
        let outlet = outlet.apart()?;
        let lives = Lives::new(setup::lives_config(options));
        let mut reading = Reading::new(options, outlet, lives, began);
        queue.fill(first, &mut reading);
        reading
    };

    let speed = options.read.speed.or(options.output.top.then_some(1.0));
    let mut pace = Pace::new(speed);
    pace.begin(reading.began(), std::time::Instant::now());
    let mut draw = Instant::now() + DRAW;
    let closed = reading.outlet().writer().closed();
    tokio::pin!(closed);
    let ended = loop {
        let standing = reading.outlet().standing_due().map(Into::into);
        let wake = tokio::select! {
            biased;
            signal = signals.next() => Wake::Signal(signal),
            why = &mut closed => Wake::Closed(why),
            () = &mut quit => Wake::Quit,
            () = sleep_until(standing) => Wake::Standing,
            () = tokio::time::sleep(TICK), if follows && queue.is_empty() => Wake::Tick,
            step = queue.next(&mut feed, &pace, reading.until(), reading.outlet()) => {
                Wake::Step(step)
            }
        };
        match wake {
            Wake::Step(Step::Batch(batch)) => queue.fill(batch, &mut reading),
            Wake::Step(Step::Segments) => {
                let next = queue.work(&mut reading, &pace);
                reading.outlet().flush();
                reading.outlet().poll_alerts();
                if next == Next::Enough {
                    break Ended::Enough;
                }
            }
            Wake::Step(Step::Over) if options.output.top => {
                // Who looks at it decides when to stop.
                queue.stay = true;
                reading.settle();
                log::warn!("the capture ends here: q ends the view");
            }
            Wake::Step(Step::Over) => break Ended::Over,
            Wake::Step(Step::Died) => break Ended::Died,
            Wake::Tick => {
                if let Some(now) = queue.present() {
                    reading.pass(now);
                    reading.outlet().flush();
                    if reading.is_beyond(now) {
                        break Ended::Enough;
                    }
                }
            }
            Wake::Standing => {
                if let Some(now) = pace.now(std::time::Instant::now()) {
                    reading.pass(queue.known(now));
                }
                reading.standing();
            }
            Wake::Signal(Signal::Summary) => reading.summary(),
            Wake::Signal(Signal::Reopen) if hung_up(options) => break Ended::Stopped,
            Wake::Signal(Signal::Reopen) => reading.outlet().reopen(),
            Wake::Signal(Signal::Resize) => {
                let width = terminal::width(std::io::stdout().as_fd());
                reading.outlet().resize(width);
            }
            Wake::Signal(Signal::Stop) | Wake::Quit => break Ended::Stopped,
            Wake::Closed(why) => break Ended::Closed(why),
        }
        if Instant::now() >= draw {
            draw = Instant::now() + DRAW;
            let connections = reading.totals().connections;
            reading.outlet().progress(|| progress::of_file(feed.read(), size, connections));
        }
    };
    let problem = queue.problem.take();
    let mut deadline = std::time::Instant::now() + PATIENCE;
    let (outlet, told) = reading.finish(deadline);
    if let Ended::Over | Ended::Enough = ended {
        // A capture can wait: whoever reads the report slowly gets all of it.
        tokio::select! {
            () = outlet.drained() => {}
            () = stop(&mut signals) => {}
        }
        deadline = std::time::Instant::now() + PATIENCE;
    }
    let written = outlet.written(deadline);
    let read = match (ended, problem) {
        (Ended::Closed(why), _) => output_closed(why),
        (Ended::Died, _) => Err(anyhow!("the thread that reads the capture {name} has died")),
        (_, Some(error)) => Err(source::described(&name, error, true)),
        _ => tokio::select! {
            biased;
            why = &mut closed => output_closed(why),
            () = std::future::ready(()) => Ok(()),
        },
    };
    failures::all([told, written, read])
}

/// Why nothing more is read.
enum Ended {
    /// All has been read, as far as it could be.
    Over,
    /// The thread that reads has died.
    Died,
    /// `--count` or `--duration`.
    Enough,
    /// The user wants to end.
    Stopped,
    Closed(Closed),
}

/// Why the loop goes round.
enum Wake {
    Step(Step),
    /// Nothing came for a while.
    Tick,
    Standing,
    Signal(Signal),
    Quit,
    Closed(Closed),
}

/// What comes next of the capture.
enum Step {
    /// More of it was read.
    Batch(Batch),
    /// It is the next segment's turn.
    Segments,
    /// Nothing is left.
    Over,
    /// Nothing more will come, and nobody knows why.
    Died,
}

/// What was read and is not worked on yet.
#[derive(Default)]
struct Queue {
    segments: Vec<Captured>,
    at: usize,
    /// Nothing follows.
    over: bool,
    /// What is wrong with the capture.
    problem: Option<CaptureError>,
    /// Stay although all is over.
    stay: bool,
    /// Time of the last segment, and how long ago that was when it came.
    newest: Option<(MonoNs, u64)>,
}

/// Segments that are looked at ahead: enough for some SYNs to be among them, and what is fetched for
/// them stays in the nearer caches.
const AHEAD: usize = 128;

impl Queue {
    /// Takes what was read.
    fn fill(&mut self, batch: Batch, reading: &mut Reading) {
        let Batch { segments, counts, interfaces, over } = batch;
        if let Some(interfaces) = interfaces {
            reading.interfaces(&interfaces);
        }
        reading.counted(counts);
        if let Some(last) = segments.last() {
            self.newest = present().ok().map(|now| (last.at, now.since(last.at)));
        }
        self.segments = segments;
        self.at = 0;
        self.over = over.is_some();
        self.problem = over.and_then(Result::err);
    }

    /// All that was read has been worked on, and more may come.
    fn is_empty(&self) -> bool {
        self.at >= self.segments.len() && !self.over
    }

    /// The time of a capture that goes on now while nothing comes of it: its segments are of the
    /// present.
    fn present(&self) -> Option<MonoNs> {
        let (newest, ago) = self.newest?;
        let now = present().ok()?;
        let fresh = ago < FRESH && newest.since(now) < FRESH;
        fresh.then(|| MonoNs(now.0.saturating_sub(ago.saturating_add(HELD_BACK))))
    }

    /// Waits until something is to be done. Nothing is lost if the future is dropped.
    async fn next(
        &self,
        feed: &mut Feed,
        pace: &Pace,
        until: Option<MonoNs>,
        out: &Outlet,
    ) -> Step {
        if let Some(next) = self.segments.get(self.at) {
            out.room().await;
            let at = until.map_or(next.at, |until| until.min(next.at));
            if let Some(due) = pace.due(at) {
                tokio::time::sleep_until(due.into()).await;
            }
            return Step::Segments;
        }
        if self.stay {
            return std::future::pending().await;
        }
        if self.over {
            return Step::Over;
        }
        match feed.next().await {
            Some(batch) => Step::Batch(batch),
            None => Step::Died,
        }
    }

    /// Works on all whose time has come.
    fn work(&mut self, reading: &mut Reading, pace: &Pace) -> Next {
        let now = std::time::Instant::now();
        while let Some(captured) = self.segments.get(self.at) {
            let early = pace.due(captured.at).is_some_and(|due| due > now);
            if early && !reading.is_beyond(captured.at) {
                break;
            }
            if self.at.is_multiple_of(AHEAD) {
                let ahead = (self.at + AHEAD).min(self.segments.len());
                reading.expect(self.segments.get(self.at..ahead).unwrap_or_default());
            }
            self.at += 1;
            if reading.take(captured) == Next::Enough {
                return Next::Enough;
            }
        }
        Next::More
    }

    /// A time of the capture up to which everything is known: `now`, or before.
    fn known(&self, now: MonoNs) -> MonoNs {
        self.segments.get(self.at).map_or(MonoNs(0), |next| now.min(next.at))
    }
}

/// Waits until the user wants to end.
async fn stop(signals: &mut Signals) {
    while !matches!(signals.next().await, Signal::Stop) {}
}

/// The present, as captures count time.
fn present() -> Result<MonoNs> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(MonoNs(nanos(now)))
}

/// The line that says how far a long capture has been read.
fn drawn(options: &Options) -> Option<Progress> {
    if options.output.top {
        return None;
    }
    let text = options.output.format == Format::Text;
    Progress::new(text, options.output.output.is_none())
}
