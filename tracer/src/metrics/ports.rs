//! Which local ports have series of their own.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// A local port as a label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Port {
    /// Of its own.
    One(u16),
    /// All that came when there was no room any more.
    Other,
}

impl Port {
    pub(super) fn label(self) -> Cow<'static, str> {
        match self {
            Self::One(port) => port.to_string().into(),
            Self::Other => "other".into(),
        }
    }
}

/// Those with series of their own: the ports that the user named, and the first so many others that
/// a connection came for. One that has its series keeps it: counters must not jump.
#[derive(Debug)]
pub(super) struct Ports {
    named: BTreeSet<u16>,
    met: BTreeSet<u16>,
    most: usize,
}

impl Ports {
    pub(super) fn new(named: &[u16], most: usize) -> Self {
        Self { named: named.iter().copied().collect(), met: BTreeSet::new(), most }
    }

    pub(super) fn of(&mut self, port: u16) -> Port {
        if self.named.contains(&port) || self.met.contains(&port) {
            return Port::One(port);
        }
        if self.met.len() < self.most {
            self.met.insert(port);
            return Port::One(port);
        }
        Port::Other
    }
}
