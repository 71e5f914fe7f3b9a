//! A draw played for real: its traffic between the hosts of a lab, and what the tracer told.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::json;

use super::plan::{Class, Draw, Way};
use crate::support::alert::{now, seconds};
use crate::support::container::Container;
use crate::support::crowd::{Acceptor, Crowd};
use crate::support::flood::{Flood, Kind, Sources, swallow_answers};
use crate::support::patient::Patient;
use crate::support::{Lab, Tracer, Value, ms, pause};

/// Honest traffic goes on for so long before the draw's own begins, seconds.
const BEFORE: u32 = 2;

/// Plays it; a record of what was told: `flood` and `notices` (verdicts in order, without
/// repetition) and `after_s` (from the first packet to the flood's first record).
pub(super) fn play(lab: &Lab, draw: &Draw) -> Value {
    swallow_answers(lab);
    lab.b.sysctl("ipv4/tcp_syncookies", draw.syncookies);
    lab.b.sysctl("core/somaxconn", 4_096);
    lab.b.sysctl("ipv4/tcp_max_syn_backlog", 4_096);
    let addr = if draw.v6 { lab.b6() } else { lab.b4() };
    let to = SocketAddr::new(addr, 8080);
    let container = (draw.class == Class::Forwarded).then(|| Container::new(lab));
    let served = serve(lab, draw, to, container.as_ref());
    let inner = format!("{}/24", lab.inner4(0));
    let tracer = Tracer::start(lab, &["--host", &inner]);
    // Beside a class that has nobody at the port, the honest go to another one.
    let aside = matches!(
        draw.class,
        Class::Filtered | Class::Forwarded | Class::ClosedPort | Class::PortScan
    );
    let honest = SocketAddr::new(lab.b4(), if aside || draw.v6 { 9_090 } else { 8_080 });
    let _beside =
        (honest.port() == 9_090).then(|| Acceptor::new(lab.b.listen_with(honest, 4_096, |_| ())));
    // A crowd is one by what was before: seconds of that are needed.
    let before = if draw.class == Class::FlashCrowd { 5 } else { BEFORE };
    let whole = Duration::from_secs((before + draw.seconds).into());
    let first = std::thread::scope(|scope| {
        if draw.crowd > 0 {
            let crowd = Crowd::new(honest, draw.crowd, whole).give_up(ms(200));
            scope.spawn(move || crowd.run(&lab.a));
        }
        if draw.patient > 0 {
            let count = draw.patient * (before + draw.seconds);
            let patient = Patient::new(honest, count, draw.patient, round_trip(draw));
            let patient = patient.sources(1 + draw.patient / 4).seed(draw.seed);
            scope.spawn(move || patient.run(lab));
        }
        std::thread::sleep(Duration::from_secs(before.into()));
        let first = now();
        act(lab, draw, to, container.as_ref());
        first
    });
    pause(1_000);
    let run = tracer.stop();
    drop(served);
    run.fine();
    let verdicts = |kind: &str| {
        let mut verdicts: Vec<&str> = Vec::new();
        for record in run.all(kind) {
            let verdict = record["verdict"].as_str().unwrap_or("none");
            if !verdicts.contains(&verdict) {
                verdicts.push(verdict);
            }
        }
        verdicts
    };
    let start = run.all("flood").into_iter().find(|r| r["event"] == "start");
    let after = start.map(|record| seconds(record, "time") - first);
    json!({
        "flood": verdicts("flood"),
        "notices": verdicts("notice"),
        "after_s": after,
        "syns": run.end()["syns"],
        "alerts": if draw.class.is_flood() { String::new() } else { run.alerts() },
    })
}

fn round_trip(draw: &Draw) -> (Duration, Duration) {
    (ms(draw.round_trip.0), ms(draw.round_trip.1))
}

/// Who is at the port: held as long as the draw is played.
#[expect(dead_code, reason = "held, not read")]
enum Served {
    Accepted(Acceptor),
    Stalled(TcpListener),
    Elsewhere(Acceptor, Option<TcpListener>),
    Nobody,
}

fn serve(lab: &Lab, draw: &Draw, to: SocketAddr, container: Option<&Container>) -> Served {
    let listen = || lab.b.listen_with(to, draw.backlog, |_| ());
    match (draw.class, container) {
        (Class::ClosedPort | Class::PortScan, _) => Served::Nobody,
        (Class::AcceptStalled, _) => Served::Stalled(listen()),
        (Class::Forwarded, Some(container)) => {
            if draw.way != Way::Routed {
                container.publish(lab);
            }
            let inner = container.ns.listen_with(container.addr, draw.backlog, |_| ());
            let here = (draw.way == Way::TranslatedBesideListener).then(listen);
            Served::Elsewhere(Acceptor::new(inner), here)
        }
        (class, _) => {
            if class == Class::Filtered {
                lab.b.drop_input("tcp dport 8080");
            }
            Served::Accepted(Acceptor::new(listen()))
        }
    }
}

/// What the class is about.
fn act(lab: &Lab, draw: &Draw, to: SocketAddr, container: Option<&Container>) {
    let time = Duration::from_secs(draw.seconds.into());
    let flood = Flood::new(to, draw.rate * draw.seconds, draw.rate).seed(draw.seed);
    match draw.class {
        Class::Spoofed | Class::Filtered | Class::ClosedPort => {
            flood.run(lab);
        }
        Class::SingleSource | Class::Distributed | Class::Prefix => {
            let flood = flood.from(sources(draw));
            std::thread::scope(|scope| {
                if draw.noise > 0 {
                    scope.spawn(|| {
                        let count = draw.noise * draw.seconds;
                        Flood::new(to, count, draw.noise).seed(!draw.seed).run(lab)
                    });
                }
                flood.run(lab);
            });
        }
        Class::Backscatter => {
            flood.kind(Kind::SynAck).ports(1_024..=u16::MAX).run(lab);
        }
        Class::PortScan => {
            let ports = (1..=u16::MAX).take(draw.sources as usize);
            flood.from(Sources::One([10, 200, 0, 1].into())).ports(ports).run(lab);
        }
        Class::Completing | Class::FlashCrowd => {
            Crowd::new(to, draw.rate, time).from(lab.more_addresses(40)).run(&lab.a);
        }
        Class::AcceptStalled => {
            Crowd::new(to, draw.rate, time).stay().give_up(ms(200)).run(&lab.a);
        }
        Class::Lossy => {
            lab.b.lose("prerouting", "tcp dport 8080", draw.loss);
            lab.a.lose("prerouting", "tcp sport 8080", draw.loss);
            Crowd::new(to, draw.rate, time).give_up(ms(500)).run(&lab.a);
        }
        Class::SlowClients => {
            let count = draw.rate * draw.seconds;
            let clients = Patient::new(to, count, draw.rate, round_trip(draw));
            clients.seed(draw.seed).run(lab);
        }
        Class::Forwarded => {
            let inner = container.map_or(to, |container| container.addr);
            let to = if draw.way == Way::Routed { inner } else { to };
            if draw.spoofed {
                Flood::new(to, draw.rate * draw.seconds, draw.rate).seed(draw.seed).run(lab);
            } else {
                Crowd::new(to, draw.rate, time).run(&lab.a);
            }
        }
    }
}

fn sources(draw: &Draw) -> Sources {
    let net = draw.seed as u16;
    let [high, low] = (net | 1).to_be_bytes();
    match (draw.class, draw.v6) {
        (Class::Prefix, false) => Sources::Few([10, 200, high, 0].into(), draw.sources),
        (Class::Prefix, true) => {
            Sources::RandomIn(IpAddr::from([0xfdc0, 1, 2, net, 0, 0, 0, 0]), 64)
        }
        (Class::Distributed, false) => {
            Sources::Apart([10, 192, high, low].into(), draw.sources, 65_537 / 4)
        }
        (Class::Distributed, true) => {
            let first = IpAddr::from([0xfdc0, 1, 2, net, 0, 0, 0, 1]);
            Sources::Networks(first, draw.sources)
        }
        (_, false) => Sources::One([10, 200, high, low].into()),
        (_, true) => Sources::One(IpAddr::from([0xfdc0, 1, 2, net, 0, 0, 0, 1])),
    }
}
