//! Half-open connections, floods, and what only looks like one.

use std::net::IpAddr;
use std::time::Duration;

use crate::support::crowd::{Acceptor, Crowd};
use crate::support::flood::{Flood, Sources, swallow_answers};
use crate::support::page::Counts;
use crate::support::raw::{ACK, SYN};
use crate::support::{Lab, Raw, Shown, documented, ms, pause};

use super::called;

#[test]
fn half_open() {
    documented(|lab| {
        called("web");
        let _listener = lab.b.listen(lab.b4_port(443));
        let shown = Shown::start(lab);
        let raw = Raw::new(lab);
        for _ in 0..7 {
            let mut peer = raw.client(lab.b4_port(443));
            peer.send(SYN, b"");
            peer.expect_flags(SYN | ACK);
        }
        pause(600);
        shown.interrupt(Counts::Vary);
    });
}

/// Sends it all; once tracer has told of it and all is sent, interrupts tracer.
fn told(lab: &Lab, flood: &Flood, told: &str) {
    swallow_answers(lab);
    let shown = Shown::start(lab);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood.run(lab));
        shown.wait(1, told);
        flood.join().expect("the flood");
    });
    shown.interrupt(Counts::Vary);
}

#[test]
fn flood_spoofed() {
    documented(|lab| {
        called("web");
        let to = lab.b4_port(443);
        let _listener = lab.b.listen(to);
        told(lab, &Flood::new(to, 15_000, 5_000), "FLOOD start");
    });
}

#[test]
fn flood_from_one_address() {
    documented(|lab| {
        called("web");
        let to = lab.b4_port(443);
        let _listener = lab.b.listen(to);
        let one = Sources::One(IpAddr::from([10, 200, 0, 1]));
        told(lab, &Flood::new(to, 3_000, 1_000).from(one), "FLOOD start");
    });
}

#[test]
fn flash_crowd() {
    documented(|lab| {
        called("web");
        let to = lab.b4_port(443);
        let acceptor = Acceptor::new(lab.b.listen_with(to, 1024, |_| ()));
        let shown = Shown::start(lab);
        let addresses = lab.more_addresses(20);
        std::thread::scope(|scope| {
            let crowd = Crowd::new(to, 30, Duration::from_secs(4));
            let crowd = crowd.then(600, ms(2_500)).from(addresses);
            let crowd = scope.spawn(move || crowd.run(&lab.a));
            shown.wait(1, "NOTICE start");
            crowd.join().expect("the crowd");
        });
        shown.interrupt(Counts::Vary);
        drop(acceptor);
    });
}

#[test]
fn port_scan() {
    documented(|lab| {
        let scan = Flood::new(lab.b4_port(1), 120, 60).ports(1..=120);
        let scan = scan.from(Sources::One(IpAddr::from([10, 200, 0, 1])));
        told(lab, &scan, "NOTICE start");
    });
}
