//! Names of cgroups, as far as they have been told.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::event::CgroupName;

/// Most names remembered. A host that makes and removes containers all day must not fill the
/// memory with the names of those that are gone.
const MOST: usize = 65_536;

#[derive(Default)]
pub(super) struct Cgroups {
    names: FxHashMap<u64, (Arc<CgroupName>, u64)>,
    /// Counts what was told; the older half goes when there are too many.
    told: u64,
}

impl Cgroups {
    pub(super) fn tell(&mut self, id: u64, name: Arc<CgroupName>) {
        if id == 0 {
            return;
        }
        if self.names.len() >= MOST {
            let newer = self.told.saturating_sub(MOST as u64 / 2);
            self.names.retain(|_, (_, told)| *told > newer);
        }
        self.told += 1;
        self.names.insert(id, (name, self.told));
    }

    pub(super) fn name(&self, id: u64) -> Option<Arc<CgroupName>> {
        self.names.get(&id).map(|(name, _)| Arc::clone(name))
    }
}
