//! The SYNs of late, and the SYN-ACKs that no SYN was seen for: which SYN is repeated, which was
//! answered, which answer nobody asked for.

/// Places; each is the newest's that falls on it, so that a flood takes no more memory.
const PLACES: usize = 1 << 17;

/// What is known of a 4-tuple, the client's end first.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    /// Hash of the 4-tuple; 0: empty.
    tag: u64,
    /// The SYN's number, or what the SYN-ACK acknowledges.
    pub(super) number: u32,
    /// The interface that it came by.
    interface: u32,
    /// Number of the destination; 0: it is not counted.
    pub(super) destination: u32,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    #[default]
    Syn,
    /// A SYN that was answered.
    Answered,
    /// A SYN-ACK without a SYN.
    Unasked,
    /// One that has been counted.
    Counted,
}

/// What a SYN is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    First,
    Repeated,
    /// The same on its way through another interface.
    OtherDevice,
}

pub(super) struct Syns(Box<[Entry]>);

impl Default for Syns {
    fn default() -> Self {
        Self(vec![Entry::default(); PLACES].into())
    }
}

impl Syns {
    fn place(&mut self, hash: u64) -> Option<&mut Entry> {
        self.0.get_mut((hash >> 40) as usize & (PLACES - 1))
    }

    /// What is known of a 4-tuple.
    pub(super) fn find(&mut self, hash: u64) -> Option<&mut Entry> {
        self.place(hash).filter(|entry| entry.tag == hash | 1)
    }

    /// Notes a SYN.
    pub(super) fn syn(&mut self, hash: u64, isn: u32, interface: u32, destination: u32) -> Seen {
        let new = Entry { tag: hash | 1, number: isn, interface, destination, kind: Kind::Syn };
        let Some(entry) = self.place(hash) else { return Seen::First };
        let known = entry.tag == new.tag
            && entry.number == isn
            && matches!(entry.kind, Kind::Syn | Kind::Answered);
        if !known {
            *entry = new;
            return Seen::First;
        }
        if entry.interface == interface { Seen::Repeated } else { Seen::OtherDevice }
    }

    /// Notes a SYN-ACK that no SYN is known for; `None` if it has been noted.
    pub(super) fn unasked(&mut self, hash: u64, ack: u32, interface: u32) -> Option<&mut Entry> {
        let entry = self.place(hash)?;
        let noted = entry.tag == hash | 1
            && entry.number == ack
            && matches!(entry.kind, Kind::Unasked | Kind::Counted);
        if noted && entry.interface != interface {
            return None;
        }
        *entry =
            Entry { tag: hash | 1, number: ack, interface, destination: 0, kind: Kind::Unasked };
        Some(entry)
    }
}
