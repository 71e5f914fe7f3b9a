//! What is asked for instead of tracing: version, man page, check of the machine.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context as _, Result};

use super::{check, output};
use crate::cli::instead::VERSION;
use crate::cli::{Format, Options};
use crate::kernel::features::Features;
use crate::report::{Json, text};
use crate::system::host;

/// Does what was asked for instead of tracing; `None` where tracing was.
pub(super) fn run(options: &Options) -> Option<Result<()>> {
    let instead = &options.instead;
    if instead.version {
        return Some(print(version().as_bytes()));
    }
    if let Some(what) = instead.generate {
        return Some(what.render().context("cannot render it").and_then(|text| print(&text)));
    }
    instead.check.then(|| check_machine(options))
}

/// Version, commit, and what the kernel offers.
fn version() -> String {
    let mut text = format!("tracer {VERSION}\n");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<19} {value}");
    };
    let release = host::Kernel::running().map(|kernel| kernel.release);
    line("kernel", &release.unwrap_or_else(|error| format!("unknown: {error:#}")));
    let features = match Features::find() {
        Ok(features) => features,
        Err(error) => {
            line("BTF", &format!("no: {error:#}"));
            return text;
        }
    };
    let Features { tracepoints, ring_buffer, accept_function, accept_tracepoints, tcx, xdp_frags } =
        features;
    let yes = |there| if there { "yes" } else { "no" };
    line("BTF", "yes");
    line("ring buffer", yes(ring_buffer));
    let tracepoints = tracepoints.join(" ");
    line("tp_btf", if tracepoints.is_empty() { "no" } else { &tracepoints });
    line("fexit", if accept_function { "inet_csk_accept, if --check can hook it" } else { "no" });
    line("accept tracepoints", accept_tracepoints.map_or("unknown without root", yes));
    line("tcx", yes(tcx));
    line("XDP frags", yes(xdp_frags));
    text
}

fn check_machine(options: &Options) -> Result<()> {
    let check = check::check(options)?;
    let text = match options.output.format {
        Format::Text => text::check(&check, output::screen(options)).into_bytes(),
        Format::Json => {
            let mut line = Vec::new();
            Json::new(output::clock()?).check(&check, &mut line);
            line
        }
    };
    match &options.output.output {
        Some(path) => std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(&text))
            .with_context(|| format!("cannot write the output file {}", path.display()))?,
        None => print(&text)?,
    }
    check::verdict(&check)
}

/// Prints to stdout; a reader that has gone is none of our concern.
fn print(text: &[u8]) -> Result<()> {
    match std::io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(()),
    }
}
