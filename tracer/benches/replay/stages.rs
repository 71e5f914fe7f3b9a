//! What is measured: each stage of the way with all that come before it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use tracer::core::event::{CgroupName, Event, MonoNs};
use tracer::core::record::Record;
use tracer::core::{Config, Core};
use tracer::kernel::decode::decode;
use tracer::report::{Json, Report, Screen, Text, WallClock};
use tracer_common::record::SocketRecord;
use zerocopy::IntoBytes as _;

use crate::plan::Plan;
use crate::recording::Recording;

/// Records taken from the ring at a time.
const BUDGET: usize = 8_192;
/// Remote hosts where their number is not what is measured.
const HOSTS: u32 = 1_000;

/// The names of the groups and what is in them, as Criterion's files have them.
pub(crate) const GROUP: &str = "replay";
/// See [`GROUP`].
pub(crate) const STAGES: [(&str, Stage); 4] = [
    ("decode", Stage::Decode),
    ("core", Stage::Core),
    ("text", Stage::Text),
    ("json", Stage::Json),
];
/// See [`GROUP`].
pub(crate) const BY_HOSTS: &str = "hosts";
/// See [`GROUP`].
pub(crate) const BY_LIVE: &str = "live";

pub(crate) fn host_counts(plan: &Plan) -> Vec<u32> {
    plan.either(vec![1, 1_000, 100_000, 1_000_000], vec![1, 10])
}

pub(crate) fn live_counts(plan: &Plan) -> Vec<usize> {
    plan.either(vec![0, 1_000, 10_000, 100_000], vec![0, 10])
}

/// How far an event goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Decode,
    Core,
    /// As to a file.
    Text,
    Json,
}

/// The user side without its ring and its output.
pub(crate) struct Way {
    core: Core,
    text: Text,
    json: Json,
    records: Vec<Record>,
    out: Vec<u8>,
}

impl Way {
    /// With what the system has told of the recording's cgroups.
    pub(crate) fn new(recording: &Recording) -> Self {
        let clock = WallClock::new(MonoNs(0), 1_700_000_000_000_000_000, WallClock::system_zone());
        let mut core = Core::new(Config { syn_hook: true, ..Config::default() });
        for id in recording.cgroups() {
            let path = format!("/system.slice/service-{id}.service");
            let name = Arc::new(CgroupName { path, container: None });
            core.handle(&Event::Cgroup { id, name }, &mut Vec::new());
        }
        Self {
            core,
            text: Text::new(clock.clone(), Screen { width: None, color: false }),
            json: Json::new(clock),
            records: Vec::new(),
            out: Vec::with_capacity(1 << 20),
        }
    }

    /// Takes what the ring held.
    pub(crate) fn take(&mut self, stage: Stage, records: &[SocketRecord]) {
        for batch in records.chunks(BUDGET) {
            for record in batch {
                let decoded = decode(black_box(record.as_bytes()));
                let event = decoded.as_ref().expect("a record of the recording");
                if stage == Stage::Decode {
                    black_box(event);
                    continue;
                }
                self.core.handle(event, &mut self.records);
                self.render(stage);
            }
            if stage != Stage::Decode
                && let Some(last) = batch.last()
            {
                self.core.handle_timeout(MonoNs(last.ts_ns), &mut self.records);
                self.render(stage);
            }
            // Whoever writes has taken it.
            black_box(&self.out);
            self.out.clear();
        }
    }

    fn render(&mut self, stage: Stage) {
        for record in self.records.drain(..) {
            match stage {
                Stage::Text => self.text.record(&record, &mut self.out),
                Stage::Json => self.json.record(&record, &mut self.out),
                _ => {
                    black_box(&record);
                }
            }
        }
    }

    /// Connections that ended so far, and those that are open.
    pub(crate) fn connections(&self) -> (u64, u64) {
        let totals = self.core.totals();
        (totals.connections, totals.open)
    }
}

/// Replays the recording again and again as ever new connections; only the replay is timed.
fn timed(
    way: &mut Way,
    recording: &Recording,
    stage: Stage,
    hosts: u32,
    next: &mut u32,
    iterations: u64,
) -> Duration {
    let mut took = Duration::ZERO;
    let mut records = Vec::new();
    for _ in 0..iterations {
        recording.again(*next, hosts, &mut records);
        *next += 1;
        let began = Instant::now();
        way.take(stage, &records);
        took += began.elapsed();
    }
    took
}

pub(crate) fn run(criterion: &mut Criterion, plan: &Plan, recording: &Recording) {
    let events = Throughput::Elements(recording.events() as u64);
    let mut group = criterion.benchmark_group(GROUP);
    group.throughput(events.clone());
    for (name, stage) in STAGES {
        let (mut way, mut next) = (Way::new(recording), 0);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|n| timed(&mut way, recording, stage, HOSTS, &mut next, n));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group(BY_HOSTS);
    group.throughput(events.clone());
    for hosts in host_counts(plan) {
        let (mut way, mut next) = (Way::new(recording), 0);
        group.bench_function(BenchmarkId::from_parameter(hosts), |bencher| {
            bencher.iter_custom(|n| timed(&mut way, recording, Stage::Core, hosts, &mut next, n));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group(BY_LIVE);
    group.throughput(events);
    for live in live_counts(plan) {
        let (mut way, mut next) = (Way::new(recording), 0);
        way.take(Stage::Core, &recording.openings(live));
        group.bench_function(BenchmarkId::from_parameter(live), |bencher| {
            bencher.iter_custom(|n| timed(&mut way, recording, Stage::Core, HOSTS, &mut next, n));
        });
    }
    group.finish();
}
