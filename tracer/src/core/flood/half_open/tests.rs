use proptest::prelude::*;
use tracer_common::flood::cohort::{self, PARTS, REST, part_of};

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// A tick at so many milliseconds, with what came and what completed at its end.
fn tick(half: &mut HalfOpen, at: u64, came: u64, completed: u64) {
    let (at, part) = (MonoNs(at * MS), cohort::part(at * MS));
    let newest = cohort::number(at.0);
    half.add(at, newest, &Parts::of(part, came));
    half.take(newest, &Parts::of(part, completed));
    half.expire(at, DEFAULT_LIFETIME_NS);
}

#[test]
fn what_the_kernel_does_not_have_is_taken_off() {
    let mut half = HalfOpen::default();
    tick(&mut half, 250, 60, 0);
    half.reconcile(16, MonoNs(251 * MS));
    assert_eq!(half.count(), 16);
    tick(&mut half, 500, 0, 0);
    half.reconcile(20, MonoNs(501 * MS));
    assert_eq!(half.count(), 16);
}

#[test]
fn what_came_after_the_kernel_was_asked_stays() {
    let mut half = HalfOpen::default();
    tick(&mut half, 250, 5, 0);
    tick(&mut half, 500, 9, 0);
    half.reconcile(0, MonoNs(400 * MS));
    assert_eq!(half.count(), 9);
    tick(&mut half, 750, 2, 0);
    half.reconcile(0, MonoNs(400 * MS));
    assert_eq!(half.count(), 11, "the same answer, another tick late");
    half.reconcile(0, MonoNs(750 * MS));
    assert_eq!(half.count(), 0);
}

/// What came and completed since makes no room for what was refused.
#[test]
fn what_completes_hides_nothing_that_was_refused() {
    let mut half = HalfOpen::default();
    tick(&mut half, 250, 1_050, 1_000);
    assert_eq!(half.count(), 50);
    tick(&mut half, 500, 1_000, 1_000);
    half.reconcile(0, MonoNs(251 * MS));
    assert_eq!(half.count(), 0);
    tick(&mut half, 750, 1_000, 1_000);
    assert_eq!(half.count(), 0);
}

/// Those that complete before the kernel is asked have completed for the tick before its answer.
#[test]
fn what_completed_before_the_kernel_was_asked_is_taken_off_once() {
    let mut half = HalfOpen::default();
    // At any time 200 are on their way.
    tick(&mut half, 250, 200, 0);
    for n in 2..40 {
        tick(&mut half, n * 250, 1_000, 1_000);
        // Asked when 20 more have come and 20 completed, answered when 5 more have.
        tick(&mut half, n * 250 + 5, 25, 25);
        half.reconcile(200, MonoNs((n * 250 + 4) * MS));
        assert_eq!(half.count(), 200);
    }
}

/// In a flood what is refused is taken off, however late the kernel's answers are.
#[test]
fn late_answers_in_a_flood() {
    for late in [1, 100, 400] {
        let mut half = HalfOpen::default();
        for n in 9..600 {
            tick(&mut half, n * 50, 5_000, 0);
            half.reconcile(256, MonoNs((n * 50 - late) * MS));
            assert!(half.count() <= 256 + 4 * 5_000, "{late} {n}: {}", half.count());
        }
    }
}

#[test]
fn rows_that_are_put_together_remember_what_came_late() {
    let (mut one, mut other) = (HalfOpen::default(), HalfOpen::default());
    tick(&mut one, 250, 4, 0);
    tick(&mut other, 250, 3, 0);
    tick(&mut other, 500, 2, 0);
    one.merge(&other);
    one.reconcile(0, MonoNs(300 * MS));
    assert_eq!(one.count(), 2);
}

/// Handshakes of a listener, or of a host: each millisecond some begin, each ends after a time, or never.
struct Line {
    half: HalfOpen,
    now: u64,
    /// What waits: SYNs by arrival.
    waits: Vec<u64>,
    /// When they will end, and their SYNs.
    ends: std::collections::BTreeMap<u64, Vec<u64>>,
    came: Parts,
    ended: Parts,
    /// No tick before that.
    held_up: u64,
}

impl Line {
    fn new() -> Self {
        Self {
            half: HalfOpen::default(),
            now: 1_000 * SECOND + 123 * MS,
            waits: Vec::new(),
            ends: std::collections::BTreeMap::new(),
            came: Parts::default(),
            ended: Parts::default(),
            held_up: 0,
        }
    }

    /// [`Self::run`] without a tick.
    fn held_up(&mut self, span: u64, each: impl FnMut(u64) -> (u64, Option<u64>)) {
        self.held_up = self.now + span;
        self.run(span, each);
    }

    /// `each` says of each millisecond how many SYNs come in it, and after how many milliseconds they end.
    fn run(&mut self, span: u64, mut each: impl FnMut(u64) -> (u64, Option<u64>)) {
        let end = self.now + span;
        while self.now < end {
            self.now += MS;
            let (count, lasts) = each((self.now / MS) % 1_000_000);
            for _ in 0..count {
                self.came.count(cohort::part(self.now), 1);
                self.waits.push(self.now);
                if let Some(lasts) = lasts {
                    self.ends.entry(self.now + lasts * MS).or_default().push(self.now);
                }
            }
            while let Some(entry) = self.ends.first_entry()
                && *entry.key() <= self.now
            {
                for syn in entry.remove() {
                    self.ended.count(cohort::part_of_end(syn, self.now), 1);
                    let at = self.waits.iter().position(|waits| *waits == syn);
                    self.waits.swap_remove(at.expect("waits"));
                }
            }
            // No whole number of milliseconds that cohorts last.
            if (self.now / MS).is_multiple_of(251) && self.now > self.held_up {
                self.tick();
            }
        }
    }

    fn tick(&mut self) {
        let (at, newest) = (MonoNs(self.now), cohort::number(self.now));
        self.half.add(at, newest, &std::mem::take(&mut self.came));
        self.half.take(newest, &std::mem::take(&mut self.ended));
        self.half.expire(at, DEFAULT_LIFETIME_NS);
        self.waits.retain(|syn| at.0 - syn < DEFAULT_LIFETIME_NS);
    }

    /// Those that wait now, and those that have for over a second: what is said, and how many there are.
    fn told(&mut self) -> [(u64, u64); 2] {
        self.tick();
        let now = self.now;
        let waits = |age| self.waits.iter().filter(|syn| now - **syn >= age).count() as u64;
        let half = &self.half;
        [(half.count(), waits(0)), (half.older_than(MonoNs(now), SECOND), waits(SECOND))]
    }
}

/// However long the round trips are and however long it goes on: 1,000 handshakes a second.
#[test]
fn steady_traffic_makes_no_drift() {
    for rtt in [1, 40, 300, 900, 1_030, 3_500] {
        let mut line = Line::new();
        for _ in 0..20 {
            line.run(10 * SECOND, |_| (1, Some(rtt)));
            let [all, old] = line.told();
            assert_eq!(all, (rtt, rtt), "{rtt} ms");
            let really_old = rtt.saturating_sub(1_000);
            assert!(old.0 <= really_old + 1, "{rtt} ms: {old:?}");
        }
        line.run(5 * SECOND, |_| (0, None));
        assert_eq!(line.told(), [(0, 0), (0, 0)], "{rtt} ms");
    }
}

/// What never completes ages and is forgotten in time, beside any number of handshakes that do, fast and
/// slow, and keeps none of them from being counted.
#[test]
fn what_never_completes_ages_beside_others() {
    let mut line = Line::new();
    line.run(3 * SECOND, |_| (1, Some(250)));
    // A burst.
    line.run(100 * MS, |_| (3, None));
    for seconds in 1..62 {
        line.run(SECOND, |ms| (2, Some(if ms % 3 == 0 { 350 } else { 40 })));
        let [all, old] = line.told();
        assert_eq!(all.0, all.1, "after {seconds} s");
        // A cohort's length later at most.
        assert!(seconds < 3 || (old.0 == 300 && old.1 == 300), "after {seconds} s: {old:?}");
    }
    line.run(5 * SECOND, |_| (2, Some(300)));
    let [all, old] = line.told();
    assert_eq!((all, old), ((600, 600), (0, 0)));
}

/// One in ten loses its SYN-ACK and completes a second later, one in a hundred two of them, and one in a
/// thousand three.
#[test]
fn handshakes_that_complete_late_are_taken_off() {
    let mut line = Line::new();
    let lasts = |ms: u64| match ms {
        _ if ms.is_multiple_of(1_000) => 7_080,
        _ if ms.is_multiple_of(100) => 3_080,
        _ if ms.is_multiple_of(10) => 1_080,
        _ => 80,
    };
    for _ in 0..100 {
        line.run(2 * SECOND, |ms| (1, Some(lasts(ms))));
        let [all, old] = line.told();
        // Of those that complete latest it is not told when their SYNs came.
        assert!(all.0.abs_diff(all.1) <= 1 && old.0 <= old.1 + 1, "{all:?} {old:?}");
    }
    line.run(8 * SECOND, |_| (0, None));
    assert_eq!(line.told(), [(0, 0), (0, 0)]);
}

/// A tracer that is held up mixes cohorts up: it is off by those on their way at most, and right again
/// when all of that time is forgotten.
#[test]
fn after_a_tick_that_came_late_it_is_right_again() {
    let each = |ms: u64| (1, (!ms.is_multiple_of(50)).then_some(400));
    // Cohorts are forgotten whole.
    let cohort = 30;
    for late in [3, 20] {
        let mut line = Line::new();
        line.run(70 * SECOND, each);
        line.held_up(late * SECOND, each);
        for seconds in 0..80 {
            line.run(SECOND, each);
            let [all, _] = line.told();
            let off = all.0.abs_diff(all.1);
            assert!(off <= 400 + cohort, "{late} s late, {seconds} s ago: {all:?}");
        }
        line.run(2 * 63 * SECOND, each);
        let [all, _] = line.told();
        assert!(all.0.abs_diff(all.1) <= cohort, "{late} s late: {all:?}");
    }
}

/// A completion whose SYN was believed to have been refused ends another one.
#[test]
fn what_ends_and_is_not_known_ends_the_nearest() {
    let cohorts = |half: &HalfOpen| half.cohorts.iter().copied().collect::<Vec<_>>();
    let mut half = HalfOpen::default();
    for (cohort, count) in [(30, 2), (31, 2), (33, 2)] {
        half.add_to(cohort, count);
    }
    half.take(32, &Parts::of(part_of(32), 1));
    assert_eq!(cohorts(&half), [(30, 2), (31, 1), (33, 2)]);
    half.take(32, &Parts::of(part_of(32), 4));
    assert_eq!(cohorts(&half), [(33, 1)]);
    half.take(32, &Parts([5; PARTS]));
    assert_eq!((cohorts(&half), half.count()), (vec![], 0));
}

proptest! {
    #[test]
    fn it_is_never_more_than_came_and_ends(
        steps in prop::collection::vec((0..4_u8, any::<[u16; PARTS]>(), 0..5_000_u64), 0..60),
    ) {
        let (mut half, mut now, mut came) = (HalfOpen::default(), 1_000 * SECOND, 0);
        for (what, parts, later) in steps {
            now += later * MS;
            let (at, newest) = (MonoNs(now), cohort::number(now));
            let mut parts = Parts(parts.map(u64::from));
            let before = half.count();
            match what {
                0 => {
                    parts.0[REST as usize] = 0;
                    half.add(at, newest, &parts);
                    came += parts.sum();
                    prop_assert_eq!(half.count(), before + parts.sum());
                }
                1 => {
                    half.take(newest, &parts);
                    prop_assert_eq!(half.count(), before.saturating_sub(parts.sum()));
                }
                2 => half.expire(at, DEFAULT_LIFETIME_NS),
                _ => {
                    half.reconcile(parts.sum(), at);
                    prop_assert_eq!(half.count(), before.min(parts.sum()));
                }
            }
            prop_assert!(half.count() <= came);
            let held = &half.cohorts;
            let sum: u64 = held.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(half.count(), sum);
            prop_assert!(held.iter().all(|(_, count)| *count > 0));
            prop_assert!(held.iter().zip(held.iter().skip(1)).all(|(one, next)| one.0 < next.0));
        }
        half.expire(MonoNs(now + 65 * SECOND), DEFAULT_LIFETIME_NS);
        prop_assert_eq!(half.count(), 0);
    }
}
