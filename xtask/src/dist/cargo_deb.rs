//! cargo-deb: found or installed, and run. What is in the package stands in tracer/Cargo.toml.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{PACK_LIMIT, Profile, Stage};
use crate::build::cargo;
use crate::{Consent, shell, workspace};

/// The version that the packages are made with.
const VERSION: &str = "3.8.0";

/// It takes half a minute on two cores.
const BUILD_LIMIT: Duration = Duration::from_secs(1200);

/// One on PATH of this version, else our own.
fn find() -> Option<PathBuf> {
    let own = workspace::cache_dir().ok().map(|cache| root(&cache).join("bin/cargo-deb"));
    shell::which_all("cargo-deb").into_iter().chain(own).find(|path| is_version(path))
}

fn root(cache: &Path) -> PathBuf {
    cache.join(format!("cargo-deb-{VERSION}"))
}

fn is_version(path: &Path) -> bool {
    shell::output(Command::new(path).arg("--version"))
        .is_some_and(|text| text.split_whitespace().last() == Some(VERSION))
}

/// Installs it into a directory of our own, if it is missing and the user agrees.
pub(super) fn ensure(consent: Consent) -> anyhow::Result<()> {
    if find().is_some() {
        return Ok(());
    }
    let cache = workspace::cache_dir()?;
    let root = root(&cache);
    let what = format!("cargo-deb {VERSION} into {} (cargo install)", root.display());
    if consent.no_install {
        bail!("missing, and --no-install was given: {what}");
    }
    shell::say(&format!("to be installed: {what}"));
    if !consent.yes && shell::on_terminal() && !shell::ask("Install it?")? {
        bail!("nothing was installed");
    }
    let build = cache.join("cargo-deb-build");
    // Not optimised: that would take longer than all the packages that it will ever make. xz and
    // gzip do the heavy part.
    shell::step(
        "building cargo-deb (less than a minute, once)",
        shell::bounded(BUILD_LIMIT, "cargo")
            .args(["install", "cargo-deb", "--locked", "--force", "--debug"])
            .args(["--no-default-features", "--config", "profile.dev.debug=false"])
            .args(["--version", &format!("={VERSION}")])
            .arg("--root")
            .arg(&root)
            .env("CARGO_TARGET_DIR", &build),
    )?;
    std::fs::remove_dir_all(&build).ok();
    find().map(|_| ()).context("cargo-deb does not run after its installation")
}

/// Packs the `.deb` into `out`.
pub(super) fn pack(profile: Profile, stage: &Stage, out: &Path) -> anyhow::Result<PathBuf> {
    let program = find().context("cargo-deb is missing")?;
    let mut command = shell::bounded(PACK_LIMIT, program);
    // The environment of `cargo run` would name xtask's manifest to it.
    for (name, value) in cargo().get_envs() {
        if value.is_none() {
            command.env_remove(name);
        }
    }
    // The profile `dist` has stripped it.
    command.arg(if profile == Profile::Dist { "--no-strip" } else { "--strip" });
    shell::step(
        "packing the .deb",
        command
            .args(["--no-build", "--locked", "--no-dbgsym", "--package", "tracer"])
            .args(["--profile", profile.name(), "--output"])
            .arg(out)
            .env("SOURCE_DATE_EPOCH", stage.epoch.to_string())
            .current_dir(workspace::root()),
    )?;
    let mut debs = std::fs::read_dir(out)
        .with_context(|| format!("cannot read {}", out.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    match (debs.next(), debs.next()) {
        (Some(deb), None) => Ok(deb),
        _ => bail!("cargo-deb has not left one .deb in {}", out.display()),
    }
}
