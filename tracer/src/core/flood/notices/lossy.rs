//! Lossy path: handshakes complete, but only after several attempts, and the stack dropped nothing.

use crate::core::flood::incident::{Finding, evidence};
use crate::core::flood::sample::StackCounters;
use crate::core::flood::window::Flow;
use crate::core::record::Verdict;

/// SYNs needed in the last five seconds to say anything.
const ENOUGH: f64 = 50.0;
/// Repeats per SYN.
const REPEATED: f64 = 0.15;
/// Share that completes nevertheless.
const COMPLETE: f64 = 0.5;
/// Mean handshake: a repeated SYN comes after a second (RFC 6298 section 2), so that loss shows.
const HANDSHAKE_NS: f64 = 200e6;

/// `last`: the last five seconds; `delta`: how the kernel's counters moved of late, if there is one to
/// ask.
pub(in crate::core::flood) fn look(last: &Flow, delta: Option<&StackCounters>) -> Option<Finding> {
    let dropped = delta.map(|delta| {
        delta
            .listen_drops
            .saturating_add(delta.listen_overflows)
            .saturating_add(delta.tcp_req_q_full_drop)
    });
    let repeated = last.repeated / last.firsts.max(1.0);
    let complete = last.completed / last.firsts.max(1.0);
    let handshake = last.handshake().unwrap_or(0.0);
    (last.firsts >= ENOUGH
        && repeated >= REPEATED
        && complete >= COMPLETE
        && handshake >= HANDSHAKE_NS
        && dropped.is_none_or(|dropped| dropped as f64 <= last.firsts * 0.01))
    .then(|| {
        let mut said = vec![
            evidence("repeated_per_syn", repeated, Some(REPEATED)),
            evidence("completed_ratio", complete.min(1.0), Some(COMPLETE)),
            evidence("mean_handshake_us", handshake / 1e3, Some(HANDSHAKE_NS / 1e3)),
        ];
        said.extend(dropped.map(|dropped| evidence("listen_drops", dropped as f64, None)));
        Finding::notice(Verdict::LossyPath, said)
    })
}
