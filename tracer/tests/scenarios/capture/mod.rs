//! `--read`: captures that tcpdump makes here while the tracer runs live. Both must tell the same, as
//! far as both can know it.

mod agree;
mod floods;
mod forms;
mod runs;
mod second_opinion;
mod sinks;

use crate::support::capture::Kept;
use crate::support::tracer::command;
use crate::support::{Capture, Lab, Run, Tracer, Value};

/// What `tracer --read` writes as JSON.
#[track_caller]
pub(crate) fn read(lab: &Lab, file: &Kept, args: &[&str]) -> Run {
    let mut command = command(&lab.b, &["--format", "json", "--read", file.name()]);
    Tracer::spawn(command.args(args)).finish()
}

/// Both ends of the lab are local: a record of each, as a live run on both hosts has them.
fn both_ends(lab: &Lab) -> String {
    format!("{},{}", lab.prefix4(), lab.prefix6())
}

/// `traffic` traced live, until `n` connections have ended, and captured on host b's device.
#[track_caller]
fn recorded(
    lab: &Lab,
    (device, options): (&str, &[&str]),
    live: &[&str],
    n: usize,
    traffic: impl FnOnce(),
) -> (Run, Kept) {
    // Headers only, so that tcpdump's buffer holds them all.
    let capture =
        Capture::start_with(&lab.b, device, &[&["-s", "160", "-B", "16384"], options].concat());
    let tracer = Tracer::start(lab, live);
    traffic();
    let run = tracer.stop_after(n);
    (run, capture.keep())
}

/// The record of the same end of the same connection.
#[track_caller]
fn same<'a>(of: &Value, run: &'a Run) -> &'a Value {
    run.conn(|record| {
        ["local_addr", "local_port", "remote_addr", "remote_port", "role"]
            .iter()
            .all(|field| record[field] == of[field])
    })
}
