//! What looks like a flood and is none: one rule a file.

pub(super) mod backscatter;
pub(super) mod closed;
pub(super) mod crowd;
pub(super) mod lossy;
pub(super) mod queues;
