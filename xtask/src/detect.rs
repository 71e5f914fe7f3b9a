//! `cargo xtask detect`: floods and what is none, drawn at random and played for real; prints what
//! was told of each, the confusion matrix and the times to detect.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{Consent, build, shell, test, toolchain, tools, workspace};

/// The test in tracer/tests/scenarios that plays them, and what tells it how many.
const TEST: &str = "detect::draws";
const ORDER: &str = "TRACER_DETECT";

/// The longest that one draw takes is a minute; then it is given up.
const PER_DRAW: Duration = Duration::from_secs(60);

/// Options of `cargo xtask detect`.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    consent: Consent,
    /// How many draws; fourteen have every class once
    #[arg(long, default_value_t = 56, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    draws: u32,
    /// The same seed draws the same; without it, one from the clock (it is printed)
    #[arg(long)]
    seed: Option<u32>,
    /// Draws played at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
}

/// Builds tracer and the tests, and has them play the draws as root.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let _ = toolchain::ensure(options.consent, tools::FOR_DETECT)?;
    let binary = build::release()?;
    let executables = test::test_executables()?;
    let scenarios = executables.into_iter().find(|(name, _)| name == "scenarios");
    let Some((_, scenarios)) = scenarios else { bail!("there is no test binary `scenarios`") };
    let seed = options.seed.unwrap_or_else(from_clock);
    let order = order(options, seed);
    shell::say(&format!("{} draws, --seed {seed}, --jobs {}", options.draws, options.jobs));
    let limit = PER_DRAW * options.draws.div_ceil(options.jobs) + PER_DRAW;
    // sudo clears the environment: what the tests need is said again.
    let path = std::env::join_paths(shell::search_path())?;
    let status = shell::as_root("timeout")?
        .args(shell::limit_args(limit))
        .arg("env")
        .arg(format!("{ORDER}={order}"))
        .arg(format!("TRACER_BIN={}", binary.display()))
        .arg(format!("PATH={}", path.to_string_lossy()))
        .arg(&scenarios)
        .args(["--exact", TEST, "--nocapture"])
        .current_dir(workspace::root().join("tracer"))
        .status()
        .with_context(|| format!("cannot run {}", scenarios.display()))?;
    if !status.success() {
        bail!("not all could be played ({status}); the reason is above");
    }
    Ok(ExitCode::SUCCESS)
}

fn order(options: &Options, seed: u32) -> String {
    format!("{} {seed} {}", options.draws, options.jobs)
}

/// A seed that is short enough to be typed again.
fn from_clock() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.subsec_nanos() % 1_000_000)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn the_order_is_what_was_asked_for() {
        let line = ["xtask", "detect", "--draws", "200", "--seed", "7", "--jobs", "4"];
        let cli = crate::Cli::try_parse_from(line).unwrap();
        let crate::Command::Detect(options) = cli.command else { panic!("not detect") };
        assert_eq!(order(&options, options.seed.unwrap()), "200 7 4");
    }

    #[test]
    fn no_draws_at_all_are_refused() {
        assert!(crate::Cli::try_parse_from(["xtask", "detect", "--draws", "0"]).is_err());
    }
}
