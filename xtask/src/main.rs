//! Set-up, build, run and test of tracer: `cargo xtask build|run|test|detect|bench|vm|dist`.
//!
//! Every command first finds out which BPF toolchain the machine has or can have
//! ([`toolchain`]), so that a fresh machine with Rust needs nothing but this command.

mod apt;
mod bench;
mod build;
mod detect;
mod dist;
mod readme;
mod shell;
mod test;
mod toolchain;
mod tools;
mod vm;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Sets up, builds, runs and tests tracer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do about tools the machine lacks.
#[derive(Args, Clone, Copy)]
pub(crate) struct Consent {
    /// Install what is missing without asking
    #[arg(long, short)]
    yes: bool,
    /// Never install anything; name what is missing and stop
    #[arg(long, conflicts_with = "yes")]
    no_install: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Build the release binary, target/release/tracer
    Build {
        #[command(flatten)]
        consent: Consent,
    },
    /// Build tracer as the user and run it as root
    Run {
        #[command(flatten)]
        consent: Consent,
        /// Arguments for tracer
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Run every test: format, lints, unit, integration (as root), virtual machines, README
    Test(test::Options),
    /// Print what tracer costs and how right it is, beside its peers; takes a quiet machine
    Bench(bench::Options),
    /// Play floods, and what only looks like one, drawn at random; print what was told of them
    Detect(detect::Options),
    /// Run tests or a command in a virtual machine with one of Debian's kernels
    Vm(vm::Options),
    /// Make the packages: a tarball, a .deb and their checksums, in target/packages
    Dist(dist::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Build { consent } => build::build(consent).map(|_| ExitCode::SUCCESS),
        Command::Run { consent, args } => build::run(consent, &args),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Detect(options) => detect::run(&options),
        Command::Vm(options) => vm::run(&options),
        Command::Dist(options) => dist::run(&options).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn tracers_arguments_pass_through_untouched() {
        let cli =
            Cli::try_parse_from(["xtask", "run", "--yes", "--", "--port", "8080", "-4"]).unwrap();
        let Command::Run { consent, args } = cli.command else { panic!("not run") };
        assert!(consent.yes);
        assert_eq!(args, ["--port", "8080", "-4"]);
    }

    #[test]
    fn yes_and_no_install_exclude_each_other() {
        assert!(Cli::try_parse_from(["xtask", "build", "--yes", "--no-install"]).is_err());
    }
}
