//! What the SYN hook costs traffic that is no business of it.

use std::net::IpAddr;
use std::time::Duration;

use crate::load::{Path, bulk, packets, transactions};
use crate::paired::{ratios, rounds};
use crate::plan::Plan;
use crate::support::{Lab, Netns};
use crate::table::{Table, median, spread};
use crate::watcher::{Kind, Watcher};

/// How SYNs are seen: a name, and tracer's arguments for it; without any, there is no tracer.
type Hook = (&'static str, Option<&'static [&'static str]>);

const NONE: Hook = ("no tracer", None);
const OFF: Hook = ("off", Some(&["--syn-hook", "off"]));
const AUTO: Hook = ("auto (the default)", Some(&[]));
const TCX: Hook = ("tcx", Some(&["--syn-hook", "tcx"]));
const GENERIC: Hook = ("XDP generic", Some(&["--syn-hook", "xdp", "--xdp-mode", "generic"]));
const NATIVE: Hook = ("XDP native", Some(&["--syn-hook", "xdp", "--xdp-mode", "native"]));

const VETH: [Hook; 6] = [NONE, OFF, AUTO, TCX, GENERIC, NATIVE];
/// The loopback has no native XDP.
const LO: [Hook; 5] = [NONE, OFF, AUTO, TCX, GENERIC];

/// Gbit/s, packets a second, requests a second.
type Figures = [f64; 3];

fn measure(path: &Path<'_>, hook: Hook, time: Duration) -> Figures {
    let (_, arguments) = hook;
    let (kind, mut words) = match arguments {
        None => (Kind::Nobody, Vec::new()),
        Some(words) => (Kind::TracerJson, words.to_vec()),
    };
    if arguments.is_some() {
        words.extend(["--iface", path.device]);
    }
    let watcher = Watcher::start_with(path.to, kind, &words);
    let figures = [bulk(path, time), packets(path, time), transactions(path, time)];
    watcher.stop();
    figures
}

fn over_veth(hook: Hook, time: Duration) -> Figures {
    let lab = Lab::new();
    let path = Path { from: &lab.a, to: &lab.b, addr: lab.b4(), device: "vb" };
    measure(&path, hook, time)
}

fn over_lo(hook: Hook, time: Duration) -> Figures {
    let ns = Netns::new();
    let addr = IpAddr::from([127, 0, 0, 1]);
    measure(&Path { from: &ns, to: &ns, addr, device: "lo" }, hook, time)
}

fn print(plan: &Plan, hooks: &[Hook], measure: fn(Hook, Duration) -> Figures) {
    let time = plan.seconds(0.6);
    let runs = rounds(plan.rounds, hooks.len(), |n| measure(hooks[n], time));
    let mut table = Table::new(&[
        "SYN hook",
        "Gbit/s",
        "with ÷ without",
        "packets/s",
        "with ÷ without",
        "requests/s",
        "with ÷ without",
    ]);
    for ((name, _), of) in hooks.iter().zip(&runs) {
        let mut row = vec![(*name).to_owned()];
        for (n, decimals) in [1, 0, 0].into_iter().enumerate() {
            let column = |runs: &[Figures]| -> Vec<f64> { runs.iter().map(|run| run[n]).collect() };
            row.push(median(column(of), decimals));
            row.push(spread(ratios(&column(of), &column(&runs[0])), 3));
        }
        table.row(row);
    }
    table.print(plan);
}

pub(crate) fn run(plan: &Plan) {
    const WHAT: &str = "one TCP connection as fast as it goes; UDP datagrams of 64 bytes from one \
                        CPU; a byte there and back over TCP. No connection begins or ends";
    println!("Over veth, from namespace to namespace: {WHAT}:\n");
    print(plan, &VETH, over_veth);
    println!("Over `lo`, the same:\n");
    print(plan, plan.few(&LO), over_lo);
}
