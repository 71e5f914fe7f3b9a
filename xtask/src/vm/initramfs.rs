//! What is inside the virtual machine: busybox, the network tools, tracer and its tests, and the
//! shared libraries of all of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::cpio::Archive;
use super::kernel::{self, Kernel};
use super::modules;
use crate::{Consent, shell, workspace};

/// The host's programs that go in as they are. Those that run others as well: busybox's run its
/// own `ip` and `tc` before any on PATH.
const TOOLS: [&str; 11] =
    ["sh", "env", "timeout", "nsenter", "unshare", "ip", "tc", "ss", "nft", "tcpdump", "bpftool"];

const INIT: &[u8] = include_bytes!("init.sh");

/// tcpdump gives up root for a user of its own.
const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n\
    tcpdump:x:100:100::/:/bin/false\n";
const GROUP: &[u8] = b"root:x:0:\nnogroup:x:65534:\ntcpdump:x:100:\n";
const HOSTS: &[u8] = b"127.0.0.1 localhost vm\n::1 localhost\n";

/// What is to be tested.
pub(super) struct Payload<'a> {
    pub(super) tracer: &'a Path,
    /// The test executables and their names.
    pub(super) tests: &'a [(String, PathBuf)],
    /// A shell script.
    pub(super) command: &'a str,
    pub(super) consent: Consent,
}

/// Writes the initramfs for a kernel and says where it is.
///
/// # Errors
///
/// When a part of it is missing or cannot be read.
pub(super) fn build(kernel: &Kernel, payload: &Payload<'_>) -> anyhow::Result<PathBuf> {
    let mut archive = Archive::default();
    for directory in ["proc", "sys", "dev", "run", "tmp", "root", "var/run", "var/tmp", "sbin"] {
        archive.directory(directory);
    }
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    archive.file("init", 0o755, INIT);
    archive.file("command", 0o644, payload.command.as_bytes());
    archive.file("etc/passwd", 0o644, PASSWD);
    archive.file("etc/group", 0o644, GROUP);
    archive.file("etc/hosts", 0o644, HOSTS);
    archive.file("bin/busybox", 0o755, &read(&busybox(payload.consent)?)?);
    archive.symlink("var/run", "../run");
    archive.symlink("usr/bin", "../bin");
    archive.symlink("usr/sbin", "../bin");

    let mut libraries = BTreeSet::new();
    for tool in TOOLS {
        let path = shell::which(tool).with_context(|| format!("{tool} is not installed"))?;
        libraries.extend(shared_libraries(&path)?);
        archive.file(&format!("bin/{tool}"), 0o755, &read(&path)?);
    }
    libraries.extend(shared_libraries(payload.tracer)?);
    archive.file("bin/tracer", 0o755, &stripped(payload.tracer)?);
    for (name, path) in payload.tests {
        libraries.extend(shared_libraries(path)?);
        archive.file(&format!("tests/{name}"), 0o755, &stripped(path)?);
    }
    for library in libraries {
        let inside = library.to_string_lossy();
        archive.file(inside.trim_start_matches('/'), 0o755, &read(&library)?);
    }

    let modules = modules::load_order(&kernel.modules)?;
    let order: String = modules.iter().map(|module| format!("{}\n", module.name)).collect();
    for module in &modules {
        archive.file(&format!("modules/{}.ko", module.name), 0o644, &module.content);
    }
    archive.file("modules/order", 0o644, order.as_bytes());

    let path = directory().join(format!("initramfs-{}", kernel.release));
    std::fs::write(&path, archive.finish())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Where everything for the virtual machines is kept.
pub(super) fn directory() -> PathBuf {
    workspace::target_dir().join("vm")
}

/// A static busybox: out of its package, as installing it would displace the ordinary one that
/// the distribution's own initramfs may be made of.
fn busybox(consent: Consent) -> anyhow::Result<PathBuf> {
    let directory = directory().join("busybox");
    let find = || ["bin", "usr/bin"].map(|bin| directory.join(bin).join("busybox"));
    if !find().iter().any(|path| path.exists()) {
        kernel::fetch(|| vec!["busybox-static".to_owned()], &directory, consent)?;
    }
    find()
        .into_iter()
        .find(|path| path.exists())
        .context("the package busybox-static holds no busybox")
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A program without its debug information, which would fill the machine's memory.
fn stripped(path: &Path) -> anyhow::Result<Vec<u8>> {
    let copy = directory().join("stripped");
    shell_ok(Command::new("strip").args(["--strip-debug", "-o"]).arg(&copy).arg(path))?;
    let content = read(&copy)?;
    std::fs::remove_file(&copy).ok();
    Ok(content)
}

fn shell_ok(command: &mut Command) -> anyhow::Result<String> {
    let output =
        command.output().with_context(|| format!("cannot run {}", shell::line(command)))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}): {}",
            shell::line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The shared libraries a program loads, the dynamic linker among them.
fn shared_libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let text = match shell::output(Command::new("ldd").arg(program)) {
        Some(text) => text,
        None => bail!("cannot run ldd"),
    };
    if text.contains("not a dynamic executable") || text.contains("statically linked") {
        return Ok(Vec::new());
    }
    parse_ldd(&text).with_context(|| format!("{}", program.display()))
}

fn parse_ldd(text: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.contains("not found") {
            bail!("a shared library is missing: {line}");
        }
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        if let Some(path) = path.split_whitespace().next().filter(|path| path.starts_with('/')) {
            libraries.push(PathBuf::from(path));
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_names_libraries_and_the_linker() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x2)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        assert_eq!(
            parse_ldd(text).unwrap(),
            [
                Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
        assert!(parse_ldd("\tlibx.so => not found\n").is_err());
    }

    #[test]
    fn the_own_executable_has_a_libc() {
        let own = std::env::current_exe().unwrap();
        let libraries = shared_libraries(&own).unwrap();
        assert!(libraries.iter().any(|path| path.to_string_lossy().contains("libc.so")));
    }
}
