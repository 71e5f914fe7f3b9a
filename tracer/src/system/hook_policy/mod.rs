//! Which hook sees the SYNs of an interface: decided from facts, without touching anything.
//!
//! The rules, in words: nobody's link is reset, no other program is displaced, bulk traffic is not
//! slowed. What that means for each hook:
//!
//! - **tcx** (kernels from 6.6 on) does none of these. Measured on veth: 0.98 of the bulk
//!   throughput. It needs no driver support, stands beside other programs (attached before them,
//!   since one that redirects or accepts a packet ends the run), and is what `auto` takes almost
//!   everywhere.
//! - **XDP generic** works everywhere too, but the kernel stops merging the device's packets (GRO)
//!   while it is attached, and copies every packet that has no room in front for an XDP program to
//!   write into, on `lo` each one (docs/benchmarks.md, "Other traffic"). So `auto` takes it only
//!   where the kernel has no tcx.
//! - **XDP native** depends on the driver; see [`BEARS_NATIVE`].
//! - **clsact**, the tc hook of kernels before 6.6, is never used: its attachment outlives the
//!   process.

use std::fmt;

use super::host::KernelVersion;
use super::interfaces::Interface;

/// `--syn-hook`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum SynHook {
    /// The one that does the interface no harm
    #[default]
    Auto,
    /// XDP in any case
    Xdp,
    /// tcx in any case (kernels from 6.6 on)
    Tcx,
    /// None: server handshakes are measured from the SYN-ACK
    Off,
}

/// `--xdp-mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum XdpMode {
    /// Native where it is possible, else generic
    #[default]
    Auto,
    /// In the driver
    Native,
    /// In the network stack
    Generic,
}

/// A hook on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hook {
    /// XDP in the driver, attached by a BPF link with `XDP_FLAGS_DRV_MODE`.
    XdpNative,
    /// XDP in the stack, attached by a BPF link with `XDP_FLAGS_SKB_MODE`.
    XdpGeneric,
    /// tcx at ingress, attached by a BPF link, before all other programs.
    Tcx,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::XdpNative => "XDP native",
            Self::XdpGeneric => "XDP generic",
            Self::Tcx => "tcx",
        })
    }
}

/// One attempt to attach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// Where.
    pub hook: Hook,
    /// Why there: for the `start` record. No capital letter, no full stop.
    pub why: String,
}

/// What was asked for, and what the kernel offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// `--syn-hook`.
    pub syn_hook: SynHook,
    /// `--xdp-mode`.
    pub xdp_mode: XdpMode,
    /// The running kernel.
    pub kernel: KernelVersion,
    /// It has tcx: it is 6.6 or newer, or a probe says so.
    pub tcx: bool,
}

/// Drivers whose native XDP neither resets the link nor rebuilds queues, switches an offload off or
/// limits the MTU, with the place in the kernel that shows it. Attaching there is one store of a
/// pointer.
///
/// Short, because it takes proof to get in, and most drivers do one of these things when the first
/// program comes and when the last one goes: i40e, ixgbe, igb and mlx5 among others reset the link
/// or rebuild their queues; virtio_net, ena and gve want spare queues; sfc only stores a pointer too,
/// but refuses a larger MTU for as long as the program is there (`efx_xdp_setup_prog()`); veth takes
/// four fifths of the bulk throughput (measured). What there is to win is little: tracer passes
/// every packet, and the stack builds an skb for it all the same.
pub const BEARS_NATIVE: &[(&str, &str)] = &[
    ("cpsw", "cpsw_xdp_prog_setup() in drivers/net/ethernet/ti/cpsw_priv.c"),
    ("cpsw-switch", "cpsw_xdp_prog_setup() in drivers/net/ethernet/ti/cpsw_priv.c"),
];

/// The attempts to make on `interface`, in this order, until one succeeds.
///
/// # Errors
/// Why none is to be made: the interface stays without a SYN hook. No capital letter, no full stop.
pub fn plan(interface: &Interface, policy: Policy) -> Result<Vec<Attempt>, String> {
    if policy.syn_hook == SynHook::Off {
        return Err("--syn-hook off".into());
    }
    let facts = Facts::of(interface)?;
    match policy.syn_hook {
        SynHook::Off => Ok(Vec::new()),
        SynHook::Auto => auto(interface, &facts, policy),
        SynHook::Xdp => xdp(interface, &facts, policy),
        SynHook::Tcx if policy.tcx => Ok(vec![attempt(Hook::Tcx, "--syn-hook tcx")]),
        SynHook::Tcx => Err(format!("{}; use --syn-hook auto or xdp", no_tcx(policy))),
    }
}

/// What matters of an interface.
struct Facts {
    /// It has no native XDP, because it is what this says.
    generic_only: Option<&'static str>,
    /// What is in the way of XDP.
    taken: Option<String>,
}

impl Facts {
    fn of(interface: &Interface) -> Result<Self, String> {
        use tracer_common::packet::Link;
        let link = interface.link()?;
        let taken = interface.xdp.map(|xdp| {
            let program = xdp.program.map_or_else(String::new, |id| format!(" (id {id})"));
            format!(
                "another XDP program{program} is attached in {} mode and is not displaced",
                xdp.mode
            )
        });
        Ok(Self {
            generic_only: if interface.loopback {
                Some("the loopback device")
            } else if link == Link::RawIp {
                Some("a layer-3 device")
            } else {
                None
            },
            taken,
        })
    }
}

fn auto(interface: &Interface, facts: &Facts, policy: Policy) -> Result<Vec<Attempt>, String> {
    let mut attempts = Vec::new();
    let xdp_free = facts.taken.is_none();
    if xdp_free
        && facts.generic_only.is_none()
        && policy.xdp_mode != XdpMode::Generic
        && let Some(driver) = bears_native(interface)
    {
        attempts.push(attempt(
            Hook::XdpNative,
            format!("driver {driver} takes an XDP program without a reset or a limit"),
        ));
    }
    if policy.tcx {
        let why = match &facts.taken {
            Some(taken) => format!("{taken}; SYNs that it drops or redirects are not seen"),
            None => why_tcx(interface),
        };
        attempts.push(attempt(Hook::Tcx, why));
        return Ok(attempts);
    }
    match (&facts.taken, policy.xdp_mode) {
        (Some(taken), _) => return Err(format!("{taken}, and {}", no_tcx(policy))),
        (None, XdpMode::Native) if attempts.is_empty() => {
            return Err(format!(
                "{}, native XDP is not harmless on {}, and --xdp-mode native forbids the generic \
                 one; --syn-hook xdp insists",
                no_tcx(policy),
                what(interface)
            ));
        }
        (None, XdpMode::Native) => {}
        (None, XdpMode::Auto | XdpMode::Generic) => {
            attempts.push(attempt(
                Hook::XdpGeneric,
                format!("{}; {}", no_tcx(policy), what_generic_costs(interface)),
            ));
        }
    }
    Ok(attempts)
}

fn xdp(interface: &Interface, facts: &Facts, policy: Policy) -> Result<Vec<Attempt>, String> {
    if let Some(taken) = &facts.taken {
        return Err(taken.clone());
    }
    let native = || attempt(Hook::XdpNative, format!("--syn-hook xdp on {}", what(interface)));
    match (policy.xdp_mode, facts.generic_only) {
        (XdpMode::Native, Some(device)) => {
            Err(format!("--xdp-mode native: {device} has generic XDP only"))
        }
        (XdpMode::Native, None) => Ok(vec![native()]),
        (XdpMode::Generic, _) => {
            Ok(vec![attempt(Hook::XdpGeneric, "--syn-hook xdp, --xdp-mode generic")])
        }
        (XdpMode::Auto, Some(device)) => Ok(vec![attempt(
            Hook::XdpGeneric,
            format!("--syn-hook xdp, and {device} has generic XDP only"),
        )]),
        (XdpMode::Auto, None) => Ok(vec![
            native(),
            attempt(Hook::XdpGeneric, "--syn-hook xdp, and the driver refuses native XDP"),
        ]),
    }
}

fn what_generic_costs(interface: &Interface) -> &'static str {
    if interface.loopback {
        "generic XDP copies every packet on lo"
    } else {
        "generic XDP switches the merging of packets (GRO) off here, which costs a tenth of the bulk \
         throughput on veth, more on a fast NIC"
    }
}

fn attempt(hook: Hook, why: impl Into<String>) -> Attempt {
    Attempt { hook, why: why.into() }
}

fn bears_native(interface: &Interface) -> Option<&str> {
    let driver = interface.driver.as_deref()?;
    BEARS_NATIVE.iter().any(|(name, _)| *name == driver).then_some(driver)
}

fn why_tcx(interface: &Interface) -> String {
    if interface.loopback {
        return "generic XDP, the only one that lo has, copies every packet there; tcx does not"
            .into();
    }
    match (interface.kind.as_deref(), interface.driver.as_deref()) {
        (Some("veth"), _) => "native XDP takes four fifths of veth's bulk throughput".into(),
        (Some(kind), _) => format!("tcx does a {kind} device no harm"),
        (None, Some(driver)) => {
            format!(
                "XDP may reset the link or switch offloads off with driver {driver}; tcx does not"
            )
        }
        (None, None) => "tcx does the device no harm".into(),
    }
}

fn what(interface: &Interface) -> String {
    match (interface.kind.as_deref(), interface.driver.as_deref()) {
        (Some(kind), _) => format!("a {kind} device"),
        (None, Some(driver)) => format!("a device with driver {driver}"),
        (None, None) => "this device".into(),
    }
}

fn no_tcx(policy: Policy) -> String {
    if policy.kernel >= KernelVersion::TCX {
        format!("kernel {} is built without tcx", policy.kernel)
    } else {
        format!("kernel {} has no tcx ({} has)", policy.kernel, KernelVersion::TCX)
    }
}

#[cfg(test)]
mod tests;
