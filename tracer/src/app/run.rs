//! Start, event loop, end.

use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::{Instant, MissedTickBehavior};
use tracer_common::counters::Counters;

use super::alert::{AlertRunner, test_alert};
use super::devices::Devices;
use super::failures;
use super::flood::{FloodClock, FloodWake, Floods};
use super::look::NextLook;
use super::outlet::{Outlet, Slow};
use super::output::Output;
use super::pipeline::{Pipeline, now};
use super::read::read;
use super::setup;
use super::signals::{Signal, Signals};
use super::sinks::Sinks;
use super::start::{cannot, described, start_record};
use crate::cli::{Format, Options, OutputOptions};
use crate::core::Core;
use crate::core::event::MonoNs;
use crate::core::record::End;
use crate::kernel::{HookStatus, Kernel, LoadConfig};
use crate::report::writer::Closed;
use crate::report::{Hook, terminal};
use crate::system::host::{self, ClockOffset};
use crate::system::interfaces::Watch;
use crate::system::netns::{self, Snapshot};
use crate::system::owners;
use crate::system::privileges;
use crate::top::stderr::Captured;

/// How often the kernel side's counters are looked at for loss.
const LOSS_CHECK: Duration = Duration::from_secs(1);

/// Traces, or reads a capture, until told to stop.
///
/// # Errors
/// What failed, why, and what to do, for the user.
pub fn run(options: &Options) -> Result<()> {
    if let Some(done) = super::instead::run(options) {
        return done;
    }
    if options.output.test_alert {
        return test_alert(options);
    }
    let work = async {
        match &options.read.read {
            Some(path) => read(options, path).await,
            None => trace(options).await,
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // For questions to the kernel's socket tables: one after a loss, and the flood detector's.
        .max_blocking_threads(2)
        .build()
        .context("cannot start the event loop")?;
    let result = runtime.block_on(work);
    // A look at the socket tables that is still going on must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn trace(options: &Options) -> Result<()> {
    let running = host::Kernel::running()?;
    setup::check_kernel(&running)?;
    privileges::check_required(&privileges::missing()?)?;
    host::raise_memlock(running.version)?;
    let own_netns = netns::own_inode().context("cannot tell tracer's own network namespace")?;
    let filters = options.filters.kernel(own_netns);
    setup::check_packets(options, &filters, own_netns)?;
    let (ring_size, note) = options.limits.ring(host::page_size());
    if let Some(note) = note {
        log::info!("{note}");
    }
    let ring_size = u32::try_from(ring_size).context("--ring-size: at most 2 GiB")?;

    // Before anything is attached: what may fail for the user's own reasons, and the signals.
    let wanted = setup::interfaces(options, &filters, own_netns)?;
    let mut devices = Devices::new(wanted, setup::policy(options, &running));
    let (mut watch, interfaces) = Watch::start()?;
    if let [first, ..] = devices.unknown(&interfaces).as_slice() {
        let names: Vec<_> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
        bail!(
            "there is no interface {first} in this network namespace; there are: {}",
            names.join(", ")
        );
    }
    let mut signals = Signals::new()?;
    let output = Output::open(options)?;
    // Before anybody inherits it who may say something while the live view is shown.
    let captured = match options.output.top {
        true => Captured::redirect().context("cannot collect what goes to stderr")?,
        false => None,
    };
    // A process apart, which must not inherit what is opened and attached from here on.
    let alerts = AlertRunner::new(options)?;
    let mut sinks = Sinks::open(options, captured)?;
    let (quit, metrics) = (sinks.quit(), sinks.metrics());
    tokio::pin!(quit);

    let run_stats = setup::run_stats(options)?;
    let mut kernel = Kernel::load(&LoadConfig {
        syn_hooks: devices.expected(&interfaces),
        ..setup::load_config(options, &filters, ring_size, own_netns)
    })?;
    sinks.keep_packets(options, &mut kernel, own_netns)?;
    let host_hooks = kernel.hooks().to_vec();
    let mut hooks = host_hooks.clone();
    let syn_hooks = devices.attach_all(&mut kernel, &interfaces);
    if options.syn.insists() && !devices.any() {
        let why: Vec<_> = syn_hooks
            .iter()
            .map(|hook| {
                let interface = hook.interface.as_deref().unwrap_or_default();
                format!("{interface}: {}", hook.reason.as_deref().unwrap_or("refused"))
            })
            .collect();
        bail!("the SYN hook can be attached nowhere: {}", why.join("; "));
    }
    hooks.extend(syn_hooks);
    let started = now();
    let mut floods = match devices.wanted() {
        true => Some(Floods::new(&mut kernel, setup::flood_config(options, own_netns), started)?),
        false => None,
    };
    if let Some(floods) = &mut floods {
        floods.interfaces(devices.names());
    }
    let mut flood_clock = floods.is_some().then(FloodClock::start);
    // Reading the kernel's type information took tens of megabytes that nobody needs any more.
    // SAFETY: gives free memory back; takes no pointers.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    // While all processes can be seen.
    let without_sockets: Vec<_> =
        options.filters.pids.iter().filter_map(|pid| owners::why_nobody(*pid)).collect();
    // What is asked for from here on is asked for later as well, with what is kept.
    privileges::raise_priority();
    let needed_later = &output.needed_later() | sinks.needed_later();
    privileges::drop_privileges(&needed_later)?;
    // Attached first and asked afterwards, so that no connection falls in between.
    let snapshot = netns::snapshot_all(filters.netns);
    let snapshot_at = now();

    let hook_netns = devices.any().then_some(own_netns);
    let cannot = cannot(&hooks, &snapshot, options);

    let core = Core::new(setup::core_config(options, started, floods.is_some()));
    let records = kernel.take_records().context("the ring buffer is taken")?;
    let (report, writer) = output.start()?;
    let shown = setup::shown(options);
    let mut outlet = Outlet::new(report, writer, Slow::Drop, shown, options.show.count);
    outlet.show_progress(setup::progress(options));
    outlet.tell_of_alerts(alerts);
    outlet.tell(sinks);
    let mut pipeline = Pipeline::new(records, core, outlet, options.show.duration)?;
    pipeline.watch_floods(floods);
    let mut start = start_record(options, &running.release, &hooks, cannot, ring_size, started);
    start.metrics = metrics;
    start.cannot.extend(pipeline.cgroup_problem().map(str::to_owned));
    let width =
        (options.output.format == Format::Text).then(|| terminal::width(std::io::stderr().as_fd()));
    pipeline.start(&start, width);
    for why in without_sockets {
        log::warn!("--pid: {why}");
    }
    pipeline.snapshot(snapshot_at, &matching(snapshot, &filters).sockets);

    let mut logger = kernel.logger();
    let mut loss = LossCheck::default();
    let (snapshots, mut answers) = tokio::sync::mpsc::channel(1);
    let mut watching = true;
    let mut look = NextLook::new()?;
    // The ring may hold more than the last look at it took.
    let mut more = false;
    let mut interval = options.show.interval.map(|period| {
        let mut interval = tokio::time::interval_at(Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    });
    let deadline = options.show.duration.map(|duration| Instant::now() + duration);
    let mut next_check = Instant::now() + LOSS_CHECK;
    let closed = pipeline.outlet().writer().closed();
    tokio::pin!(closed);
    // Whatever ends the run, all are told what is known by then.
    let ended_by: Result<Option<Closed>> = async {
        while !pipeline.finished() {
            let wake = tokio::select! {
                biased;
                signal = signals.next() => Wake::Signal(signal),
                why = &mut closed => Wake::OutputClosed(why),
                () = until(deadline) => Wake::Deadline,
                () = &mut quit => Wake::Quit,
                () = next(&mut interval) => Wake::Interval,
                change = watch.next(), if watching => Wake::Change(change),
                wake = flood_wake(&mut flood_clock) => Wake::Flood(wake),
                () = until(pipeline.standing_due().map(Into::into)) => Wake::Standing,
                Some(answer) = answers.recv() => Wake::Reconcile(answer),
                // Last: a flood of events must not keep a signal, the deadline or the look at what was
                // lost waiting.
                () = tokio::task::yield_now(), if more => Wake::Ring,
                result = pipeline.filling() => {
                    result?;
                    Wake::Ring
                }
                () = look.due() => Wake::Ring,
            };
            match wake {
                Wake::Ring => {
                    let before = pipeline.events();
                    more = pipeline.drain();
                    pipeline.tick();
                    if pipeline.flood_due() {
                        tick_floods(&mut pipeline, &mut flood_clock);
                    }
                    look.looked(pipeline.events() != before)?;
                }
                Wake::Interval => {
                    pipeline.drain_present();
                    pipeline.interval(now());
                }
                Wake::Change(Ok(change)) => {
                    if let Some(status) = devices.follow(&mut kernel, &change) {
                        log_device(&status);
                    }
                    pipeline.interfaces(devices.names());
                }
                Wake::Change(Err(error)) => {
                    log::warn!("{error:#}; interfaces that come up from now on get no SYN hook");
                    watching = false;
                }
                Wake::Reconcile((asked_at, snapshot)) => {
                    pipeline.reconcile(asked_at, &matching(snapshot, &filters));
                    loss.asked = false;
                }
                Wake::Flood(FloodWake::Addresses) => pipeline.relist_addresses(),
                Wake::Flood(FloodWake::Sample(sample)) => {
                    if let Some(sample) = sample {
                        pipeline.flood_sample(&sample);
                    }
                }
                Wake::Standing => {
                    let (counters, missed) = kernel.totals()?;
                    let mut totals = End {
                        duration: now().since(started),
                        program_runs: run_stats.as_ref().map(|_| kernel.program_runs()),
                        ..pipeline.totals()
                    };
                    complete(&mut totals, counters, missed, hook_netns.is_some());
                    let hooks = hooks_now(&host_hooks, &devices);
                    pipeline.standing(&totals, &hooks);
                }
                Wake::Signal(Signal::Summary) => {
                    pipeline.drain_present();
                    pipeline.summary(now());
                }
                Wake::Signal(Signal::Reopen) if hung_up(options) => break,
                Wake::Signal(Signal::Reopen) => pipeline.outlet().reopen(),
                Wake::Signal(Signal::Resize) => {
                    pipeline.outlet().resize(terminal::width(std::io::stdout().as_fd()));
                }
                Wake::Signal(Signal::Stop) | Wake::Deadline | Wake::Quit => break,
                Wake::OutputClosed(why) => return Ok(Some(why)),
            }
            if Instant::now() >= next_check {
                next_check = Instant::now() + LOSS_CHECK;
                pipeline.progress(Duration::from_nanos(now().since(started)));
                if let Some(logger) = &mut logger {
                    logger.flush();
                }
                if let Ok(offset) = ClockOffset::read() {
                    let at = now();
                    let utc_ns = i128::from(offset.realtime_ns(at.0));
                    let clock = pipeline.outlet().clock();
                    clock.compare(at, utc_ns, offset.uncertainty_ns);
                }
                let (counters, missed) = kernel.totals()?;
                if loss.due(counters, missed) {
                    pipeline.events_were_lost(now());
                    let snapshots = snapshots.clone();
                    let selection = filters.netns;
                    tokio::task::spawn_blocking(move || {
                        let asked_at = now();
                        // One list may miss a socket, and what is missing is called over.
                        let first = netns::snapshot_all(selection);
                        let both = first.and_then(netns::snapshot_all(selection));
                        // Nobody waits for the answer any more once the run is over.
                        let _ = snapshots.blocking_send((asked_at, both));
                    });
                }
            }
        }
        Ok(None)
    }
    .await;

    let hooks = hooks_now(&host_hooks, &devices);
    devices.clear();
    kernel.detach();
    pipeline.drain_present();
    let ended = now();
    pipeline.settle();
    let mut end = End {
        duration: ended.since(started),
        program_runs: run_stats.as_ref().map(|_| kernel.program_runs()),
        ..pipeline.totals()
    };
    let counted = kernel
        .totals()
        .map(|(counters, missed)| complete(&mut end, counters, missed, hook_netns.is_some()));
    let finished = pipeline.finish(ended, end, &hooks);
    let output = match ended_by {
        Err(error) => Err(error),
        Ok(Some(why)) => output_closed(why),
        Ok(None) => tokio::select! {
            biased;
            why = &mut closed => output_closed(why),
            () = std::future::ready(()) => Ok(()),
        },
    };
    failures::all([finished, counted, output])
}

/// Whether SIGHUP is no log rotation but means that nobody looks at the live view any more.
pub(super) fn hung_up(options: &Options) -> bool {
    let OutputOptions { top, output, .. } = &options.output;
    *top && (output.is_none() || terminal::has_gone())
}

pub(super) fn output_closed(why: Closed) -> Result<()> {
    match why {
        // Whoever read has gone: `tracer | head`.
        Closed::BrokenPipe => Ok(()),
        Closed::Failed(errno) => {
            let why = errno.map(std::io::Error::from_raw_os_error);
            bail!(
                "the output cannot be written: {}",
                why.map_or_else(|| "unknown error".to_owned(), |why| why.to_string())
            )
        }
    }
}

/// Why the loop goes round.
enum Wake {
    Ring,
    Interval,
    Deadline,
    /// The user wants to end.
    Quit,
    OutputClosed(Closed),
    Signal(Signal),
    Change(Result<crate::system::interfaces::Change>),
    Reconcile((MonoNs, Snapshot)),
    Flood(FloodWake),
    /// Someone is to be told how things stand.
    Standing,
}

pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn next(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

async fn flood_wake(clock: &mut Option<FloodClock>) -> FloodWake {
    match clock {
        Some(clock) => clock.next().await,
        None => std::future::pending().await,
    }
}

fn tick_floods(pipeline: &mut Pipeline, clock: &mut Option<FloodClock>) {
    let want = pipeline.flood_tick();
    if let Some(clock) = clock {
        clock.ask(want);
    }
}

/// When to ask the kernel's socket tables because events were lost.
#[derive(Default)]
struct LossCheck {
    seen: u64,
    /// Events that no program seemed to have been run for at the check before.
    missed: u64,
    /// A question is under way.
    asked: bool,
}

impl LossCheck {
    fn due(&mut self, counters: Counters, missed: u64) -> bool {
        // An event is missed by the first program a moment before the second makes up for it, and a
        // virtual CPU may be taken away in between: what is missing at two checks is.
        let certain = missed.min(std::mem::replace(&mut self.missed, missed));
        let lost = counters.records_lost + counters.withheld_lost + certain;
        if lost <= self.seen || self.asked {
            return false;
        }
        self.seen = lost;
        self.asked = true;
        true
    }
}

/// Fills in what the kernel side counted.
fn complete(end: &mut End, counters: Counters, missed: u64, syn_hook: bool) {
    end.events_lost += counters.records_lost + counters.withheld_lost + missed;
    end.handshakes_failed += counters.requests_reset_unrecorded;
    let hooked = |count| syn_hook.then_some(count);
    end.syns = hooked(counters.syns.saturating_sub(counters.syns_other_device));
    end.syns_repeated = hooked(counters.syns_repeated);
    end.syns_unparsed = hooked(counters.syns_unparsed);
}

/// The sockets of a snapshot that the filters let through. Listeners stay: they tell servers from
/// clients.
fn matching(mut snapshot: Snapshot, filters: &crate::filter::KernelFilters) -> Snapshot {
    snapshot.sockets.retain(|socket| {
        socket.state == tracer_common::state::TcpState::Listen
            || filters.matches(socket.local, socket.remote, socket.netns)
    });
    snapshot
}

/// Every hook as it is now.
fn hooks_now(host: &[HookStatus], devices: &Devices) -> Vec<Hook> {
    host.iter().chain(devices.statuses()).map(described).collect()
}

fn log_device(status: &HookStatus) {
    let interface = status.interface.as_deref().unwrap_or_default();
    let reason = status.reason.as_deref().unwrap_or_default();
    if status.attached {
        log::info!("SYN hook on {interface}: {} ({reason})", status.mode);
    } else {
        log::warn!("no SYN hook on {interface}: {reason}");
    }
}

#[cfg(test)]
mod tests;
