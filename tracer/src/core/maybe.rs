//! An optional number of nanoseconds in eight bytes: the table holds a dozen of them a connection.

/// Nanoseconds, or not known. `u64::MAX` (584 years) is the value given up for "not known".
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct MaybeNs(u64);

impl MaybeNs {
    pub(super) const NONE: Self = Self(u64::MAX);

    pub(super) const fn some(ns: u64) -> Self {
        Self(ns)
    }

    pub(super) const fn get(self) -> Option<u64> {
        match self.0 {
            u64::MAX => None,
            ns => Some(ns),
        }
    }

    /// Adds to what is known; not known counts as nothing yet.
    pub(super) fn add(&mut self, ns: u64) {
        self.0 = self.get().unwrap_or(0).saturating_add(ns);
    }
}

impl From<Option<u64>> for MaybeNs {
    fn from(ns: Option<u64>) -> Self {
        ns.map_or(Self::NONE, Self)
    }
}
