//! What the kernel's own figures say of a listener's uncompleted SYNs.

use super::Watch;
use crate::core::flood::incident::{Context, evidence};
use crate::core::flood::tick::Target;
use crate::core::flood::window::Flow;
use crate::core::record::Evidence;

const MS: u64 = 1_000_000;

/// What the kernel has seen of the uncompleted SYNs.
pub(super) enum Trace {
    Seen(Vec<Evidence>),
    None(Vec<Evidence>),
    NotAskedYet,
}

impl Watch {
    pub(super) fn trace(&self, context: &Context<'_>, rate: &Flow) -> Trace {
        let stack = context.stack;
        let (delta, uncompleted) = (stack.delta(), rate.uncompleted());
        let again = evidence("synack_retransmits", self.retransmits.round(), Some(3.0));
        if !context.config.kernel {
            let seen = self.retransmits >= 3.0;
            return if seen { Trace::Seen(vec![again]) } else { Trace::NotAskedYet };
        }
        let span = stack.span() as f64 / 1e9;
        let mut said = Vec::new();
        let mut seen = false;
        if let Some((_, queue)) = stack.queue(self.target) {
            let under_way = rate.handshake_ns / 1e9;
            let expected = self.sum.uncompleted().min(queue.limit as f64 / 2.0);
            let threshold = 2.0 * under_way + (expected / 4.0).max(1.0);
            seen |= queue.syn_queue as f64 > threshold;
            said.push(evidence("syn_queue", queue.syn_queue as f64, Some(threshold)));
        }
        let drops = stack.drops(self.target).unwrap_or(if self.target == Target::Overflow {
            delta.listen_drops
        } else {
            0
        });
        let threshold = (uncompleted * span * 0.1).max(1.0);
        seen |= drops as f64 >= threshold;
        said.push(evidence("listener_drops", drops as f64, Some(threshold)));
        let threshold = (uncompleted * span * 0.3).max(1.0);
        // The kernel counts cookies per namespace. Where it always sends them, others got one for
        // each of their SYNs, and those that completed here did, counted between the same two
        // moments; a fifth more, since the ticks are not cut at those. Else only a listener whose SYN
        // queue is full sends them: another's cookies say nothing of this one.
        let cookies = if stack.always_cookies() {
            let (from, to) = stack.covered();
            let here = self.window.between(from, to);
            let others = (context.syns - here.syns).max(0.0);
            (delta.syncookies_sent as f64 - 1.2 * (others + here.completed)).max(0.0)
        } else if stack
            .queue(self.target)
            .is_none_or(|(_, queue)| queue.syn_queue >= queue.limit.max(1))
        {
            delta.syncookies_sent as f64
        } else {
            0.0
        };
        seen |= cookies >= threshold;
        said.push(evidence("cookies_sent", cookies, Some(threshold)));
        seen |= self.retransmits >= 3.0;
        said.push(again);
        if delta.ip_reverse_path_filter > 0 {
            said.push(evidence("reverse_path_filter", delta.ip_reverse_path_filter as f64, None));
        }
        let Some(over) = self.cusum.over_since().or(self.flood.as_ref().map(|flood| flood.since))
        else {
            return Trace::NotAskedYet;
        };
        let asked = stack.queues_at().is_some_and(|at| at.since(over) >= 700 * MS)
            // One sample of the counters says nothing of what was counted since.
            && stack.span() > 0;
        match (seen, asked) {
            (true, _) => Trace::Seen(said),
            (false, true) => Trace::None(said),
            (false, false) => Trace::NotAskedYet,
        }
    }
}
