//! Programs that the tests use, and the packages they come in.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::bail;

use crate::{apt, shell};

/// A program, or a file by its whole path, and the package that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    program: &'static str,
    /// The names distributions with apt give it; the first that the archive offers is taken.
    packages: &'static [&'static str],
}

const fn tool(program: &'static str, packages: &'static [&'static str]) -> Tool {
    Tool { program, packages }
}

/// What the integration tests run against real sockets.
pub(crate) const FOR_TESTS: &[Tool] = &[
    tool("ip", &["iproute2"]),
    tool("tc", &["iproute2"]),
    tool("ss", &["iproute2"]),
    tool("nstat", &["iproute2"]),
    tool("nft", &["nftables"]),
    tool("tcpdump", &["tcpdump"]),
    tool("tshark", &["tshark"]),
    tool("bpftool", &["bpftool", "linux-tools-generic"]),
    tool("tmux", &["tmux"]),
    tool("curl", &["curl"]),
    tool("jq", &["jq"]),
    tool("chromium", &["chromium"]),
    tool("nginx", &["nginx-light", "nginx"]),
    tool("ps", &["procps"]),
    tool("sysctl", &["procps"]),
    tool("nsenter", &["util-linux"]),
    tool("setpriv", &["util-linux"]),
    tool("mount", &["mount"]),
    tool("prometheus", &["prometheus"]),
    tool("promtool", &["prometheus"]),
    tool("/usr/bin/python3", &["python3"]),
    tool(
        "/usr/lib/python3/dist-packages/prometheus_client/openmetrics/parser.py",
        &["python3-prometheus-client"],
    ),
];

/// What `cargo xtask detect` makes traffic with.
pub(crate) const FOR_DETECT: &[Tool] = &[tool("ip", &["iproute2"]), tool("nft", &["nftables"])];

/// What `cargo xtask bench` makes traffic with, and holds tracer against.
pub(crate) const FOR_BENCH: &[Tool] = &[
    tool("ip", &["iproute2"]),
    tool("tcpdump", &["tcpdump"]),
    tool("tcplife", &["libbpf-tools"]),
    tool("tcpstates", &["libbpf-tools"]),
    tool("tshark", &["tshark"]),
    tool("capinfos", &["wireshark-common", "tshark"]),
    tool("tcptrace", &["tcptrace"]),
    tool("mount", &["mount"]),
    tool("unshare", &["util-linux"]),
];

/// What `cargo xtask dist` packs with.
pub(crate) const FOR_DIST: &[Tool] = &[
    tool("tar", &["tar"]),
    tool("gzip", &["gzip"]),
    tool("xz", &["xz-utils"]),
    tool("strip", &["binutils"]),
    tool("dpkg-shlibdeps", &["dpkg-dev"]),
];

/// What the packages are tried with.
pub(crate) const FOR_PACKAGES: &[Tool] = &[
    tool("dpkg", &["dpkg"]),
    tool("ip", &["iproute2"]),
    tool("unshare", &["util-linux"]),
    tool("setpriv", &["util-linux"]),
    tool("bash", &["bash"]),
    tool("zsh", &["zsh"]),
    tool("fish", &["fish"]),
    tool("man", &["man-db"]),
    tool("groff", &["groff"]),
    tool("col", &["bsdextrautils", "bsdmainutils"]),
    tool("readelf", &["binutils"]),
    tool("strace", &["strace"]),
    tool("systemd-analyze", &["systemd"]),
];

/// What the virtual machines need: the emulator, and tools to take packages apart.
pub(crate) const FOR_VMS: &[Tool] = &[
    tool("qemu-system-x86_64", &["qemu-system-x86"]),
    tool("ip", &["iproute2"]),
    tool("tc", &["iproute2"]),
    tool("ss", &["iproute2"]),
    tool("nft", &["nftables"]),
    tool("tcpdump", &["tcpdump"]),
    tool("bpftool", &["bpftool", "linux-tools-generic"]),
    tool("nsenter", &["util-linux"]),
    tool("unshare", &["util-linux"]),
    tool("dpkg-deb", &["dpkg"]),
    tool("xz", &["xz-utils"]),
    tool("strip", &["binutils"]),
    tool("ldd", &["libc-bin"]),
];

/// Those that are not on the machine.
pub(crate) fn missing(wanted: &[Tool]) -> Vec<Tool> {
    let is_there = |tool: &Tool| {
        if tool.program.starts_with('/') {
            return Path::new(tool.program).exists();
        }
        shell::which(tool.program).is_some()
    };
    wanted.iter().filter(|tool| !is_there(tool)).copied().collect()
}

/// Programs and packages, for people.
pub(crate) fn describe(tools: &[Tool]) -> String {
    let words: Vec<_> = tools
        .iter()
        .map(|tool| format!("{} (package {})", tool.program, tool.packages.join(" or ")))
        .collect();
    words.join(", ")
}

/// Installs their packages.
pub(crate) fn install(tools: &[Tool]) -> anyhow::Result<()> {
    if tools.is_empty() {
        return Ok(());
    }
    apt::install(&packages(tools, apt::offers))?;
    let left = missing(tools);
    if !left.is_empty() {
        bail!("still missing after its package was installed: {}", describe(&left));
    }
    Ok(())
}

/// Each package once; the first name the archive offers, or the first if it offers none (the
/// lists may be empty before the first update).
fn packages(tools: &[Tool], offers: impl Fn(&str) -> bool) -> Vec<String> {
    let names: BTreeSet<_> = tools
        .iter()
        .filter_map(|tool| match tool.packages {
            [only] => Some(*only),
            several => several.iter().find(|name| offers(name)).or(several.first()).copied(),
        })
        .collect();
    names.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_with_two_programs_is_installed_once() {
        let tools = [tool("ip", &["iproute2"]), tool("ss", &["iproute2"])];
        assert_eq!(packages(&tools, |_| true), ["iproute2"]);
    }

    #[test]
    fn the_archive_decides_between_names() {
        let tools = [tool("bpftool", &["bpftool", "linux-tools-generic"])];
        assert_eq!(packages(&tools, |name| name == "linux-tools-generic"), ["linux-tools-generic"]);
        assert_eq!(packages(&tools, |_| false), ["bpftool"]);
    }

    #[test]
    fn only_what_is_not_there_is_missing() {
        let tools = [tool("sh", &["dash"]), tool("no-such-program", &["none"])];
        assert_eq!(missing(&tools), [tools[1]]);
        let files = [tool("/proc/self/stat", &["none"]), tool("/no/such/file", &["none"])];
        assert_eq!(missing(&files), [files[1]]);
    }
}
