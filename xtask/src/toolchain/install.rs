//! Getting what a [`Route`] lacks.
//!
//! Everything that reaches out to the network is bounded in time, and everything can be
//! interrupted: a second run finds what the first one finished and does the rest.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::plan::{Linker, Missing, Route, Way};
use super::probe::{self, DEBIAN_TOOLCHAIN};
use crate::{apt, shell, workspace};

/// Debian's Rust with its BPF `core`. They are the packages Firefox is built with, so they
/// follow upstream closely in every supported release.
pub(super) const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// bpf-linker's minor release that is built from source, and the LLVMs it can be built with
/// (its features `llvm-NN`).
const LINKER_VERSION: &str = "^0.13";
const LINKER_LLVMS: std::ops::RangeInclusive<u32> = 21..=23;

/// bpf-linker's documented download (its README, "Manual download"). The newest release, as a
/// nightly compiler's LLVM moves too.
const LINKER_RELEASE: &str = "https://github.com/aya-rs/bpf-linker/releases/latest/download";

/// rust-src is 3 MB.
const COMPONENT_LIMIT: Duration = Duration::from_secs(90);
/// A toolchain is some 150 MB, a bpf-linker some 50.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);
/// bpf-linker takes two minutes to build on two cores.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// Installs the first thing the route lacks. The caller looks again afterwards: what comes next
/// may depend on it.
pub(super) fn first_missing(route: &Route) -> anyhow::Result<()> {
    match route.missing.first() {
        None => Ok(()),
        Some(Missing::Rustup) => bail!("rustup is missing: install it from https://rustup.rs"),
        Some(Missing::Nightly) => shell::step(
            "installing rustup's nightly with rust-src",
            rustup(DOWNLOAD_LIMIT)
                .args(["toolchain", "install", "nightly", "--profile", "minimal"])
                .args(["--component", "rust-src", "--no-self-update"]),
        ),
        Some(Missing::RustSrc) => shell::step(
            "adding rust-src to rustup's nightly",
            rustup(COMPONENT_LIMIT).args([
                "component",
                "add",
                "rust-src",
                "--toolchain",
                "nightly",
            ]),
        ),
        Some(Missing::DebianRust) => apt::install(&DEBIAN_PACKAGES.map(str::to_owned)),
        Some(Missing::DebianLink) => shell::step(
            "linking Debian's Rust into rustup",
            rustup(COMPONENT_LIMIT).args(["toolchain", "link", DEBIAN_TOOLCHAIN, "/usr"]),
        ),
        Some(Missing::Linker(None)) => {
            bail!("the compiler is not there yet: which bpf-linker it needs is not known")
        }
        Some(Missing::Linker(Some(llvm))) => linker(route.way, *llvm),
    }
}

fn rustup(limit: Duration) -> Command {
    let mut command = shell::bounded(limit, "rustup");
    // Where the server can't be reached, once is enough: there is another way.
    command.env("RUSTUP_MAX_RETRIES", "1");
    command
}

/// Gets a bpf-linker into a directory of our own: the user's may serve other projects.
fn linker(way: Way, llvm: u32) -> anyhow::Result<()> {
    let mut reasons = Vec::new();
    // The prebuilt one has LLVM inside, at the level of rustup's newest compilers.
    if way == Way::Nightly {
        match prebuilt(llvm) {
            Ok(()) => return Ok(()),
            Err(error) => {
                shell::say(&format!("no prebuilt bpf-linker: {error:#}"));
                reasons.push(format!("prebuilt: {error:#}"));
            }
        }
    }
    match from_source(llvm) {
        Ok(()) => Ok(()),
        Err(error) => {
            reasons.push(format!("from source: {error:#}"));
            bail!("cannot get a bpf-linker for LLVM {llvm}: {}", reasons.join("; "))
        }
    }
}

fn prebuilt(llvm: u32) -> anyhow::Result<()> {
    let root = workspace::cache_dir()?.join("bpf-linker-prebuilt");
    let bin = root.join("bin");
    std::fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    if shell::which("cargo-binstall").is_some() {
        shell::step(
            "downloading bpf-linker with cargo-binstall",
            shell::bounded(DOWNLOAD_LIMIT, "cargo")
                .args(["binstall", "--no-confirm", "--force", "--disable-strategies", "compile"])
                .arg("--root")
                .arg(&root)
                .arg("bpf-linker"),
        )?;
    } else {
        download(&bin)?;
    }
    verify(&bin.join("bpf-linker"), llvm)
}

fn download(bin: &Path) -> anyhow::Result<()> {
    let missing: Vec<_> =
        ["curl", "zstd"].into_iter().filter(|tool| shell::which(tool).is_none()).collect();
    if !missing.is_empty() {
        if !apt::present() {
            bail!("{} is needed to download it", missing.join(" and "));
        }
        apt::install(&missing.iter().map(|tool| (*tool).to_owned()).collect::<Vec<_>>())?;
    }
    let archive = bin.with_file_name("bpf-linker.tar.zst");
    let name = format!("bpf-linker-{}-unknown-linux-musl.tar.zst", std::env::consts::ARCH);
    shell::step(
        "downloading bpf-linker",
        Command::new("curl")
            .args(["--fail", "--location", "--silent", "--show-error", "--proto", "=https"])
            .args(["--connect-timeout", "10", "--max-time", "300", "--output"])
            .arg(&archive)
            .arg(format!("{LINKER_RELEASE}/{name}")),
    )?;
    shell::step(
        "unpacking bpf-linker",
        Command::new("tar").arg("-xpf").arg(&archive).arg("-C").arg(bin),
    )?;
    std::fs::remove_file(&archive).ok();
    Ok(())
}

/// Builds bpf-linker against the distribution's LLVM of that very version.
fn from_source(llvm: u32) -> anyhow::Result<()> {
    if !LINKER_LLVMS.contains(&llvm) {
        bail!("bpf-linker {LINKER_VERSION} cannot be built with LLVM {llvm}");
    }
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    let packages = llvm_packages(llvm);
    if !prefix.join("lib/libLLVM.so").exists() || !prefix.join("bin/llvm-config").exists() {
        if !apt::present() {
            bail!("LLVM {llvm}'s development files are missing and there is no apt-get");
        }
        apt::install(&packages)?;
    }
    let cache = workspace::cache_dir()?;
    let root = cache.join(format!("bpf-linker-llvm{llvm}"));
    // A directory of its own, kept until it worked: an interrupted build goes on where it was.
    let build = cache.join("bpf-linker-build");
    shell::step(
        "building bpf-linker (about two minutes, once)",
        shell::bounded(BUILD_LIMIT, "cargo")
            .args(["install", "bpf-linker", "--locked", "--force", "--version", LINKER_VERSION])
            .args(["--no-default-features", "--features", &format!("llvm-{llvm}")])
            .arg("--root")
            .arg(&root)
            .env("CARGO_TARGET_DIR", &build)
            .env("LLVM_PREFIX", &prefix),
    )?;
    verify(&root.join("bin/bpf-linker"), llvm)?;
    std::fs::remove_dir_all(&build).ok();
    Ok(())
}

/// What building bpf-linker needs from the archive.
fn llvm_packages(llvm: u32) -> Vec<String> {
    vec![format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev"), "libzstd-dev".to_owned()]
}

/// A linker counts once it runs and its LLVM is new enough; one that does not is taken away, so
/// that it is not found again.
fn verify(path: &Path, llvm: u32) -> anyhow::Result<()> {
    let reason = match probe::linker(path) {
        Some(Linker { llvm: has, .. }) if has >= llvm => return Ok(()),
        Some(Linker { llvm: has, .. }) => format!("it has LLVM {has}, the compiler LLVM {llvm}"),
        None => format!("{} does not run", path.display()),
    };
    std::fs::remove_file(path).ok();
    bail!(reason)
}

/// What a route would install, for people; with the packages known so far.
pub(super) fn describe(route: &Route) -> Vec<String> {
    let mut lines = Vec::new();
    for missing in &route.missing {
        lines.push(match (missing, route.way) {
            (Missing::Linker(llvm), way) => {
                let version = llvm.map_or("NN".to_owned(), |llvm| llvm.to_string());
                let source = format!(
                    "cargo install bpf-linker, with the packages llvm-{version}-dev \
                     libpolly-{version}-dev libzstd-dev",
                );
                let how = match way {
                    Way::Nightly => {
                        format!("prebuilt from its releases page by curl and zstd, else {source}")
                    }
                    Way::Debian => source,
                };
                let place = workspace::cache_dir().unwrap_or_default();
                format!("{missing} into {} ({how})", place.display())
            }
            (missing, _) => missing.to_string(),
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_the_packages_of_the_compilers_llvm() {
        let route = Route {
            way: Way::Debian,
            missing: vec![Missing::DebianLink, Missing::Linker(Some(22))],
            rustc: None,
            linker: None,
        };
        let text = describe(&route).join("\n");
        assert!(text.contains("rustup toolchain link debian-bpf /usr"), "{text}");
        assert!(text.contains("llvm-22-dev libpolly-22-dev libzstd-dev"), "{text}");
    }

    #[test]
    fn a_linker_that_does_not_run_is_removed() {
        let path = std::env::temp_dir().join(format!("xtask-no-linker-{}", std::process::id()));
        std::fs::write(&path, "not a program").unwrap();
        assert!(verify(&path, 22).is_err());
        assert!(!path.exists());
    }
}
