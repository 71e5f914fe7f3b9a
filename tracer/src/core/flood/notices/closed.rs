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

/// Answers in other namespaces to those who sent SYNs here that show where the SYNs went.
const ELSEWHERE: u64 = 3;

/// What the host did about traffic for closed ports, counted between the same two moments.
#[derive(Clone, Copy)]
pub(in crate::core::flood) struct Refusals {
    /// SYNs per second.
    pub came: f64,
    /// RSTs per second.
    pub sent: f64,
}

/// Traffic for closed ports that the host does not refuse: translated to another namespace, which
/// answers it (`elsewhere`: how often its senders were answered there), or filtered.
pub(in crate::core::flood) fn transit(
    rate: f64,
    floor: f64,
    refusals: Option<Refusals>,
    elsewhere: u64,
) -> Option<Finding> {
    if rate < floor {
        return None;
    }
    let syns = evidence("syns_per_second", rate, Some(floor));
    if elsewhere >= ELSEWHERE {
        let answered = evidence("answered_elsewhere", elsewhere as f64, Some(ELSEWHERE as f64));
        return Some(Finding::notice(Verdict::Forwarded, vec![syns, answered]));
    }
    let Refusals { came, sent } = refusals.filter(|refusals| refusals.came >= floor)?;
    let threshold = came * 0.2;
    (sent < threshold).then(|| {
        let resets = evidence("resets_sent_per_second", sent, Some(threshold));
        Finding::notice(Verdict::Filtered, vec![syns, resets])
    })
}
