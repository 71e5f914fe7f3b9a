//! SYNs that are not for a listener of this namespace: they pass through, meet a closed port or a
//! filter, or answer what nobody asked. None of it may be called a flood.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::support::alert::{CLEAR, timed};
use crate::support::container::Container;
use crate::support::counters::Counters;
use crate::support::crowd::{Acceptor, Crowd, Made};
use crate::support::flood::{Flood, Kind, Sources, dropped_by, swallow_answers};
use crate::support::lab::{MAC_A, mac};
use crate::support::wire::Tun;
use crate::support::{Check, Lab, Netns, Run, Tracer, pause, scenario};

/// Long enough for what may have begun to be told.
const AFTERMATH: u64 = 1_500;

fn tracer(lab: &Lab) -> Tracer {
    let inner = format!("{}/24", lab.inner4(0));
    Tracer::start(lab, &[CLEAR.as_slice(), &["--host", &inner]].concat())
}

/// 2,000 honest connections a second to `to`.
fn honest(lab: &Lab, to: SocketAddr) -> Made {
    let made = Crowd::new(to, 2_000, Duration::from_secs(4)).run(&lab.a);
    assert!(made.completed * 100 >= made.begun * 99 && made.begun >= 7_900, "{made:?}");
    made
}

/// 5,000 SYNs a second to `to`, none of which ever completes.
fn spoofed(lab: &Lab, to: SocketAddr) {
    let flood = Flood::new(to, 20_000, 5_000);
    assert_eq!(flood.run(lab).packets, 20_000);
}

/// Checks that the SYNs came in where the tracer looks, and that they were no flood.
fn passed_through(tracer: Tracer, syns: u64, notices: &[&str]) -> Run {
    pause(AFTERMATH);
    let run = tracer.stop();
    let _ = Check::of(run.end()).within("syns", syns as f64..);
    run.no_flood_but_perhaps(notices);
    run
}

fn half_open(ns: &Netns) -> usize {
    ns.sh("ss -Htn state syn-recv").lines().count()
}

#[test]
fn dnat_to_a_container_that_answers() {
    scenario(|lab| {
        let inner = Container::new(lab);
        inner.publish(lab);
        let acceptor = Acceptor::new(inner.ns.listen_with(inner.addr, 4096, |_| ()));
        let tracer = tracer(lab);
        let made = honest(lab, lab.b4_port(8080));
        assert!(acceptor.accepted() >= made.completed * 99 / 100, "{made:?}");
        passed_through(tracer, made.completed, &["forwarded"]);
    });
}

#[test]
fn dnat_to_a_container_with_a_listener_on_the_same_port_of_the_host() {
    scenario(|lab| {
        // As docker-proxy does: it listens on the published port, and no connection ever gets to
        // it, since prerouting has translated them all.
        let inner = Container::new(lab);
        inner.publish(lab);
        let _proxy = lab.b.listen(SocketAddr::from(([0, 0, 0, 0], 8080)));
        let acceptor = Acceptor::new(inner.ns.listen_with(inner.addr, 4096, |_| ()));
        let tracer = tracer(lab);
        let made = honest(lab, lab.b4_port(8080));
        assert!(acceptor.accepted() >= made.completed * 99 / 100, "{made:?}");
        passed_through(tracer, made.completed, &["forwarded"]);
    });
}

#[test]
fn spoofed_syns_through_dnat() {
    scenario(|lab| {
        swallow_answers(lab);
        let inner = Container::new(lab);
        inner.publish(lab);
        let _listener = inner.ns.listen_with(inner.addr, 4096, |_| ());
        let tracer = tracer(lab);
        spoofed(lab, lab.b4_port(8080));
        assert!(half_open(&inner.ns) > 0, "nothing came through");
        // None completes anywhere, and none is refused: nothing says where they went.
        let run = passed_through(tracer, 20_000, &["filtered", "forwarded"]);
        assert!(!run.verdicts().is_empty(), "nothing was told");
    });
}

#[test]
fn spoofed_syns_through_dnat_with_a_listener_on_the_same_port_of_the_host() {
    scenario(|lab| {
        swallow_answers(lab);
        let inner = Container::new(lab);
        inner.publish(lab);
        let _proxy = lab.b.listen(SocketAddr::from(([0, 0, 0, 0], 8080)));
        let _listener = inner.ns.listen_with(inner.addr, 4096, |_| ());
        let tracer = tracer(lab);
        spoofed(lab, lab.b4_port(8080));
        assert!(half_open(&inner.ns) > 0, "nothing came through");
        assert_eq!(half_open(&lab.b), 0, "half-opens of the host's own listener");
        // They never reach the host's listener, and nothing in this namespace says where they went.
        let run = passed_through(tracer, 20_000, &["filtered", "forwarded"]);
        assert!(!run.verdicts().is_empty(), "nothing was told");
    });
}

#[test]
fn forwarded_connections() {
    scenario(|lab| {
        let inner = Container::new(lab);
        let acceptor = Acceptor::new(inner.ns.listen_with(inner.addr, 4096, |_| ()));
        let tracer = tracer(lab);
        let made = honest(lab, inner.addr);
        assert!(acceptor.accepted() >= made.completed * 99 / 100, "{made:?}");
        passed_through(tracer, made.completed, &["forwarded"]);
    });
}

#[test]
fn forwarded_spoofed_syns() {
    scenario(|lab| {
        swallow_answers(lab);
        let inner = Container::new(lab);
        // The same port here: it is the address that counts.
        let _here = lab.b.listen(lab.b4_port(80));
        let _listener = inner.ns.listen_with(inner.addr, 4096, |_| ());
        let tracer = tracer(lab);
        spoofed(lab, inner.addr);
        assert!(half_open(&inner.ns) > 0, "nothing came through");
        let run = passed_through(tracer, 20_000, &["forwarded"]);
        run.one_notice("forwarded");
    });
}

#[test]
fn nobody_listens() {
    scenario(|lab| {
        swallow_answers(lab);
        // Elsewhere in this namespace, and on this port in another one.
        let _other_port = lab.b.listen(lab.b4_port(8081));
        let tracer = tracer(lab);
        let before = Counters::read(&lab.b);
        spoofed(lab, lab.b4_port(8080));
        let resets = Counters::read(&lab.b).get("TcpOutRsts") - before.get("TcpOutRsts");
        assert_eq!(resets, 20_000);
        passed_through(tracer, 20_000, &[]);
    });
}

#[test]
fn listener_in_a_second_namespace() {
    scenario(|lab| {
        swallow_answers(lab);
        let inner = Container::new(lab);
        // Same port, and bound to every address of its own namespace.
        let _listener = inner.ns.listen(SocketAddr::from(([0, 0, 0, 0], 8080)));
        let tracer = tracer(lab);
        spoofed(lab, lab.b4_port(8080));
        assert_eq!(half_open(&inner.ns), 0);
        passed_through(tracer, 20_000, &[]);
    });
}

#[test]
fn bridged_to_somebody_else() {
    scenario(|lab| {
        swallow_answers(lab);
        let inner = Netns::new();
        lab.b.sh("ip link add br0 type bridge");
        lab.b.sh("ip link set br0 up");
        lab.b.sh(&format!("ip link add cb type veth peer name eth0 netns {}", inner.path()));
        lab.b.sh("ip link set cb master br0 up");
        let address = lab.b4();
        lab.b.sh(&format!("ip addr del {address}/24 dev vb"));
        lab.b.sh("ip link set vb master br0");
        let theirs = lab.other4(30);
        inner.sh(&format!("ip addr add {theirs}/24 dev eth0"));
        inner.sh("ip link set eth0 address 02:00:00:00:00:1c up");
        inner.sh(&format!("ip route add 10.192.0.0/10 via {}", lab.a4()));
        inner.sh(&format!("ip neigh replace {} lladdr {} dev eth0", lab.a4(), mac(MAC_A)));
        inner.sysctl("ipv4/conf/all/rp_filter", 0);
        let to = SocketAddr::new(theirs.into(), 8080);
        let _listener = inner.listen_with(to, 4096, |_| ());
        // The same port here.
        let _here = lab.b.listen(SocketAddr::from(([0, 0, 0, 0], 8080)));
        let tracer = tracer(lab);
        let macs = (MAC_A, [0x02, 0, 0, 0, 0, 0x1c]);
        let flood = Flood::new(to, 20_000, 5_000);
        assert_eq!(flood.run_on(&lab.a, c"va", macs).packets, 20_000);
        assert!(half_open(&inner) > 0, "nothing came through");
        passed_through(tracer, 20_000, &["forwarded"]);
    });
}

#[test]
fn flood_through_a_bridge_to_this_host() {
    scenario(|lab| {
        swallow_answers(lab);
        lab.b.sh("ip link add br0 type bridge");
        lab.b.sh(&format!("ip link set br0 address {} up", mac(crate::support::lab::MAC_B)));
        let address = lab.b4();
        lab.b.sh(&format!("ip addr del {address}/24 dev vb"));
        lab.b.sh(&format!("ip addr add {address}/24 dev br0"));
        lab.b.sh("ip link set vb master br0");
        lab.b.sysctl("ipv4/conf/br0/rp_filter", 0);
        let to = lab.b4_port(8080);
        let _listener = lab.b.listen(to);
        let tracer = Tracer::start(lab, &CLEAR);
        let dropped = dropped_by(&lab.a, "va");
        let flood = Flood::new(to, 16_000, 4_000);
        let (_, times) = timed(|| flood.run(lab));
        let lost = dropped_by(&lab.a, "va") - dropped;
        tracer.let_floods_end();
        let run = tracer.stop();
        // Seen on the port and on the bridge, and counted once.
        let _ = Check::of(run.fine().end()).within("syns", 16_000.0 - lost as f64..=16_000.0);
        run.one_flood(to, "spoofed", times).counts(&flood, lost);
    });
}

#[test]
fn flood_through_a_tun_device() {
    scenario(|lab| {
        swallow_answers(lab);
        let (ours, theirs) = (lab.other4(130), lab.other4(131));
        let tun = Tun::open(&lab.b, "tun0");
        lab.b.sh(&format!("ip addr add {ours} peer {theirs} dev tun0"));
        lab.b.sh("ip link set tun0 up");
        lab.b.sysctl("ipv4/conf/tun0/rp_filter", 0);
        let to = SocketAddr::new(ours.into(), 8080);
        let _listener = lab.b.listen(to);
        let tracer = Tracer::start(lab, &CLEAR);
        let flood = Flood::new(to, 16_000, 4_000);
        let (_, times) = timed(|| flood.run_into(&tun));
        tracer.let_floods_end();
        let run = tracer.stop();
        let _ = Check::of(run.fine().end()).eq("syns", 16_000);
        run.one_flood(to, "spoofed", times).counts(&flood, 0);
    });
}

#[test]
fn dropped_by_nftables() {
    scenario(|lab| {
        swallow_answers(lab);
        let _listener = lab.b.listen(lab.b4_port(8080));
        lab.b.drop_input("tcp dport 8080");
        let tracer = tracer(lab);
        spoofed(lab, lab.b4_port(8080));
        assert_eq!(lab.b.dropped(), 20_000);
        let run = passed_through(tracer, 20_000, &["filtered"]);
        let notice = run.one_notice("filtered");
        let _ = Check::of(&notice["listener"]).eq("port", 8080);
    });
}

#[test]
fn a_thousand_ports_scanned() {
    scenario(|lab| {
        swallow_answers(lab);
        let scanner = IpAddr::from([10, 200, 0, 1]);
        // A few of them are open.
        let _open: Vec<_> =
            [8_022, 8_080, 8_443].map(|port| lab.b.listen(lab.b4_port(port))).into();
        let tracer = tracer(lab);
        let scan = Flood::new(lab.b4_port(8_000), 1_000, 100)
            .from(Sources::One(scanner))
            .ports(8_000..9_000);
        assert_eq!(scan.run(lab).packets, 1_000);
        let run = passed_through(tracer, 1_000, &["port_scan"]);
        let notice = run.one_notice("port_scan");
        let _ = Check::of(&notice["top_sources"][0]).eq("prefix", "10.200.0.1/32");
    });
}

#[test]
fn backscatter() {
    scenario(|lab| {
        swallow_answers(lab);
        let _listener = lab.b.listen(lab.b4_port(8080));
        let tracer = tracer(lab);
        // From the web servers of the world to ports that a spoofer drew.
        let answers = Flood::new(lab.b4_port(1024), 30_000, 10_000)
            .kind(Kind::SynAck)
            .ports(1_024..=u16::MAX);
        assert_eq!(answers.run(lab).packets, 30_000);
        let run = passed_through(tracer, 0, &["backscatter"]);
        let notice = run.one_notice("backscatter");
        let _ = Check::of(notice).eq("listener", serde_json::Value::Null);
        let _ = Check::of(run.end()).eq("syns", 0);
    });
}
