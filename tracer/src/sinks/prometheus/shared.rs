//! What the thread that counts hands to the one that serves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::exposition::{Format, encode};
use crate::metrics::Family;

/// The last figures. The lock is held for as long as it takes to copy a pointer.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Current>>);

#[derive(Default)]
struct Current {
    families: Option<Arc<[Family]>>,
    published: Option<Instant>,
    /// As they were asked for already.
    open_metrics: Option<Bytes>,
    prometheus: Option<Bytes>,
}

impl Current {
    fn text(&mut self, format: Format) -> &mut Option<Bytes> {
        match format {
            Format::OpenMetrics => &mut self.open_metrics,
            Format::Prometheus => &mut self.prometheus,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts new figures in the place of the old ones.
    pub(super) fn publish(&self, families: Vec<Family>) {
        let new = Current {
            families: Some(families.into()),
            published: Some(Instant::now()),
            open_metrics: None,
            prometheus: None,
        };
        // The old ones are let go of after the lock is.
        let _old = std::mem::replace(&mut *self.lock(), new);
    }

    /// How old the figures are; `None` before there are any.
    pub(super) fn age(&self) -> Option<Duration> {
        self.lock().published.map(|published| published.elapsed())
    }

    /// The figures as text, made once for everybody who asks; `None` before there are any.
    pub(super) fn text(&self, format: Format) -> Option<Bytes> {
        let families = {
            let mut current = self.lock();
            if let Some(text) = current.text(format) {
                return Some(text.clone());
            }
            Arc::clone(current.families.as_ref()?)
        };
        let text = Bytes::from(encode(&families, format).ok()?);
        let mut current = self.lock();
        if current.families.as_ref().is_some_and(|now| Arc::ptr_eq(now, &families)) {
            *current.text(format) = Some(text.clone());
        }
        Some(text)
    }
}
