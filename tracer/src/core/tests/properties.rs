//! Whatever the order of events: no panic, nothing lost from the totals, no impossible duration.

use std::collections::HashSet;

use proptest::prelude::*;
use tracer_common::state::TcpState;

use super::world::*;
use crate::core::event::{Event, ExistingSocket, MonoNs, SocketEvent, SynSeen};
use crate::core::record::{Connection, Record, Role};
use crate::core::selection::Selection;
use crate::core::{Config, Core};

#[derive(Clone, Debug)]
enum Step {
    Event(Event),
    Tick(u64),
    Lost,
    List(Vec<ExistingSocket>),
}

fn state() -> impl Strategy<Value = TcpState> {
    (1..=11_u8).prop_map(|code| TcpState::try_from(code).expect("a state"))
}

/// A transition, most of them possible ones.
fn transition() -> impl Strategy<Value = (TcpState, TcpState)> {
    let possible = prop::sample::select(vec![
        (Close, SynSent),
        (SynSent, Established),
        (SynSent, SynRecv),
        (SynRecv, Established),
        (SynRecv, FinWait1),
        (Established, FinWait1),
        (Established, CloseWait),
        (FinWait1, FinWait1),
        (FinWait1, FinWait2),
        (FinWait1, Closing),
        (CloseWait, LastAck),
        (SynSent, Close),
        (SynRecv, Close),
        (Established, Close),
        (CloseWait, Close),
        (FinWait1, Close),
        (FinWait2, Close),
        (Closing, Close),
        (LastAck, Close),
        (Close, Listen),
        (Listen, Close),
    ]);
    prop_oneof![8 => possible, 1 => (state(), state())]
}

fn socket_event() -> impl Strategy<Value = SocketEvent> {
    (
        (0..5_u64, 0..200_u64, transition(), 0..3_u16),
        (
            prop::option::of(0..20_u64),
            prop::option::of((0..20_u64, 0..3_u32)),
            prop::option::of(1..4_u32),
            prop::option::of((0..3_u32, 0..3_u32, any::<u8>())),
        ),
        (
            prop::sample::select(vec![
                0,
                0,
                0,
                libc::ECONNRESET,
                libc::ETIMEDOUT,
                libc::ECONNABORTED,
                libc::EBADMSG,
            ]),
            any::<bool>(),
            prop::bool::weighted(0.1),
        ),
    )
        .prop_map(
            |((cookie, at, (old, new), port), (since, syn, pid, fields), (sk_err, fin, tfo))| {
                let at = time(at * MS);
                SocketEvent {
                    at,
                    cookie,
                    netns: NETNS,
                    local: addr("10.0.0.1:8080"),
                    remote: addr(&format!("10.0.0.{}:{}", port / 2 + 2, port % 2)),
                    old,
                    new,
                    old_since: since.map(|ms| MonoNs(at.0 - ms * MS)),
                    syn: syn
                        .map(|(ms, repeats)| SynSeen { first: MonoNs(at.0 - ms * MS), repeats }),
                    owner: pid.and_then(|pid| process(pid, "p")),
                    cgroup: 0,
                    tcp: fields.and_then(|(srtt, retrans, bytes)| {
                        tcp(srtt * 500, retrans, u64::from(bytes), u64::from(bytes))
                    }),
                    sk_err,
                    fin_received: fin,
                    reset_received: false,
                    fastopen_connect: tfo,
                    orphaned: false,
                    send_shutdown: false,
                    v6only: false,
                }
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => socket_event().prop_map(|event| Step::Event(Event::Transition(event))),
        2 => socket_event().prop_map(|event| Step::Event(Event::Accepted(event))),
        1 => socket_event().prop_map(|event| Step::Event(Event::ResetSent(event))),
        1 => (0..200_u64, 0..3_u16, 0..2_u32, any::<bool>()).prop_map(|(at, n, isn, reset)| {
            let mut world = World::new();
            let request = world.at(at * MS).request(&format!("10.0.0.2:{n}"), n, isn);
            Step::Event(if reset {
                Event::RequestReset(request)
            } else {
                Event::SynAckRetransmit(request)
            })
        }),
        2 => (0..300_u64).prop_map(Step::Tick),
        1 => Just(Step::Lost),
        1 => prop::collection::vec(
            (0..6_u64, state()).prop_map(|(cookie, state)| {
                Sock::new(cookie, "10.0.0.1:8080", "10.0.0.2:1", state).listed()
            }),
            0..6
        )
        .prop_map(Step::List),
    ]
}

/// Puts the times of a story in order, as a ring of one CPU would; without it they are as random
/// as the rest.
fn in_order(steps: &mut [Step]) {
    let mut now = STARTED.0;
    for step in steps {
        now += MS;
        match step {
            Step::Event(
                Event::Transition(event) | Event::Accepted(event) | Event::ResetSent(event),
            ) => {
                let shift = |at: MonoNs| MonoNs(now - event.at.since(at));
                event.old_since = event.old_since.map(shift);
                event.syn = event.syn.map(|syn| SynSeen { first: shift(syn.first), ..syn });
                event.at = MonoNs(now);
            }
            Step::Tick(at) => *at = (now - STARTED.0) / MS,
            _ => {}
        }
    }
}

fn check(connection: &Connection, first: MonoNs) {
    assert!(connection.start <= connection.end, "{connection:?}");
    assert!(connection.start >= first, "{connection:?}");
    let total = connection.end.since(connection.start);
    let phases = connection.phases;
    let sum: u64 = [
        phases.syn_sent,
        phases.syn_recv,
        phases.established,
        phases.fin_wait1,
        phases.fin_wait2,
        phases.close_wait,
        phases.closing,
        phases.last_ack,
    ]
    .into_iter()
    .flatten()
    .sum();
    assert!(sum <= total, "{sum} > {total}: {connection:?}");
    if let Some(close) = connection.close {
        assert!(close <= total, "{connection:?}");
        assert!(connection.close_initiator.is_some());
    }
    if connection.handshake_source.is_some_and(|source| {
        use crate::core::record::HandshakeSource::{State, Syn};
        matches!(source, Syn | State)
    }) {
        assert!(connection.handshake <= Some(total), "{connection:?}");
    }
    assert_eq!(connection.handshake.is_some(), connection.handshake_source.is_some());
    if connection.role == Some(Role::Client) {
        assert_eq!(connection.synack_retransmits, None);
    }
}

fn run(steps: &[Step], selection: Selection) {
    let mut core = Core::new(Config {
        started: STARTED,
        max_connections: 3,
        max_hosts: 1,
        states: true,
        interval_reports: true,
        selection,
        ..Config::default()
    });
    let mut out = Vec::new();
    let mut now = STARTED;
    let (mut cookies, mut transitions) = (HashSet::new(), 0_u64);
    for step in steps {
        match step {
            Step::Event(event) => {
                if let Event::Transition(event) | Event::Accepted(event) = event {
                    cookies.insert(event.cookie);
                    transitions += 1;
                    now = now.max(event.at);
                }
                core.handle(event, &mut out);
            }
            Step::Tick(at) => {
                now = now.max(time(at * MS));
                core.handle_timeout(now, &mut out);
            }
            Step::Lost => core.events_were_lost(now),
            Step::List(sockets) => {
                cookies.extend(sockets.iter().map(|socket| socket.cookie));
                transitions += sockets.len() as u64;
                core.reconcile(now, &[NETNS], sockets, &mut out);
            }
        }
        for open in core.open(now) {
            assert!(open.connection.outcome.is_none());
            assert!(cookies.contains(&open.connection.cookie));
            check(&open.connection, MonoNs(0));
        }
        assert!(core.totals().open <= 3);
        if let Some(next) = core.poll_timeout() {
            assert!(next >= STARTED);
        }
    }
    core.finish(&mut out);
    core.handle_timeout(MonoNs(now.0 + 1000 * SECOND), &mut out);
    let earliest = MonoNs(STARTED.0 - 20 * MS);
    let mut ended = 0;
    for record in &out {
        match record {
            Record::Connection(connection) => {
                ended += 1;
                assert!(connection.outcome.is_some());
                check(connection, earliest);
            }
            Record::Stuck(stuck) => check(&stuck.connection, earliest),
            Record::State(_) | Record::Alert(_) | Record::Segment(_) => {}
        }
    }
    let totals = core.totals();
    assert_eq!(totals.connections, ended);
    assert!(totals.connections + totals.open + totals.evicted <= transitions);
    let hosts = core.hosts(now);
    let counted: u64 = hosts.iter().map(|host| host.connections).sum();
    assert_eq!(counted, ended);
    let failed: u64 = hosts.iter().map(|host| host.handshakes_failed).sum();
    assert_eq!(failed, totals.handshakes_failed);
    let interval = core.take_interval(now);
    let counted: u64 = interval.iter().map(|host| host.connections).sum();
    assert_eq!(counted, ended);
}

proptest! {
    #[test]
    fn events_in_any_order(
        mut steps in prop::collection::vec(step(), 1..60),
        ordered in any::<bool>(),
        pid in prop::option::weighted(0.2, 1..4_u32),
    ) {
        if ordered {
            in_order(&mut steps);
        }
        let selection = Selection {
            pids: pid.into_iter().collect(),
            ..Selection::default()
        };
        run(&steps, selection);
    }
}
