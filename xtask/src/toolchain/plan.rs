//! Which of the two ways to build the kernel side fits a machine, and what it still lacks.
//!
//! - rustup's nightly builds `core` for the BPF target from the `rust-src` component;
//! - Debian's own Rust ships a prebuilt `core` for the BPF target (libstd-rust-web-dev-bpf) and
//!   is linked into rustup as `debian-bpf`.
//!
//! Either needs a bpf-linker whose LLVM is at least as new as the compiler's: LLVM reads older
//! bitcode, never newer.

use std::fmt;
use std::path::PathBuf;

use super::probe::DEBIAN_TOOLCHAIN;

/// The oldest rustc that compiles this workspace (`rust-version` in Cargo.toml).
const OLDEST_RUSTC: (u32, u32) = (1, 95);

/// A compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rustc {
    /// As `rustc -vV` prints it.
    pub(crate) release: String,
    /// Major and minor.
    pub(crate) version: (u32, u32),
    /// Major version of its LLVM.
    pub(crate) llvm: u32,
}

/// A bpf-linker that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Linker {
    pub(crate) path: PathBuf,
    /// As `bpf-linker --version` prints it.
    pub(crate) version: String,
    /// Major version of its LLVM.
    pub(crate) llvm: u32,
}

/// What the machine has; see [`super::probe`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) rustup: bool,
    pub(crate) apt: bool,
    pub(crate) nightly: Option<Rustc>,
    pub(crate) rust_src: bool,
    /// Debian's Rust with its BPF `core`.
    pub(crate) debian: Option<Rustc>,
    pub(crate) debian_linked: bool,
    pub(crate) linkers: Vec<Linker>,
}

/// The two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Nightly,
    Debian,
}

impl Way {
    /// The rustup toolchain that compiles the kernel side.
    pub(crate) fn toolchain(self) -> &'static str {
        match self {
            Self::Nightly => "nightly",
            Self::Debian => DEBIAN_TOOLCHAIN,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nightly => "rustup's nightly with rust-src",
            Self::Debian => "Debian's Rust packages",
        })
    }
}

/// One thing a way lacks, in the order in which it has to be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// rustup itself: not ours to install.
    Rustup,
    /// A nightly toolchain, or one new enough.
    Nightly,
    RustSrc,
    /// Debian's compiler, cargo and BPF `core`.
    DebianRust,
    /// Its entry among rustup's toolchains.
    DebianLink,
    /// A bpf-linker for this LLVM (None: known once the compiler is there).
    Linker(Option<u32>),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustup => f.write_str("rustup (https://rustup.rs)"),
            Self::Nightly => f.write_str("rustup's nightly toolchain with rust-src"),
            Self::RustSrc => f.write_str("rustup's component rust-src for nightly"),
            Self::DebianRust => {
                write!(f, "Debian packages {}", super::install::DEBIAN_PACKAGES.join(" "))
            }
            Self::DebianLink => write!(f, "rustup toolchain link {DEBIAN_TOOLCHAIN} /usr"),
            Self::Linker(Some(llvm)) => write!(f, "bpf-linker with LLVM {llvm} or newer"),
            Self::Linker(None) => f.write_str("bpf-linker with the compiler's LLVM or newer"),
        }
    }
}

/// A way, what it lacks here, and the linker it would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) way: Way,
    pub(crate) missing: Vec<Missing>,
    pub(crate) rustc: Option<Rustc>,
    pub(crate) linker: Option<Linker>,
}

/// The two routes, the one that lacks least first; nightly where they are equal, as it needs
/// neither root nor a particular distribution.
pub(crate) fn routes(facts: &Facts) -> Vec<Route> {
    let mut routes = vec![route(facts, Way::Nightly), route(facts, Way::Debian)];
    // Without apt, Debian's packages are out of reach, whatever else is there.
    routes.retain(|route| facts.apt || !route.missing.contains(&Missing::DebianRust));
    routes.sort_by_key(|route| route.missing.len());
    routes
}

fn route(facts: &Facts, way: Way) -> Route {
    let mut missing = Vec::new();
    if !facts.rustup {
        missing.push(Missing::Rustup);
    }
    let rustc = match way {
        Way::Nightly => &facts.nightly,
        Way::Debian => &facts.debian,
    };
    let rustc = rustc.clone().filter(|rustc| rustc.version >= OLDEST_RUSTC);
    match way {
        Way::Nightly if rustc.is_none() => missing.push(Missing::Nightly),
        Way::Nightly if !facts.rust_src => missing.push(Missing::RustSrc),
        Way::Nightly => {}
        Way::Debian => {
            if rustc.is_none() {
                missing.push(Missing::DebianRust);
            }
            if !facts.debian_linked {
                missing.push(Missing::DebianLink);
            }
        }
    }
    let llvm = rustc.as_ref().map(|rustc| rustc.llvm);
    let linker =
        llvm.and_then(|llvm| facts.linkers.iter().find(|linker| linker.llvm >= llvm)).cloned();
    if linker.is_none() {
        missing.push(Missing::Linker(llvm));
    }
    Route { way, missing, rustc, linker }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rustc(minor: u32, llvm: u32) -> Option<Rustc> {
        Some(Rustc { release: format!("1.{minor}.0"), version: (1, minor), llvm })
    }

    fn linker(name: &str, llvm: u32) -> Linker {
        Linker { path: name.into(), version: "bpf-linker 0.13.0".into(), llvm }
    }

    fn machine() -> Facts {
        Facts { rustup: true, apt: true, ..Facts::default() }
    }

    #[test]
    fn a_bare_machine_takes_nightly_first_then_debian() {
        let routes = routes(&machine());
        assert_eq!(routes[0].way, Way::Nightly);
        assert_eq!(routes[0].missing, [Missing::Nightly, Missing::Linker(None)]);
        assert_eq!(routes[1].way, Way::Debian);
        assert_eq!(
            routes[1].missing,
            [Missing::DebianRust, Missing::DebianLink, Missing::Linker(None)]
        );
    }

    #[test]
    fn a_complete_way_wins_over_an_incomplete_one() {
        let facts = Facts {
            nightly: rustc(97, 22),
            debian: rustc(96, 22),
            debian_linked: true,
            linkers: vec![linker("a", 22)],
            ..machine()
        };
        let routes = routes(&facts);
        assert_eq!((routes[0].way, routes[0].missing.len()), (Way::Debian, 0));
        assert_eq!(routes[1].missing, [Missing::RustSrc]);
    }

    #[test]
    fn of_two_complete_ways_nightly_is_taken() {
        let facts = Facts {
            nightly: rustc(97, 22),
            rust_src: true,
            debian: rustc(96, 22),
            debian_linked: true,
            linkers: vec![linker("a", 22)],
            ..machine()
        };
        assert_eq!(routes(&facts)[0].way, Way::Nightly);
    }

    #[test]
    fn a_linker_older_than_the_compiler_is_passed_over() {
        let facts = Facts {
            nightly: rustc(101, 23),
            rust_src: true,
            linkers: vec![linker("old", 22), linker("new", 23)],
            ..machine()
        };
        assert_eq!(routes(&facts)[0].linker, Some(linker("new", 23)));

        let facts = Facts { linkers: vec![linker("old", 22)], ..facts };
        assert_eq!(routes(&facts)[0].missing, [Missing::Linker(Some(23))]);
    }

    #[test]
    fn an_old_compiler_is_as_good_as_none() {
        let facts = Facts { nightly: rustc(94, 21), rust_src: true, ..machine() };
        assert!(routes(&facts)[0].missing.contains(&Missing::Nightly));
    }

    #[test]
    fn without_apt_debians_packages_are_no_way() {
        let facts = Facts { apt: false, ..machine() };
        let ways: Vec<_> = routes(&facts).iter().map(|route| route.way).collect();
        assert_eq!(ways, [Way::Nightly]);
    }
}
