//! Flash crowd: many more connections than before, and they complete.

use crate::core::flood::baseline::Baseline;
use crate::core::flood::incident::{Finding, evidence};
use crate::core::flood::window::Flow;
use crate::core::record::Verdict;

/// Times the baseline that starts it; half of it keeps it open.
const RISE: f64 = 4.0;
/// Share of the SYNs that must complete.
const COMPLETE: f64 = 0.7;

/// `floor`: SYNs per second; `rate`: of the last second; `open`: the notice has been given.
pub(in crate::core::flood) fn look(
    rate: &Flow,
    baseline: &Baseline,
    floor: f64,
    open: bool,
) -> Option<Finding> {
    // Without some seconds of traffic before, nobody can say that it rose.
    if baseline.seen_ns < 3_000_000_000 || baseline.completed < 10.0 {
        return None;
    }
    let threshold = (baseline.completed * RISE).max(baseline.completed + 5.0 * floor);
    let threshold = if open { threshold / 2.0 } else { threshold };
    let ratio = rate.completed / rate.firsts.max(1.0);
    (rate.completed >= threshold && ratio >= COMPLETE).then(|| {
        Finding::notice(
            Verdict::FlashCrowd,
            vec![
                evidence("completions_per_second", rate.completed, Some(threshold)),
                evidence("baseline_completions_per_second", baseline.completed, None),
                evidence("completed_ratio", ratio.min(1.0), Some(COMPLETE)),
            ],
        )
    })
}
