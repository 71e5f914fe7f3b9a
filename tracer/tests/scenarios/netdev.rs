//! Interfaces: what is hooked and how, SYNs that pass several, links without Ethernet, and
//! interfaces that come and go.

use std::net::SocketAddr;

use crate::support::raw::{ACK, SYN};
use crate::support::sock::{Talk as _, accept};
use crate::support::wire::Tun;
use crate::support::{Check, Lab, Netns, Raw, Run, Tracer, ms, pause, scenario};

/// A connection from `from` to an address of `to`, closed by the client.
fn connection(from: &Netns, to: &Netns, addr: SocketAddr) {
    let listener = to.listen(addr);
    drop(from.connect(addr));
    accept(&listener).hear_end();
}

fn hook(run: &Run, device: &str) -> (bool, String) {
    let hooks = run.start()["hooks"].as_array().expect("hooks");
    let hook = hooks.iter().find(|h| h["name"] == "syn" && h["interface"] == device);
    let hook = hook.unwrap_or_else(|| panic!("no hook on {device}: {}", run.start()));
    (hook["attached"] == true, hook["mode"].as_str().unwrap_or("null").to_owned())
}

/// Whether this kernel has tcx (6.6).
fn has_tcx() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("osrelease");
    let mut parts = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(6), Some(6))
}

#[test]
fn auto_takes_tcx_where_the_kernel_has_it() {
    scenario(|lab| {
        let run = Tracer::start(lab, &[]).stop();
        let mode = if has_tcx() { "tcx" } else { "xdp-generic" };
        for interface in ["lo", "vb"] {
            assert_eq!(hook(run.fine(), interface), (true, mode.to_owned()), "{interface}");
        }
    });
}

#[test]
fn syn_over_lo_is_timed() {
    scenario(|lab| {
        for hook in ["auto", "xdp"] {
            let tracer = Tracer::start(lab, &["--syn-hook", hook]);
            connection(&lab.b, &lab.b, lab.b4_port(8080));
            let run = tracer.stop_after(2);
            let _ = Check::conn(run.fine().server())
                .eq("handshake_source", "syn")
                .brief("handshake_us")
                .eq("syn_retransmits", 0);
            let _ = Check::of(run.end()).eq("syns", 1).eq("syns_repeated", 0);
        }
    });
}

#[test]
fn only_named_interfaces_are_hooked() {
    scenario(|lab| {
        for none in ["lo", "none"] {
            let tracer = Tracer::start(lab, &["--iface", none]);
            connection(&lab.a, &lab.b, lab.b4_port(8080));
            let run = tracer.stop_after(2);
            let _ = Check::conn(run.fine().server())
                .eq("handshake_source", "srtt")
                .brief("handshake_us")
                .eq("syn_retransmits", ());
        }
    });
}

#[test]
fn bridge_and_its_port_see_one_syn() {
    scenario(|lab| {
        // Host b's address moves from the cable's end to a bridge that the cable is a port of.
        lab.b.sh("ip link add br0 type bridge");
        lab.b.sh(&format!("ip addr del {}/24 dev vb", lab.b4()));
        lab.b.sh("ip link set vb master br0");
        lab.b.sh(&format!("ip addr add {}/24 dev br0", lab.b4()));
        lab.b.sh("ip link set br0 up");
        let tracer = Tracer::start(lab, &["-4"]);
        connection(&lab.a, &lab.b, lab.b4_port(8080));
        connection(&lab.a, &lab.b, lab.b4_port(8081));
        let run = tracer.stop_after(4);
        assert!(hook(run.fine(), "br0").0 && hook(&run, "vb").0, "{}", run.start());
        for port in [8080, 8081] {
            let _ = Check::conn(run.conn(|c| c["local_port"] == port))
                .eq("handshake_source", "syn")
                .brief("handshake_us")
                .eq("syn_retransmits", 0);
        }
        let _ = Check::of(run.end()).eq("syns", 2).eq("syns_repeated", 0);
    });
}

#[test]
fn bridge_and_its_port_see_a_repeated_syn_once_more() {
    scenario(|lab| {
        lab.b.sh("ip link add br0 type bridge");
        lab.b.sh(&format!("ip addr del {}/24 dev vb", lab.b4()));
        lab.b.sh("ip link set vb master br0");
        lab.b.sh(&format!("ip addr add {}/24 dev br0", lab.b4()));
        // The raw peer's frames carry the address of vb.
        let mac = crate::support::lab::mac(crate::support::lab::MAC_B);
        lab.b.sh(&format!("ip link set br0 address {mac}"));
        lab.b.sh("ip link set br0 up");
        let tracer = Tracer::start(lab, &["-4"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new_on(lab, "br0");
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"");
        peer.expect_flags(SYN | ACK);
        pause(60);
        peer.send_at(peer.snd.wrapping_sub(1), SYN, b"");
        pause(60);
        peer.send(ACK, b"");
        let server = accept(&listener);
        peer.reset();
        let run = tracer.stop_after(1);
        drop(server);
        let _ = Check::conn(run.fine().server())
            .eq("handshake_source", "syn")
            .lasts("handshake_us", 120)
            .eq("syn_retransmits", 1);
        let _ = Check::of(run.end()).eq("syns", 2).eq("syns_repeated", 1);
    });
}

#[test]
fn tun_has_no_ethernet_header() {
    scenario(|lab| {
        let (ours, theirs) = (lab.other4(130), lab.other4(131));
        let raw = Raw::on(Tun::open(&lab.b, "tun0"), theirs);
        lab.b.sh(&format!("ip addr add {ours} peer {theirs} dev tun0"));
        lab.b.sh("ip link set tun0 up");
        let tracer = Tracer::start(lab, &["-4"]);
        let addr = SocketAddr::new(ours.into(), 8080);
        let listener = lab.b.listen(addr);
        let mut peer = raw.client(addr);
        peer.open(ms(90));
        let server = accept(&listener);
        peer.reset();
        let run = tracer.stop_after(1);
        drop(server);
        assert!(hook(run.fine(), "tun0").0, "{}", run.start());
        let _ = Check::conn(run.server())
            .eq("remote_addr", theirs.to_string())
            .eq("handshake_source", "syn")
            .lasts("handshake_us", 90)
            .eq("syn_retransmits", 0);
        let _ = Check::of(run.end()).eq("syns", 1);
    });
}

/// A second cable between the hosts. Returns b's address on it.
fn second_cable(lab: &Lab) -> SocketAddr {
    lab.a.sh(&format!("ip link add va2 type veth peer name vb2 netns {}", lab.b.path()));
    let (ours, theirs) = (lab.other4(161), lab.other4(162));
    lab.a.sh(&format!("ip addr add {ours}/30 dev va2"));
    lab.b.sh(&format!("ip addr add {theirs}/30 dev vb2"));
    lab.a.sh("ip link set va2 up");
    lab.b.sh("ip link set vb2 up");
    SocketAddr::new(theirs.into(), 8090)
}

#[test]
fn interface_that_appears_later_is_hooked() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let addr = second_cable(lab);
        pause(1_000);
        connection(&lab.a, &lab.b, addr);
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().server())
            .eq("handshake_source", "syn")
            .brief("handshake_us")
            .eq("local_port", 8090);
    });
}

#[test]
fn interface_that_was_down_and_comes_up_is_hooked() {
    scenario(|lab| {
        lab.b.sh("ip link set vb down");
        let tracer = Tracer::start(lab, &["-4"]);
        lab.b.sh("ip link set vb up");
        pause(1_000);
        connection(&lab.a, &lab.b, lab.b4_port(8080));
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().server()).eq("handshake_source", "syn");
    });
}

#[test]
fn named_interface_is_hooked_again_when_it_comes_back() {
    scenario(|lab| {
        let addr = second_cable(lab);
        let tracer = Tracer::start(lab, &["--iface", "vb2"]);
        lab.b.sh("ip link del vb2");
        pause(300);
        let again = second_cable(lab);
        assert_eq!(addr, again);
        pause(1_000);
        connection(&lab.a, &lab.b, again);
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().server()).eq("handshake_source", "syn");
    });
}

#[test]
fn interface_that_goes_away_does_no_harm() {
    scenario(|lab| {
        second_cable(lab);
        let tracer = Tracer::start(lab, &[]);
        lab.b.sh("ip link del vb2");
        pause(300);
        connection(&lab.a, &lab.b, lab.b4_port(8080));
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().server()).eq("handshake_source", "syn");
    });
}
