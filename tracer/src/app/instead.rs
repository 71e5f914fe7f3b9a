//! What is asked for instead of tracing: version, man page, check of the machine.

use std::io::Write as _;

use anyhow::{Context as _, Result};

use crate::cli::Options;

/// Does what was asked for instead of tracing; `None` where tracing was.
pub(super) fn run(options: &Options) -> Option<Result<()>> {
    let instead = &options.instead;
    if let Some(what) = instead.generate {
        return Some(what.render().context("cannot render it").and_then(|text| print(&text)));
    }
    None
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
