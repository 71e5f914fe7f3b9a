//! SYNs to ports where nobody listens, and to addresses that are not ours: scans and transit.

use crate::core::flood::incident::{Finding, evidence};
use crate::core::record::Verdict;

/// Different destinations (address and port) that make a scan.
const TARGETS: u64 = 25;

/// Port scan: many destinations, each tried a few times only.
pub(in crate::core::flood) fn scan(targets: Option<u64>, firsts: f64) -> Option<Finding> {
    let targets = targets?;
    let each = firsts / targets.max(1) as f64;
    (targets >= TARGETS && each <= 10.0).then(|| {
        Finding::notice(
            Verdict::PortScan,
            vec![
                evidence("closed_targets", targets as f64, Some(TARGETS as f64)),
                evidence("syns_per_target", each, Some(10.0)),
            ],
        )
    })
}

/// Traffic for closed ports that the host does not refuse: filtered, or translated to another
/// namespace where it completes.
pub(in crate::core::flood) fn transit(
    rate: f64,
    floor: f64,
    resets_per_second: Option<f64>,
    elsewhere: f64,
) -> Option<Finding> {
    if rate < floor {
        return None;
    }
    let sent = resets_per_second?;
    if elsewhere >= rate * 0.2 {
        return Some(Finding::notice(
            Verdict::Forwarded,
            vec![evidence("completed_elsewhere_per_second", elsewhere, Some(rate * 0.2))],
        ));
    }
    (sent < rate * 0.2).then(|| {
        Finding::notice(
            Verdict::Filtered,
            vec![
                evidence("syns_per_second", rate, Some(floor)),
                evidence("resets_sent_per_second", sent, Some(rate * 0.2)),
            ],
        )
    })
}
