//! What is usual for a listener.

use super::window::Flow;

/// It forgets within about so long, nanoseconds.
const MEMORY: f64 = 10e9;

/// What is usual, per second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Baseline {
    /// SYNs that come to nothing.
    pub(super) uncompleted: f64,
    /// Connections.
    pub(super) completed: f64,
    /// Connections whose SYN is not seen.
    pub(super) unseen: f64,
    /// Nanoseconds it rests on.
    pub(super) seen_ns: u64,
}

impl Baseline {
    /// Takes in the SYNs of `dt` nanoseconds that came to nothing; `floor` is the most that is usual.
    ///
    /// They are usual only once they have lasted: a listener that was idle, or that was flooded before
    /// tracing began, must not have the flood for its measure.
    pub(super) fn learn_uncompleted(&mut self, flow: &Flow, dt: f64, floor: f64) {
        let share = 1.0 - (-dt / MEMORY).exp();
        self.uncompleted += (flow.uncompleted() * 1e9 / dt - self.uncompleted) * share;
        self.uncompleted = self.uncompleted.min(floor);
    }

    /// Takes in the connections of `dt` nanoseconds, `unseen` of which have a SYN that was not seen.
    /// `crowd`: they are many more than usual.
    pub(super) fn learn_completed(&mut self, flow: &Flow, unseen: f64, dt: f64, crowd: bool) {
        let mix = |old: &mut f64, new: f64, share: f64| *old += (new * 1e9 / dt - *old) * share;
        // The mean, until there is more than is remembered.
        let mean = (1.0 - (-dt / MEMORY).exp()).max(dt / (self.seen_ns as f64 + dt)).min(1.0);
        // A crowd that lasts becomes usual, within minutes.
        let slow = 1.0 - (-dt / (30.0 * MEMORY)).exp();
        mix(&mut self.completed, flow.completed, if crowd { slow } else { mean });
        mix(&mut self.unseen, unseen, mean);
        self.seen_ns = self.seen_ns.saturating_add(dt as u64);
    }
}
