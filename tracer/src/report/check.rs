//! `--check`: what would work on this machine, what not, and why.

use serde::{Serialize, Serializer};

use crate::core::event::MonoNs;

/// The whole answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// When it was found out.
    pub time: MonoNs,
    /// tracer's version and commit.
    pub version: &'static str,
    /// The kernel's release, as `uname -r` says it.
    pub kernel: String,
    /// What was looked at, in groups.
    pub findings: Vec<Finding>,
    /// What can't be had here, as the `start` record would say it: sentences without a full stop.
    pub cannot: Vec<String>,
}

impl Check {
    /// Whether tracing would work here, with parts missing perhaps.
    #[must_use]
    pub fn works(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict != Verdict::Fails)
    }

    /// What stands in the way.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.verdict == Verdict::Fails)
    }
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What it belongs to.
    pub group: Group,
    /// What it is: a capability, a hook, an interface, ….
    pub name: String,
    /// How it fares.
    pub verdict: Verdict,
    /// How it would be done, or why not. No capital letter, no full stop.
    pub detail: String,
}

/// What a finding belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// What the process may do.
    Privileges,
    /// What the kernel has.
    Kernel,
    /// Programs that hook the whole host.
    Hooks,
    /// The SYN hook, an interface each.
    SynHook,
    /// What is read from the system beside the hooks.
    System,
}

impl Group {
    /// As JSON has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Privileges => "privileges",
            Self::Kernel => "kernel",
            Self::Hooks => "hooks",
            Self::SynHook => "syn_hook",
            Self::System => "system",
        }
    }

    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Privileges => "Privileges",
            Self::Kernel => "Kernel",
            Self::Hooks => "Hooks of the whole host",
            Self::SynHook => "SYN hook, by interface",
            Self::System => "Read from the system",
        }
    }
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How something fares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It works.
    Works,
    /// It works for a part of what there is.
    Partly,
    /// It can't be had; tracing works without it.
    Missing,
    /// It can't be had, and nothing works without it.
    Fails,
    /// It can't be told, usually for want of privileges.
    Unknown,
}

impl Verdict {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Works => "ok",
            Self::Partly => "partly",
            Self::Missing => "missing",
            Self::Fails => "fails",
            Self::Unknown => "unknown",
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
