//! A listener's two queues: the accept queue is full because the application does not accept(), or
//! the SYN queue is, at a rate that is no flood.

use crate::core::flood::incident::{Finding, evidence};
use crate::core::flood::sample::{ListenerQueues, StackCounters};
use crate::core::record::{Evidence, Verdict};

/// The accept queue is full: the kernel drops SYNs and final ACKs then (`sk_acceptq_is_full`).
pub(in crate::core::flood) fn accept_full(queue: &ListenerQueues) -> bool {
    queue.accept_queue > 0 && queue.accept_queue >= queue.limit
}

/// Accept queue overload; `uncompleted`: SYNs without a connection, per second.
pub(in crate::core::flood) fn overload(
    queue: &ListenerQueues,
    delta: &StackCounters,
    uncompleted: f64,
) -> Option<Finding> {
    let overflows = delta.listen_overflows as f64;
    if !accept_full(queue) || overflows.max(uncompleted) < 1.0 {
        return None;
    }
    // Either is enough: the one that is not there is only told.
    let either = |value: f64| (value >= 1.0).then_some(1.0);
    Some(Finding::notice(
        Verdict::AcceptQueueOverload,
        vec![
            evidence("accept_queue", queue.accept_queue as f64, Some(queue.limit as f64)),
            evidence("listen_overflows", overflows, either(overflows)),
            evidence(Evidence::UNCOMPLETED, uncompleted, either(uncompleted)),
            evidence("syn_queue", queue.syn_queue as f64, None),
        ],
    ))
}

/// Queue pressure: three quarters of the SYN queue taken (half to keep it open), and half of it by
/// requests older than a second.
pub(in crate::core::flood) fn pressure(
    queue: &ListenerQueues,
    old: u64,
    delta: &StackCounters,
    open: bool,
) -> Option<Finding> {
    let share = if open { 0.5 } else { 0.75 };
    let threshold = queue.limit as f64 * share;
    (queue.limit > 0
        && queue.syn_queue as f64 >= threshold
        && old.saturating_mul(2) >= queue.syn_queue)
        .then(|| {
            Finding::notice(
                Verdict::QueuePressure,
                vec![
                    evidence("syn_queue", queue.syn_queue as f64, Some(threshold)),
                    evidence("half_open_over_1s", old as f64, Some(queue.syn_queue as f64 / 2.0)),
                    evidence("cookies_sent", delta.syncookies_sent as f64, None),
                    evidence("req_queue_full_drops", delta.tcp_req_q_full_drop as f64, None),
                ],
            )
        })
}
