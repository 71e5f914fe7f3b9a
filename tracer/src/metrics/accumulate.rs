//! Takes in what happens and how things stand, and gives all of it at once.

use std::collections::BTreeMap;

use tracer_common::state::TcpState;

use super::catalogue;
use super::family::{Descriptor, Family, Histogram, Labels, Number, Series, Value};
use super::hooks;
use super::incidents::Incidents;
use super::ports::{Port, Ports};
use super::process::{self, Process};
use crate::core::record::{CloseInitiator, Connection, End, Outcome, ProgramRuns, Record, Role};
use crate::report::{Hook, Start, WallClock};
use crate::sinks::Standing;

/// What bounds the number of series.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Local ports that have series of their own in any case.
    pub named_ports: Vec<u16>,
    /// How many others may have; those beyond share the port `other`.
    pub ports: usize,
}

const PHASES: [&str; 5] = ["fin_wait1", "fin_wait2", "close_wait", "closing", "last_ack"];
const INITIATORS: [&str; 3] = ["local", "remote", "both"];
const ROLES: [&str; 3] = ["client", "server", "unknown"];

/// The figures of a run.
pub struct Metrics {
    ports: Ports,
    /// By role and outcome, in the order of [`ROLES`] and [`Outcome::ALL`].
    connections: [[u64; Outcome::ALL.len()]; ROLES.len()],
    /// By role, as above, and of a server by port.
    handshakes: BTreeMap<(usize, Option<Port>), Histogram>,
    accept_waits: BTreeMap<Port, Histogram>,
    closes: [Histogram; INITIATORS.len()],
    phases: [Histogram; PHASES.len()],
    client_syns: u64,
    server_syns: u64,
    server_synacks: u64,
    sent: u64,
    received: u64,
    retransmits: u64,
    incidents: Incidents,
    standing: Stood,
    stuck: Vec<(TcpState, u64)>,
    version: &'static str,
    kernel: String,
    process: Process,
}

/// What was said of the run the last time.
#[derive(Default)]
struct Stood {
    /// Nobody has said anything before.
    known: bool,
    unix_seconds: f64,
    open: u64,
    half_open: Option<u64>,
    evicted: Grown,
    events: Grown,
    events_lost: Settled,
    handshakes_failed: Grown,
    output_dropped: Grown,
    syns: Grown,
    syns_repeated: Grown,
    syns_unparsed: Grown,
    hooks: Vec<Hook>,
    runs: Option<Vec<ProgramRuns>>,
}

/// A total that is read elsewhere. It may be taken back a little there; here it only grows.
#[derive(Clone, Copy, Default)]
struct Grown {
    most: u64,
    known: bool,
}

impl Grown {
    fn to(&mut self, total: impl Into<Option<u64>>) {
        let total = total.into();
        self.known = total.is_some();
        self.most = self.most.max(total.unwrap_or(0));
    }

    fn get(self) -> Option<u64> {
        self.known.then_some(self.most)
    }
}

/// A total that may be too large for a moment: what it was two times in a row, it is. (An event is
/// missed by the first program a moment before the second makes up for it.)
#[derive(Clone, Copy, Default)]
struct Settled {
    grown: Grown,
    last: u64,
}

impl Settled {
    fn to(&mut self, total: u64) {
        self.grown.to(total.min(std::mem::replace(&mut self.last, total)));
    }
}

impl Metrics {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let close = || Histogram::new(catalogue::CLOSE_BOUNDS);
        let handshake = || Histogram::new(catalogue::HANDSHAKE_BOUNDS);
        let named = || config.named_ports.iter().map(|port| Port::One(*port));
        Self {
            ports: Ports::new(&config.named_ports, config.ports),
            connections: Default::default(),
            // What is known to come is there from the beginning, so that its first is a rise.
            handshakes: named()
                .map(|port| (1, Some(port)))
                .chain([(0, None)])
                .map(|series| (series, handshake()))
                .collect(),
            accept_waits: named().map(|port| (port, handshake())).collect(),
            closes: std::array::from_fn(|_| close()),
            phases: std::array::from_fn(|_| close()),
            client_syns: 0,
            server_syns: 0,
            server_synacks: 0,
            sent: 0,
            received: 0,
            retransmits: 0,
            incidents: Incidents::default(),
            standing: Stood::default(),
            stuck: Vec::new(),
            version: "",
            kernel: String::new(),
            process: Process::default(),
        }
    }

    /// Takes in the `start` record.
    pub fn start(&mut self, start: &Start) {
        self.version = start.version;
        self.kernel = start.kernel.clone().unwrap_or_default();
        self.standing.hooks.clone_from(&start.hooks);
        self.process = Process::now(process::started());
    }

    /// Takes in a record.
    pub fn record(&mut self, record: &Record) {
        match record {
            Record::Connection(connection) => self.ended(connection),
            Record::Alert(alert) => self.incidents.alert(alert),
            Record::State(_) | Record::Stuck(_) | Record::Segment(_) => {}
        }
    }

    /// Takes in how things stand.
    pub fn standing(&mut self, standing: &Standing<'_>, clock: &WallClock) {
        self.incidents.pass(standing.at);
        self.process = Process::now(self.process.started);
        let stood = &mut self.standing;
        stood.unix_seconds = clock.unix_seconds(standing.at);
        stood.known = true;
        let End {
            connections: _,
            open,
            events,
            events_lost,
            syns,
            syns_repeated,
            syns_unparsed,
            handshakes_failed,
            connections_evicted,
            output_dropped,
            program_runs,
            frames: _,
            duration: _,
        } = standing.totals;
        stood.open = *open;
        stood.half_open = standing.core.half_open();
        stood.evicted.to(*connections_evicted);
        stood.events.to(*events);
        stood.events_lost.to(*events_lost);
        stood.handshakes_failed.to(*handshakes_failed);
        stood.output_dropped.to(*output_dropped);
        stood.syns.to(*syns);
        stood.syns_repeated.to(*syns_repeated);
        stood.syns_unparsed.to(*syns_unparsed);
        stood.hooks.clear();
        stood.hooks.extend_from_slice(standing.hooks);
        stood.runs = program_runs.clone();
    }

    /// Takes in how many connections are stuck ([`crate::core::Core::stuck_by_state`]): apart from
    /// the rest because it goes through the whole table.
    pub fn stuck(&mut self, by_state: Vec<(TcpState, u64)>) {
        self.stuck = by_state;
    }

    fn ended(&mut self, connection: &Connection) {
        let role = match connection.role {
            Some(Role::Client) => 0,
            Some(Role::Server) => 1,
            None => 2,
        };
        let outcome = connection.outcome.unwrap_or(Outcome::Unknown);
        let place = Outcome::ALL.iter().position(|of| *of == outcome);
        if let Some(count) = self.connections[role].get_mut(place.unwrap_or(0)) {
            *count += 1;
        }
        let mut port = None;
        if connection.role == Some(Role::Server)
            && (connection.handshake.is_some() || connection.accept_wait.is_some())
        {
            port = Some(self.ports.of(connection.local.port()));
        }
        let new = || Histogram::new(catalogue::HANDSHAKE_BOUNDS);
        if let Some(took) = connection.handshake {
            self.handshakes.entry((role, port)).or_insert_with(new).record(took);
        }
        if let (Some(took), Some(port)) = (connection.accept_wait, port) {
            self.accept_waits.entry(port).or_insert_with(new).record(took);
        }
        if let (Some(took), Some(initiator)) = (connection.close, connection.close_initiator) {
            let [local, remote, both] = &mut self.closes;
            match initiator {
                CloseInitiator::Local => local.record(took),
                CloseInitiator::Remote => remote.record(took),
                CloseInitiator::Both => both.record(took),
            }
        }
        let phases = &connection.phases;
        let times = [
            phases.fin_wait1,
            phases.fin_wait2,
            phases.close_wait,
            phases.closing,
            phases.last_ack,
        ];
        for (phase, took) in self.phases.iter_mut().zip(times) {
            if let Some(took) = took {
                phase.record(took);
            }
        }
        let syns = u64::from(connection.syn_retransmits.unwrap_or(0));
        match connection.role {
            Some(Role::Client) => self.client_syns += syns,
            Some(Role::Server) => self.server_syns += syns,
            None => {}
        }
        self.server_synacks += u64::from(connection.synack_retransmits.unwrap_or(0));
        self.sent = self.sent.saturating_add(connection.bytes_sent.unwrap_or(0));
        self.received = self.received.saturating_add(connection.bytes_received.unwrap_or(0));
        self.retransmits += u64::from(connection.retransmits.unwrap_or(0));
    }

    /// All that is known, as of the last standing: in the order of [`catalogue::ALL`], without the
    /// families of which nothing is known.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let mut out = Vec::with_capacity(catalogue::ALL.len());
        self.of_connections(&mut out);
        self.incidents.families(&mut out);
        self.of_standing(&mut out);
        self.of_process(&mut out);
        out.retain(|family| !family.series.is_empty());
        let place = |family: &Family| {
            catalogue::ALL.iter().position(|of| std::ptr::eq(*of, family.descriptor))
        };
        out.sort_by_key(place);
        out
    }

    fn of_connections(&self, out: &mut Vec<Family>) {
        let ended = ROLES.iter().zip(&self.connections).flat_map(|(role, outcomes)| {
            Outcome::ALL.iter().zip(outcomes).map(|(outcome, count)| Series {
                labels: vec![("role", (*role).into()), ("outcome", outcome.name().into())],
                value: Value::Counter(Number::Int(*count)),
            })
        });
        let handshakes = self.handshakes.iter().map(|((role, port), histogram)| {
            let mut labels: Labels = vec![("role", ROLES[*role].into())];
            labels.extend(port.map(|port| ("local_port", port.label())));
            Series { labels, value: Value::Histogram(histogram.clone()) }
        });
        let accepts = self.accept_waits.iter().map(|(port, histogram)| Series {
            labels: vec![("local_port", port.label())],
            value: Value::Histogram(histogram.clone()),
        });
        let closes = one_each("initiator", &INITIATORS, &self.closes);
        let phases = one_each("phase", &PHASES, &self.phases);
        let retransmits = [
            ("client", "syn", self.client_syns),
            ("server", "syn", self.server_syns),
            ("server", "synack", self.server_synacks),
        ]
        .map(|(role, kind, count)| Series {
            labels: vec![("role", role.into()), ("kind", kind.into())],
            value: Value::Counter(Number::Int(count)),
        });
        let bytes = [("sent", self.sent), ("received", self.received)].map(|(way, count)| Series {
            labels: vec![("direction", way.into())],
            value: Value::Counter(Number::Int(count)),
        });
        out.extend([
            Family { descriptor: &catalogue::CONNECTIONS, series: ended.collect() },
            Family { descriptor: &catalogue::HANDSHAKE, series: handshakes.collect() },
            Family { descriptor: &catalogue::ACCEPT_WAIT, series: accepts.collect() },
            Family { descriptor: &catalogue::CLOSE, series: closes },
            Family { descriptor: &catalogue::CLOSE_PHASE, series: phases },
            Family { descriptor: &catalogue::HANDSHAKE_RETRANSMITS, series: retransmits.into() },
            Family { descriptor: &catalogue::TRANSFERRED, series: bytes.into() },
            counter(&catalogue::RETRANSMITS, Some(self.retransmits)),
        ]);
    }

    fn of_standing(&self, out: &mut Vec<Family>) {
        let stood = &self.standing;
        let stuck = self.stuck.iter().map(|(state, count)| Series {
            labels: vec![("state", state.name().to_ascii_lowercase().into())],
            value: Value::Gauge(Number::Int(*count)),
        });
        let of_program = |value: fn(&ProgramRuns) -> Number| {
            let runs = stood.runs.iter().flatten();
            runs.map(|program| Series {
                labels: vec![("program", program.program.clone().into())],
                value: Value::Counter(value(program)),
            })
            .collect()
        };
        out.extend([
            gauge(&catalogue::CONNECTIONS_OPEN, stood.known.then_some(Number::Int(stood.open))),
            counter(&catalogue::CONNECTIONS_EVICTED, stood.evicted.get()),
            counter(&catalogue::HANDSHAKES_FAILED, stood.handshakes_failed.get()),
            Family { descriptor: &catalogue::STUCK, series: stuck.collect() },
            gauge(&catalogue::HALF_OPEN, stood.half_open.map(Number::Int)),
            counter(&catalogue::SYN, stood.syns.get()),
            counter(&catalogue::SYN_REPEATED, stood.syns_repeated.get()),
            counter(&catalogue::SYN_UNPARSED, stood.syns_unparsed.get()),
            counter(&catalogue::EVENTS, stood.events.get()),
            counter(&catalogue::EVENTS_LOST, stood.events_lost.grown.get()),
            counter(&catalogue::OUTPUT_DROPPED, stood.output_dropped.get()),
            Family { descriptor: &catalogue::HOOK_ATTACHED, series: hooks::series(&stood.hooks) },
            Family {
                descriptor: &catalogue::HOOK_RUNS,
                series: of_program(|program| Number::Int(program.runs)),
            },
            Family {
                descriptor: &catalogue::HOOK_RUN_TIME,
                series: of_program(|program| Number::seconds(program.took)),
            },
            gauge(&catalogue::STANDING, stood.known.then_some(Number::Float(stood.unix_seconds))),
        ]);
    }

    fn of_process(&self, out: &mut Vec<Family>) {
        let build = Series {
            labels: vec![("version", self.version.into()), ("kernel", self.kernel.clone().into())],
            value: Value::Info,
        };
        let cpu = self.process.cpu.map(|seconds| Series {
            labels: Labels::new(),
            value: Value::Counter(Number::Float(seconds)),
        });
        out.extend([
            Family { descriptor: &catalogue::BUILD, series: vec![build] },
            Family { descriptor: &catalogue::CPU, series: cpu.into_iter().collect() },
            gauge(&catalogue::RESIDENT, self.process.resident.map(Number::Int)),
            gauge(&catalogue::STARTED, self.process.started.map(Number::Float)),
        ]);
    }
}

fn one_each(label: &'static str, names: &[&'static str], histograms: &[Histogram]) -> Vec<Series> {
    let pairs = names.iter().zip(histograms);
    pairs
        .map(|(name, histogram)| Series {
            labels: vec![(label, (*name).into())],
            value: Value::Histogram(histogram.clone()),
        })
        .collect()
}

fn counter(descriptor: &'static Descriptor, value: Option<u64>) -> Family {
    let series = value
        .map(|value| Series { labels: Labels::new(), value: Value::Counter(Number::Int(value)) });
    Family { descriptor, series: series.into_iter().collect() }
}

fn gauge(descriptor: &'static Descriptor, value: Option<Number>) -> Family {
    let series = value.map(|value| Series { labels: Labels::new(), value: Value::Gauge(value) });
    Family { descriptor, series: series.into_iter().collect() }
}
