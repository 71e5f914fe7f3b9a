//! `cargo xtask bench`: what tracer costs, as figures. Nothing is asserted: this is for people, who
//! know whether their machine is quiet.

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{Consent, shell, test, toolchain, tools, workspace};

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    consent: Consent,
}

/// Measures the SYN hook.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    toolchain::ensure(options.consent, tools::FOR_TESTS)?;
    let executables = test::test_executables()?;
    let (_, path) = executables
        .iter()
        .find(|(name, _)| name == "scenarios")
        .context("tracer/tests/scenarios is not there")?;
    let mut command = shell::as_root(path)?;
    command
        .args(["--ignored", "--exact", "cost::syn_hook", "--nocapture", "--test-threads=1"])
        .current_dir(workspace::root().join("tracer"));
    let status =
        command.status().with_context(|| format!("cannot run {}", shell::line(&command)))?;
    if !status.success() {
        bail!("the benchmark failed ({status}); its reason is above");
    }
    Ok(())
}
