//! Backscatter: SYN-ACKs that nobody asked for.

use crate::core::flood::incident::{Finding, evidence};
use crate::core::record::Verdict;

/// `syn_acks` that came in between two samples of `seconds`, `opens`: connect() calls meanwhile.
pub(in crate::core::flood) fn look(
    syn_acks: u64,
    opens: u64,
    resets_sent: u64,
    seconds: f64,
    floor: f64,
) -> Option<Finding> {
    if seconds < 0.5 {
        return None;
    }
    // A SYN-ACK may be sent again: half as much is granted.
    let unasked = (syn_acks as f64 - opens as f64 * 1.5).max(0.0) / seconds;
    (unasked >= floor).then(|| {
        Finding::notice(
            Verdict::Backscatter,
            vec![
                evidence("unsolicited_syn_acks_per_second", unasked, Some(floor)),
                evidence("active_opens", opens as f64, None),
                evidence("resets_sent", resets_sent as f64, None),
            ],
        )
    })
}
