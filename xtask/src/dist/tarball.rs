//! The tarball.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{PACK_LIMIT, Stage, anew};
use crate::{shell, workspace};

/// What is packed beside the generated files, from the workspace's top; a directory with its files.
const FILES: &[(&str, &str)] = &[
    ("README.md", "."),
    ("LICENSE-APACHE", "."),
    ("LICENSE-MIT", "."),
    ("docs", "docs"),
    ("deploy", "deploy"),
];

/// Packs `tracer-VERSION-ARCH-linux-gnu.tar.gz` into `out`: sorted, root's, of one time.
pub(super) fn pack(stage: &Stage, out: &Path) -> anyhow::Result<PathBuf> {
    let name = format!("tracer-{}-{}-linux-gnu", stage.version, std::env::consts::ARCH);
    let tree = stage.dir.join("tarball");
    let top = tree.join(&name);
    anew(&top)?;
    for (source, place) in FILES {
        copy(&workspace::root().join(source), &top.join(place))?;
    }
    for (source, place) in [("tracer", "."), ("tracer.8", "."), ("completions", "completions")] {
        copy(&stage.dir.join(source), &top.join(place))?;
    }
    let path = out.join(format!("{name}.tar.gz"));
    shell::step(
        "packing the tarball",
        shell::bounded(PACK_LIMIT, "tar")
            .args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
            .args(["--mode=u=rwX,go=rX", "--format=gnu"])
            .arg(format!("--mtime=@{}", stage.epoch))
            .arg("--use-compress-program=gzip --no-name --best")
            .arg("--file")
            .arg(&path)
            .arg("--directory")
            .arg(&tree)
            .arg(&name),
    )?;
    Ok(path)
}

/// A file into a directory, or what is in a directory, at any depth.
fn copy(source: &Path, place: &Path) -> anyhow::Result<()> {
    let what = || format!("cannot copy {}", source.display());
    std::fs::create_dir_all(place).with_context(what)?;
    if !source.is_dir() {
        let name = source.file_name().unwrap_or_default();
        std::fs::copy(source, place.join(name)).with_context(what)?;
        return Ok(());
    }
    for entry in std::fs::read_dir(source).with_context(what)? {
        let path = entry.with_context(what)?.path();
        match path.file_name() {
            Some(name) if path.is_dir() => copy(&path, &place.join(name))?,
            _ => copy(&path, place)?,
        }
    }
    Ok(())
}
