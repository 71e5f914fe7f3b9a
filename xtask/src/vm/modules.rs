//! Kernel modules: which ones the tests need, and in which order they load.
//!
//! `modules.dep` is made when a kernel is installed, and these kernels are only unpacked: the
//! dependencies come from the modules themselves (`depends=` in their .modinfo section).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// What network tests may want. A name that a kernel has built in needs no loading.
const WANTED: &[&str] = &[
    "veth",
    "tun",
    "dummy",
    "bridge",
    "8021q",
    "ipip",
    "sch_ingress",
    "sch_netem",
    "cls_bpf",
    "act_bpf",
    "nf_tables",
    "nft_numgen",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_limit",
    "nft_ct",
    "inet_diag",
    "tcp_diag",
    "af_packet_diag",
];

/// A module, ready to be loaded.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// The wanted modules of a kernel and all they depend on, in loading order. `root` is
/// `lib/modules/VERSION`.
///
/// # Errors
///
/// When a module is neither there nor built in, or cannot be read.
pub(super) fn load_order(root: &Path) -> anyhow::Result<Vec<Module>> {
    let files = files(&root.join("kernel"))?;
    let built_in = std::fs::read_to_string(root.join("modules.builtin"))
        .with_context(|| format!("cannot read {}/modules.builtin", root.display()))?;
    let built_in: Vec<String> = built_in.lines().map(|line| name_of(Path::new(line))).collect();
    let mut contents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let order = order(WANTED, |name| {
        if built_in.iter().any(|built_in| built_in == name) {
            return Ok(None);
        }
        let Some(path) = files.get(name) else {
            bail!("kernel module {name} is not in {}", root.display());
        };
        let content = read(path)?;
        let depends = depends(&content);
        contents.insert(name.to_owned(), content);
        Ok(Some(depends))
    })?;
    Ok(order
        .into_iter()
        .filter_map(|name| contents.remove(&name).map(|content| Module { name, content }))
        .collect())
}

/// Depth first, what is depended on before what depends. `depends` says None for a module that
/// needs no loading.
fn order(
    wanted: &[&str],
    mut depends: impl FnMut(&str) -> anyhow::Result<Option<Vec<String>>>,
) -> anyhow::Result<Vec<String>> {
    fn visit(
        name: &str,
        depends: &mut impl FnMut(&str) -> anyhow::Result<Option<Vec<String>>>,
        seen: &mut Vec<String>,
        order: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        if seen.iter().any(|seen| seen == name) {
            return Ok(());
        }
        seen.push(name.to_owned());
        if let Some(needed) = depends(name)? {
            for needed in needed {
                visit(&needed, depends, seen, order)?;
            }
            order.push(name.to_owned());
        }
        Ok(())
    }
    let (mut seen, mut order) = (Vec::new(), Vec::new());
    for name in wanted {
        visit(name, &mut depends, &mut seen, &mut order)?;
    }
    Ok(order)
}

/// All modules below a directory, by name.
fn files(directory: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(directory) = todo.pop() {
        let entries = std::fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else {
                files.insert(name_of(&path), path);
            }
        }
    }
    Ok(files)
}

/// A module's name: `nf-x.ko.xz` is nf_x.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().replace('-', "_")
}

/// Reads a module; 6.12's are compressed.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "xz") {
        let output = Command::new("xz")
            .args(["--decompress", "--stdout"])
            .arg(path)
            .output()
            .context("cannot run xz")?;
        if !output.status.success() {
            bail!("xz cannot decompress {} ({})", path.display(), output.status);
        }
        return Ok(output.stdout);
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The modules a module needs: `depends=a,b` between NUL bytes in .modinfo.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"depends=";
    module
        .split(|&byte| byte == 0)
        .find_map(|text| text.strip_prefix(KEY))
        .map(String::from_utf8_lossy)
        .into_iter()
        .flat_map(|list| list.split(',').map(|name| name.replace('-', "_")).collect::<Vec<_>>())
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_load_first_and_once() {
        let order = order(&["cls_bpf", "nft_ct", "nf_tables"], |name| {
            Ok(match name {
                "nft_ct" => Some(vec!["nf_conntrack".to_owned(), "nf_tables".to_owned()]),
                "nf_conntrack" => Some(vec!["libcrc32c".to_owned()]),
                "nf_tables" => Some(vec!["libcrc32c".to_owned(), "nfnetlink".to_owned()]),
                "nfnetlink" => None,
                _ => Some(vec![]),
            })
        });
        assert_eq!(order.unwrap(), ["cls_bpf", "libcrc32c", "nf_conntrack", "nf_tables", "nft_ct"]);
    }

    #[test]
    fn a_circle_ends() {
        let order = order(&["a"], |name| {
            Ok(Some(vec![if name == "a" { "b".to_owned() } else { "a".to_owned() }]))
        });
        assert_eq!(order.unwrap(), ["b", "a"]);
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let error = order(&["gone"], |name| bail!("{name} is not there")).unwrap_err();
        assert!(error.to_string().contains("gone"));
    }

    #[test]
    fn modinfo_is_read() {
        let module = b"\x7fELF\0license=GPL\0depends=nf_tables,nf-conntrack\0retpoline=Y\0";
        assert_eq!(depends(module), ["nf_tables", "nf_conntrack"]);
        assert_eq!(depends(b"\x7fELF\0depends=\0name=veth\0"), Vec::<String>::new());
    }

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(name_of(Path::new("net/sched/sch-ingress.ko.xz")), "sch_ingress");
    }
}
