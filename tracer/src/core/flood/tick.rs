//! What the kernel side counted since the tick before, as plain types.

use std::net::{IpAddr, SocketAddr};

use tracer_common::addr::Addr;

use super::parts::{Changes, Parts};
use crate::core::event::MonoNs;

/// Where SYNs went, in the network namespace whose interfaces carry the SYN hook.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Target {
    /// An address where a socket listens; the unspecified address for a listener on any.
    Listener(SocketAddr),
    /// Listeners beyond the number that have a slot of their own.
    Overflow,
    /// A local address and a port where nobody listens.
    Closed,
    /// An address that is not this namespace's own.
    Foreign,
}

/// What came in for one target since the tick before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// SYNs, repeated ones included.
    pub syns: u64,
    /// Those not seen before (4-tuple and initial sequence number).
    pub firsts: Parts,
    /// Of those, told by this tick or one before, what turned out to be none.
    pub taken_back: Parts,
    /// RSTs.
    pub resets: u64,
    /// Of those, the ones that hit a listener's half-open connection.
    pub resets_matched: Parts,
    /// SYN-ACKs.
    pub syn_acks: u64,
    /// Requests that became connections and whose SYN was seen, and counted as a listener's.
    pub completed: Parts,
    /// The others.
    pub completed_unseen: u64,
    /// Sum of the handshake times of `completed`, nanoseconds.
    pub handshake_ns: u64,
}

impl Counts {
    /// Adds what came besides.
    pub fn add(&mut self, more: &Self) {
        let Self {
            syns,
            firsts,
            taken_back,
            resets,
            resets_matched,
            syn_acks,
            completed,
            completed_unseen,
            handshake_ns,
        } = more;
        self.syns += syns;
        self.firsts.add(firsts);
        self.taken_back.add(taken_back);
        self.resets += resets;
        self.resets_matched.add(resets_matched);
        self.syn_acks += syn_acks;
        self.completed.add(completed);
        self.completed_unseen += completed_unseen;
        self.handshake_ns += handshake_ns;
    }

    /// What ends half-open connections, or shows that one was none.
    #[must_use]
    pub fn ended(&self) -> Parts {
        let mut ended = self.completed;
        ended.add(&self.resets_matched);
        ended.add(&self.taken_back);
        ended
    }
}

impl Target {
    /// Whether somebody listens there.
    #[must_use]
    pub const fn listens(self) -> bool {
        matches!(self, Self::Listener(_) | Self::Overflow)
    }
}

/// Registers of a HyperLogLog sketch (`tracer_common::flood::distinct`), one byte each.
#[derive(Clone, PartialEq, Eq)]
pub struct Sketch(pub Box<[u8]>);

impl Sketch {
    /// The sketch of both.
    #[must_use]
    pub fn merged(mut self, other: &Self) -> Self {
        for (register, other) in self.0.iter_mut().zip(&other.0) {
            *register = (*register).max(*other);
        }
        self
    }
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let used = self.0.iter().filter(|register| **register != 0).count();
        write!(f, "Sketch({used} of {})", self.0.len())
    }
}

/// One target with what came in for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetTick {
    /// Which.
    pub target: Target,
    /// How much.
    pub counts: Counts,
    /// The first SYN of this tick.
    pub first_syn: Option<MonoNs>,
    /// Its different sources; `None` where no SYN came in.
    pub sources: Option<Sketch>,
}

impl TargetTick {
    /// With nothing that came in.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self { target, counts: Counts::default(), first_syn: None, sources: None }
    }

    /// Adds what came in besides.
    pub fn add(&mut self, counts: &Counts, first_syn: Option<MonoNs>, sources: Option<Sketch>) {
        self.counts.add(counts);
        self.first_syn = [self.first_syn, first_syn].into_iter().flatten().min();
        self.sources = match (self.sources.take(), sources) {
            (Some(one), Some(other)) => Some(one.merged(&other)),
            (one, other) => one.or(other),
        };
    }
}

/// What one source, or one prefix, sent to one target since the tick before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SourceTick {
    /// To whom.
    pub target: Target,
    /// The source, or the first address of the /24 (IPv4) or /64 (IPv6). IPv4-mapped as IPv4.
    pub addr: IpAddr,
    /// SYNs, repeated ones included; among the completers: connections; among the resetters: RSTs that
    /// hit one of its half-open connections.
    pub syns: u64,
    /// SYNs not seen before; among the others: what ended half-open connections whose SYNs were seen, and
    /// counted as a listener's.
    pub firsts: Changes,
    /// The most SYNs that may have gone unseen before this source was followed; 0: exact. The same
    /// in every tick until another takes its place. Of a prefix it says nothing of the SYNs whose
    /// sources are not followed, which are estimated.
    pub bound: u64,
}

/// What a key of the heavy hitters has grown by since the tick before; the fields are those of
/// [`SourceTick`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the fields of SourceTick")]
pub struct Growth {
    pub syns: u64,
    pub firsts: Changes,
    pub bound: u64,
}

impl Growth {
    /// Adds what it has grown by elsewhere.
    pub fn add(&mut self, more: &Self) {
        let Self { syns, firsts, bound } = more;
        self.syns += syns;
        self.firsts.add(firsts);
        self.bound += bound;
    }
}

impl SourceTick {
    /// Most sources, prefixes, completers and resetters that a tick names; the rest is in
    /// [`Tick::unattributed`].
    pub const NAMED: usize = 4096;

    /// Of a key that has grown.
    #[must_use]
    pub fn new(target: Target, addr: Addr, grown: Growth) -> Self {
        let Growth { syns, firsts, bound } = grown;
        Self { target, addr: addr.into(), syns, firsts, bound }
    }

    /// At most [`Self::NAMED`] of them, those that send most, in order.
    #[must_use]
    pub fn most(mut sources: Vec<Self>) -> Vec<Self> {
        sources.sort_unstable_by(|one, other| {
            (other.syns, one.target, one.addr).cmp(&(one.syns, other.target, other.addr))
        });
        sources.truncate(Self::NAMED);
        sources
    }
}

/// All that was counted between two moments. Targets, sources and prefixes where nothing happened
/// are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tick {
    /// End of the tick before.
    pub from: MonoNs,
    /// Now.
    pub to: MonoNs,
    /// The newest cohort that SYNs in it can be of ([`tracer_common::flood::cohort::number`]).
    pub cohort: u64,
    /// By target.
    pub targets: Vec<TargetTick>,
    /// The sources that send most, by target.
    pub sources: Vec<SourceTick>,
    /// The prefixes that send most, by target.
    pub prefixes: Vec<SourceTick>,
    /// The sources that complete most handshakes, by target.
    pub completers: Vec<SourceTick>,
    /// The sources that reset most half-open connections, by target.
    pub resetters: Vec<SourceTick>,
    /// SYNs that came from sources for which there was no room (all targets).
    pub unattributed: u64,
    /// Those of them that were not seen before, and came to where somebody listens.
    pub unattributed_firsts: Parts,
    /// What ended half-open connections of listeners' and was counted for no source.
    pub unattributed_ended: Parts,
    /// The addresses that send most SYN-ACKs to the namespace's own; `target` says nothing.
    pub syn_ackers: Vec<SourceTick>,
    /// Different destinations (address and port) of SYNs to [`Target::Closed`].
    pub closed_targets: Option<Sketch>,
    /// Different sources of SYN-ACKs to the namespace's own addresses.
    pub syn_ack_sources: Option<Sketch>,
}

/// What was counted for sources and not in the totals yet, from one tick to the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ahead {
    syns: u64,
    firsts: Parts,
    ended: Parts,
}

impl Tick {
    /// Fills in what is unattributed.
    pub fn attribute(&mut self, ahead: &mut Ahead) {
        let syns: u64 = self.targets.iter().map(|target| target.counts.syns).sum();
        let attributed: u64 = self.sources.iter().map(|source| source.syns).sum();
        let attributed = attributed.saturating_add(ahead.syns);
        self.unattributed = syns.saturating_sub(attributed);
        ahead.syns = attributed.saturating_sub(syns);
        let (mut firsts, mut ended) = (Parts::default(), Parts::default());
        for target in self.targets.iter().filter(|target| target.target.listens()) {
            firsts.add(&target.counts.firsts);
            ended.add(&target.counts.ended());
        }
        for source in self.sources.iter().filter(|source| source.target.listens()) {
            ahead.firsts.add(&source.firsts.gained());
            ahead.ended.add(&source.firsts.taken_back());
        }
        let ends = self.completers.iter().chain(&self.resetters);
        for end in ends.filter(|end| end.target.listens()) {
            ahead.ended.add(&end.firsts.gained());
        }
        (self.unattributed_firsts, ahead.firsts) = firsts.without(&ahead.firsts);
        (self.unattributed_ended, ahead.ended) = ended.without(&ahead.ended);
    }

    /// Nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
            && self.sources.is_empty()
            && self.completers.is_empty()
            && self.resetters.is_empty()
            && self.syn_ackers.is_empty()
    }
}
