//! Debian's package manager, where the machine has it.

use anyhow::Context as _;

use crate::shell;

/// Runs as root. Services must not start (nginx is wanted as a program for tests, not as a
/// server): policy-rc.d is Debian's way to say so (invoke-rc.d(8)); it is ours while this runs,
/// and a left-over of ours is replaced and removed. `dpkg --configure -a` finishes what an
/// earlier, interrupted run began. With --no-remove nothing the user has is ever taken away.
///
/// A machine may have something from its release's backports that does not bear the release's own
/// packages beside it (qemu-utils and qemu-system-x86 have to be of one version). Then the backports
/// are asked, by the sources that the machine has, with the suite's name changed, for this once: no
/// file of the machine's is changed.
const INSTALL: &str = r#"
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] || grep -q tracer-xtask "$policy"; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n# tracer-xtask: start no service while test tools are installed\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
dpkg --configure -a
apt-get -q $QUICK update || echo "xtask: apt-get update failed; going on with the lists at hand" >&2
try() {
    apt-get $QUICK -qq -y --no-install-recommends --no-remove -o DPkg::Lock::Timeout=120 \
        -o Dpkg::Use-Pty=0 "$@"
}
try install "$@" && exit 0
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
[ -n "$suite" ] || exit 1
echo "xtask: they do not go with what is installed; trying $suite-backports" >&2
parts=$(mktemp -d)
trap 'rm -rf "$parts"; if grep -qs tracer-xtask "$policy"; then rm -f "$policy"; fi' EXIT
cp /etc/apt/sources.list.d/* "$parts" 2>/dev/null || true
for file in /etc/apt/sources.list.d/*.sources; do
    # The first stanza that has the release's own suite.
    awk -v RS= -v suite="$suite" '$0 ~ ("Suites:[^\n]* ?" suite "( |\n|$)") {
        sub(/Suites:[^\n]*/, "Suites: " suite "-backports"); print; exit }' "$file"
done >"$parts/tracer-backports.sources" 2>/dev/null || true
sed -n "s/^\(deb .*\) $suite \(.*\)/\1 $suite-backports \2/p" /etc/apt/sources.list 2>/dev/null \
    | head -1 >"$parts/tracer-backports.list" || true
set -- -o "Dir::Etc::SourceParts=$parts" -t "$suite-backports" install "$@"
apt-get -q $QUICK -o "Dir::Etc::SourceParts=$parts" update
try "$@"
"#;

/// A slow mirror is no reason to fail, a dead one is.
const QUICK: &str = "-o Acquire::http::Timeout=20 -o Acquire::Retries=1";

/// Whether this distribution has apt.
pub(crate) fn present() -> bool {
    shell::which("apt-get").is_some()
}

/// Whether the archive offers the package.
pub(crate) fn offers(package: &str) -> bool {
    let policy = shell::output(std::process::Command::new("apt-cache").args(["policy", package]));
    policy.is_some_and(|text| has_candidate(&text))
}

fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"))
        .any(|version| version.trim() != "(none)")
}

/// Installs packages as root.
///
/// # Errors
///
/// When there is no way to become root, or apt-get fails.
pub(crate) fn install(packages: &[String]) -> anyhow::Result<()> {
    let mut command = shell::as_root("env")?;
    command.arg(format!("QUICK={QUICK}")).args(["sh", "-c", INSTALL, "sh"]).args(packages);
    let title = format!("installing {}", packages.join(" "));
    shell::step(&title, &mut command).with_context(|| {
        format!(
            "apt-get could not install what is missing (its reason is above); \
             by hand: apt-get install --no-install-recommends {}",
            packages.join(" ")
        )
    })
}

/// Brings the package lists up to date, as root.
///
/// # Errors
///
/// When there is no way to become root, or apt-get fails.
pub(crate) fn update() -> anyhow::Result<()> {
    let mut command = shell::as_root("apt-get")?;
    command.args(QUICK.split(' ')).args(["-q", "update"]);
    shell::step("updating the package lists", &mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_a_version() {
        assert!(has_candidate("rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0\n"));
        assert!(!has_candidate("rustup:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }
}
