//! Tarball and checksums.

use std::process::Command;

use crate::sandbox::{package, packages};

#[track_caller]
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_checksums_are_right() {
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--strict", "SHA256SUMS"]).current_dir(packages());
    let checked = printed(&mut check);
    assert_eq!(checked.lines().filter(|line| line.ends_with(": OK")).count(), 2, "{checked}");
}

#[test]
fn the_tarball_holds_everything() {
    let listed = printed(Command::new("tar").arg("-tvzf").arg(package(".tar.gz")));
    for name in [
        "tracer",
        "tracer.8",
        "completions/tracer.bash",
        "completions/_tracer",
        "completions/tracer.fish",
        "deploy/systemd/tracer.service",
        "deploy/systemd/tracer.default",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "docs/options.md",
    ] {
        let found = listed.lines().find(|line| {
            line.split_whitespace().last().and_then(|path| path.split_once('/')).is_some_and(
                |(top, path)| {
                    top.starts_with(concat!("tracer-", env!("CARGO_PKG_VERSION"))) && path == name
                },
            )
        });
        let line = found.unwrap_or_else(|| panic!("{name} is not in\n{listed}"));
        let mode = if name == "tracer" { "-rwxr-xr-x 0/0" } else { "-rw-r--r-- 0/0" };
        assert!(line.starts_with(mode), "{line}");
    }
}

#[test]
fn the_binary_is_stripped_and_runs_from_the_tarball() {
    let dir = std::env::temp_dir().join(format!("tracer-package-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("create a directory");
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(package(".tar.gz")).args(["--strip-components=1", "-C"]).arg(&dir);
    printed(&mut unpack);
    let version = printed(Command::new(dir.join("tracer")).arg("-V"));
    let sections = printed(Command::new("readelf").arg("-SW").arg(dir.join("tracer")));
    std::fs::remove_dir_all(&dir).expect("tidy up");
    assert!(version.starts_with(concat!("tracer ", env!("CARGO_PKG_VERSION"), " (commit ")));
    assert!(sections.contains(".text"), "{sections}");
    for gone in [".symtab", ".debug_info", ".debug_line"] {
        assert!(!sections.contains(gone), "{gone} in\n{sections}");
    }
}
