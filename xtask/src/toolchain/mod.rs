//! The toolchain for the kernel side: found, or set up.

pub(crate) mod checkers;
mod install;
pub(crate) mod plan;
mod probe;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::{Consent, apt, shell, tools, workspace};
use plan::{Linker, Missing, Route, Rustc, Way};

/// A toolchain that is complete.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    pub(crate) way: Way,
    rustc: Rustc,
    linker: Linker,
}

/// Finds a BPF toolchain, and the `wanted` tools; sets up what is missing if that is allowed.
///
/// # Errors
///
/// When something is missing and may not, or cannot, be installed: it is named.
pub(crate) fn ensure(consent: Consent, wanted: &[tools::Tool]) -> anyhow::Result<Toolchain> {
    let routes = routes()?;
    let missing_tools = tools::missing(wanted);
    let ready = routes.iter().any(|route| route.missing.is_empty());
    if !ready || !missing_tools.is_empty() {
        permit(consent, &routes, ready, &missing_tools)?;
        tools::install(&missing_tools)?;
    }
    let toolchain = set_up(routes)?;
    shell::say(&format!(
        "BPF toolchain: {} (rustc {}, LLVM {}; {}, LLVM {})",
        toolchain.way,
        toolchain.rustc.release,
        toolchain.rustc.llvm,
        toolchain.linker.version,
        toolchain.linker.llvm,
    ));
    toolchain.tell_the_build()?;
    Ok(toolchain)
}

/// The routes from here; with TRACER_BPF_TOOLCHAIN set, only the one it names.
fn routes() -> anyhow::Result<Vec<Route>> {
    let mut routes = plan::routes(&probe::facts());
    if let Some(name) = std::env::var_os("TRACER_BPF_TOOLCHAIN") {
        routes.retain(|route| name == route.way.toolchain());
        if routes.is_empty() {
            bail!(
                "TRACER_BPF_TOOLCHAIN={} is neither `nightly` nor `debian-bpf` (which needs a \
                 distribution with apt-get): unset it, or build with cargo directly",
                name.display()
            );
        }
    }
    Ok(routes)
}

/// Says what would be installed and asks, if there is anybody to ask.
fn permit(
    consent: Consent,
    routes: &[Route],
    ready: bool,
    missing_tools: &[tools::Tool],
) -> anyhow::Result<()> {
    let mut lines: Vec<String> = Vec::new();
    if !ready && let Some((first, others)) = routes.split_first() {
        lines.push(format!("{}:", first.way));
        lines.extend(install::describe(first).iter().map(|line| format!("  {line}")));
        for other in others {
            lines.push(format!("or, where that cannot be had, {}:", other.way));
            lines.extend(install::describe(other).iter().map(|line| format!("  {line}")));
        }
    }
    if !missing_tools.is_empty() {
        lines.push(format!("tools: {}", tools::describe(missing_tools)));
    }
    let mut text = String::new();
    for line in &lines {
        write!(text, "\n  {line}").ok();
    }
    if consent.no_install {
        bail!("missing, and --no-install was given:{text}");
    }
    if !missing_tools.is_empty() && !apt::present() {
        bail!("missing, and without apt-get xtask cannot install it; please do:{text}");
    }
    if routes.iter().all(|route| route.missing.contains(&Missing::Rustup)) && !ready {
        bail!("missing; install rustup from https://rustup.rs first, the rest follows:{text}");
    }
    shell::say(&format!("to be installed:{text}"));
    if !consent.yes && shell::on_terminal() && !shell::ask("Install it?")? {
        bail!("nothing was installed");
    }
    Ok(())
}

/// Completes the routes in turn until one is complete.
fn set_up(routes: Vec<Route>) -> anyhow::Result<Toolchain> {
    let mut reasons = Vec::new();
    for route in routes {
        let way = route.way;
        match complete(route) {
            Ok(toolchain) => return Ok(toolchain),
            Err(error) => {
                shell::say(&format!("{way} cannot be had here: {error:#}"));
                reasons.push(format!("{way}: {error:#}"));
            }
        }
    }
    bail!(
        "no BPF toolchain: the kernel side needs rustup's nightly with rust-src and bpf-linker, \
         or on Debian the packages {} and bpf-linker\n  {}",
        install::DEBIAN_PACKAGES.join(" "),
        reasons.join("\n  ")
    )
}

/// Installs one missing thing after the other, looking again in between.
fn complete(mut route: Route) -> anyhow::Result<Toolchain> {
    loop {
        if let (true, Some(rustc), Some(linker)) =
            (route.missing.is_empty(), route.rustc.clone(), route.linker.clone())
        {
            return Ok(Toolchain { way: route.way, rustc, linker });
        }
        let before = route.missing.clone();
        install::first_missing(&route)?;
        route = plan::routes(&probe::facts())
            .into_iter()
            .find(|again| again.way == route.way)
            .context("it vanished while it was set up")?;
        if route.missing.first() == before.first() {
            let left: Vec<_> = route.missing.iter().map(ToString::to_string).collect();
            bail!("still missing after its installation: {}", left.join(", "));
        }
    }
}

impl Toolchain {
    /// Leaves the choice where tracer/build.rs reads it, so that plain `cargo build`, the tests
    /// and an editor's checks use the same toolchain without any environment. Written only when
    /// it changes: its time stamp decides whether the kernel side is built again.
    fn tell_the_build(&self) -> anyhow::Result<()> {
        let path = workspace::target_dir().join("bpf-toolchain");
        let text = format!(
            "# Written by cargo xtask, read by tracer/build.rs.\n\
             toolchain={}\nrustc={}\nlinker={}\nlinker-version={}, LLVM {}\n",
            self.way.toolchain(),
            self.rustc.release,
            self.linker.path.display(),
            self.linker.version,
            self.linker.llvm,
        );
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        std::fs::create_dir_all(workspace::target_dir())
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Where its bpf-linker is, for commands that do not go through tracer/build.rs.
    pub(crate) fn path_with_linker(&self) -> anyhow::Result<std::ffi::OsString> {
        let dir = self.linker.path.parent().map(PathBuf::from);
        std::env::join_paths(dir.into_iter().chain(shell::search_path()))
            .context("PATH holds a directory with a colon in its name")
    }
}
