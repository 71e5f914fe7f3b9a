//! Simulated captures: their segments go through both ends' lives, the counting and the detector.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::capture::life::{self, Lives, Taken};
use crate::capture::segment::{Direction, Options, Segment};
use crate::core::Config;
use crate::core::record::{Alert, AlertEvent, Severity, Verdict};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const BEGAN: MonoNs = MonoNs(1_700_000_000 * SECOND);
const SYN: u8 = 2;
const SYN_ACK: u8 = 18;
const ACK: u8 = 16;
const RST: u8 = 4;
const RST_ACK: u8 = 20;

/// Source, destination, flags, sequence number, acknowledgement number.
type Sent = (SocketAddr, SocketAddr, u8, u32, u32);

/// A capture and all that is made of it.
struct Sim {
    floods: Floods,
    lives: Lives,
    core: Core,
    out: Vec<Record>,
    taken: Taken,
    now: u64,
    number: u64,
    direction: Option<Direction>,
    interface: u32,
    /// Segments that pass later.
    later: BTreeMap<(u64, u64), Sent>,
    seed: u64,
}

fn server(port: u16) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, 1), port).into()
}

impl Sim {
    fn new() -> Self {
        let config = Config { started: BEGAN, syn_hook: true, ..Config::default() };
        Self {
            floods: Floods::new(flood::Config::default(), BEGAN),
            lives: Lives::new(life::Config::default()),
            core: Core::new(config),
            out: Vec::new(),
            taken: Taken::default(),
            now: 0,
            number: 0,
            direction: None,
            interface: 0,
            later: BTreeMap::new(),
            seed: 1,
        }
    }

    fn random(&mut self) -> u32 {
        self.seed =
            self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.seed >> 32) as u32
    }

    /// Sends a segment in `after` nanoseconds.
    fn send(
        &mut self,
        after: u64,
        src: SocketAddr,
        dst: SocketAddr,
        flags: u8,
        seq: u32,
        ack: u32,
    ) {
        self.number += 1;
        self.later.insert((self.now + after, self.number), (src, dst, flags, seq, ack));
    }

    /// Lets time pass.
    fn run(&mut self, nanoseconds: u64) {
        let until = self.now + nanoseconds;
        while let Some((&(at, number), &segment)) = self.later.first_key_value()
            && at <= until
        {
            self.later.remove(&(at, number));
            self.passes(at, number, segment);
        }
        self.now = until;
        self.floods.pass(MonoNs(BEGAN.0 + until), &mut self.core, &mut self.out);
    }

    fn passes(&mut self, at: u64, number: u64, (src, dst, flags, seq, ack): Sent) {
        let at = MonoNs(BEGAN.0 + at);
        let segment = Segment {
            src: src.ip().into(),
            dst: dst.ip().into(),
            src_port: src.port(),
            dst_port: dst.port(),
            seq,
            ack,
            flags,
        };
        let captured = Captured {
            at,
            number,
            interface: self.interface,
            direction: self.direction,
            segment,
            payload_len: 0,
            window: 1000,
            ttl: 64,
            options: Options::default(),
        };
        self.floods.pass(at, &mut self.core, &mut self.out);
        let ends = || self.lives.local_ends(&captured).map(|(src, dst)| Ends { src, dst });
        self.floods.segment(&captured, ends);
        self.lives.take(&captured, &mut self.taken);
        for event in self.taken.events.drain(..) {
            self.floods.event(&event);
            self.core.handle(&event, &mut self.out);
        }
    }

    /// An honest connection.
    fn honest(&mut self, client: Ipv4Addr, port: u16, dst: SocketAddr, rtt: u64) {
        let (src, isn) = ((client, port).into(), self.random());
        let syn_ack = isn ^ 0x5555;
        self.send(0, src, dst, SYN, isn, 0);
        self.send(rtt / 2, dst, src, SYN_ACK, syn_ack, isn.wrapping_add(1));
        self.send(rtt, src, dst, ACK, isn.wrapping_add(1), syn_ack.wrapping_add(1));
    }

    /// A SYN that is answered, again and again, and comes to nothing.
    fn attack(&mut self, src: Ipv4Addr, dst: SocketAddr, answered: bool) {
        let (port, isn) = (1024 + (self.random() % 60_000) as u16, self.random());
        let src = (src, port).into();
        self.send(0, src, dst, SYN, isn, 0);
        if answered {
            for after in [MS, 1_001 * MS, 3_001 * MS] {
                self.send(after, dst, src, SYN_ACK, isn ^ 7, isn.wrapping_add(1));
            }
        }
    }

    fn alerts(&self) -> Vec<&Alert> {
        fn alert(record: &Record) -> Option<&Alert> {
            match record {
                Record::Alert(alert) => Some(alert),
                _ => None,
            }
        }
        self.out.iter().filter_map(alert).collect()
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let starts = self.alerts().into_iter().filter(|alert| alert.event == AlertEvent::Start);
        starts.map(|alert| alert.verdict).collect()
    }
}

fn client(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0xc0a8_0000 + number)
}

#[test]
fn honest_traffic_is_no_flood() {
    let mut sim = Sim::new();
    for step in 0..2000_u32 {
        for n in 0..5 {
            sim.honest(client(step % 200), (2000 + step * 5 + n) as u16, server(443), 20 * MS);
        }
        sim.run(10 * MS);
    }
    sim.run(SECOND);
    assert_eq!(sim.verdicts(), []);
    let hosts = sim.core.hosts(MonoNs(BEGAN.0 + sim.now));
    let syns: u64 = hosts.iter().filter_map(|host| host.syn_count).sum();
    assert_eq!(syns, 10_000);
    let half: u64 = hosts.iter().filter_map(|host| host.half_open).sum();
    assert_eq!(half, 0);
}

fn flood(mut source: impl FnMut(&mut Sim, u32) -> Ipv4Addr) -> Sim {
    let mut sim = Sim::new();
    for step in 0..800_u32 {
        if step % 10 == 0 {
            sim.honest(client(step), 4000, server(80), 10 * MS);
        }
        if (200..600).contains(&step) {
            for n in 0..10 {
                let src = source(&mut sim, step * 10 + n);
                sim.attack(src, server(80), true);
            }
        }
        sim.run(10 * MS);
    }
    sim.run(20 * SECOND);
    sim
}

fn expect_flood(sim: &Sim, verdict: Verdict) {
    assert_eq!(sim.verdicts(), [verdict]);
    let alerts = sim.alerts();
    let start = alerts[0];
    assert_eq!(start.listener, Some(server(80)));
    let since = (start.since.0 - BEGAN.0) as f64 / 1e9;
    assert!((1.9..2.6).contains(&since), "{since}");
    let told = (start.at.0 - BEGAN.0) as f64 / 1e9;
    assert!((2.7..4.5).contains(&told), "{told}");
    // SYN-ACKs are sent again after a second.
    let worst = alerts.iter().filter_map(|alert| alert.severity).max();
    assert!(worst >= Some(Severity::Confirmed), "{worst:?}");
    let end = alerts.last().unwrap();
    assert_eq!(end.event, AlertEvent::End);
    assert!((3_600..=4_100).contains(&end.syn_count), "{}", end.syn_count);
    assert_eq!(end.cookies_sent_rate, None);
    assert!(end.evidence.iter().all(|said| said.metric != "listener_drops"));
}

#[test]
fn a_flood_with_forged_sources() {
    let sim = flood(|sim, _| Ipv4Addr::from(sim.random() | 0x0100_0000));
    expect_flood(&sim, Verdict::Spoofed);
    let estimate = sim.alerts().last().unwrap().sources_estimate.unwrap();
    assert!((3_600..=4_300).contains(&estimate), "{estimate}");
}

#[test]
fn a_flood_from_one_source() {
    let sim = flood(|_, _| Ipv4Addr::new(203, 0, 113, 9));
    expect_flood(&sim, Verdict::SingleSource);
    let top = &sim.alerts().last().unwrap().top_sources[0];
    assert_eq!(top.prefix.addr, Ipv4Addr::new(203, 0, 113, 9));
    assert!(top.share > 0.9, "{}", top.share);
}

#[test]
fn a_flood_from_one_prefix() {
    let sim = flood(|sim, _| Ipv4Addr::new(203, 0, 113, (sim.random() % 250) as u8));
    expect_flood(&sim, Verdict::Prefix);
}

#[test]
fn a_flood_of_which_only_the_syns_were_captured() {
    let mut sim = Sim::new();
    for _ in 0..400 {
        for _ in 0..10 {
            let src = Ipv4Addr::from(sim.random() | 0x0100_0000);
            sim.attack(src, server(80), false);
        }
        sim.run(10 * MS);
    }
    sim.run(20 * SECOND);
    assert_eq!(sim.verdicts(), [Verdict::Spoofed]);
    assert!(sim.alerts().iter().all(|alert| alert.severity == Some(Severity::Suspected)));
}

#[test]
fn a_listener_that_answers_no_more_is_flooded_all_the_same() {
    let mut sim = Sim::new();
    for step in 0..600_u32 {
        if step < 200 && step % 10 == 0 {
            sim.honest(client(step), 4000, server(80), 10 * MS);
        }
        if step >= 200 {
            for _ in 0..10 {
                let src = Ipv4Addr::from(sim.random() | 0x0100_0000);
                sim.attack(src, server(80), false);
            }
        }
        sim.run(10 * MS);
    }
    assert_eq!(sim.verdicts(), [Verdict::Spoofed]);
}

#[test]
fn port_scans_of_hosts_that_refuse_and_of_silent_ones() {
    for refuses in [true, false] {
        let mut sim = Sim::new();
        sim.honest(client(7), 5000, server(22), 10 * MS);
        for port in 0..600_u16 {
            let (src, dst) = ((client(1), 40_000).into(), server(1000 + port));
            let isn = sim.random();
            sim.send(0, src, dst, SYN, isn, 0);
            if refuses {
                sim.send(MS, dst, src, RST_ACK, 0, isn.wrapping_add(1));
            }
            sim.run(20 * MS);
        }
        sim.run(20 * SECOND);
        assert_eq!(sim.verdicts(), [Verdict::PortScan], "{refuses}");
        let alerts = sim.alerts();
        assert_eq!(alerts[0].top_sources[0].prefix.addr, client(1));
        assert_eq!(alerts.last().unwrap().event, AlertEvent::End);
    }
}

#[test]
fn a_client_of_many_servers_scans_none() {
    let mut sim = Sim::new();
    for step in 0..4000_u32 {
        let server = (Ipv4Addr::from(0x0b00_0000 + step * 3), 443).into();
        sim.honest(client(1), 1024 + step as u16, server, 150 * MS);
        sim.run(5 * MS);
    }
    sim.run(SECOND);
    assert_eq!(sim.verdicts(), []);
}

#[test]
fn closed_ports_that_are_tried_and_not_refused_are_filtered() {
    let mut sim = Sim::new();
    sim.honest(client(7), 5000, server(22), 10 * MS);
    for _ in 0..600 {
        for _ in 0..5 {
            let src = client(sim.random() % 60_000);
            sim.attack(src, server(81), false);
        }
        sim.run(10 * MS);
    }
    assert_eq!(sim.verdicts(), [Verdict::Filtered]);
}

#[test]
fn answers_that_nobody_asked_for_are_backscatter() {
    let mut sim = Sim::new();
    for step in 0..600_u32 {
        for n in 0..4 {
            let src = (Ipv4Addr::from(0x0c00_0000 + step * 4 + n), 80).into();
            let (dst, number) = ((client(1), 1024 + (step * 4 + n) as u16).into(), sim.random());
            sim.send(0, src, dst, SYN_ACK, 1, number);
            sim.send(MS, dst, src, RST, number, 0);
        }
        sim.run(10 * MS);
    }
    assert_eq!(sim.verdicts(), [Verdict::Backscatter]);
    // Without the answers of the host they are answers to something that was not captured.
    let mut sim = Sim::new();
    for step in 0..600_u32 {
        for n in 0..4 {
            let dst = (Ipv4Addr::from(0x0c00_0000 + step * 4 + n), 5000).into();
            sim.send(0, server(80), dst, SYN_ACK, 1, 2);
        }
        sim.run(10 * MS);
    }
    assert_eq!(sim.verdicts(), []);
}

#[test]
fn what_this_host_opens_is_no_flood_of_others() {
    let mut sim = Sim::new();
    sim.direction = Some(Direction::Out);
    for _ in 0..600 {
        for _ in 0..5 {
            let (port, isn) = (1024 + (sim.random() % 60_000) as u16, sim.random());
            sim.send(0, (client(1), port).into(), server(80), SYN, isn, 0);
        }
        sim.run(10 * MS);
    }
    assert_eq!(sim.verdicts(), []);
}

#[test]
fn a_syn_counts_once_wherever_it_passes_and_again_when_it_is_sent_again() {
    let mut sim = Sim::new();
    sim.direction = Some(Direction::In);
    let mut passes = |interface, direction, src, number| {
        (sim.interface, sim.direction) = (interface, direction);
        sim.send(0, src, server(80), SYN, number, 0);
        sim.run(MS);
        sim.floods.syns()
    };
    let (r#in, out) = (Some(Direction::In), Some(Direction::Out));
    let peer = (client(1), 4000).into();
    assert_eq!(passes(1, r#in, peer, 7), (1, 0));
    // A bridge; and the way on.
    assert_eq!(passes(2, r#in, peer, 7), (1, 0));
    assert_eq!(passes(1, out, peer, 7), (1, 0));
    // Sent again, with the copies of that.
    assert_eq!(passes(1, r#in, peer, 7), (2, 1));
    assert_eq!(passes(2, r#in, peer, 7), (2, 1));
    // Another attempt.
    assert_eq!(passes(1, r#in, peer, 8), (3, 1));
    // This host's own.
    assert_eq!(passes(1, out, (client(2), 4000).into(), 9), (3, 1));
    // Without directions and interfaces all come.
    assert_eq!(passes(0, None, (client(3), 4000).into(), 9), (4, 1));
    assert_eq!(passes(0, None, (client(3), 4000).into(), 9), (5, 2));
}

#[test]
fn the_last_syn_counts_for_its_sender_whoever_would_have_answered() {
    // Before, at and behind the time of a tick.
    for last in [240 * MS, 250 * MS, 260 * MS] {
        for port in [80, 81] {
            let mut sim = Sim::new();
            sim.honest(client(1), 4000, server(80), 10 * MS);
            sim.run(5 * SECOND);
            sim.send(last, (client(2), 4000).into(), server(port), SYN, 1, 0);
            sim.run(last);
            sim.floods.finish(MonoNs(BEGAN.0 + sim.now), &mut sim.core, &mut sim.out);
            let hosts = sim.core.hosts(MonoNs(BEGAN.0 + sim.now));
            let counts: Vec<_> = hosts.iter().map(|host| (host.host, host.syn_count)).collect();
            let counted = counts.contains(&(Some(client(2).into()), Some(1)));
            assert!(counted, "{last} {port}: {counts:?}");
            assert_eq!(sim.verdicts(), []);
        }
    }
}

/// At any time fifty of one host's handshakes are on their way, and fifteen that another one resets; for
/// longer than one that never completes is kept.
#[test]
fn those_on_their_way_are_counted_however_long_it_goes_on() {
    let mut sim = Sim::new();
    for n in 0..9_000 {
        let port = 1024 + n;
        sim.honest(client(1), port, server(80), 500 * MS);
        if n % 2 == 0 {
            let (src, isn) = ((client(2), port).into(), sim.random());
            sim.send(0, src, server(80), SYN, isn, 0);
            sim.send(MS, server(80), src, SYN_ACK, 7, isn.wrapping_add(1));
            sim.send(300 * MS, src, server(80), RST, isn.wrapping_add(1), 0);
        }
        sim.run(10 * MS);
    }
    // Up to a tick.
    assert_eq!(sim.now % TICK, 0);
    let hosts = sim.core.hosts(MonoNs(BEGAN.0 + sim.now));
    let half_open: BTreeMap<_, _> = hosts.iter().map(|host| (host.host, host.half_open)).collect();
    let of = |number| half_open[&Some(client(number).into())].expect("counted");
    assert!(of(1).abs_diff(50) <= 1 && of(2).abs_diff(15) <= 1, "{half_open:?}");
    assert_eq!(sim.verdicts(), []);
}

/// More clients than are followed, none of whose handshakes fails: they are in the others' row.
#[test]
fn of_many_clients_that_complete_next_to_none_is_left_half_open() {
    let mut sim = Sim::new();
    for n in 0..30_000 {
        let number = sim.random() % 6_000;
        sim.honest(client(number), 1024 + (n % 60_000) as u16, server(80), 40 * MS);
        sim.run(MS);
    }
    sim.run(SECOND);
    let left = |sim: &Sim| sim.core.half_open().expect("counted");
    // Rows of hosts whose ends were not followed.
    assert!(left(&sim) < 30_000 / 20, "{}", left(&sim));
    // Nothing comes any more, and they are forgotten all the same.
    sim.run(70 * SECOND);
    assert_eq!(left(&sim), 0);
}

/// A SYN that is answered when it has been told of as one for a closed port; ten more wait in time.
#[test]
fn who_was_answered_late_ends_no_other() {
    let mut sim = Sim::new();
    let (src, isn) = ((client(1), 1024).into(), 77);
    sim.send(0, src, server(80), SYN, isn, 0);
    sim.run(1_600 * MS);
    sim.send(0, server(80), src, SYN_ACK, 7, isn + 1);
    for port in 2_000..2_010 {
        let src = (client(1), port).into();
        sim.send(MS, src, server(80), SYN, 9, 0);
        sim.send(2 * MS, server(80), src, SYN_ACK, 9, 10);
    }
    sim.send(600 * MS, src, server(80), ACK, isn + 1, 8);
    sim.run(2 * SECOND);
    assert_eq!(sim.core.half_open(), Some(10));
}

#[test]
fn memory_stays_bounded_and_gaps_cost_nothing() {
    let mut sim = Sim::new();
    for _ in 0..40_000 {
        let (src, dst) = (sim.random(), sim.random());
        sim.attack(Ipv4Addr::from(src), (Ipv4Addr::from(dst), 80).into(), false);
        sim.run(MS / 40);
    }
    // A hundred days of nothing.
    sim.run(8_640_000 * SECOND);
    sim.honest(client(1), 1, server(80), MS);
    sim.run(SECOND);
    sim.floods.finish(MonoNs(BEGAN.0 + sim.now), &mut sim.core, &mut sim.out);
}
