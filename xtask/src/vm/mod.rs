//! Older kernels: Debian's cloud kernels in qemu's software emulation (no KVM needed), with an
//! initramfs that holds tracer and its scenario tests.

mod boot;
mod cpio;
mod initramfs;
mod kernel;
mod modules;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::test::counts::Counts;
use crate::test::test_executables;
use crate::{Consent, build, shell, toolchain, tools};
use boot::{Boot, Outcome};
use initramfs::Payload;

/// The kernel series that `cargo xtask test` boots.
const KERNELS: [&str; 2] = ["6.1", "6.12"];

/// The tests that run on them, by the beginning of their names.
const CORE: &str = "core_";

/// The test executable of tracer/tests that holds them.
const SCENARIOS: &str = "scenarios";

/// Emulation is some twenty times slower than the machine; what takes longer hangs.
const LIMIT: Duration = Duration::from_secs(8 * 60);

/// Options of `cargo xtask vm`.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    consent: Consent,
    /// Kernel series
    #[arg(long, default_value = "6.12", value_name = "SERIES")]
    kernel: String,
    /// Run the scenarios whose name contains this
    #[arg(long, default_value = CORE, value_name = "TEXT")]
    filter: String,
    /// Run this shell command instead of the scenarios
    #[arg(last = true)]
    command: Vec<String>,
}

/// `cargo xtask vm`: one kernel, its console shown as it comes.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    toolchain::ensure(options.consent, tools::FOR_VMS)?;
    let machine = Machine::build(options.command.is_empty(), options.consent)?;
    let command = match options.command.as_slice() {
        [] => scenarios_command(&options.filter),
        words => words.join(" "),
    };
    let outcome = machine.boot(&options.kernel, &command, true)?;
    Ok(ExitCode::from(u8::try_from(outcome.status).unwrap_or(1)))
}

/// The core scenarios on each kernel. In turn: two emulated machines on two cores would only
/// make each other's timing worse.
pub(crate) fn test_all(consent: Consent) -> anyhow::Result<Counts> {
    let machine = Machine::build(true, consent)?;
    let mut counts = Counts::default();
    for series in KERNELS {
        let started = Instant::now();
        let outcome = machine.boot(series, &scenarios_command(CORE), false)?;
        let ran = Counts::of_output(&outcome.output);
        println!(
            "kernel {series}: {} passed, {} failed in {}",
            ran.passed,
            ran.failed,
            shell::seconds(started.elapsed())
        );
        if outcome.status != 0 || ran.failed > 0 || ran.passed == 0 {
            println!("{}", outcome.output);
        }
        if ran.failed == 0 && outcome.status != 0 {
            bail!("kernel {series}: the tests ended with status {}", outcome.status);
        }
        if ran.passed + ran.failed == 0 {
            bail!("kernel {series}: no test named {CORE}… ran");
        }
        counts += ran;
    }
    Ok(counts)
}

fn scenarios_command(filter: &str) -> String {
    format!(
        "export TRACER_BIN=/bin/tracer TRACER_TEST_VM=1 CI=true RUST_BACKTRACE=1\n\
         exec /tests/{SCENARIOS} --test-threads=1 '{}'\n",
        filter.replace('\'', "")
    )
}

/// What goes into the machines.
struct Machine {
    tracer: PathBuf,
    tests: Vec<(String, PathBuf)>,
    consent: Consent,
}

impl Machine {
    fn build(with_tests: bool, consent: Consent) -> anyhow::Result<Self> {
        if std::env::consts::ARCH != "x86_64" {
            bail!(
                "the virtual machines are x86_64 and would not run this machine's binaries: use \
                 --no-vm"
            );
        }
        let tracer = build::release()?;
        let mut tests = Vec::new();
        if with_tests {
            tests = test_executables()?;
            tests.retain(|(name, _)| name == SCENARIOS);
            if tests.is_empty() {
                bail!("there is no tracer/tests/{SCENARIOS}");
            }
        }
        Ok(Self { tracer, tests, consent })
    }

    fn boot(&self, series: &str, command: &str, show: bool) -> anyhow::Result<Outcome> {
        let kernel = kernel::get(series, self.consent)?;
        let payload =
            Payload { tracer: &self.tracer, tests: &self.tests, command, consent: self.consent };
        let initramfs = initramfs::build(&kernel, &payload)
            .with_context(|| format!("cannot make an initramfs for {}", kernel.release))?;
        shell::say(&format!("booting {}", kernel.release));
        let log = initramfs::directory().join(format!("console-{series}.log"));
        boot::boot(&Boot {
            image: &kernel.image,
            initramfs: &initramfs,
            log: &log,
            limit: LIMIT,
            show,
        })
        .with_context(|| {
            format!("virtual machine with {} (console: {})", kernel.release, log.display())
        })
    }
}
