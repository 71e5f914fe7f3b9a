//! Counts what the SYN hook would have counted, out of the segments of a capture.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;
use tracer_common::addr::Addr;
use tracer_common::flood::cohort;
use tracer_common::flood::distinct::{REGISTERS, port_number};
use tracer_common::flood::sources::{Come, Hitter, PREFIX_SETS, SOURCE_SETS, prefix, prefix_hash};
use tracer_common::hash::{self, KEY_WORDS};
use tracer_common::packet::tcp_flags::{ACK, FIN, RST, SYN};
use tracer_common::state::TcpState;

use super::destinations::{ANSWER, Destinations, End, State, note};
use super::hitters::{Hitters, Key};
use super::syns::{Kind, Seen, Syns};
use crate::capture::segment::{Captured, Direction, Segment};
use crate::core::event::{Event, MonoNs};
use crate::core::flood::tick::{
    Ahead, Counts, Growth, Sketch, SourceTick, Target, TargetTick, Tick,
};

/// Which ends of a segment are local.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// Where it came from.
    pub src: bool,
    /// Where it goes.
    pub dst: bool,
}

/// What was counted since the last tick, in bounded memory.
pub(super) struct Counting {
    key: hash::Key,
    epoch: u32,
    destinations: Destinations,
    syns: Syns,
    sources: Hitters,
    prefixes: Hitters,
    completers: Hitters,
    resetters: Hitters,
    /// What came for nobody in particular: SYNs for which there was no destination left, SYN-ACKs.
    strangers: Counts,
    strangers_first: Option<MonoNs>,
    /// Different destinations of SYNs to closed ports.
    closed: Option<Box<[u8]>>,
    /// Different sources of SYN-ACKs.
    answerers: Option<Box<[u8]>>,
    ahead: Ahead,
    /// Nobody has answered a SYN in the whole capture.
    silent: bool,
    /// Something has come since the last tick.
    touched: bool,
    /// SYNs that have come for local ends, and those of them that were repeated: totals.
    pub(super) came: u64,
    pub(super) came_again: u64,
    /// SYNs that local ends have sent, and RSTs: totals.
    pub(super) opens: u64,
    pub(super) resets_sent: u64,
}

impl Counting {
    pub(super) fn new() -> Self {
        Self {
            key: fixed_key(),
            // Elements that were never written say 0.
            epoch: 1,
            destinations: Destinations::default(),
            syns: Syns::default(),
            sources: Hitters::new(SOURCE_SETS),
            prefixes: Hitters::new(PREFIX_SETS),
            completers: Hitters::new(SOURCE_SETS),
            resetters: Hitters::new(SOURCE_SETS),
            strangers: Counts::default(),
            strangers_first: None,
            closed: None,
            answerers: None,
            ahead: Ahead::default(),
            silent: true,
            touched: false,
            came: 0,
            came_again: 0,
            opens: 0,
            resets_sent: 0,
        }
    }

    /// Looks at a segment; only those that open, answer or refuse a connection matter. `ends`: which
    /// ends are local, where that is known; asked for only where it matters.
    #[inline]
    pub(super) fn segment(&mut self, captured: &Captured, ends: impl Fn() -> Option<Ends>) {
        let flags = captured.segment.flags;
        if flags & (SYN | RST) != 0 {
            self.control(captured, ends());
        } else if flags & (SYN | ACK) == ACK {
            let (client, server) = ends_of(&captured.segment);
            let tuple = self.tuple(client, server);
            if let Some(entry) = self.syns.ack(tuple, captured.segment.seq)
                && ends().is_none_or(|ends| ends.dst)
            {
                let asked = matches!(entry.kind, Kind::Syn | Kind::Answered);
                if !asked || entry.destination != 0 {
                    self.completed(asked.then_some(entry.at), client, server, captured.at);
                }
            }
        }
    }

    /// Has what will be looked at for these segments fetched from memory, all at the same time.
    pub(super) fn expect(&self, segments: &[Captured]) {
        let opening = segments.iter().map(|c| &c.segment).filter(|s| s.flags & (SYN | ACK) == SYN);
        let fetched = opening.fold(0, |sum, segment| {
            let (client, server) = ends_of(segment);
            sum ^ self.syns.fetch(self.tuple(client, server))
        });
        std::hint::black_box(fetched);
    }

    fn control(&mut self, captured: &Captured, ends: Option<Ends>) {
        let flags = captured.segment.flags;
        // On a loopback what goes out comes in again.
        let stays = ends.is_some_and(|ends| ends.src && ends.dst);
        if stays && captured.direction == Some(Direction::Out) {
            return;
        }
        match flags & (SYN | FIN | RST) {
            SYN if flags & ACK == 0 => self.opening(captured, ends),
            SYN => self.answering(captured, ends),
            kind if kind & SYN == 0 => self.resetting(captured, ends),
            _ => {}
        }
    }

    /// A handshake has completed, whose SYN was counted when it came at `syn`, or was not captured.
    #[cold]
    fn completed(&mut self, syn: Option<MonoNs>, client: End, server: End, at: MonoNs) {
        let Some(number) = self.destinations.of(server, State::Listens, at) else { return };
        // Whoever completes a handshake was answered, captured or not.
        self.destinations.answered(number, at, State::Listens);
        let Some(destination) = self.destinations.get_mut(number) else { return };
        let syn = syn.filter(|syn| destination.held(*syn));
        let part = syn.map_or(0, |syn| cohort::part_of_end(syn.0, at.0));
        if let Some(syn) = syn {
            destination.counts.completed.count(part, 1);
            destination.counts.handshake_ns += at.since(syn);
        } else {
            destination.counts.completed_unseen += 1;
        }
        let hash = hash::single(&self.key, number, client.0);
        let hitter = Hitter::source(hash, number, client.0);
        self.completers.hit(&hitter, Come::one(part, syn.is_some()), self.epoch);
        self.touched = true;
    }

    /// Hash of a connection's 4-tuple, the client's end first.
    fn tuple(&self, client: End, server: End) -> u64 {
        hash::pair(&self.key, [client.0, server.0], [client.1.into(), server.1.into()])
    }

    fn opening(&mut self, captured: &Captured, ends: Option<Ends>) {
        let Captured { at, segment, .. } = captured;
        let place = captured.place();
        let (src, dst) = ends_of(segment);
        let tuple = self.tuple(src, dst);
        // Where nothing tells, a connection is looked at from its server.
        let Ends { src: from_here, dst: to_here } = ends.unwrap_or(Ends { src: false, dst: true });
        if !to_here {
            let seen = self.syns.syn(tuple, *at, (segment.seq, place), 0);
            self.opens += u64::from(from_here && seen == Seen::First);
            return;
        }
        let number = self.destinations.of(dst, State::Unknown, *at);
        let seen = self.syns.syn(tuple, *at, (segment.seq, place), number.unwrap_or(0));
        if seen == Seen::OtherDevice {
            return;
        }
        self.touched = true;
        let first = seen == Seen::First;
        self.came += 1;
        self.came_again += u64::from(!first);
        let Some(number) = number else {
            self.strangers.syns += 1;
            self.strangers.firsts.count(cohort::part(at.0), first.into());
            self.strangers_first.get_or_insert(*at);
            return;
        };
        let source = hash::single(&self.key, number, src.0);
        self.destinations.syn(number, *at, first, source);
        let hitter = Hitter::source(source, number, src.0);
        let come = Come::one(cohort::part(at.0), first);
        let syns = self.sources.hit(&hitter, come, self.epoch);
        if syns != 0 {
            let addr = prefix(src.0);
            let hitter = Hitter::prefix(prefix_hash(&self.key, number, addr), number, addr);
            self.prefixes.hit(&hitter, Come { syns, ..come }, self.epoch);
        }
    }

    fn answering(&mut self, captured: &Captured, ends: Option<Ends>) {
        let Captured { at, segment, .. } = captured;
        let place = captured.place();
        let (server, client) = ends_of(segment);
        let tuple = self.tuple(client, server);
        self.silent = false;
        let asked = self.syns.find(tuple).filter(|entry| {
            matches!(entry.kind, Kind::Syn | Kind::Answered | Kind::Complete)
                && segment.ack == entry.number.wrapping_add(1)
        });
        let was_asked = asked.is_some();
        if let Some(entry) = asked
            && entry.kind == Kind::Syn
        {
            entry.kind = Kind::Answered;
        }
        if let Some(number) = self.destinations.of(server, State::Listens, *at) {
            self.destinations.answered(number, *at, State::Listens);
        }
        // As the SYN hook: each one that came in, asked for or not.
        let came_in = ends.is_some_and(|ends| ends.dst && !ends.src);
        if was_asked {
            if came_in {
                self.syn_ack(server);
            }
            return;
        }
        if let Some(entry) = self.syns.unasked(tuple, *at, (segment.ack, place))
            && came_in
        {
            entry.kind = Kind::Counted;
            self.syn_ack(server);
        }
    }

    fn syn_ack(&mut self, server: End) {
        self.touched = true;
        self.strangers.syn_acks += 1;
        let number = Destinations::SYN_ACKS;
        let hash = hash::single(&self.key, number, server.0);
        let hitter = Hitter::source(hash, number, server.0);
        self.sources.hit(&hitter, Come::one(0, true), self.epoch);
        note(self.answerers.get_or_insert_with(sketch), hash);
    }

    fn resetting(&mut self, captured: &Captured, ends: Option<Ends>) {
        let Captured { at, segment, .. } = captured;
        let (src, dst) = ends_of(segment);
        // Instead of a SYN-ACK.
        let answer = self.tuple(dst, src);
        if let Some(entry) = self.syns.find(answer)
            && entry.kind == Kind::Syn
            && segment.flags & ACK != 0
            && segment.ack == entry.number.wrapping_add(1)
        {
            entry.kind = Kind::Answered;
            self.silent = false;
            self.resets_sent += 1;
            let number = entry.destination;
            self.destinations.answered(number, *at, State::Closed);
        }
        // A SYN-ACK that is refused was not asked for.
        let refusal = self.tuple(src, dst);
        if let Some(entry) = self.syns.find(refusal)
            && matches!(entry.kind, Kind::Unasked | Kind::Counted)
            && entry.number == segment.seq
        {
            let counted = std::mem::replace(&mut entry.kind, Kind::Counted) == Kind::Counted;
            self.resets_sent += 1;
            if !counted {
                self.syn_ack(dst);
            }
        }
        if ends.is_none_or(|ends| ends.dst)
            && let Some(number) = self.destinations.find(dst)
            && let Some(destination) = self.destinations.get_mut(number)
        {
            destination.counts.resets += 1;
            self.touched = true;
        }
    }

    /// What the connections of the local ends tell.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            // A child of a listener, no simultaneous open.
            Event::Transition(socket)
                if (socket.old, socket.new) == (TcpState::SynRecv, TcpState::Established)
                    && socket.old_since.is_some() =>
            {
                let (local, remote) = (addr_of(socket.local), addr_of(socket.remote));
                let tuple = self.tuple(remote, local);
                // Counted when its ACK passed, unless others had taken its place by then.
                if self.syns.find(tuple).is_none() {
                    self.completed(None, remote, local, socket.at);
                }
            }
            Event::RequestReset(request) => {
                let (local, remote) = (addr_of(request.local), addr_of(request.remote));
                let Some(number) = self.destinations.find(local) else { return };
                let Some(destination) = self.destinations.get_mut(number) else { return };
                // One whose SYN was not captured ends nothing that was counted.
                let Some(syn) = request.syn_at.filter(|syn| destination.held(*syn)) else { return };
                let part = cohort::part_of_end(syn.0, request.at.0);
                destination.counts.resets_matched.count(part, 1);
                let hash = hash::single(&self.key, number, remote.0);
                let hitter = Hitter::source(hash, number, remote.0);
                self.resetters.hit(&hitter, Come::one(part, true), self.epoch);
                self.touched = true;
            }
            _ => {}
        }
    }

    /// Whether a tick has something to tell, or will have when somebody has had time to answer.
    pub(super) const fn has_news(&self) -> bool {
        self.touched
    }

    /// What is left when the capture is over: nobody will answer any more.
    pub(super) fn last(&mut self, from: MonoNs, to: MonoNs) -> Option<Tick> {
        self.destinations.decide(MonoNs(to.0.saturating_add(ANSWER)), self.silent);
        self.tick(from, to)
    }

    /// What was counted since the last tick; `None` if it is nothing.
    pub(super) fn tick(&mut self, from: MonoNs, to: MonoNs) -> Option<Tick> {
        self.destinations.decide(to, self.silent);
        let mut targets: BTreeMap<Target, TargetTick> = BTreeMap::new();
        let key = &self.key;
        let closed = &mut self.closed;
        self.destinations.take(to, |end, state, counts, first_syn, sources| {
            let target = target(end, state);
            if target == Target::Closed && counts.syns > 0 {
                let hash = hash::single(key, port_number(end.1), end.0);
                note(closed.get_or_insert_with(sketch), hash);
            }
            let sum = targets.entry(target).or_insert_with(|| TargetTick::new(target));
            sum.add(&counts, first_syn, sources);
        });
        if self.strangers != Counts::default() {
            let target = Target::Closed;
            let sum = targets.entry(target).or_insert_with(|| TargetTick::new(target));
            sum.add(&std::mem::take(&mut self.strangers), self.strangers_first.take(), None);
        }
        let (epoch, destinations) = (self.epoch, &self.destinations);
        // Those that wait for an answer are told together with what was counted of them.
        let due = |number: u32| {
            destinations.get(number).is_none_or(|destination| destination.state != State::Unknown)
        };
        let named = |grown: FxHashMap<Key, Growth>| {
            most(grown.into_iter().filter_map(|((number, addr), grown)| {
                // One that was forgotten meanwhile has none, nor has the number for SYN-ACKs.
                let destination = destinations.get(number)?;
                Some((target(destination.end, destination.state), Addr(addr), grown))
            }))
        };
        let grown = self.sources.read(epoch, due);
        let answerers = grown.iter().filter(|((number, _), _)| *number == Destinations::SYN_ACKS);
        let syn_ackers =
            most(answerers.map(|((_, addr), grown)| (Target::Closed, Addr(*addr), *grown)));
        let sources = named(grown);
        let mut tick = Tick {
            from,
            to,
            sources,
            prefixes: named(self.prefixes.read(epoch, due)),
            completers: named(self.completers.read(epoch, due)),
            resetters: named(self.resetters.read(epoch, due)),
            cohort: cohort::number(to.0),
            syn_ackers,
            closed_targets: self.closed.take().map(Sketch),
            syn_ack_sources: self.answerers.take().map(Sketch),
            targets: targets.into_values().collect(),
            ..Tick::default()
        };
        tick.attribute(&mut self.ahead);
        self.epoch = self.epoch.wrapping_add(1);
        self.destinations.forget(to);
        self.touched = self.destinations.waiting();
        (!tick.is_empty()).then_some(tick)
    }
}

/// The same in every run: a capture tells the same each time. Who chooses a capture's addresses so that
/// they fall on one another misleads nobody but the reader of that capture.
fn fixed_key() -> hash::Key {
    // SplitMix64 (Steele, Lea, Flood 2014).
    let mut state = 0_u64;
    let words: [u64; KEY_WORDS] = std::array::from_fn(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    });
    hash::Key::new(words)
}

fn sketch() -> Box<[u8]> {
    vec![0; REGISTERS].into()
}

const fn ends_of(segment: &Segment) -> (End, End) {
    ((segment.src, segment.src_port), (segment.dst, segment.dst_port))
}

fn addr_of(end: SocketAddr) -> End {
    (end.ip().into(), end.port())
}

fn target((addr, port): End, state: State) -> Target {
    match state {
        State::Listens => Target::Listener(addr.at(port)),
        State::Closed | State::Unknown => Target::Closed,
    }
}

/// [`SourceTick::most`], with those of several closed ports added up.
fn most(grown: impl Iterator<Item = (Target, Addr, Growth)>) -> Vec<SourceTick> {
    let mut sums: BTreeMap<(Target, IpAddr), (Addr, Growth)> = BTreeMap::new();
    for (target, addr, grown) in grown {
        let (_, sum) = sums.entry((target, addr.into())).or_insert((addr, Growth::default()));
        sum.add(&grown);
    }
    let sums = sums.into_iter();
    SourceTick::most(
        sums.map(|((target, _), (addr, grown))| SourceTick::new(target, addr, grown)).collect(),
    )
}
