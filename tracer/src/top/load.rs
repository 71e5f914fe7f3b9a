//! 60,000 ends a second: counting is exact, a second's work takes far less than a second, and what
//! is remembered has bounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::app::App;
use super::counts::Counts;
use super::snapshot;
use super::view::{CONNECTIONS, Column, Key, Kind, ROWS, Scope, View, Wish};
use crate::core::event::{Event, MonoNs, Owner, SocketEvent};
use crate::core::record::{Connection, End, Outcome, Record};
use crate::core::{Config, Core};
use crate::report::samples::{self, MS, S, US};
use crate::sinks::Standing;

const RATE: u64 = 60_000;
const HOSTS: u64 = 10_000;

/// The `n`th end.
fn end(n: u64) -> Record {
    let at = MonoNs(n * S / RATE);
    let host = Ipv4Addr::from_bits(0x0a00_0000 + (n.wrapping_mul(2_654_435_761) % HOSTS) as u32);
    let failed = n.is_multiple_of(10);
    Record::Connection(Box::new(Connection {
        cookie: n,
        start: at,
        end: at,
        remote: SocketAddr::new(host.into(), 1024 + (n % 60_000) as u16),
        owner: Some(Owner { pid: n as u32 % 999, ..samples::owner(b"nginx", 1).expect("one") }),
        handshake: Some(20 * US + n % 1000 * US),
        close: (!failed).then_some(MS + n % 77 * MS),
        outcome: Some(if failed { Outcome::ResetByRemote } else { Outcome::Closed }),
        ..samples::full()
    }))
}

fn view(counts: &mut Counts, core: &Core, at: MonoNs, connections: u64) -> View {
    let totals = End { connections, syns: Some(connections), duration: at.0, ..End::default() };
    let standing = Standing { at, totals: &totals, hooks: &[], core, floods: None };
    counts.view(&standing, &samples::clock())
}

#[test]
fn sixty_thousand_ends_a_second_are_counted_exactly_and_drawn_in_time() {
    let core = Core::new(Config { syn_hook: true, ..Config::default() });
    let mut counts = Counts::new(MonoNs(0), 8192, None);
    let mut app = App::new(true);
    let (mut ended, mut failed) = (0, 0);
    let mut worst = Duration::ZERO;
    let wishes = [Column::Connections, Column::HandshakeP99, Column::HalfOpen, Column::Name];
    for second in 0..14 {
        let order = wishes[second % wishes.len()];
        let wish = Wish { order, detail: Some(Key::Port(8080)), ..Wish::default() };
        counts.wish(&wish);
        let records: Vec<_> = (second as u64 * RATE..).take(RATE as usize).map(end).collect();
        let begin = Instant::now();
        for (n, record) in records.iter().enumerate() {
            if n % (RATE as usize / 4) == 0 {
                app.show(Box::new(view(&mut counts, &core, MonoNs(second as u64 * S), ended)));
                for _ in 0..2 {
                    let _ = snapshot::screen(&app, 200, 60);
                }
            }
            counts.record(record, true);
            ended += 1;
            if let Record::Connection(connection) = record {
                failed += u64::from(connection.outcome != Some(Outcome::Closed));
            }
        }
        worst = worst.max(begin.elapsed());
    }
    // Optimized it is some tens of milliseconds; on a busy machine without, this is still not near.
    assert!(worst < Duration::from_secs(5), "a second of the load took {worst:?}");

    let last = view(&mut counts, &core, MonoNs(14 * S), ended);
    assert_eq!(ended, 14 * RATE);
    let [second, ten, run] = &last.all;
    assert_eq!((second.ended, ten.ended, run.ended), (RATE, 10 * RATE, ended));
    assert_eq!(run.failed, failed);
    let listener = last.detail.as_ref().expect("asked for");
    assert_eq!(listener.figures[2].ended, ended);
    assert_eq!(listener.outcomes.iter().sum::<u64>(), ended);
    let measured: u64 = listener.latencies.handshake.steps.iter().sum();
    assert_eq!(measured, 10 * RATE);
    assert_eq!((last.rows.len(), last.ended.len()), (ROWS, CONNECTIONS));
    assert_eq!(last.rows.len() + last.more, 8192);
}

#[test]
fn what_a_view_says_is_what_the_core_counts() {
    let mut core = Core::new(Config::default());
    let mut counts = Counts::new(MonoNs(0), 8192, None);
    let mut records = Vec::new();
    for n in 1..=500_u64 {
        let at = MonoNs(n * 10 * MS);
        let mut event = SocketEvent {
            at,
            cookie: n,
            netns: 1,
            local: SocketAddr::new([10, 0, 0, 1].into(), 40_000),
            remote: SocketAddr::new([10, 0, 1, (n % 7) as u8].into(), 443),
            old: tracer_common::state::TcpState::Close,
            new: tracer_common::state::TcpState::SynSent,
            old_since: None,
            syn: None,
            owner: None,
            cgroup: 0,
            tcp: None,
            sk_err: 0,
            fin_received: false,
            reset_received: false,
            fastopen_connect: false,
            orphaned: false,
            send_shutdown: false,
            v6only: false,
        };
        core.handle(&Event::Transition(event.clone()), &mut records);
        event.at = MonoNs(at.0 + MS);
        event.old = event.new;
        event.new = tracer_common::state::TcpState::Close;
        event.sk_err = if n % 3 == 0 { libc::ECONNREFUSED } else { libc::ETIMEDOUT };
        core.handle(&Event::Transition(event), &mut records);
    }
    core.finish(&mut records);
    for record in &records {
        counts.record(record, true);
    }
    let totals = core.totals();
    for scope in Scope::ALL {
        counts.wish(&Wish { scope, ..Wish::default() });
        let view = view(&mut counts, &core, MonoNs(6 * S), totals.connections);
        let rows = if scope == Scope::Second { 1 } else { 7 };
        assert_eq!(view.rows.len(), rows, "{scope:?}");
        let sum: u64 = view.rows.iter().map(|row| row.figures.ended).sum();
        let expected = view.all[Scope::ALL.iter().position(|s| *s == scope).expect("one")].ended;
        assert_eq!(sum, expected, "{scope:?}");
        if scope == Scope::Run {
            assert_eq!((sum, totals.connections), (500, 500));
            let rows = core.hosts(MonoNs(6 * S));
            for (row, host) in view.rows.iter().zip(&rows) {
                assert_eq!(row.key, host.host.map(Key::Host));
                assert_eq!(row.figures.ended, host.connections);
                assert_eq!(row.figures.failed, host.failed);
            }
        }
    }
    counts.wish(&Wish { kind: Kind::Listeners, ..Wish::default() });
    assert!(view(&mut counts, &core, MonoNs(6 * S), 500).rows.is_empty());
}
