//! The SYN hook on every interface that is to have one, now and later.

use std::collections::BTreeMap;

use anyhow::Result;
use tracer_common::packet::Link;

use crate::cli::Interfaces;
use crate::kernel::syn_hook::{Attachment, Mode};
use crate::kernel::{HookStatus, Kernel};
use crate::system::hook_policy::{Hook, Policy, plan};
use crate::system::interfaces::{Change, Interface};

/// The name of the SYN hook in reports.
const NAME: &str = "syn";

/// Attached SYN hooks by interface index.
pub(super) struct Devices {
    wanted: Interfaces,
    policy: Policy,
    attached: BTreeMap<u32, Attachment>,
    /// Their names.
    names: BTreeMap<u32, String>,
    /// What became of every interface that was to have its hook.
    statuses: BTreeMap<u32, HookStatus>,
}

impl Devices {
    pub(super) fn new(wanted: Interfaces, policy: Policy) -> Self {
        Self {
            wanted,
            policy,
            attached: BTreeMap::new(),
            names: BTreeMap::new(),
            statuses: BTreeMap::new(),
        }
    }

    /// Whether any interface has its hook.
    pub(super) fn any(&self) -> bool {
        !self.attached.is_empty()
    }

    /// Whether any interface may have its hook, now or later.
    pub(super) fn wanted(&self) -> bool {
        self.wanted != Interfaces::None
    }

    /// Names of the interfaces that have their hook.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.values().cloned().collect()
    }

    /// What became of every interface that is there and was to have its hook.
    pub(super) fn statuses(&self) -> impl Iterator<Item = &HookStatus> {
        self.statuses.values()
    }

    /// Detaches everywhere.
    pub(super) fn clear(&mut self) {
        self.attached.clear();
        self.names.clear();
        self.statuses.clear();
    }

    /// Named interfaces that do not exist.
    pub(super) fn unknown(&self, interfaces: &[Interface]) -> Vec<String> {
        match &self.wanted {
            Interfaces::Named(names) => names
                .iter()
                .filter(|name| !interfaces.iter().any(|interface| interface.name == **name))
                .cloned()
                .collect(),
            Interfaces::All | Interfaces::None => Vec::new(),
        }
    }

    /// Hooks the interfaces that are there at start; what became of each.
    pub(super) fn attach_all(
        &mut self,
        kernel: &mut Kernel,
        interfaces: &[Interface],
    ) -> Vec<HookStatus> {
        interfaces.iter().filter_map(|interface| self.consider(kernel, interface)).collect()
    }

    /// Follows a change; `Some` where an interface was hooked or refused.
    pub(super) fn follow(&mut self, kernel: &mut Kernel, change: &Change) -> Option<HookStatus> {
        match change {
            Change::Up(interface) | Change::Renamed { interface, .. } => {
                if let Some(name) = self.names.get_mut(&interface.index) {
                    name.clone_from(&interface.name);
                }
                if let Some(status) = self.statuses.get_mut(&interface.index) {
                    status.interface = Some(interface.name.clone());
                }
                self.consider(kernel, interface)
            }
            // What is attached to an interface that is down stays attached.
            Change::Down { .. } => None,
            Change::Gone { index, .. } => {
                self.attached.remove(index);
                self.names.remove(index);
                self.statuses.remove(index);
                None
            }
        }
    }

    fn wants(&self, interface: &Interface) -> bool {
        match &self.wanted {
            Interfaces::All => interface.up,
            Interfaces::None => false,
            // A named one is hooked even while it is down.
            Interfaces::Named(names) => names.contains(&interface.name),
        }
    }

    fn consider(&mut self, kernel: &mut Kernel, interface: &Interface) -> Option<HookStatus> {
        if !self.wants(interface) || self.attached.contains_key(&interface.index) {
            return None;
        }
        let status = self.attach(kernel, interface);
        self.statuses.insert(interface.index, status.clone());
        Some(status)
    }

    fn attach(&mut self, kernel: &mut Kernel, interface: &Interface) -> HookStatus {
        let Interface { name, index, .. } = interface;
        let (status, attachment) =
            self.attempt(interface, |link, mode| kernel.attach_syn_hook(name, *index, link, mode));
        if let Some(attachment) = attachment {
            self.attached.insert(*index, attachment);
            self.names.insert(*index, name.clone());
        }
        status
    }

    /// What [`Self::attach_all`] will try first.
    pub(super) fn expected(&self, interfaces: &[Interface]) -> Vec<(Link, Mode)> {
        let wanted = interfaces.iter().filter(|interface| self.wants(interface));
        wanted
            .filter_map(|interface| self.attempt(interface, |link, mode| Ok((link, mode))).1)
            .collect()
    }

    /// What [`Self::attach_all`] would do; attaches nothing for longer than a moment. Without the
    /// kernel side it says what would be tried first.
    pub(super) fn probe_all(
        &self,
        mut kernel: Option<&mut Kernel>,
        interfaces: &[Interface],
    ) -> Vec<HookStatus> {
        let wanted = interfaces.iter().filter(|interface| self.wants(interface));
        wanted
            .map(|interface| {
                let Interface { name, index, .. } = interface;
                let (status, _) = self.attempt(interface, |link, mode| match &mut kernel {
                    Some(kernel) => kernel.try_syn_hook(name, *index, link, mode),
                    None => Ok(()),
                });
                status
            })
            .collect()
    }

    /// Tries what the policy plans for an interface, until something succeeds.
    fn attempt<T>(
        &self,
        interface: &Interface,
        mut one: impl FnMut(Link, Mode) -> Result<T>,
    ) -> (HookStatus, Option<T>) {
        let refused = |mode, reason| HookStatus {
            name: NAME,
            mode,
            interface: Some(interface.name.clone()),
            attached: false,
            reason: Some(reason),
        };
        let planned = plan(interface, self.policy)
            .and_then(|attempts| interface.link().map(|link| (link, attempts)));
        let (link, attempts) = match planned {
            Ok(planned) => planned,
            Err(reason) => return (refused("none", reason), None),
        };
        let mut refusals = Vec::new();
        let mut last = Mode::Tcx;
        for attempt in attempts {
            let mode = match attempt.hook {
                Hook::XdpNative => Mode::XdpNative,
                Hook::XdpGeneric => Mode::XdpGeneric,
                Hook::Tcx => Mode::Tcx,
            };
            last = mode;
            match one(link, mode) {
                Ok(done) => {
                    let mut reason = attempt.why;
                    if !refusals.is_empty() {
                        reason = format!("{reason} ({})", refusals.join("; "));
                    }
                    let status = HookStatus {
                        name: NAME,
                        mode: mode.name(),
                        interface: Some(interface.name.clone()),
                        attached: true,
                        reason: Some(reason),
                    };
                    return (status, Some(done));
                }
                Err(error) => refusals.push(format!("{error:#}")),
            }
        }
        (refused(last.name(), refusals.join("; ")), None)
    }
}
