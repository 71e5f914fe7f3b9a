//! Reading a capture, beside tshark and tcptrace on the same file.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::load::{Path as Way, Stage, bulk};
use crate::paired::{Spread, ratios, rounds};
use crate::plan::Plan;
use crate::process;
use crate::support::Netns;
use crate::support::capture::{Capture, Kept};
use crate::support::tracer::binary;
use crate::table::{Table, figure, median, spread};

/// Who reads, and how: each follows every connection of the file and tells of it at the end.
const READERS: [(&str, &[&str]); 4] = [
    ("tracer --read", &["--read"]),
    ("tracer --read, JSON Lines", &["-f", "json", "--read"]),
    ("tshark -q -z conv,tcp", &["-q", "-z", "conv,tcp", "-r"]),
    ("tcptrace -n", &["-n"]),
];

fn program(n: usize) -> PathBuf {
    if n < 2 { binary() } else { ["tshark", "tcptrace"][n - 2].into() }
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

/// What reading took, and the most memory it had, MiB.
fn read(n: usize, file: &Path) -> (Duration, f64) {
    let began = Instant::now();
    let mut child = Command::new(program(n))
        .args(READERS[n].1)
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", READERS[n].0));
    let pid = child.id();
    let over = AtomicBool::new(false);
    let (status, took, peak) = std::thread::scope(|scope| {
        // Not what wait4() tells: that begins with the memory of whoever started it.
        let peak = scope.spawn(|| {
            let mut peak = f64::NAN;
            while !over.load(Ordering::Relaxed) {
                peak = peak.max(process::memory(pid).peak);
                // Not so often that it is felt.
                std::thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        let status = child.wait().expect("wait");
        let took = began.elapsed();
        over.store(true, Ordering::Relaxed);
        (status, took, peak.join().expect("the look at its memory"))
    });
    assert!(status.success(), "{} failed: {status}", READERS[n].0);
    (took, peak)
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
            median(runs[n].iter().map(|((_, peak), _)| *peak), 0),
            median(runs[n].iter().map(|(_, peak)| *peak), 0),
        ]);
    }
    table.print(plan);
}
