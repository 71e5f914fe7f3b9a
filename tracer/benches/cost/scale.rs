//! How cost and memory grow with what there is to watch. Growth with the number of hosts and of
//! live connections is also measured without a kernel: the benchmark `replay`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aya::sys::{Stats, enable_stats};
use tracer::kernel::measure::STATE_HOOK;

use crate::load::{Held, Stage};
use crate::paired::{Spread, rounds};
use crate::plan::Plan;
use crate::process::{self, Memory};
use crate::programs::{self, Runs};
use crate::start::until_start;
use crate::support::flood::{Flood, swallow_answers};
use crate::support::sock::listen_here;
use crate::support::{Lab, Netns};
use crate::table::{Table, figure, spread};
use crate::watcher::{Kind, Watcher};

/// Nanoseconds a run of the programs whose names `which` knows; NaN if none ran.
fn each_ns(runs: &Runs, which: impl Fn(&str) -> bool) -> f64 {
    let of: Vec<_> = runs.iter().filter(|(name, _)| which(name)).map(|(_, run)| run).collect();
    let count: u64 = of.iter().map(|(count, _)| count).sum();
    let took: Duration = of.iter().map(|(_, took)| *took).sum();
    took.as_nanos() as f64 / count as f64
}

fn is_syn_hook(name: &str) -> bool {
    name.starts_with("tracer_syn_")
}

/// CPU time of a process over a while, milliseconds a second.
fn load_of(pid: u32, before: Duration, began: Instant) -> f64 {
    (process::cpu(pid) - before).as_secs_f64() * 1e3 / began.elapsed().as_secs_f64()
}

fn column<T>(runs: &[T], of: impl Fn(&T) -> f64) -> Spread {
    Spread::of(runs.iter().map(of))
}

struct Live {
    memory: Memory,
    hook: f64,
    own: f64,
    lost: u64,
}

/// Short connections beside so many sockets that stay.
fn beside(plan: &Plan, sockets: usize) -> Live {
    let total = plan.either(20_000, 100);
    let stage = Stage::new();
    let watcher = Watcher::start(&stage.ns, Kind::TracerJson);
    let held = Held::new(&stage.ns, sockets);
    plan.settle();
    let memory = process::memory(watcher.pid());
    let before = (programs::of(watcher.pid()), process::cpu(watcher.pid()));
    stage.clients().closed(total);
    plan.settle();
    let runs = programs::since(&programs::of(watcher.pid()), &before.0);
    let own = (process::cpu(watcher.pid()) - before.1).as_secs_f64() * 1e6 / total as f64;
    let ended = watcher.stop();
    drop(held);
    let hook = each_ns(&runs, |name| name == STATE_HOOK[0]);
    Live { memory, hook, own, lost: ended.lost.unwrap_or(0) }
}

fn live_connections(plan: &Plan, rounds_: usize) {
    let sizes = plan.few(&[0, 1_000, 10_000, 100_000]);
    let runs = rounds(rounds_, sizes.len(), |n| beside(plan, sizes[n]));
    println!(
        "Live connections (sockets; both ends are here), and {} short ones beside them at full \
         speed:\n",
        figure(plan.either(20_000.0, 100.0), 0)
    );
    let mut table = Table::new(&[
        "live",
        "RSS, MiB",
        "of it anonymous",
        "`tracer_state`, ns per run",
        "tracer's own CPU, µs per short connection",
        "lost",
    ]);
    for (&size, of) in sizes.iter().zip(&runs) {
        table.row([
            figure(size as f64, 0),
            spread(column(of, |run| run.memory.rss), 1),
            spread(column(of, |run| run.memory.anonymous), 1),
            spread(column(of, |run| run.hook), 0),
            spread(column(of, |run| run.own), 1),
            figure(of.iter().map(|run| run.lost as f64).sum(), 0),
        ]);
    }
    table.print(plan);
}

struct Listening {
    memory: Memory,
    idle: f64,
    hook: f64,
    busy: f64,
}

/// Listeners on so many ports, and a flood to one of them.
fn listeners(plan: &Plan, count: u16) -> Listening {
    let lab = Lab::new();
    swallow_answers(&lab);
    Held::room_for(count.into());
    let listeners: Vec<_> = lab.b.run(|| {
        let at = |n| SocketAddr::from(([0, 0, 0, 0], 10_000 + n));
        (0..count).map(|n| listen_here(at(n), 128, |_| ())).collect()
    });
    let watcher = Watcher::start_with(&lab.b, Kind::TracerJson, &["--iface", "vb"]);
    let pid = watcher.pid();
    let (before, began) = (process::cpu(pid), Instant::now());
    std::thread::sleep(plan.seconds(1.5));
    let idle = load_of(pid, before, began);
    let memory = process::memory(pid);
    let (before, began) = (process::cpu(pid), Instant::now());
    let counted = programs::of(pid);
    let syns = plan.either(30_000, 200);
    Flood::new(lab.b4_port(10_000), syns, 20_000).run(&lab);
    let hook = each_ns(&programs::since(&programs::of(pid), &counted), is_syn_hook);
    let busy = load_of(pid, before, began);
    watcher.stop();
    drop(listeners);
    Listening { memory, idle, hook, busy }
}

fn many_listeners(plan: &Plan, rounds_: usize) {
    let sizes = plan.few(&[1, 100, 10_000]);
    let runs = rounds(rounds_, sizes.len(), |n| listeners(plan, sizes[n]));
    println!("Listeners, idle and with a flood of 20,000 SYN/s to one of them:\n");
    let mut table = Table::new(&[
        "listeners",
        "RSS, MiB",
        "tracer's own CPU idle, ms per s",
        "under flood, ms per s",
        "SYN hook, ns per run",
    ]);
    for (&size, of) in sizes.iter().zip(&runs) {
        table.row([
            figure(size.into(), 0),
            spread(column(of, |run| run.memory.rss), 1),
            spread(column(of, |run| run.idle), 1),
            spread(column(of, |run| run.busy), 1),
            spread(column(of, |run| run.hook), 0),
        ]);
    }
    table.print(plan);
}

/// So many devices, all up; an even number.
fn devices(ns: &Netns, count: usize) {
    for n in 0..count / 2 {
        ns.sh(&format!("ip link add d{n} type veth peer name e{n}"));
        ns.sh(&format!("ip link set d{n} up"));
        ns.sh(&format!("ip link set e{n} up"));
    }
}

struct Interfaces {
    start: f64,
    memory: Memory,
    idle: f64,
}

fn interfaces(plan: &Plan, count: usize) -> Interfaces {
    let ns = Netns::new();
    devices(&ns, count);
    let (start, _) = until_start(&ns);
    let watcher = Watcher::start(&ns, Kind::TracerJson);
    let pid = watcher.pid();
    let (before, began) = (process::cpu(pid), Instant::now());
    std::thread::sleep(plan.seconds(1.5));
    let idle = load_of(pid, before, began);
    let memory = process::memory(pid);
    watcher.stop();
    Interfaces { start, memory, idle }
}

fn many_interfaces(plan: &Plan, rounds_: usize) {
    let sizes = plan.few(&[0, 10, 100]);
    let runs = rounds(rounds_, sizes.len(), |n| interfaces(plan, sizes[n]));
    println!("Interfaces (veth pairs beside `lo`), each with the SYN hook, idle:\n");
    let mut table = Table::new(&[
        "interfaces",
        "to the `start` record, ms",
        "RSS, MiB",
        "tracer's own CPU, ms per s",
    ]);
    for (&size, of) in sizes.iter().zip(&runs) {
        table.row([
            figure(size as f64 + 1.0, 0),
            spread(column(of, |run| run.start), 0),
            spread(column(of, |run| run.memory.rss), 1),
            spread(column(of, |run| run.idle), 1),
        ]);
    }
    table.print(plan);
}

struct Flooded {
    hook: f64,
    own: f64,
    memory: Memory,
}

fn flooded(plan: &Plan, rate: u32) -> Flooded {
    let lab = Lab::new();
    swallow_answers(&lab);
    let _listener = lab.b.listen(lab.b4_port(8080));
    let watcher = Watcher::start_with(&lab.b, Kind::TracerJson, &["--iface", "vb"]);
    let pid = watcher.pid();
    let (before, began, counted) = (process::cpu(pid), Instant::now(), programs::of(pid));
    let syns = f64::from(rate) * plan.seconds(1.5).as_secs_f64();
    Flood::new(lab.b4_port(8080), syns as u32, rate).run(&lab);
    let hook = each_ns(&programs::since(&programs::of(pid), &counted), is_syn_hook);
    let own = load_of(pid, before, began);
    let memory = process::memory(pid);
    watcher.stop();
    Flooded { hook, own, memory }
}

fn syn_rates(plan: &Plan, rounds_: usize) {
    let rates = plan.few(&[1_000, 10_000, 50_000, 100_000]);
    let runs = rounds(rounds_, rates.len(), |n| flooded(plan, rates[n]));
    println!("SYNs from random sources to one listener over veth:\n");
    let mut table =
        Table::new(&["SYN/s", "SYN hook, ns per run", "tracer's own CPU, ms per s", "RSS, MiB"]);
    for (&rate, of) in rates.iter().zip(&runs) {
        table.row([
            figure(rate.into(), 0),
            spread(column(of, |run| run.hook), 0),
            spread(column(of, |run| run.own), 1),
            spread(column(of, |run| run.memory.rss), 1),
        ]);
    }
    table.print(plan);
}

pub(crate) fn run(plan: &Plan) {
    let _statistics = enable_stats(Stats::RunTime).expect("BPF_ENABLE_STATS");
    // Growth is larger than noise, or it does not matter.
    let rounds = plan.rounds.min(3);
    println!("Paired rounds here: {rounds}. The kernel's run statistics are on.\n");
    live_connections(plan, rounds);
    many_listeners(plan, rounds);
    many_interfaces(plan, rounds);
    syn_rates(plan, rounds);
}
