//! Options that keep packets.

use std::path::PathBuf;

use clap::Args;

use super::{Options, values};

/// Which packets are kept, and where.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Keeping packets")]
pub struct WriteOptions {
    /// Keep the headers of the packets that open, close and reset connections, and of those that
    /// answer them, in this pcapng file; the older ones are in FILE.1
    #[arg(id = "write", long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Bytes that FILE and FILE.1 may have together; K, M and G may follow
    #[arg(id = "write_size", long = "write-size", value_name = "BYTES", default_value = "64M", requires = "write",
          value_parser = values::write_size)]
    pub size: u64,
}

impl WriteOptions {
    /// Why they do not go with the others.
    pub(super) fn contradiction(&self, options: &Options) -> Option<&'static str> {
        self.file.as_ref()?;
        if options.output.test_alert {
            return Some("--test-alert traces nothing: there is nothing to --write");
        }
        if options.syn.ifaces.iter().any(|name| name == "none") {
            return Some(
                "--write keeps the packets of the interfaces that --iface names, and --iface none \
                 leaves none: for no SYN hook use --syn-hook off",
            );
        }
        None
    }

    /// Names of the interfaces whose packets are kept; empty: all.
    #[must_use]
    pub fn interfaces(options: &Options) -> &[String] {
        &options.syn.ifaces
    }
}
