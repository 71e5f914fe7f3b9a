//! Floods of every form: with and without SYN cookies, in tagged frames, behind options and
//! extension headers, slow ones, ones that come and go, and a tracer killed in the midst of one.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::alert::{CLEAR, Times, now, timed};
use crate::support::counters::Counters;
use crate::support::flood::{
    Flood, SERVICE_VLAN, Shape, Sources, VLAN, dropped_by, swallow_answers,
};
use crate::support::{Check, Lab, Tracer, ms, pause, scenario, wait_until};

fn grown(lab: &Lab, before: &Counters, name: &str) -> i64 {
    Counters::read(&lab.b).get(name) - before.get(name)
}

/// A flood of 4,000 SYNs a second; checks what must be the same whatever its form.
fn spoofed(lab: &Lab, flood: &Flood, to: SocketAddr) -> (Counters, Tracer, Times) {
    swallow_answers(lab);
    let tracer = Tracer::start(lab, &CLEAR);
    let before = Counters::read(&lab.b);
    let dropped = dropped_by(&lab.a, "va");
    let (sent, times) = timed(|| flood.run(lab));
    assert_eq!(sent.packets, flood.total());
    assert_eq!(dropped_by(&lab.a, "va"), dropped, "the cable is too slow");
    assert_eq!(grown(lab, &before, "TcpInSegs"), flood.total() as i64, "{to} did not get them");
    tracer.let_floods_end();
    (before, tracer, times)
}

fn told(lab: &Lab, flood: &Flood, to: SocketAddr) -> Counters {
    let _listener = lab.b.listen(to);
    let (before, tracer, times) = spoofed(lab, flood, to);
    let run = tracer.stop();
    let _ = Check::of(run.fine().end()).eq("syns", flood.total()).eq("syns_repeated", 0);
    run.confirmed().one_flood(to, "spoofed", times).counts(flood, 0);
    before
}

fn with_cookies(lab: &Lab, mode: u8) -> Counters {
    lab.b.sysctl("ipv4/tcp_syncookies", mode);
    told(lab, &Flood::new(lab.b4_port(8080), 16_000, 4_000), lab.b4_port(8080))
}

#[test]
fn syncookies_off() {
    scenario(|lab| {
        let before = with_cookies(lab, 0);
        assert_eq!(grown(lab, &before, "TcpExtSyncookiesSent"), 0);
        assert!(grown(lab, &before, "TcpExtListenDrops") > 10_000, "the queue was never full");
    });
}

#[test]
fn syncookies_when_the_queue_is_full() {
    scenario(|lab| {
        let before = with_cookies(lab, 1);
        assert!(grown(lab, &before, "TcpExtSyncookiesSent") > 10_000, "no cookies");
    });
}

#[test]
fn syncookies_always() {
    scenario(|lab| {
        let before = with_cookies(lab, 2);
        assert_eq!(grown(lab, &before, "TcpExtSyncookiesSent"), 16_000);
    });
}

/// The tags' VLAN is 0: only a priority (IEEE 802.1Q, 6.9), so the host takes the frames for its
/// own without a VLAN device.
fn tagged(lab: &Lab, tags: &'static [(u16, u16)]) {
    for to in [lab.b4_port(8080), SocketAddr::new(lab.b6(), 8081)] {
        let flood = Flood::new(to, 16_000, 4_000).shape(Shape { tags, ..Shape::default() });
        let _ = told(lab, &flood, to);
        lab.b.sh("ip link del sink");
    }
}

#[test]
fn vlan_tag() {
    scenario(|lab| tagged(lab, &[(VLAN, 0)]));
}

#[test]
fn two_vlan_tags() {
    scenario(|lab| tagged(lab, &[(SERVICE_VLAN, 0), (VLAN, 0)]));
}

#[test]
fn vlans_that_this_host_is_not_in() {
    scenario(|lab| {
        swallow_answers(lab);
        let _listener = lab.b.listen(lab.b4_port(8080));
        let tracer = Tracer::start(lab, &CLEAR);
        let before = Counters::read(&lab.b);
        for tags in [&[(VLAN, 7)][..], &[(SERVICE_VLAN, 7), (VLAN, 8)]] {
            let flood = Flood::new(lab.b4_port(8080), 8_000, 4_000);
            let flood = flood.shape(Shape { tags, ..Shape::default() }).seed(tags.len() as u64);
            assert_eq!(flood.run(lab).packets, 8_000);
        }
        pause(1_500);
        assert_eq!(grown(lab, &before, "TcpInSegs"), 0);
        let run = tracer.stop();
        // They are for this address and never get to it.
        run.fine().no_flood_but_perhaps(&["filtered", "forwarded"]);
        let _ = Check::of(run.end()).eq("syns", 16_000);
    });
}

#[test]
fn ip_options() {
    scenario(|lab| {
        let to = lab.b4_port(8080);
        let shape = Shape { options: 40, ..Shape::default() };
        let _ = told(lab, &Flood::new(to, 16_000, 4_000).shape(shape), to);
    });
}

#[test]
fn extension_headers() {
    scenario(|lab| {
        let to = SocketAddr::new(lab.b6(), 8080);
        let shape = Shape { extensions: 2, ..Shape::default() };
        let _ = told(lab, &Flood::new(to, 16_000, 4_000).shape(shape), to);
    });
}

#[test]
fn low_and_slow() {
    scenario(|lab| {
        swallow_answers(lab);
        let to = lab.b4_port(8080);
        let _listener = lab.b.listen_with(to, 16, |_| ());
        let tracer = Tracer::start(lab, &CLEAR);
        let before = Counters::read(&lab.b);
        assert_eq!(Flood::new(to, 160, 20).run(lab).packets, 160);
        let queued = lab.b.sh("ss -Htn state syn-recv").lines().count();
        assert!((15..=17).contains(&queued), "{queued} in a queue for 16");
        assert!(grown(lab, &before, "TcpExtSyncookiesSent") > 50, "the queue was not full");
        let run = tracer.stop();
        let notice = run.fine().one_notice("queue_pressure");
        let _ = Check::of(&notice["listener"]).eq("port", 8080);
        let _ =
            Check::of(&notice["queue"]).within("limit", 16.0..=17.0).within("length", 12.0..=17.0);
    });
}

#[test]
fn one_second_on_and_nine_off() {
    scenario(|lab| {
        swallow_answers(lab);
        let to = lab.b4_port(8080);
        let _listener = lab.b.listen(to);
        // With the usual ten seconds to the end.
        let tracer = Tracer::start(lab, &[]);
        let first = now();
        let mut last = first;
        for seed in 0..3 {
            if seed > 0 {
                pause(9_000);
            }
            assert_eq!(Flood::new(to, 5_000, 5_000).seed(seed).run(lab).packets, 5_000);
            last = now();
        }
        tracer.let_floods_end();
        let run = tracer.stop();
        let incident = run.fine().one_flood(to, "spoofed", Times { first, last });
        let _ = Check::of(incident.end).eq("syn_count", 15_000);
    });
}

#[test]
fn killed_in_mid_flood() {
    scenario(|lab| {
        swallow_answers(lab);
        // Another XDP program, on another interface of the same host.
        lab.a.sh(&format!("ip link add va2 type veth peer name vb2 netns {}", lab.b.path()));
        lab.a.sh("ip link set va2 up");
        lab.b.sh("ip link set vb2 up");
        let other = Tracer::start_in(&lab.b, &["--syn-hook", "xdp", "--iface", "vb2"]);
        let program = |device: &str| {
            let shown = lab.b.sh(&format!("ip -d link show {device}"));
            let mut words =
                shown.split_whitespace().skip_while(|word| !word.starts_with("prog/xdp"));
            let _ = words.next();
            words.next().and(words.next()).map(str::to_owned)
        };
        let theirs = program("vb2").expect("a program on vb2");
        let to = lab.b4_port(8080);
        let _listener = lab.b.listen(to);
        let hook = ["--syn-hook", "xdp", "--iface", "vb"];
        let tracer = Tracer::start(lab, &[CLEAR.as_slice(), &hook].concat());
        assert!(program("vb").is_some(), "no program on vb");
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let few = Sources::Few([10, 200, 0, 1].into(), 9);
                Flood::new(to, 20_000, 5_000).from(few).run(lab)
            });
            let told = tracer.alert("flood", "start", Duration::from_secs(4));
            assert!(told.is_some(), "no flood was told");
            tracer.signal(Signal::SIGKILL);
            wait_until("nothing is left on vb", ms(2_000), || program("vb").is_none());
            assert_eq!(flood.join().expect("the flood").packets, 20_000);
        });
        drop(tracer);
        assert_eq!(program("vb2"), Some(theirs), "the other's program");
        // A new one takes up from nothing, with the queue still full of the old flood.
        let tracer = Tracer::start(lab, &[CLEAR.as_slice(), &hook].concat());
        pause(1_500);
        let run = tracer.stop();
        run.fine().no_flood_but_perhaps(&["queue_pressure"]);
        let _ = Check::of(run.end()).eq("syns", 0);
        let other = other.stop();
        let _ = Check::of(other.fine().end()).eq("syns", 0);
    });
}
