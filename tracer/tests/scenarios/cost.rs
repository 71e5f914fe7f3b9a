//! What the SYN hook costs: `cargo xtask bench`. Prints figures and asserts nothing about them.

use std::net::Ipv4Addr;
use std::time::Duration;

use aya::sys::{Stats, enable_stats};
use etherparse::PacketBuilder;
use tracer::kernel::measure::{PASS, Runs, SYN_HOOK};
use tracer::kernel::{Kernel, LoadConfig};
use tracer_common::settings::Settings;

use crate::support::Lab;
use crate::support::flood::{Flood, swallow_answers};
use crate::support::lab::{MAC_A, MAC_B};

/// Rounds, in each of which both programs get their turn; the median is printed.
const ROUNDS: usize = 7;

fn kernel(lab: &Lab) -> Kernel {
    let netns = u32::try_from(lab.b.inode()).expect("an inode");
    let config = LoadConfig {
        ring_size: 1 << 20,
        settings: Settings { hook_netns: netns, ..Settings::default() },
        ports: Vec::new(),
        hosts: Vec::new(),
        log_level: 0,
    };
    Kernel::load(&config).expect("the kernel side loads")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What one run of each program takes, nanoseconds: the median of each, and of the differences
/// within a round, with the least and the most of those.
struct Compared {
    pass: f64,
    hook: f64,
    more: f64,
    spread: [f64; 2],
}

fn compare(mut round: impl FnMut(&str) -> f64) -> Compared {
    let rounds: Vec<[f64; 2]> = (0..ROUNDS).map(|_| [round(PASS), round(SYN_HOOK)]).collect();
    let more: Vec<f64> = rounds.iter().map(|round| round[1] - round[0]).collect();
    Compared {
        pass: median(rounds.iter().map(|round| round[0]).collect()),
        hook: median(rounds.iter().map(|round| round[1]).collect()),
        spread: [
            more.iter().copied().fold(f64::INFINITY, f64::min),
            more.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ],
        more: median(more),
    }
}

fn print(what: &str, Compared { pass, hook, more, spread: [least, most] }: &Compared) {
    println!(
        "{what:<58} pass {pass:>5.0}  hook {hook:>5.0}  more {more:>5.0} ns ({least:.0} to {most:.0})"
    );
}

/// A segment from host a to host b.
fn segment(lab: &Lab, syn: bool, payload: usize) -> Vec<u8> {
    let [from, to] = [lab.a4(), lab.b4()].map(|addr| match addr {
        std::net::IpAddr::V4(addr) => addr.octets(),
        std::net::IpAddr::V6(_) => Ipv4Addr::LOCALHOST.octets(),
    });
    let builder = PacketBuilder::ethernet2(MAC_A, MAC_B).ipv4(from, to, 64);
    let builder = builder.tcp(40_000, 8080, 1, 65_535);
    let builder = if syn { builder.syn() } else { builder.ack(1) };
    let payload = vec![0; payload];
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &payload).expect("a packet");
    bytes
}

/// The same packet a million times: BPF_PROG_TEST_RUN, caches warm.
fn test_run(lab: &Lab, kernel: &mut Kernel, packet: &[u8]) -> Compared {
    lab.b.run(|| {
        compare(|program| {
            let took = kernel.test_run(program, packet, 1_000_000).expect("BPF_PROG_TEST_RUN");
            took.as_nanos() as f64
        })
    })
}

/// A flood from random sources, counted by the kernel itself.
fn flood(lab: &Lab, kernel: &mut Kernel) -> Compared {
    let ifindex = lab.b.run(|| nix::net::if_::if_nametoindex("vb").expect("vb"));
    let mut seed = 0;
    compare(|program| {
        let link = lab.b.run(|| kernel.attach_for_measuring(program, ifindex)).expect("attached");
        let before = kernel.runs(program).expect("statistics");
        seed += 1;
        Flood::new(lab.b4_port(8080), 100_000, 100_000).seed(seed).run(lab);
        std::thread::sleep(Duration::from_millis(100));
        let runs: Runs = kernel.runs(program).expect("statistics").since(before);
        drop(link);
        assert!(runs.count >= 90_000, "only {runs:?}");
        runs.each_ns().expect("runs")
    })
}

#[test]
#[ignore = "prints figures: cargo xtask bench"]
fn syn_hook() {
    let lab = Lab::new();
    let _statistics = enable_stats(Stats::RunTime).expect("kernel.bpf_stats_enabled");
    swallow_answers(&lab);
    lab.b.sysctl("ipv4/tcp_syncookies", 1);
    let _listener = lab.b.listen(lab.b4_port(8080));
    let mut kernel = kernel(&lab);
    let (_reader, mut tables) = kernel.flood().expect("the flood arrays");
    tables.listening(1, lab.b4_port(8080), false);
    tables.set_locals(&[(lab.b4(), 32)]);
    tables.commit().expect("the tables are written");
    println!("Nanoseconds a run, medians of {ROUNDS} paired rounds.");
    let other = test_run(&lab, &mut kernel, &segment(&lab, false, 512));
    print("no SYN (ACK, 512 bytes), BPF_PROG_TEST_RUN", &other);
    let same = test_run(&lab, &mut kernel, &segment(&lab, true, 0));
    print("the same SYN again and again, BPF_PROG_TEST_RUN", &same);
    let cold = flood(&lab, &mut kernel);
    print("SYNs from random sources at 100,000/s, run statistics", &cold);
}
