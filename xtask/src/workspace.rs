//! Where things are.

use std::path::{Path, PathBuf};

/// The workspace's top directory.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Cargo's target directory for this workspace.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The binary that `cargo xtask build` makes.
pub(crate) fn tracer_binary() -> PathBuf {
    target_dir().join("release/tracer")
}

/// A place for tools that outlives `target/`: building bpf-linker takes minutes.
///
/// # Errors
///
/// When neither `XDG_CACHE_HOME` nor `HOME` is set.
pub(crate) fn cache_dir() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .ok_or_else(|| {
            anyhow::anyhow!("neither XDG_CACHE_HOME nor HOME is set: set one of them")
        })?;
    Ok(cache.join("tracer"))
}
