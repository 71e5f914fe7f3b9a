//! Reading a capture, beside tshark and tcptrace on the same file.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::{Path as Way, Stage, bulk};
use crate::paired::{Spread, ratios, rounds};
use crate::plan::Plan;
use crate::support::Netns;
use crate::support::capture::{Capture, Kept};
use crate::support::tracer::binary;
use crate::table::{Table, figure, median, spread};

/// Who reads, and how: each follows every connection of the file and tells of it at the end.
const READERS: [(&str, &[&str]); 3] = [
    ("tracer --read, JSON Lines", &["-f", "json", "--read"]),
    ("tshark -q -z conv,tcp", &["-q", "-z", "conv,tcp", "-r"]),
    ("tcptrace -n", &["-n"]),
];

fn program(n: usize) -> PathBuf {
    if n == 0 { binary() } else { ["", "tshark", "tcptrace"][n].into() }
}

/// Short connections and a bulk transfer in frames of 1,500 bytes, as a network card shows them.
fn record(plan: &Plan) -> Kept {
    let stage = Stage::new();
    let ip = |words: &[&str]| {
        let done = stage.ns.command("ip").args(words).status().expect("ip (iproute2)");
        assert!(done.success(), "ip {words:?}");
    };
    ip(&["link", "set", "lo", "mtu", "1500", "gso_max_segs", "1"]);
    let capture = Capture::start_with(&stage.ns, "lo", &["-B", "262144"]);
    let wanted: u64 = plan.either(1 << 30, 1 << 20);
    let way = Way { from: &stage.ns, to: &stage.ns, addr: [127, 0, 0, 1].into(), device: "lo" };
    for _ in 0..60 {
        stage.clients().closed(plan.either(10_000, 100));
        bulk(&way, plan.seconds(1.0));
        if capture.size() >= wanted {
            break;
        }
    }
    capture.keep()
}

/// What reading took, and the most memory it had, bytes.
#[allow(clippy::zombie_processes, reason = "wait4() waits for it")]
fn read(n: usize, file: &Path) -> (Duration, u64) {
    let began = Instant::now();
    let child = Command::new(program(n))
        .args(READERS[n].1)
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", READERS[n].0));
    let pid = i32::try_from(child.id()).expect("a pid");
    let mut status = 0;
    // SAFETY: all zeroes is a valid rusage; both are written by the call and live through it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(pid, &raw mut status, 0, &raw mut usage), pid, "wait4()");
        usage
    };
    assert_eq!(status, 0, "{} failed", READERS[n].0);
    (began.elapsed(), u64::try_from(usage.ru_maxrss).expect("a size") << 10)
}

/// The first packets of a capture, so many.
fn first(file: &Path, packets: u64) -> Kept {
    let part = Kept::with(&[]);
    let done = Command::new("tcpdump")
        .args(["-Z", "root", "-c", &packets.to_string(), "-w", part.name(), "-r"])
        .arg(file)
        .stderr(Stdio::null())
        .status();
    assert!(done.expect("tcpdump").success(), "tcpdump -r");
    part
}

/// Packets of a capture.
fn packets(file: &Path) -> u64 {
    let out = Command::new("capinfos").args(["-c", "-M", "-T", "-r"]).arg(file).output();
    let out = out.expect("capinfos (tshark)");
    let text = String::from_utf8_lossy(&out.stdout);
    let count = text.split_whitespace().last().and_then(|word| word.parse().ok());
    count.unwrap_or_else(|| panic!("capinfos says {text}"))
}

pub(crate) fn run(plan: &Plan) {
    let whole = record(plan);
    let (size, count) =
        (std::fs::metadata(&whole.0).expect("the capture").len(), packets(&whole.0));
    let part = first(&whole.0, count / 8);
    println!("A capture of {} MB, {} packets:\n", size / 1_000_000, figure(count as f64, 0));
    let runs = rounds(plan.rounds, READERS.len(), |n| (read(n, &whole.0), read(n, &part.0).1));
    let rate = |n: usize| -> Vec<f64> {
        runs[n].iter().map(|((took, _), _)| count as f64 / took.as_secs_f64()).collect()
    };
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut table = Table::new(&[
        "reader",
        "packets/s",
        "tracer ÷ reader",
        "peak RSS, MiB",
        "the same with an eighth of the file",
    ]);
    for (n, (name, _)) in READERS.into_iter().enumerate() {
        table.row([
            name.to_owned(),
            spread(Spread::of(rate(n)), 0),
            spread(ratios(&rate(0), &rate(n)), 1),
            median(runs[n].iter().map(|((_, peak), _)| mib(*peak)), 0),
            median(runs[n].iter().map(|(_, peak)| mib(*peak)), 0),
        ]);
    }
    table.print(plan);
}
