//! `cargo xtask test`: everything, in the order in which failures are cheapest to find.

pub(crate) mod counts;
mod steps;

pub(crate) use steps::{executable_of, test_executables};

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, ValueEnum};

use crate::{Consent, shell, toolchain, tools};
use counts::Counts;

/// Options of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    consent: Consent,
    /// Leave out the virtual machines
    #[arg(long)]
    no_vm: bool,
    /// Only this step (repeatable)
    #[arg(long, value_name = "STEP")]
    only: Vec<Step>,
}

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// rustfmt would change nothing
    Fmt,
    /// clippy has nothing to say, on the host and on the kernel side
    Clippy,
    /// Tests that need neither root nor the kernel
    Unit,
    /// The README's commands and flags exist, and tracer's flags are described
    Readme,
    /// The real binary against real sockets, as root
    Integration,
    /// The packages: made of the release binary, installed aside, and used
    Package,
    /// A core set of them on older kernels
    Vm,
}

impl Step {
    const ALL: [Self; 7] = [
        Self::Fmt,
        Self::Clippy,
        Self::Unit,
        Self::Readme,
        Self::Integration,
        Self::Package,
        Self::Vm,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Fmt => "format",
            Self::Clippy => "lints",
            Self::Unit => "unit tests",
            Self::Readme => "README's commands and flags",
            Self::Integration => "integration tests, as root",
            Self::Package => "packages, installed and used",
            Self::Vm => "older kernels in virtual machines",
        }
    }

    fn run(self, toolchain: &toolchain::Toolchain, consent: Consent) -> anyhow::Result<Counts> {
        match self {
            Self::Fmt => steps::fmt(),
            Self::Clippy => steps::clippy(toolchain),
            Self::Unit => steps::unit(),
            Self::Readme => steps::readme(),
            Self::Integration => steps::integration(),
            Self::Package => steps::package(consent),
            Self::Vm => steps::vm(consent),
        }
    }
}

/// Which steps an invocation runs.
fn chosen(only: &[Step], no_vm: bool) -> Vec<Step> {
    Step::ALL
        .into_iter()
        .filter(|step| only.is_empty() || only.contains(step))
        .filter(|step| !(no_vm && *step == Step::Vm))
        .collect()
}

/// Sets up, then runs the steps until one fails; the last line says how many tests passed.
pub(crate) fn run(options: &Options) -> anyhow::Result<std::process::ExitCode> {
    let chosen = chosen(&options.only, options.no_vm);
    if chosen.is_empty() {
        bail!("--only vm and --no-vm leave nothing to test");
    }
    let mut wanted = Vec::new();
    if chosen.contains(&Step::Integration) {
        wanted.extend_from_slice(tools::FOR_TESTS);
        wanted.extend_from_slice(tools::FOR_BENCH);
    }
    if chosen.contains(&Step::Package) {
        wanted.extend_from_slice(tools::FOR_DIST);
        wanted.extend_from_slice(tools::FOR_PACKAGES);
    }
    if chosen.contains(&Step::Vm) {
        wanted.extend_from_slice(tools::FOR_VMS);
    }
    let started = Instant::now();
    let toolchain = toolchain::ensure(options.consent, &wanted)?;
    let checks = [chosen.contains(&Step::Fmt), chosen.contains(&Step::Clippy)];
    toolchain::checkers::ensure(options.consent, &toolchain, checks)?;
    let mut summary = vec![("set-up".to_owned(), started.elapsed(), Ok(Counts::default()))];
    for step in chosen {
        println!("\n==> {}", step.title());
        let started = Instant::now();
        let result = step.run(&toolchain, options.consent);
        let took = started.elapsed();
        let failed = match &result {
            Ok(counts) => counts.failed > 0,
            Err(_) => true,
        };
        println!(
            "==> {}: {} after {}",
            step.title(),
            if failed { "FAILED" } else { "ok" },
            shell::seconds(took)
        );
        summary.push((step.title().to_owned(), took, result));
        if failed {
            break;
        }
    }
    Ok(report(&summary))
}

/// The last lines: a row per step, what went wrong, and the count.
fn report(summary: &[(String, Duration, anyhow::Result<Counts>)]) -> std::process::ExitCode {
    let mut total = Counts::default();
    println!();
    for (title, took, result) in summary {
        let outcome = match result {
            Ok(counts) => {
                total += *counts;
                match counts {
                    Counts { passed: 0, failed: 0, .. } => String::new(),
                    Counts { failed: 0, .. } => format!("{} passed", counts.passed),
                    _ => format!("{} failed", counts.failed),
                }
            }
            Err(_) => {
                total += Counts::one(false);
                "FAILED".to_owned()
            }
        };
        println!("{title:<36} {:>9}  {outcome}", shell::seconds(*took));
    }
    for (title, _, result) in summary {
        if let Err(error) = result {
            println!("\n{title}: {error:#}");
        }
    }
    let ignored = match total.ignored {
        0 => String::new(),
        ignored => format!(", {ignored} ignored"),
    };
    println!("\n{} passed, {} failed{ignored}", total.passed, total.failed);
    if total.failed == 0 && total.passed > 0 {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_everything_runs_in_order() {
        assert_eq!(chosen(&[], false), Step::ALL);
        assert_eq!(chosen(&[], true).len(), 6);
    }

    #[test]
    fn only_keeps_the_order() {
        assert_eq!(chosen(&[Step::Vm, Step::Fmt], false), [Step::Fmt, Step::Vm]);
        assert_eq!(chosen(&[Step::Vm], true), []);
    }
}
