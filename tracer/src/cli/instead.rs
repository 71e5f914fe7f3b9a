//! What is said about tracer and this machine instead of tracing.

use clap::{ArgAction, Args};

use super::Options;
use super::generate::Generated;

/// Version and commit, as `tracer -V` prints them behind the program's name: `0.1.0 (commit
/// abcdef123456, 2026-11-25)`. A commit of which the sources differ is marked `-dirty`; where it is
/// not known it is `unknown`.
pub const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("TRACER_COMMIT"), ")");

/// Options that trace nothing.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Instead of tracing")]
pub struct InsteadOptions {
    /// Say what would work on this machine, what not, and why; attaches nothing for good
    #[arg(long)]
    pub check: bool,
    /// For packages: the man page or a shell's completions, out of the definition of these options.
    #[arg(long, hide = true, value_name = "WHAT")]
    pub generate: Option<Generated>,
    /// Print version and commit
    #[arg(short = 'V', action = ArgAction::Version)]
    short_version: Option<bool>,
    /// Print version, commit and what this machine's kernel offers
    #[arg(long)]
    pub version: bool,
}

impl InsteadOptions {
    /// Why these do not go with the others.
    pub(super) fn contradiction(&self, options: &Options) -> Option<String> {
        let asked = [
            ("--check", self.check),
            ("--generate", self.generate.is_some()),
            ("--test-alert", options.output.test_alert),
            ("--read", options.read.read.is_some()),
        ];
        let mut asked = asked.iter().filter(|(_, asked)| *asked).map(|(name, _)| name);
        let first = asked.next()?;
        if let Some(second) = asked.next() {
            return Some(format!("{second} can't be combined with {first}"));
        }
        let show = &options.show;
        (self.check && (show.duration.is_some() || show.count.is_some())).then(|| {
            "--check traces nothing: it can't be combined with --duration or --count".to_owned()
        })
    }
}
