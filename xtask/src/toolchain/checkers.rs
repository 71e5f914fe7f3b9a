//! rustfmt and clippy: for the host's toolchain, and clippy for the kernel side.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::plan::Way;
use super::{Toolchain, probe};
use crate::{Consent, apt, build, shell, workspace};

/// The Debian package with clippy for [`super::install::DEBIAN_PACKAGES`]' compiler.
const DEBIAN_CLIPPY: &str = "rust-web-clippy";

/// Components are a few megabytes.
const LIMIT: Duration = Duration::from_secs(180);

/// Installs what is missing of them, or names it.
pub(crate) fn ensure(
    consent: Consent,
    toolchain: &Toolchain,
    [rustfmt, clippy]: [bool; 2],
) -> anyhow::Result<()> {
    let mut missing: Vec<(String, Fix)> = Vec::new();
    for (wanted, program, component) in
        [(rustfmt, "cargo-fmt", "rustfmt"), (clippy, "cargo-clippy", "clippy")]
    {
        if wanted && !host_has(program) {
            missing.push((format!("rustup component {component}"), Fix::Component(component)));
        }
    }
    match toolchain.way {
        Way::Debian if clippy && !Path::new("/usr/bin/clippy-driver").exists() => {
            missing.push((format!("package {DEBIAN_CLIPPY}"), Fix::Package(DEBIAN_CLIPPY)));
        }
        Way::Nightly if clippy && !nightly_has_clippy() => {
            missing.push(("rustup component clippy for nightly".to_owned(), Fix::NightlyClippy));
        }
        _ => {}
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(", ");
    if consent.no_install {
        bail!("missing, and --no-install was given: {names}");
    }
    shell::say(&format!("to be installed for the checks: {names}"));
    if !consent.yes && shell::on_terminal() && !shell::ask("Install it?")? {
        bail!("nothing was installed");
    }
    for (_, fix) in missing {
        fix.apply()?;
    }
    Ok(())
}

enum Fix {
    Component(&'static str),
    NightlyClippy,
    Package(&'static str),
}

impl Fix {
    fn apply(self) -> anyhow::Result<()> {
        let component = |name: &str, toolchain: &[&str]| {
            shell::step(
                &format!("adding rustup's component {name}"),
                shell::bounded(LIMIT, "rustup").args(["component", "add", name]).args(toolchain),
            )
        };
        match self {
            Self::Component(name) => component(name, &[]),
            Self::NightlyClippy => component("clippy", &["--toolchain", "nightly"]),
            Self::Package(name) => apt::install(&[name.to_owned()]),
        }
    }
}

/// Whether the toolchain that runs xtask has this program. rustup's own proxies are always
/// there, so they prove nothing: the toolchain's directory does.
fn host_has(program: &str) -> bool {
    let toolchain = std::env::var_os("RUSTUP_TOOLCHAIN").zip(probe::rustup_home());
    match toolchain {
        Some((name, home)) => {
            shell::is_executable(&home.join("toolchains").join(name).join("bin").join(program))
        }
        None => shell::which(program).is_some(),
    }
}

fn nightly_has_clippy() -> bool {
    probe::nightly_sysroot().is_some_and(|sysroot| sysroot.join("bin/cargo-clippy").exists())
}

/// Clippy on the kernel side, for its own target, with the toolchain that builds it.
pub(crate) fn kernel_side_clippy(toolchain: &Toolchain) -> anyhow::Result<Command> {
    let target_dir: PathBuf = workspace::target_dir().join("kernel-side-clippy");
    let mut command = build::cargo_of(toolchain.way.toolchain());
    command
        .args(["clippy", "--package", "tracer-ebpf", "--release", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("PATH", toolchain.path_with_linker().context("cannot find bpf-linker")?)
        // As aya-build passes it.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        );
    match toolchain.way {
        Way::Nightly => {
            // What clippy minds changes from night to night: shown, but no failure.
            shell::say("clippy for the kernel side is nightly's: its warnings do not fail");
            command.args(["-Z", "build-std=core"]);
        }
        Way::Debian => {
            command.env("RUSTC_BOOTSTRAP", "aya_ebpf").args(["--", "-D", "warnings"]);
        }
    }
    Ok(command)
}

/// As aya-build names it on little-endian machines.
const TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
