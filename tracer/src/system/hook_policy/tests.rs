//! The policy as a table: device, flags and kernel in, attempts out.

use super::super::interfaces::tests::ethernet;
use super::super::interfaces::{AttachedMode, AttachedXdp};
use super::Hook::{Tcx, XdpGeneric, XdpNative};
use super::*;

fn nic(driver: &str) -> Interface {
    Interface { driver: Some(driver.into()), ..ethernet(2, "eth0") }
}

fn virtual_device(kind: &str) -> Interface {
    Interface { kind: Some(kind.into()), driver: Some(kind.into()), ..ethernet(3, "virtual0") }
}

fn lo() -> Interface {
    Interface { loopback: true, arphrd: 772, mtu: 65536, ..ethernet(1, "lo") }
}

fn tun() -> Interface {
    Interface { arphrd: 65534, point_to_point: true, ..virtual_device("tun") }
}

fn taken(interface: Interface) -> Interface {
    Interface {
        xdp: Some(AttachedXdp { mode: AttachedMode::Native, program: Some(77) }),
        ..interface
    }
}

fn policy(syn_hook: SynHook, xdp_mode: XdpMode, kernel: KernelVersion) -> Policy {
    Policy { syn_hook, xdp_mode, kernel, tcx: kernel >= KernelVersion::TCX }
}

const NEW: KernelVersion = KernelVersion::new(6, 12);
const OLD: KernelVersion = KernelVersion::new(6, 1);

fn hooks(interface: &Interface, policy: Policy) -> Option<Vec<Hook>> {
    plan(interface, policy)
        .ok()
        .map(|attempts| attempts.iter().map(|attempt| attempt.hook).collect())
}

#[test]
fn auto_takes_the_hook_that_does_no_harm() {
    let cases = [
        ("lo", lo(), Some(vec![Tcx]), Some(vec![XdpGeneric])),
        ("lo, taken", taken(lo()), Some(vec![Tcx]), None),
        ("veth", virtual_device("veth"), Some(vec![Tcx]), Some(vec![XdpGeneric])),
        ("bridge", virtual_device("bridge"), Some(vec![Tcx]), Some(vec![XdpGeneric])),
        ("vlan", virtual_device("vlan"), Some(vec![Tcx]), Some(vec![XdpGeneric])),
        ("bond", virtual_device("bond"), Some(vec![Tcx]), Some(vec![XdpGeneric])),
        ("tun", tun(), Some(vec![Tcx]), Some(vec![XdpGeneric])),
        ("tun, taken", taken(tun()), Some(vec![Tcx]), None),
        ("cpsw", nic("cpsw"), Some(vec![XdpNative, Tcx]), Some(vec![XdpNative, XdpGeneric])),
        ("cpsw, taken", taken(nic("cpsw")), Some(vec![Tcx]), None),
        ("a NIC, taken", taken(nic("ixgbe")), Some(vec![Tcx]), None),
        ("a device without a driver", ethernet(9, "x"), Some(vec![Tcx]), Some(vec![XdpGeneric])),
    ];
    for (name, interface, new, old) in cases {
        let auto = |kernel| policy(SynHook::Auto, XdpMode::Auto, kernel);
        assert_eq!(hooks(&interface, auto(NEW)), new, "{name} on {NEW}");
        assert_eq!(hooks(&interface, auto(OLD)), old, "{name} on {OLD}");
    }
}

#[test]
fn auto_never_uses_native_xdp_where_it_disturbs() {
    for driver in [
        "i40e",
        "ixgbe",
        "ixgbevf",
        "ice",
        "igb",
        "igc",
        "mlx4_en",
        "mlx5_core",
        "bnxt_en",
        "ena",
        "gve",
        "mana",
        "virtio_net",
        "hv_netvsc",
        "vmxnet3",
        "sfc",
        "nfp",
        "qede",
        "st_gmac",
        "tun",
        "veth",
        "bonding",
        "netdevsim",
        "e1000e",
        "r8169",
        "",
    ] {
        for xdp_mode in [XdpMode::Auto, XdpMode::Native, XdpMode::Generic] {
            for kernel in [OLD, NEW] {
                let attempts = hooks(&nic(driver), policy(SynHook::Auto, xdp_mode, kernel));
                assert!(
                    !attempts.is_some_and(|attempts| attempts.contains(&XdpNative)),
                    "{driver} with {xdp_mode:?} on {kernel}"
                );
            }
        }
    }
}

#[test]
fn auto_obeys_the_xdp_mode() {
    use XdpMode::{Generic, Native};
    for (name, interface, mode, kernel, expected) in [
        ("lo", lo(), Native, NEW, Some(vec![Tcx])),
        ("lo", lo(), Native, OLD, None),
        ("lo", lo(), Generic, NEW, Some(vec![Tcx])),
        ("lo", lo(), Generic, OLD, Some(vec![XdpGeneric])),
        ("ixgbe", nic("ixgbe"), Native, NEW, Some(vec![Tcx])),
        ("ixgbe", nic("ixgbe"), Native, OLD, None),
        ("ixgbe", nic("ixgbe"), Generic, OLD, Some(vec![XdpGeneric])),
        ("cpsw", nic("cpsw"), Native, OLD, Some(vec![XdpNative])),
        ("cpsw", nic("cpsw"), Generic, NEW, Some(vec![Tcx])),
    ] {
        let policy = policy(SynHook::Auto, mode, kernel);
        assert_eq!(hooks(&interface, policy), expected, "{name}, {mode:?}, {kernel}");
    }
}

#[test]
fn xdp_always_means_xdp() {
    use XdpMode::{Auto, Generic, Native};
    for kernel in [OLD, NEW] {
        for (name, interface, mode, expected) in [
            ("ixgbe", nic("ixgbe"), Auto, Some(vec![XdpNative, XdpGeneric])),
            ("ixgbe", nic("ixgbe"), Native, Some(vec![XdpNative])),
            ("ixgbe", nic("ixgbe"), Generic, Some(vec![XdpGeneric])),
            ("veth", virtual_device("veth"), Auto, Some(vec![XdpNative, XdpGeneric])),
            ("lo", lo(), Auto, Some(vec![XdpGeneric])),
            ("lo", lo(), Generic, Some(vec![XdpGeneric])),
            ("lo", lo(), Native, None),
            ("tun", tun(), Auto, Some(vec![XdpGeneric])),
            ("tun", tun(), Native, None),
            ("ixgbe, taken", taken(nic("ixgbe")), Auto, None),
            ("ixgbe, taken", taken(nic("ixgbe")), Generic, None),
        ] {
            let policy = policy(SynHook::Xdp, mode, kernel);
            assert_eq!(hooks(&interface, policy), expected, "{name}, {mode:?}, {kernel}");
        }
    }
}

#[test]
fn tcx_always_means_tcx_and_off_nothing() {
    for interface in [lo(), nic("ixgbe"), tun(), virtual_device("veth"), taken(nic("i40e"))] {
        let with = |hook, kernel| hooks(&interface, policy(hook, XdpMode::Auto, kernel));
        assert_eq!(with(SynHook::Tcx, NEW), Some(vec![Tcx]));
        assert_eq!(with(SynHook::Tcx, OLD), None);
        assert_eq!(with(SynHook::Off, NEW), None);
    }
}

#[test]
fn what_tracer_cannot_parse_gets_no_hook() {
    let mut infiniband = nic("ib_ipoib");
    infiniband.arphrd = 32;
    for hook in [SynHook::Auto, SynHook::Xdp, SynHook::Tcx] {
        let refused = plan(&infiniband, policy(hook, XdpMode::Auto, NEW)).unwrap_err();
        assert!(refused.contains("InfiniBand"), "{refused}");
    }
}

#[test]
fn reasons_say_what_matters() {
    let auto = |kernel| policy(SynHook::Auto, XdpMode::Auto, kernel);
    let first = |interface: &Interface, kernel| {
        plan(interface, auto(kernel)).unwrap().first().unwrap().why.clone()
    };
    for (why, part) in [
        (first(&virtual_device("veth"), NEW), "four fifths"),
        (first(&nic("ixgbe"), NEW), "driver ixgbe"),
        (first(&virtual_device("bridge"), NEW), "bridge"),
        (
            first(&taken(nic("ixgbe")), NEW),
            "another XDP program (id 77) is attached in native mode",
        ),
        (first(&nic("ixgbe"), OLD), "GRO"),
        (first(&nic("ixgbe"), OLD), "kernel 6.1 has no tcx (6.6 has)"),
        (first(&lo(), NEW), "copies every packet there; tcx does not"),
        (first(&lo(), OLD), "copies every packet on lo"),
        (plan(&taken(nic("ixgbe")), auto(OLD)).unwrap_err(), "not displaced, and kernel 6.1"),
    ] {
        assert!(why.contains(part), "{part:?} in {why:?}");
        assert!(!why.ends_with('.'), "{why}");
    }
    let without = Policy { tcx: false, ..policy(SynHook::Tcx, XdpMode::Auto, NEW) };
    assert!(plan(&lo(), without).unwrap_err().contains("built without tcx"));
}
