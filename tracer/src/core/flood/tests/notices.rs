//! What is no flood, told by single ticks and samples.

use std::net::SocketAddr;

use proptest::prelude::*;
use tracer_common::flood::cohort::{self, PARTS, TOLD_APART};
use tracer_common::flood::distinct::REGISTERS;

use super::host::{MS, SECOND, START, listener};
use crate::core::event::MonoNs;
use crate::core::flood::parts::Parts;
use crate::core::flood::sample::{ListenerQueues, Queues, Sample, StackCounters};
use crate::core::flood::tick::{Counts, Sketch, Target, TargetTick, Tick};
use crate::core::flood::{Config, Detector};
use crate::core::record::{Record, Verdict};

/// `syns` not seen before, and `completed` of them.
fn came(syns: u64, completed: u64) -> Counts {
    let [firsts, completed] = [syns, completed].map(|count| Parts::of(0, count));
    Counts { syns, firsts, completed, ..Counts::default() }
}

fn tick(n: u64, target: Target, counts: Counts) -> Tick {
    let (from, to) = (START + n * 250 * MS, START + (n + 1) * 250 * MS);
    let row = TargetTick { target, counts, first_syn: Some(MonoNs(from)), sources: None };
    // So that part 0 is of the newest cohort.
    let cohort = cohort::number(to).next_multiple_of(TOLD_APART.into());
    Tick { from: MonoNs(from), to: MonoNs(to), cohort, targets: vec![row], ..Tick::default() }
}

fn sample(n: u64, stack: StackCounters, queue: Option<(u64, u64)>) -> Sample {
    let local: SocketAddr = listener();
    let queues = queue.map(|(syn_queue, accept_queue)| Queues {
        listeners: vec![ListenerQueues { local, syn_queue, accept_queue, limit: 16, drops: None }],
        half_open: Vec::new(),
    });
    Sample {
        at: MonoNs(START + (n + 1) * 250 * MS),
        stack,
        queues,
        request_lifetime_ns: 63 * SECOND,
        syncookies: 1,
    }
}

fn verdicts(out: &[Record]) -> Vec<Verdict> {
    out.iter()
        .filter_map(|record| match record {
            Record::Alert(alert) => Some(alert.verdict),
            _ => None,
        })
        .collect()
}

fn run(turns: u64, mut each: impl FnMut(u64) -> (Tick, Option<Sample>)) -> Vec<Verdict> {
    let (mut detector, mut out) = (Detector::new(Config::default()), Vec::new());
    for n in 0..turns {
        let (tick, sample) = each(n);
        detector.tick(&tick, &mut out);
        if let Some(sample) = sample {
            detector.sample(&sample);
            detector.reconcile();
        }
    }
    let mut verdicts = verdicts(&out);
    verdicts.dedup();
    verdicts
}

#[test]
fn many_closed_ports_are_a_scan() {
    let found = run(40, |n| {
        let counts = came(25, 0);
        let mut registers = vec![0; REGISTERS];
        for port in 0..25 {
            registers[(n as usize * 25 + port) * 7 % REGISTERS] = 1;
        }
        let mut tick = tick(n, Target::Closed, counts);
        tick.closed_targets = Some(Sketch(registers.into()));
        (tick, None)
    });
    assert_eq!(found, [Verdict::PortScan]);
}

#[test]
fn answers_nobody_asked_for_are_backscatter_and_answers_to_connects_are_not() {
    for (opens, expected) in [(0, vec![Verdict::Backscatter]), (2_500, vec![])] {
        let found = run(40, |n| {
            let counts = Counts { syn_acks: 2_500, ..Counts::default() };
            let stack = StackCounters { active_opens: n * opens, ..StackCounters::default() };
            let sample = (n % 4 == 0).then(|| sample(n, stack, None));
            (tick(n, Target::Closed, counts), sample)
        });
        assert_eq!(found, expected);
    }
}

#[test]
fn accept_stalled_is_no_flood() {
    let found = run(40, |n| {
        let counts = Counts { syns: 100, ..came(50, 0) };
        let stack = StackCounters { listen_overflows: n * 100, ..StackCounters::default() };
        (tick(n, Target::Listener(listener()), counts), Some(sample(n, stack, Some((2, 17)))))
    });
    assert_eq!(found, [Verdict::AcceptQueueOverload]);
}

/// An accept queue that is full overflows, or SYNs come to nothing: what did not happen is held against
/// nothing.
#[test]
fn evidence_of_an_overload_is_above_its_threshold() {
    for (overflows, syns, expected) in [(10, 0, true), (0, 10, true), (10, 10, true), (0, 0, false)]
    {
        let (mut detector, mut out) = (Detector::new(Config::default()), Vec::new());
        for n in 0..20 {
            let counts = came(1 + syns, 1);
            detector.tick(&tick(n, Target::Listener(listener()), counts), &mut out);
            let stack =
                StackCounters { listen_overflows: n * overflows, ..StackCounters::default() };
            detector.sample(&sample(n, stack, Some((0, 17))));
        }
        let alerts: Vec<_> = out
            .iter()
            .filter_map(|record| match record {
                Record::Alert(alert) => Some(alert),
                _ => None,
            })
            .collect();
        assert_eq!(!alerts.is_empty(), expected, "{overflows} {syns}");
        for alert in alerts {
            assert_eq!(alert.verdict, Verdict::AcceptQueueOverload);
            let held = alert.evidence.iter().filter(|said| said.threshold.is_some());
            assert!(held.clone().count() >= 2, "{alert:#?}");
            assert!(held.clone().all(|said| Some(said.value) >= said.threshold), "{alert:#?}");
        }
    }
}

/// 800 SYNs a second to a listener, beside 400 connections a second to another one, on a host that
/// answers every SYN with a cookie. `reach`: they come to the listener.
fn cookies_always(reach: bool) -> Vec<Verdict> {
    run(40, |n| {
        let other = Target::Listener("10.0.0.1:81".parse().expect("an address"));
        let counts = came(100, 100);
        let mut tick = tick(n, Target::Listener(listener()), came(200, 0));
        let row = TargetTick { target: other, counts, first_syn: None, sources: None };
        tick.targets.push(row);
        let each = if reach { 300 } else { 100 };
        let stack = StackCounters { syncookies_sent: (n + 1) * each, ..StackCounters::default() };
        let sample = Sample { syncookies: 2, ..sample(n, stack, Some((0, 0))) };
        // The kernel is asked once a second.
        (tick, (n % 4 == 3).then_some(sample))
    })
}

#[test]
fn another_listeners_cookies_confirm_no_flood() {
    assert_eq!(cookies_always(false), [Verdict::Filtered]);
    let told = cookies_always(true);
    assert!(matches!(told.as_slice(), [verdict] if verdict.is_flood()), "{told:?}");
}

/// The same, and then both end: the counters still tell of connections that the last ticks do not.
#[test]
fn nor_do_they_when_all_ends() {
    let told = run(40, |n| {
        let going = n <= 20;
        let other = Target::Listener("10.0.0.1:81".parse().expect("an address"));
        let syns = if going { 200 } else { 60 };
        let mut tick = tick(n, Target::Listener(listener()), came(syns, 0));
        if going {
            let counts = came(100, 100);
            tick.targets.push(TargetTick { target: other, counts, first_syn: None, sources: None });
        }
        let stack =
            StackCounters { syncookies_sent: (n.min(20) + 1) * 100, ..StackCounters::default() };
        let sample = Sample { syncookies: 2, ..sample(n, stack, Some((0, 0))) };
        (tick, (n % 4 == 3).then_some(sample))
    });
    assert_eq!(told, [Verdict::Filtered]);
}

/// 16 SYNs a millisecond for a closed port, each answered with a RST if `refused`, for `lasts`
/// milliseconds; the kernel's counters come every 600 ms, first `phase` milliseconds after the start.
fn closed_port(refused: bool, lasts: u64, phase: u64) -> Vec<Verdict> {
    run(40, |n| {
        let sent = |ms: u64| ms.min(lasts) * 16;
        let (from, to) = (n * 250, (n + 1) * 250);
        let counts = came(sent(to) - sent(from), 0);
        // After this tick and before the next one.
        let asked = (to..to + 250).find(|ms| ms % 600 == phase).map(|ms| {
            let out_rsts = if refused { sent(ms) } else { 0 };
            let stack = StackCounters { out_rsts, ..StackCounters::default() };
            Sample { at: MonoNs(START + ms * MS), ..sample(n, stack, None) }
        });
        (tick(n, Target::Closed, counts), asked)
    })
}

#[test]
fn a_closed_port_that_refuses_is_not_filtered_and_one_that_does_not_is() {
    for phase in (0..600).step_by(20) {
        for lasts in [4_000, 4_130, 10_000] {
            assert_eq!(closed_port(true, lasts, phase), [], "{lasts} ms, asked at {phase}");
        }
        assert_eq!(closed_port(false, 10_000, phase), [Verdict::Filtered], "asked at {phase}");
    }
}

#[test]
fn low_and_slow_is_pressure() {
    let found = run(40, |n| {
        let counts = came(5, 0);
        let queue = Some(((n * 5).min(16), 0));
        let sample = sample(n, StackCounters::default(), queue);
        (tick(n, Target::Listener(listener()), counts), Some(sample))
    });
    assert_eq!(found, [Verdict::QueuePressure]);
}

proptest! {
    #[test]
    fn no_numbers_upset_it(
        steps in prop::collection::vec(
            (any::<[u64; 8]>(), any::<[[u64; PARTS]; 4]>(), any::<[u64; 2]>(), 0..4_u8), 0..40),
    ) {
        let (mut detector, mut out) = (Detector::new(Config::default()), Vec::new());
        for (counts, parts, [from, to], which) in steps {
            let [syns, resets, syn_acks, unseen, ns, cohort, asked, queue] = counts;
            let [firsts, taken_back, resets_matched, completed] = parts.map(Parts);
            let target = match which {
                0 => Target::Listener(listener()),
                1 => Target::Overflow,
                2 => Target::Closed,
                _ => Target::Foreign,
            };
            let counts = Counts {
                syns,
                firsts,
                taken_back,
                resets,
                resets_matched,
                syn_acks,
                completed,
                completed_unseen: unseen,
                handshake_ns: ns,
            };
            let row = TargetTick { target, counts, first_syn: Some(MonoNs(ns)), sources: None };
            let (from, to, targets) = (MonoNs(from), MonoNs(to), vec![row]);
            let tick = Tick { from, to, cohort, targets, ..Tick::default() };
            detector.sample(&sample(asked % 100, StackCounters::default(), Some((syns, queue))));
            detector.tick(&tick, &mut out);
            detector.reconcile();
            let _ = (detector.wants(to), detector.idle());
        }
        detector.finish(MonoNs(u64::MAX), &mut out);
        for record in out {
            if let Record::Alert(alert) = record {
                prop_assert!(alert.syn_rate >= 0.0 && alert.syn_rate.is_finite());
                prop_assert!(alert.evidence.iter().all(|evidence| evidence.value.is_finite()));
            }
        }
    }
}
