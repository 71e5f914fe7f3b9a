//! Debian's cloud kernels: found in the archive, downloaded and unpacked, never installed.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::{Consent, apt, shell, workspace};

/// A kernel that is unpacked.
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    pub(super) image: PathBuf,
    /// Its `lib/modules/RELEASE`.
    pub(super) modules: PathBuf,
}

/// Kernels of some 30 MB each.
const LIMIT: Duration = Duration::from_secs(300);

/// Gets the newest kernel of a series (such as `6.1`) that the archive has, or the one that was
/// got before: tests of the same checkout should not change under the developer.
///
/// # Errors
///
/// When the archive has none, or it cannot be downloaded or unpacked.
pub(super) fn get(series: &str, consent: Consent) -> anyhow::Result<Kernel> {
    let directory = workspace::target_dir().join("vm").join(series);
    if let Ok(kernel) = unpacked(&directory) {
        return Ok(kernel);
    }
    let names = || {
        let names = shell::output(Command::new("apt-cache").args(["pkgnames", "linux-image-"]));
        candidates(&names.unwrap_or_default(), series)
    };
    fetch(names, &directory, consent).with_context(|| {
        format!(
            "Debian 12's archive is where the {series} kernel comes from (package \
             linux-image-{series}.*-cloud-amd64); --no-vm leaves the virtual machines out"
        )
    })?;
    unpacked(&directory)
}

/// Downloads and unpacks the first of these packages that the archive really has: the newest may
/// be in the lists and gone from the archive. If there is none, the lists are brought up to date
/// and it is tried once more.
pub(super) fn fetch(
    packages: impl Fn() -> Vec<String>,
    directory: &Path,
    consent: Consent,
) -> anyhow::Result<()> {
    let mut reason = "no such package in the package lists".to_owned();
    for updated in [false, true] {
        if updated {
            if consent.no_install {
                bail!("{reason} (and --no-install forbids `apt-get update`)");
            }
            apt::update()?;
        }
        for package in packages().iter().take(3) {
            match unpack(package, directory) {
                Ok(()) => return Ok(()),
                Err(error) => reason = format!("{error:#}"),
            }
        }
    }
    bail!(reason)
}

/// Unpacks a package of Debian's archive below `directory`, whole or not at all.
fn unpack(package: &str, directory: &Path) -> anyhow::Result<()> {
    let unfinished = directory.with_extension("unfinished");
    std::fs::remove_dir_all(&unfinished).ok();
    std::fs::create_dir_all(&unfinished)
        .with_context(|| format!("cannot create {}", unfinished.display()))?;
    shell::step(
        &format!("downloading {package}"),
        shell::bounded(LIMIT, "apt-get")
            // As root, apt would want to become a user who cannot write here.
            .args(["-q", "-o", "APT::Sandbox::User=root", "download", package])
            .current_dir(&unfinished),
    )?;
    let archive = std::fs::read_dir(&unfinished)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get downloaded nothing for {package}"))?;
    shell::step(
        &format!("unpacking {package}"),
        Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&unfinished),
    )?;
    std::fs::remove_file(&archive).ok();
    std::fs::remove_dir_all(directory).ok();
    std::fs::rename(&unfinished, directory)
        .with_context(|| format!("cannot rename {}", unfinished.display()))
}

/// The kernel below a directory.
fn unpacked(directory: &Path) -> anyhow::Result<Kernel> {
    let boot = directory.join("boot");
    for entry in std::fs::read_dir(&boot).context("not unpacked")?.flatten() {
        let name = entry.file_name();
        if let Some(release) = name.to_str().and_then(|name| name.strip_prefix("vmlinuz-")) {
            let lib = ["lib/modules", "usr/lib/modules"].map(|lib| directory.join(lib));
            let modules = lib.into_iter().map(|lib| lib.join(release)).find(|path| path.is_dir());
            return Ok(Kernel {
                release: release.to_owned(),
                image: entry.path(),
                modules: modules.context("the package has no modules")?,
            });
        }
    }
    bail!("no vmlinuz in {}", boot.display())
}

/// The cloud kernels of a series among package names: newest first, and of the same version the
/// signed one, which is what people run.
fn candidates(names: &str, series: &str) -> Vec<String> {
    let prefix = format!("linux-image-{series}.");
    let mut found: Vec<&str> = names
        .lines()
        .map(str::trim)
        .filter(|name| name.starts_with(&prefix))
        .filter(|name| name.strip_suffix("-unsigned").unwrap_or(name).ends_with("-cloud-amd64"))
        .collect();
    found.sort_by(|a, b| compare(b, a).then_with(|| a.len().cmp(&b.len())));
    found.into_iter().map(str::to_owned).collect()
}

/// By the numbers in the names.
fn compare(a: &str, b: &str) -> Ordering {
    let numbers = |name: &str| -> Vec<u32> {
        let version = name.split("-cloud").next().unwrap_or(name);
        version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    };
    numbers(a).cmp(&numbers(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_signed_kernel_comes_first() {
        let names = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64-unsigned\n\
                     linux-image-6.1.0-56-cloud-amd64\nlinux-image-6.1.0-56-amd64\n\
                     linux-image-6.1.0-57-cloud-amd64-dbg\nlinux-image-6.12.117+deb12-cloud-amd64\n";
        assert_eq!(
            candidates(names, "6.1"),
            [
                "linux-image-6.1.0-56-cloud-amd64",
                "linux-image-6.1.0-56-cloud-amd64-unsigned",
                "linux-image-6.1.0-9-cloud-amd64",
            ]
        );
        assert_eq!(candidates(names, "6.12"), ["linux-image-6.12.117+deb12-cloud-amd64"]);
    }

    #[test]
    fn a_directory_without_a_kernel_is_none() {
        assert!(unpacked(Path::new("/nonexistent")).is_err());
    }
}
