//! Drives the flood detector: its ticks, what it asks of the kernel, and the listeners and addresses
//! that the SYN hook must know.

use std::future::pending;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracer_common::state::TcpState;

use super::pipeline::now;
use crate::core::Core;
use crate::core::event::{Event, MonoNs};
use crate::core::flood::sample::Sample;
use crate::core::flood::tick::Tick;
use crate::core::flood::{self, Detector, Want};
use crate::core::record::Record;
use crate::kernel::Kernel;
use crate::kernel::flood::{FloodReader, FloodTables};
use crate::system::local_addresses::{self, AddressWatch};
use crate::system::{netstat, queues};

/// Time between two ticks, as near as the looks at the ring come to it.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// The same, less what a look may come early by.
const PERIOD_NS: u64 = 240_000_000;
/// Least time between two ticks, in a burst.
const BURST_TICK_NS: u64 = 50_000_000;
/// How often the local addresses are listed although no change was told: routes that somebody made
/// local by hand.
const RELIST: Duration = Duration::from_secs(10);

/// The detector and what it reads from, in the network namespace that has the SYN hooks.
pub(super) struct Floods {
    reader: FloodReader,
    tables: FloodTables,
    detector: Detector,
    netns: u32,
    ticked: MonoNs,
    /// A CPU sees a burst of SYNs.
    burst: bool,
    /// Listeners have come or gone since the tables were written.
    changed: bool,
    /// A listener came whose port is not known yet.
    relist: bool,
    /// It has been said that the tables could not be written.
    told: bool,
}

impl Floods {
    /// Reads what is there now. Takes the privileges that tracer starts with.
    ///
    /// # Errors
    /// The kernel side's arrays can't be mapped or filled.
    pub(super) fn new(kernel: &mut Kernel, config: flood::Config, started: MonoNs) -> Result<Self> {
        let (mut reader, tables) = kernel.flood()?;
        reader.began(started);
        let netns = config.netns;
        let mut floods = Self {
            reader,
            tables,
            detector: Detector::new(config),
            netns,
            ticked: started,
            burst: false,
            changed: true,
            relist: false,
            told: false,
        };
        floods.relist_addresses();
        floods.relist_listeners();
        floods.tables.commit()?;
        floods.changed = false;
        Ok(floods)
    }

    /// Who knows of the incidents that go on.
    pub(super) const fn detector(&self) -> &Detector {
        &self.detector
    }

    /// The interfaces that have the SYN hook.
    pub(super) fn interfaces(&mut self, names: Vec<String>) {
        self.detector.set_interfaces(names);
    }

    /// Takes in an event that came through the ring.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::SynSummary(summary) => self.burst |= summary.burst,
            Event::Transition(socket) if socket.netns == self.netns => {
                if socket.new == TcpState::Listen {
                    // listen() without bind(): the port is chosen after this event.
                    self.relist |= socket.local.port() == 0;
                    self.tables.listening(socket.cookie, socket.local, socket.v6only);
                    self.changed = true;
                } else if socket.old == TcpState::Listen && socket.new == TcpState::Close {
                    self.tables.closed(socket.cookie);
                    self.changed = true;
                }
            }
            _ => {}
        }
        self.detector.event(event);
    }

    /// Writes to the kernel side what events have changed.
    pub(super) fn settle(&mut self) {
        if self.changed {
            self.changed = false;
            self.commit();
        }
    }

    /// Whether it is time for a tick; a burst asks for one before its time.
    pub(super) fn due(&self, at: MonoNs) -> bool {
        let least = if self.burst { BURST_TICK_NS } else { PERIOD_NS };
        at.since(self.ticked) >= least
    }

    /// Reads what the kernel side has counted and lets the detector and the hosts' figures know.
    pub(super) fn tick(&mut self, at: MonoNs, core: &mut Core, out: &mut Vec<Record>) {
        if std::mem::take(&mut self.relist) {
            self.relist_listeners();
            self.settle();
        }
        let from = self.ticked;
        self.ticked = at;
        self.burst = false;
        let tick = match self.reader.tick(at, &self.tables) {
            Some(tick) => tick,
            // What hosts have left half-open is forgotten in time, too.
            None if self.detector.idle() && !core.waits() => {
                self.detector.skipped();
                return;
            }
            // Time passes for what is under way.
            None => Tick { from, to: at, ..Tick::default() },
        };
        core.syns(&tick);
        self.detector.tick(&tick, out);
    }

    /// Takes in what the kernel said; `at`: now.
    pub(super) fn sample(
        &mut self,
        sample: &Sample,
        at: MonoNs,
        core: &mut Core,
        out: &mut Vec<Record>,
    ) {
        self.detector.sample(sample);
        if sample.queues.is_some() {
            // What is no longer in the queues may have completed since the last tick.
            self.tick(at, core, out);
            self.detector.reconcile();
        }
        core.half_open_sample(sample);
    }

    /// What the detector would like to be told.
    pub(super) fn wants(&mut self, at: MonoNs) -> Want {
        self.detector.wants(at)
    }

    /// The end of the run.
    pub(super) fn finish(&mut self, at: MonoNs, out: &mut Vec<Record>) {
        self.detector.finish(at, out);
    }

    /// Events were lost: listeners may have come and gone unseen.
    pub(super) fn relist_listeners(&mut self) {
        match queues::listeners() {
            Ok(listeners) => {
                self.tables.replace_listeners(
                    listeners
                        .into_iter()
                        .map(|socket| (socket.cookie, socket.local, socket.v6only)),
                );
                self.changed = true;
            }
            Err(error) => log::warn!("{error:#}: SYNs may be held against the wrong listener"),
        }
    }

    /// Addresses may have come or gone.
    pub(super) fn relist_addresses(&mut self) {
        match local_addresses::list() {
            Ok(addresses) => {
                self.tables.set_locals(&addresses);
                self.changed = true;
            }
            Err(error) => log::warn!("{error:#}: SYNs may be taken for forwarded ones"),
        }
    }

    fn commit(&mut self) {
        if let Err(error) = self.tables.commit() {
            // Tried again with the next change, or when the addresses are listed.
            self.changed = true;
            if !std::mem::replace(&mut self.told, true) {
                log::warn!("{error:#}: SYNs may be held against the wrong listener");
            }
        }
    }
}

/// What the event loop is to do for the detector.
pub(super) enum FloodWake {
    /// The addresses have changed, or may have.
    Addresses,
    /// The kernel has answered.
    Sample(Option<Box<Sample>>),
}

/// When something is to be done for the detector.
pub(super) struct FloodClock {
    next_list: Instant,
    watch: Option<AddressWatch>,
    /// A question to the kernel is under way.
    asked: bool,
    answer: mpsc::Sender<Result<Sample>>,
    answers: mpsc::Receiver<Result<Sample>>,
    /// It has been said that the kernel does not answer.
    told: bool,
}

impl FloodClock {
    /// Starts to watch the addresses of this thread's namespace.
    pub(super) fn start() -> Self {
        let watch = AddressWatch::start()
            .inspect_err(|error| {
                log::warn!("{error:#}; they are looked at every {} s", RELIST.as_secs());
            })
            .ok();
        let (answer, answers) = mpsc::channel(1);
        Self {
            next_list: Instant::now() + RELIST,
            watch,
            asked: false,
            answer,
            answers,
            told: false,
        }
    }

    /// Waits for the next thing to do. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> FloodWake {
        let changed = async {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(answer) = self.answers.recv() => {
                self.asked = false;
                FloodWake::Sample(self.understood(answer).map(Box::new))
            }
            result = changed => {
                if let Err(error) = result {
                    log::warn!("{error:#}; they are looked at every {} s", RELIST.as_secs());
                    self.watch = None;
                }
                FloodWake::Addresses
            }
            () = sleep_until(self.next_list) => {
                self.next_list = Instant::now() + RELIST;
                FloodWake::Addresses
            }
        }
    }

    fn understood(&mut self, answer: Result<Sample>) -> Option<Sample> {
        answer
            .inspect_err(|error| {
                if !std::mem::replace(&mut self.told, true) {
                    log::warn!("{error:#}: floods can only be suspected, not confirmed");
                }
            })
            .ok()
    }

    /// Asks the kernel, on another thread of this namespace.
    pub(super) fn ask(&mut self, want: Want) {
        if self.asked || want == Want::Nothing {
            return;
        }
        self.asked = true;
        let answer = self.answer.clone();
        tokio::task::spawn_blocking(move || {
            // Nobody waits for it any more once the run is over.
            let _ = answer.blocking_send(sample(want == Want::Queues));
        });
    }
}

/// Asks the kernel, with or without the queues.
///
/// # Errors
/// It does not answer.
pub(super) fn sample(with_queues: bool) -> Result<Sample> {
    Ok(Sample {
        at: now(),
        stack: netstat::counters()?,
        queues: if with_queues { Some(queues::queues()?) } else { None },
        request_lifetime_ns: netstat::request_lifetime_ns(),
        syncookies: netstat::syncookies(),
    })
}
