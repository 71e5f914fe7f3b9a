//! Who is told besides the report.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use caps::CapsHashSet;
use tokio::sync::Notify;

use super::{failures, setup};
use crate::cli::Options;
use crate::core::Core;
use crate::core::event::{Event, ExistingSocket};
use crate::core::record::Record;
use crate::kernel::Kernel;
use crate::report::{Start, WallClock};
use crate::sinks::page::Page;
use crate::sinks::prometheus::Prometheus;
use crate::sinks::write::{PacketFile, Target, Teller};
use crate::sinks::{Sink, Standing};
use crate::top::Top;
use crate::top::stderr::Captured;

/// At most one part in so many of the time is spent on telling how things stand.
const SHARE: u32 = 20;

/// What each may still take at the end where others have used up the time.
const LEAST: Duration = Duration::from_secs(1);

/// All of them, and when each is to be told next how things stand.
#[derive(Default)]
pub(super) struct Sinks {
    all: Vec<(Box<dyn Sink>, Instant)>,
    /// Capabilities that they need for as long as the run lasts.
    needed_later: CapsHashSet,
    /// Where metrics are served.
    metrics: Option<SocketAddr>,
    /// Where `--write` writes to, until that is at work.
    target: Option<Target>,
    /// Tells `--write` whose the packets are.
    teller: Option<Teller>,
    /// One of them wants the run to end.
    quit: Arc<Notify>,
}

impl Sinks {
    /// Opens what the user asked for, before anything is attached. `captured` is stderr while the
    /// live view has the terminal.
    ///
    /// # Errors
    /// What can't be opened, and why.
    pub(super) fn open(options: &Options, captured: Option<Captured>) -> Result<Self> {
        let mut sinks = Self::default();
        if options.output.top {
            let (color, hosts) = (options.output.color, options.limits.max_hosts);
            let limit = options.show.duration;
            sinks.add(Top::open(color, hosts, limit, captured, Arc::clone(&sinks.quit))?);
        }
        if let Some(addr) = options.metrics.listen {
            let served = Prometheus::open(addr, &options.metrics.config(&options.filters))?;
            sinks.metrics = Some(served.addr());
            sinks.add(served);
        }
        if let Some(path) = &options.output.report {
            let page = Page::open(path)?;
            sinks.needed_later.extend(page.needed_later());
            sinks.add(page);
        }
        if let Some(path) = &options.write.file {
            sinks.target = Some(Target::open(path, options.write.size)?);
        }
        #[cfg(feature = "otlp")]
        if let Some(otlp) = crate::sinks::otlp::Otlp::open(options)? {
            sinks.add(otlp);
        }
        Ok(sinks)
    }

    /// Opens the sockets of `--write`, which need the kernel side.
    ///
    /// # Errors
    /// What can't be opened, and why.
    pub(super) fn keep_packets(
        &mut self,
        options: &Options,
        kernel: &mut Kernel,
        own_netns: u32,
    ) -> Result<()> {
        let Some(target) = self.target.take() else { return Ok(()) };
        let settings = setup::packets(options, own_netns);
        let packets = PacketFile::open(target, settings, kernel.packet_filter()?)?;
        self.needed_later.extend(packets.needed_later());
        self.teller = Some(packets.teller());
        self.add(packets);
        Ok(())
    }

    /// An event has been handled.
    pub(super) fn event(&mut self, event: &Event, core: &Core) {
        if let Some(teller) = &mut self.teller {
            teller.event(event, core);
        }
    }

    /// Sockets were found open.
    pub(super) fn snapshot(&mut self, sockets: &[ExistingSocket], core: &Core) {
        if let Some(teller) = &mut self.teller {
            sockets.iter().for_each(|socket| teller.socket(socket.cookie, core));
            teller.flush();
        }
    }

    /// All events that were there have been handled.
    pub(super) fn flush(&mut self) {
        if let Some(teller) = &mut self.teller {
            teller.flush();
        }
    }

    /// SIGHUP.
    pub(super) fn reopen(&self) {
        if let Some(teller) = &self.teller {
            teller.reopen();
        }
    }

    /// What they need after the start, besides what all of tracer does.
    pub(super) fn needed_later(&self) -> &CapsHashSet {
        &self.needed_later
    }

    /// Where metrics are served, if they are.
    pub(super) const fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Waits until one of them wants the run to end.
    pub(super) fn quit(&self) -> impl Future<Output = ()> + use<> {
        let quit = Arc::clone(&self.quit);
        async move { quit.notified().await }
    }

    /// Adds one.
    fn add(&mut self, sink: impl Sink + 'static) {
        self.all.push((Box::new(sink), Instant::now()));
    }

    pub(super) fn start(&mut self, start: &Start, clock: &WallClock) {
        for (sink, _) in &mut self.all {
            sink.start(start, clock);
        }
    }

    pub(super) fn record(&mut self, record: &Record, shown: bool, clock: &WallClock) {
        for (sink, _) in &mut self.all {
            sink.record(record, shown, clock);
        }
    }

    /// When one of them is to be told how things stand, next; `None` where there is none.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.all.iter().map(|(_, due)| *due).min()
    }

    /// Tells those whose time has come. Who takes long is told less often, so that the ring is read
    /// in between whatever was asked for.
    pub(super) fn standing(&mut self, standing: &Standing<'_>, clock: &WallClock) {
        for (sink, due) in &mut self.all {
            let began = Instant::now();
            if *due <= began {
                sink.standing(standing, clock);
                let took = began.elapsed();
                *due = began + took + sink.period().max(took * SHARE);
            }
        }
    }

    /// The end of the report is about to be written.
    pub(super) fn closing(&mut self) {
        for (sink, _) in &mut self.all {
            sink.closing();
        }
    }

    /// The end of the run, for all of them, whatever fails: until `deadline`, which is one for the
    /// whole end. Where it has passed, or nearly, because somebody else hangs, there is still a
    /// second: it is enough for whoever takes what he is told.
    ///
    /// # Errors
    /// All that failed.
    pub(super) fn end(
        &mut self,
        standing: &Standing<'_>,
        clock: &WallClock,
        deadline: Instant,
    ) -> Result<()> {
        failures::all(self.all.iter_mut().map(|(sink, _)| {
            sink.standing(standing, clock);
            sink.end(standing, clock, deadline.max(Instant::now() + LEAST))
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::core::event::MonoNs;
    use crate::core::record::End;
    use crate::core::{Config, Core};
    use crate::report::samples;

    /// Takes all the time there is, or none, and notes how much it was given.
    struct Ends {
        hangs: bool,
        given: Rc<Cell<Duration>>,
    }

    impl Sink for Ends {
        fn end(&mut self, _: &Standing<'_>, _: &WallClock, deadline: Instant) -> Result<()> {
            let given = deadline.saturating_duration_since(Instant::now());
            self.given.set(given);
            if self.hangs {
                std::thread::sleep(given);
            }
            Ok(())
        }
    }

    #[test]
    fn the_end_has_one_deadline_and_nobody_gets_none_of_it() {
        let mut sinks = Sinks::default();
        let given: [Rc<Cell<Duration>>; 3] = Default::default();
        for (hangs, given) in [false, true, false].into_iter().zip(&given) {
            sinks.add(Ends { hangs, given: Rc::clone(given) });
        }
        let (totals, core) = (End::default(), Core::new(Config::default()));
        let standing =
            Standing { at: MonoNs(0), totals: &totals, hooks: &[], core: &core, floods: None };
        let began = Instant::now();
        let patience = Duration::from_secs(2);
        sinks.end(&standing, &samples::clock(), began + patience).unwrap();
        let ended = began.elapsed();
        assert!(ended >= patience - Duration::from_millis(1), "{ended:?}");
        let [first, hanging, last] = given.map(|given| given.get());
        assert!(first <= patience && hanging <= first, "{first:?}, {hanging:?}");
        // It is another reading of the clock.
        assert!(last <= LEAST && last > LEAST / 2, "{last:?}");
    }
}
