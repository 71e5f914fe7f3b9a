//! What the kernel side counts, per CPU, and the user side adds up.

/// Per-CPU totals since the programs were loaded. They stay exact when records are lost.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable)
)]
pub struct Counters {
    /// Records put into the ring; those in lanes (`crate::lane`) are not among them.
    pub records_sent: u64,
    /// Records that found the ring full.
    pub records_lost: u64,
    /// Of those, transitions.
    pub transitions_lost: u64,
    /// SYNs that matched the filters, repeated ones included; in the kernel only those of CPUs that
    /// have no element of their own (`crate::flood::cpu::Now::syns` has the others).
    pub syns: u64,
    /// Of those, the ones that turned out to be others on their way through a second device.
    pub syns_other_device: u64,
    /// SYNs whose 4-tuple and initial sequence number were seen before on the same device.
    pub syns_repeated: u64,
    /// TCP packets that could not be parsed: fragments, truncated or malformed.
    pub syns_unparsed: u64,
    /// RSTs that hit a SYN still waiting for its final ACK.
    pub requests_reset: u64,
    /// Of those, the ones that were only counted: the record's rate limit was reached, or the ring
    /// was full.
    pub requests_reset_unrecorded: u64,
    /// SYN-ACKs sent again.
    pub synack_retransmits: u64,
    /// RSTs sent: without a socket (refused, stray) and on behalf of one.
    pub resets_sent: u64,
    /// RSTs received by sockets.
    pub resets_received: u64,
    /// SYN_SENTs that had to wait for their local port and found no memory to wait in.
    pub withheld_lost: u64,
    /// Transitions that the first state program left to the second: it was at work on that CPU already
    /// (before Linux 6.1), or the CPU has no lane.
    pub declined: u64,
    /// Transitions that the second state program handled: those, and what the first was not run for
    /// because it was interrupted.
    pub rescued: u64,
}

const _: () = assert!(size_of::<Counters>() == 15 * 8);

impl Counters {
    /// Adds another CPU's totals.
    pub fn add(&mut self, other: &Self) {
        let Self {
            records_sent,
            records_lost,
            transitions_lost,
            syns,
            syns_other_device,
            syns_repeated,
            syns_unparsed,
            requests_reset,
            requests_reset_unrecorded,
            synack_retransmits,
            resets_sent,
            resets_received,
            withheld_lost,
            declined,
            rescued,
        } = other;
        self.records_sent += records_sent;
        self.records_lost += records_lost;
        self.transitions_lost += transitions_lost;
        self.syns += syns;
        self.syns_other_device += syns_other_device;
        self.syns_repeated += syns_repeated;
        self.syns_unparsed += syns_unparsed;
        self.requests_reset += requests_reset;
        self.requests_reset_unrecorded += requests_reset_unrecorded;
        self.synack_retransmits += synack_retransmits;
        self.resets_sent += resets_sent;
        self.resets_received += resets_received;
        self.withheld_lost += withheld_lost;
        self.declined += declined;
        self.rescued += rescued;
    }
}
