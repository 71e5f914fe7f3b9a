//! `cargo xtask dist`: the files that are handed to users.
//!
//! A stripped binary, its man page and shell completions (printed by itself: `tracer --generate`),
//! the systemd unit, licences and documentation: in a tarball with checksums, and in a `.deb`.

mod cargo_deb;
mod tarball;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::build::{self, cargo};
use crate::{Consent, shell, toolchain, tools, workspace};

/// Packing and checksums take seconds.
const PACK_LIMIT: Duration = Duration::from_secs(300);

/// Options of `cargo xtask dist`.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    consent: Consent,
    /// Package target/release/tracer instead of a binary that is optimised as a whole, which takes
    /// minutes to build: to try the packages
    #[arg(long)]
    quick: bool,
}

/// Makes the packages; where they are is said on stdout.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    prepare(options.consent)?;
    for path in make(if options.quick { Profile::Release } else { Profile::Dist })? {
        println!("{}", path.display());
    }
    Ok(())
}

/// The toolchain and cargo-deb, installed with the user's consent.
pub(crate) fn prepare(consent: Consent) -> anyhow::Result<()> {
    toolchain::ensure(consent, tools::FOR_DIST)?;
    cargo_deb::ensure(consent)
}

/// Which of Cargo.toml's profiles the binary is built with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What is shipped.
    Dist,
    /// What tests have built already.
    Release,
}

impl Profile {
    const fn name(self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Release => "release",
        }
    }
}

/// Builds and packs, with what [`prepare`] has made sure is there; the files made.
pub(crate) fn make(profile: Profile) -> anyhow::Result<Vec<PathBuf>> {
    let built = match profile {
        Profile::Release => build::release()?,
        Profile::Dist => {
            shell::step(
                "building the binary, optimised as a whole (some minutes)",
                cargo()
                    .args(["build", "--profile", "dist", "--package", "tracer", "--bin", "tracer"])
                    .arg("--locked"),
            )?;
            workspace::target_dir().join("dist/tracer")
        }
    };
    let packaging = workspace::target_dir().join(profile.name()).join("packaging");
    let stage = Stage::fill(&packaging, &built)?;
    let out = out_dir();
    anew(&out)?;
    let tarball = tarball::pack(&stage, &out)?;
    let deb = cargo_deb::pack(profile, &stage, &out)?;
    let sums = checksums(&out, &[&tarball, &deb])?;
    Ok(vec![tarball, deb, sums])
}

/// Where the packages are put.
pub(crate) fn out_dir() -> PathBuf {
    workspace::target_dir().join("packages")
}

/// The generated files, ready to be packed.
struct Stage {
    /// The directory that they are in.
    dir: PathBuf,
    version: String,
    /// Time of everything packed, seconds since 1970: the same sources make the same packages.
    epoch: u64,
}

impl Stage {
    fn fill(dir: &Path, built: &Path) -> anyhow::Result<Self> {
        anew(dir)?;
        let completions = dir.join("completions");
        std::fs::create_dir(&completions)
            .with_context(|| format!("cannot create {}", completions.display()))?;
        let binary = dir.join("tracer");
        std::fs::copy(built, &binary)
            .with_context(|| format!("cannot copy {}", built.display()))?;
        let status = Command::new("strip").arg(&binary).status().context("cannot run strip")?;
        if !status.success() {
            bail!("strip {}: {status}", binary.display());
        }
        for (what, name) in [
            ("man", "tracer.8"),
            ("bash", "completions/tracer.bash"),
            ("zsh", "completions/_tracer"),
            ("fish", "completions/tracer.fish"),
        ] {
            let text = printed_by(&binary, &["--generate", what])?;
            let path = dir.join(name);
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let status = Command::new("gzip")
            .args(["--no-name", "--best", "--keep", "tracer.8"])
            .current_dir(dir)
            .status()
            .context("cannot run gzip")?;
        if !status.success() {
            bail!("gzip: {status}");
        }
        let version = String::from_utf8_lossy(&printed_by(&binary, &["-V"])?).into_owned();
        let version = version.split_whitespace().nth(1).context("tracer -V names no version")?;
        Ok(Self { dir: dir.to_owned(), version: version.to_owned(), epoch: epoch()? })
    }
}

fn printed_by(binary: &Path, args: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new(binary);
    command.args(args);
    let output =
        command.output().with_context(|| format!("cannot run {}", shell::line(&command)))?;
    if !output.status.success() || output.stdout.is_empty() {
        bail!("{} printed nothing ({})", shell::line(&command), output.status);
    }
    Ok(output.stdout)
}

/// SOURCE_DATE_EPOCH (reproducible-builds.org) if it is set, else the commit's time, else now.
fn epoch() -> anyhow::Result<u64> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return given.parse().context("SOURCE_DATE_EPOCH is no number of seconds");
    }
    let mut git = Command::new("git");
    git.args(["show", "--no-patch", "--format=%ct", "HEAD"]).current_dir(workspace::root());
    let commit = git.output().ok().filter(|output| output.status.success());
    if let Some(epoch) =
        commit.and_then(|it| String::from_utf8(it.stdout).ok()?.trim().parse().ok())
    {
        return Ok(epoch);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Ok(now.context("the clock stands before 1970")?.as_secs())
}

/// `SHA256SUMS` beside the files, as sha256sum(1) checks it.
fn checksums(out: &Path, files: &[&Path]) -> anyhow::Result<PathBuf> {
    let mut command = shell::bounded(PACK_LIMIT, "sha256sum");
    command.args(files.iter().filter_map(|path| path.file_name())).current_dir(out);
    let output = command.output().context("cannot run sha256sum")?;
    if !output.status.success() {
        bail!("sha256sum: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let path = out.join("SHA256SUMS");
    std::fs::write(&path, output.stdout)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// An empty directory in the place of whatever was there.
fn anew(dir: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(dir),
    }
    .with_context(|| format!("cannot empty {}", dir.display()))
}
