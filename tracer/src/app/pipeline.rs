//! The way of what the kernel tells: ring → event → core → records → outlet.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::failures;
use super::flood::{self, Floods};
use super::outlet::{Outlet, PATIENCE};
use crate::core::Core;
use crate::core::event::{Event, ExistingSocket, MonoNs};
use crate::core::flood::Want;
use crate::core::flood::sample::Sample;
use crate::core::record::End;
use crate::kernel::Records;
use crate::kernel::decode::decode;
use crate::kernel::records::Found;
use crate::report::{Hook, Start, progress};
use crate::sinks::Standing;
use crate::system::cgroup::Cgroups;
use crate::system::netns::Snapshot;

pub(super) use crate::kernel::clock as now;

/// Records taken from the ring before the others get their turn.
const BUDGET: u32 = 8192;

/// So long is waited for a record that a program has begun.
const HELD_UP_NS: u64 = 500_000_000;

pub(super) struct Pipeline {
    records: AsyncFd<Records>,
    sweep: Option<Sweep>,
    /// Every event up to then has been handled.
    handled: MonoNs,
    core: Core,
    /// Where SYNs are seen.
    floods: Option<Floods>,
    cgroups: Cgroups,
    outlet: Outlet,
    /// How long the run is to take, if it is limited.
    duration: Option<Duration>,
    events: u64,
    undecodable: u64,
    /// Summaries of SYNs, which are no events.
    summaries: u64,
    /// cgroup told to the core last: connections come in runs of the same.
    last_cgroup: u64,
}

/// Taking what had happened by a moment, while more comes in.
#[derive(Clone, Copy)]
struct Sweep {
    began: MonoNs,
    /// It has taken more than one turn.
    long: bool,
}

impl Pipeline {
    pub(super) fn new(
        records: Records,
        core: Core,
        outlet: Outlet,
        duration: Option<Duration>,
    ) -> Result<Self> {
        // SAFETY: the ring owns its descriptor and keeps it open for as long as it lives.
        let records = unsafe { AsyncFd::register_with_interest(records, Interest::READABLE) };
        Ok(Self {
            records: records
                .map_err(|error| anyhow::anyhow!("cannot wait for the ring buffer: {error}"))?,
            sweep: None,
            handled: MonoNs(0),
            core,
            floods: None,
            cgroups: Cgroups::new(),
            outlet,
            duration,
            events: 0,
            undecodable: 0,
            summaries: 0,
            last_cgroup: 0,
        })
    }

    /// Has `floods` watch what comes in, from now on.
    pub(super) fn watch_floods(&mut self, floods: Option<Floods>) {
        self.floods = floods;
    }

    /// When someone is to be told how things stand, if there is anyone.
    pub(super) fn standing_due(&self) -> Option<Instant> {
        self.outlet.standing_due()
    }

    /// Tells those whose time has come how things stand.
    pub(super) fn standing(&mut self, totals: &End, hooks: &[Hook]) {
        let floods = self.floods.as_ref().map(Floods::detector);
        let standing = Standing { at: self.handled, totals, hooks, core: &self.core, floods };
        self.outlet.standing(&standing);
    }

    /// Draws how far the run has come.
    pub(super) fn progress(&mut self, elapsed: Duration) {
        let Some(duration) = self.duration else { return };
        let connections = self.core.totals().connections;
        self.outlet.progress(|| progress::of_duration(elapsed, duration, connections));
    }

    /// The `start` record; for text the same in words, on stderr.
    pub(super) fn start(&mut self, start: &Start, width: Option<usize>) {
        self.outlet.start(start, width);
    }

    /// Events taken from the ring.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Tells the core that events up to now may be missing.
    pub(super) fn events_were_lost(&mut self, at: MonoNs) {
        self.core.events_were_lost(at);
        if self.floods.is_some() {
            // What is queued is older than the list.
            self.drain_present();
        }
        if let Some(floods) = &mut self.floods {
            floods.relist_listeners();
            floods.settle();
        }
    }

    pub(super) const fn outlet(&mut self) -> &mut Outlet {
        &mut self.outlet
    }

    pub(super) fn cgroup_problem(&self) -> Option<&str> {
        self.cgroups.problem()
    }

    /// Waits until the kernel side says that the ring fills up.
    pub(super) async fn filling(&mut self) -> Result<()> {
        let mut guard =
            self.records.readable_mut().await.context("cannot wait for the ring buffer")?;
        guard.clear_ready();
        Ok(())
    }

    /// Takes what has come, at most a budget; whether there may be more.
    pub(super) fn drain(&mut self) -> bool {
        let sweep = self.sweep.take().unwrap_or_else(|| Sweep { began: now(), long: false });
        self.records.get_mut().look(sweep.began.0);
        let mut taken = 0;
        let (mut undecodable, mut summaries) = (0, 0);
        while taken < BUDGET {
            let Some(bytes) = self.records.get_mut().next() else { break };
            taken += 1;
            let event = decode(bytes);
            let Ok(event) = &event else {
                undecodable += 1;
                continue;
            };
            // What they tell is counted; one that is lost takes nothing along.
            summaries += u64::from(matches!(event, Event::SynSummary(_)));
            self.handle(event);
        }
        let found = self.records.get_mut().looked();
        self.events += u64::from(taken) - undecodable - summaries;
        self.undecodable += undecodable;
        self.summaries += summaries;
        self.outlet.sinks().flush();
        self.outlet.flush();
        if let Some(floods) = &mut self.floods {
            floods.settle();
        }
        match (taken < BUDGET, found) {
            (false, _) => {
                self.sweep = Some(Sweep { long: true, ..sweep });
                true
            }
            // Soon again, and then what has come meanwhile.
            (true, Found::Unfinished) => {
                self.sweep = Some(Sweep { long: true, ..sweep });
                false
            }
            (true, Found::All) => {
                self.handled = sweep.began;
                // Much may have come meanwhile.
                sweep.long
            }
        }
    }

    /// Takes all that has come by now, and not for ever what comes in meanwhile.
    pub(super) fn drain_present(&mut self) {
        let asked = now();
        while self.handled < asked {
            if !self.drain() && self.handled < asked {
                // A program that is held up; it may have been preempted.
                if now().since(asked) > HELD_UP_NS {
                    log::warn!("a record in the ring is not finished; what is behind it must wait");
                    return;
                }
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }

    fn handle(&mut self, event: &Event) {
        if let Event::Transition(socket) | Event::Accepted(socket) | Event::ResetSent(socket) =
            event
            && socket.cgroup != 0
            && socket.cgroup != self.last_cgroup
        {
            self.name_cgroup(socket.cgroup);
        }
        if let Some(floods) = &mut self.floods {
            floods.event(event);
        }
        self.core.handle(event, self.outlet.records());
        self.outlet.sinks().event(event, &self.core);
        self.outlet.render();
    }

    /// Tells the core a cgroup's name. A connection may outlive its cgroup, so it is asked for as
    /// soon as the id is seen.
    fn name_cgroup(&mut self, id: u64) {
        self.last_cgroup = id;
        if let Some(name) = self.cgroups.resolve(id, Instant::now()) {
            self.core.handle(&Event::Cgroup { id, name }, self.outlet.records());
        }
    }

    /// Lets time pass in the core, as far as every event has been handled.
    pub(super) fn tick(&mut self) {
        self.outlet.poll_alerts();
        let now = self.handled;
        if self.core.poll_timeout().is_some_and(|at| at <= now) {
            self.core.handle_timeout(now, self.outlet.records());
            self.outlet.render();
            self.outlet.flush();
        }
    }

    /// Sockets found open at start.
    pub(super) fn snapshot(&mut self, at: MonoNs, sockets: &[ExistingSocket]) {
        for socket in sockets {
            if socket.cgroup != 0 && socket.cgroup != self.last_cgroup {
                self.name_cgroup(socket.cgroup);
            }
        }
        self.core.snapshot(at, sockets);
        self.outlet.sinks().snapshot(sockets, &self.core);
    }

    /// After loss: what the kernel's tables say.
    pub(super) fn reconcile(&mut self, asked_at: MonoNs, snapshot: &Snapshot) {
        // Every event that happened before the question was asked is in the ring by now.
        self.drain_present();
        self.core.reconcile(asked_at, &snapshot.complete, &snapshot.sockets, self.outlet.records());
        self.outlet.render();
        self.outlet.flush();
    }

    /// Whether it is time to look at what the kernel side has counted of SYNs.
    pub(super) fn flood_due(&self) -> bool {
        self.floods.as_ref().is_some_and(|floods| floods.due(now()))
    }

    /// Reads what the kernel side counted; what the detector wants to be told then.
    pub(super) fn flood_tick(&mut self) -> Want {
        // Listeners that were opened, and what other namespaces did, before what came for them.
        self.drain();
        let Some(floods) = &mut self.floods else { return Want::Nothing };
        let at = now();
        floods.tick(at, &mut self.core, self.outlet.records());
        let want = floods.wants(at);
        self.outlet.render();
        self.outlet.flush();
        want
    }

    /// What the kernel said of its queues and counters.
    pub(super) fn flood_sample(&mut self, sample: &Sample) {
        if let Some(floods) = &mut self.floods {
            floods.sample(sample, now(), &mut self.core, self.outlet.records());
            self.outlet.render();
            self.outlet.flush();
        }
    }

    /// The interfaces that have the SYN hook.
    pub(super) fn interfaces(&mut self, names: Vec<String>) {
        if let Some(floods) = &mut self.floods {
            floods.interfaces(names);
        }
    }

    /// Addresses may have come or gone.
    pub(super) fn relist_addresses(&mut self) {
        if let Some(floods) = &mut self.floods {
            floods.relist_addresses();
            floods.settle();
        }
    }

    /// What the SYN hooks have counted up to now goes into the report that follows.
    fn flood_present(&mut self) {
        if self.floods.is_some() {
            self.flood_tick();
            match flood::sample(true) {
                Ok(sample) => self.flood_sample(&sample),
                Err(error) => log::debug!("{error:#}"),
            }
        }
    }

    /// Whether `--count` is reached.
    pub(super) fn finished(&self) -> bool {
        self.outlet.finished()
    }

    /// The figures of the time since the last such report.
    pub(super) fn interval(&mut self, now: MonoNs) {
        self.flood_present();
        self.outlet.interval(&mut self.core, now);
    }

    /// The open connections and the summary so far.
    pub(super) fn summary(&mut self, now: MonoNs) {
        self.flood_present();
        self.outlet.summary(&self.core, now);
    }

    /// Totals of the core and the ring; the kernel side's are the caller's to fill in.
    pub(super) fn totals(&self) -> End {
        let totals = self.core.totals();
        End {
            connections: totals.connections,
            open: totals.open,
            events: self.events,
            events_lost: self.undecodable,
            handshakes_failed: totals.handshakes_failed,
            connections_evicted: totals.evicted,
            output_dropped: self.outlet.dropped(),
            ..End::default()
        }
    }

    /// Ends that were held back for what might follow them.
    pub(super) fn settle(&mut self) {
        self.flood_present();
        if let Some(floods) = &mut self.floods {
            floods.finish(now(), self.outlet.records());
        }
        self.core.finish(self.outlet.records());
        self.outlet.render();
        self.outlet.flush();
    }

    /// The summary of the whole run, which waits for a slow reader, and the last record. All that is
    /// waited for shares [`PATIENCE`].
    ///
    /// # Errors
    /// The reader did not take it in time, or a sink failed.
    pub(super) fn finish(mut self, now: MonoNs, end: End, hooks: &[Hook]) -> Result<()> {
        log::debug!("{} summaries of SYNs came through the ring", self.summaries);
        let deadline = Instant::now() + PATIENCE;
        let told = self.outlet.close(&self.core, now, end, hooks, deadline);
        failures::all([told, self.outlet.written(deadline)])
    }
}
