//! What this machine has for building the kernel side. Only looks, never changes anything; a
//! few hundredths of a second, so that it can run before every build.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::plan::{Facts, Linker, Rustc};
use crate::{apt, shell, workspace};

/// The rustup toolchain name under which Debian's Rust is linked.
pub(crate) const DEBIAN_TOOLCHAIN: &str = "debian-bpf";

/// Looks around.
pub(crate) fn facts() -> Facts {
    let nightly = nightly_sysroot();
    let debian_link = rustup_home().map(|home| home.join("toolchains").join(DEBIAN_TOOLCHAIN));
    Facts {
        rustup: shell::which("rustup").is_some(),
        apt: apt::present(),
        nightly: nightly.as_deref().and_then(|sysroot| rustc(&sysroot.join("bin/rustc"))),
        rust_src: nightly
            .is_some_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library/core").is_dir()),
        debian: debian_rust(),
        debian_linked: debian_link.is_some_and(|link| link.join("bin/rustc").exists()),
        linkers: linkers(),
    }
}

/// rustup's directory.
pub(crate) fn rustup_home() -> Option<PathBuf> {
    std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")))
}

/// `nightly` itself, not a dated nightly: rustup names it after the host.
pub(crate) fn nightly_sysroot() -> Option<PathBuf> {
    let toolchains = rustup_home()?.join("toolchains");
    let prefix = format!("nightly-{}-", std::env::consts::ARCH);
    let mut found: Vec<_> = std::fs::read_dir(toolchains)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.into_iter().find(|path| path.join("bin/rustc").exists())
}

/// Debian's own Rust, if it comes with a `core` for the BPF target and with cargo.
fn debian_rust() -> Option<Rustc> {
    let lib = Path::new("/usr/lib/rustlib/bpfel-unknown-none/lib");
    let has_core = std::fs::read_dir(lib).ok()?.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    });
    if !has_core || !shell::is_executable(Path::new("/usr/bin/cargo")) {
        return None;
    }
    rustc(Path::new("/usr/bin/rustc"))
}

/// Asks a rustc what it is.
fn rustc(path: &Path) -> Option<Rustc> {
    parse_rustc(&shell::output(Command::new(path).arg("-vV"))?)
}

fn parse_rustc(text: &str) -> Option<Rustc> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let release = field("release:")?.to_owned();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>());
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return None;
    };
    let llvm = leading_number(field("LLVM version:")?)?;
    Some(Rustc { version: (major, minor), release, llvm })
}

/// Every bpf-linker there is: the user's first, then ours.
fn linkers() -> Vec<Linker> {
    let mut paths = shell::which_all("bpf-linker");
    if let Ok(cache) = workspace::cache_dir() {
        let mut ours: Vec<_> = std::fs::read_dir(cache)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin/bpf-linker"))
            .filter(|path| shell::is_executable(path))
            .collect();
        ours.sort();
        paths.extend(ours);
    }
    paths.into_iter().filter_map(|path| linker(&path)).collect()
}

/// Asks a bpf-linker which LLVM it is linked with. Its own `--version` does not tell, LLVM's
/// does; None if it does not run at all, as after an LLVM upgrade that removed its library.
pub(crate) fn linker(path: &Path) -> Option<Linker> {
    let text = shell::output(Command::new(path).args([
        "--llvm-args=--version",
        "-o",
        "/dev/null",
        "/dev/null",
    ]))?;
    let version = shell::output(Command::new(path).arg("--version"))?.trim().to_owned();
    Some(Linker { path: path.to_owned(), version, llvm: parse_llvm(&text)? })
}

fn parse_llvm(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("LLVM version ")?;
    leading_number(version)
}

fn leading_number(text: &str) -> Option<u32> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustc_says_its_release_and_llvm() {
        let text = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\n\
                    release: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        let rustc = parse_rustc(text).unwrap();
        assert_eq!((rustc.version, rustc.llvm), ((1, 97), 22));
        assert_eq!(rustc.release, "1.97.0-nightly");
        assert_eq!(parse_rustc("error: toolchain is not installed"), None);
    }

    #[test]
    fn a_linkers_llvm_is_read_from_llvms_own_answer() {
        assert_eq!(parse_llvm("Debian LLVM version 22.1.8\n  Optimized build."), Some(22));
        assert_eq!(parse_llvm("LLVM (http://llvm.org/):\n  LLVM version 23.0.0-rust\n"), Some(23));
        assert_eq!(parse_llvm("error while loading shared libraries: libLLVM.so.22.1"), None);
    }
}
