//! What the SYN hook costs a packet, against a program that only lets it pass.

use std::net::Ipv4Addr;
use std::time::Duration;

use aya::sys::{Stats, enable_stats};
use etherparse::PacketBuilder;
use tracer::kernel::measure::{PASS, Runs, SYN_HOOK};
use tracer::kernel::{Kernel, LoadConfig};
use tracer_common::settings::Settings;

use crate::paired::{differences, rounds};
use crate::plan::Plan;
use crate::support::Lab;
use crate::support::flood::{Flood, swallow_answers};
use crate::support::lab::{MAC_A, MAC_B};
use crate::table::{Table, median, spread};

/// In the order of their turns.
const PROGRAMS: [&str; 2] = [PASS, SYN_HOOK];

fn kernel(lab: &Lab) -> Kernel {
    let netns = u32::try_from(lab.b.inode()).expect("an inode");
    let config = LoadConfig {
        ring_size: 1 << 20,
        settings: Settings { hook_netns: netns, ..Settings::default() },
        ports: Vec::new(),
        hosts: Vec::new(),
        syn_hooks: Vec::new(),
        keeps_packets: false,
        log_level: 0,
    };
    Kernel::load(&config).expect("the kernel side loads")
}

/// What one run of each program takes, nanoseconds, by round.
type Compared = Vec<Vec<f64>>;

fn compare(plan: &Plan, mut measure: impl FnMut(&str) -> f64) -> Compared {
    rounds(plan.rounds, PROGRAMS.len(), |n| measure(PROGRAMS[n]))
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
fn test_run(plan: &Plan, lab: &Lab, kernel: &mut Kernel, packet: &[u8]) -> Compared {
    let times = plan.either(1_000_000, 1_000);
    lab.b.run(|| {
        compare(plan, |program| {
            let took = kernel.test_run(program, packet, times).expect("BPF_PROG_TEST_RUN");
            took.as_nanos() as f64
        })
    })
}

/// A flood from random sources, counted by the kernel itself.
fn flood(plan: &Plan, lab: &Lab, kernel: &mut Kernel) -> Compared {
    let count = plan.either(100_000, 1_000);
    let ifindex = lab.b.run(|| nix::net::if_::if_nametoindex("vb").expect("vb"));
    let mut seed = 0;
    compare(plan, |program| {
        let link = lab.b.run(|| kernel.attach_for_measuring(program, ifindex)).expect("attached");
        let before = kernel.runs(program).expect("statistics");
        seed += 1;
        Flood::new(lab.b4_port(8080), count, 100_000).seed(seed).run(lab);
        std::thread::sleep(Duration::from_millis(100));
        let runs: Runs = kernel.runs(program).expect("statistics").since(before);
        drop(link);
        assert!(runs.count >= u64::from(count) * 9 / 10, "only {runs:?}");
        runs.each_ns().expect("runs")
    })
}

pub(crate) fn run(plan: &Plan) {
    let lab = Lab::new();
    let _statistics = enable_stats(Stats::RunTime).expect("BPF_ENABLE_STATS");
    swallow_answers(&lab);
    lab.b.sysctl("ipv4/tcp_syncookies", 1);
    let _listener = lab.b.listen(lab.b4_port(8080));
    let mut kernel = kernel(&lab);
    let (_reader, mut tables) = kernel.flood().expect("the flood arrays");
    tables.listening(1, lab.b4_port(8080), false);
    tables.set_locals(&[(lab.b4(), 32)]);
    tables.commit().expect("the tables are written");
    let [ack, syn] = [(false, 512), (true, 0)].map(|(syn, payload)| segment(&lab, syn, payload));
    let rows = [
        ("no SYN (ACK, 512 bytes), BPF_PROG_TEST_RUN", test_run(plan, &lab, &mut kernel, &ack)),
        (
            "the same SYN again and again, BPF_PROG_TEST_RUN",
            test_run(plan, &lab, &mut kernel, &syn),
        ),
        ("SYNs from random sources at 100,000/s, run statistics", flood(plan, &lab, &mut kernel)),
    ];
    println!("One run of the SYN hook (XDP), against a program that only lets packets pass:\n");
    let mut table = Table::new(&["packet", "only pass, ns", "SYN hook, ns", "more, ns"]);
    for (what, compared) in rows {
        let [pass, hook] = [&compared[0], &compared[1]];
        table.row([
            what.to_owned(),
            median(pass.iter().copied(), 0),
            median(hook.iter().copied(), 0),
            spread(differences(hook, pass), 0),
        ]);
    }
    table.print(plan);
}
