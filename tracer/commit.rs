//! Which commit this is built from: part of the build script.

use std::path::Path;
use std::process::Command;

/// What the binary is made of, from the workspace's top: where these differ from the commit, the
/// binary is not the commit's.
const SOURCES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "tracer/Cargo.toml",
    "tracer/build.rs",
    "tracer/commit.rs",
    "tracer/src",
    "tracer-common",
    "tracer-ebpf",
];

/// Filled in by `git archive` (gitattributes(5), `export-subst`): commit and date.
const ARCHIVED: &str = "commit.txt";

/// `abcdef123456, 2026-11-25`, `abcdef123456-dirty, 2026-11-25` or `unknown`, and what to watch for
/// a change of it. In this order: the environment's `TRACER_COMMIT` (for packagers), git, what `git
/// archive` wrote.
pub(crate) fn find(manifest_dir: &Path) -> String {
    println!("cargo:rerun-if-env-changed=TRACER_COMMIT");
    println!("cargo:rerun-if-changed={}", manifest_dir.join(ARCHIVED).display());
    if let Ok(given) = std::env::var("TRACER_COMMIT") {
        return one_line(&given);
    }
    let root = manifest_dir.parent().unwrap_or(manifest_dir);
    of_git(root).or_else(|| of_archive(manifest_dir)).unwrap_or_else(|| "unknown".to_owned())
}

fn of_git(root: &Path) -> Option<String> {
    let git = |args: &[&str]| {
        // No optional locks: reading must not disturb a git command that runs meanwhile.
        let mut command = Command::new("git");
        command.arg("--no-optional-locks").args(args).current_dir(root).env("TZ", "UTC0");
        let output = command.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    };
    // Unpacked inside another project's repository, that one's commit would be none of ours.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // A commit or a checkout moves HEAD, or the branch that it names; packed-refs may hold that.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let path = root.join(git(&["rev-parse", "--git-path", name])?);
        // One that is not there would mean a build each time.
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    // The library is built anew for a change of these anyway.
    for source in SOURCES {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
    }
    let format = ["show", "--no-patch", "--date=format-local:%Y-%m-%d", "--format=%H %cd", "HEAD"];
    let shown = git(&format)?;
    let changed = git(&[&["status", "--porcelain", "--"][..], SOURCES].concat())?;
    describe(&shown, !changed.is_empty())
}

fn of_archive(manifest_dir: &Path) -> Option<String> {
    describe(&std::fs::read_to_string(manifest_dir.join(ARCHIVED)).ok()?, false)
}

/// From `HASH DATE`; `None` where git has not filled it in.
fn describe(text: &str, dirty: bool) -> Option<String> {
    let (hash, date) = text.trim().split_once(' ')?;
    let short = hash.get(..12).filter(|_| hash.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    Some(format!("{short}{}, {date}", if dirty { "-dirty" } else { "" }))
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
}
