//! What waits for the exporter: records in a bounded queue, and the latest set of metrics. Whoever
//! fills it never waits.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::logs::Item;
use super::metrics::Figures;

#[cfg(test)]
mod tests;

/// Records that may wait, those being sent included.
pub(super) const RECORDS: usize = 1 << 16;
/// Bytes of memory that they may take, about.
pub(super) const BYTES: usize = 32 << 20;
/// Records in a request.
pub(super) const BATCH: usize = 2048;
/// Bytes of memory of the records in a request; encoded they take about twice as much, and
/// Collectors take up to 20 MiB.
const BATCH_BYTES: usize = 4 << 20;
/// How long a record waits for others to go with it (the default of OpenTelemetry's batching).
pub(super) const DELAY: Duration = Duration::from_secs(1);

/// Between the thread that reads the ring and the one that sends.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something to do for the exporter.
    work: Condvar,
    /// The exporter has ended.
    done: Condvar,
}

/// See [`Queue`].
#[derive(Default)]
pub(super) struct State {
    records: VecDeque<Item>,
    /// Of `records`.
    bytes: usize,
    /// When the oldest of them came.
    since: Option<Instant>,
    /// Records taken by the exporter of which nobody knows yet what became of them.
    in_flight: usize,
    /// Their bytes.
    in_flight_bytes: usize,
    /// The set to be sent next; a newer one takes its place.
    pub(super) figures: Option<Figures>,
    /// The run is over: everything is to be sent by then.
    pub(super) until: Option<Instant>,
    ended: bool,
    pub(super) counts: Counts,
}

/// What became of records and requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    /// Records that the receiver took.
    pub(super) sent: u64,
    /// Records for which there was no room.
    pub(super) dropped: u64,
    /// Records that the receiver refused for good.
    pub(super) rejected: u64,
    /// Requests that failed, those that were repeated included.
    pub(super) failures: u64,
}

impl Queue {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every moment a holder could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a record, or drops and counts it.
    pub(super) fn push(&self, item: Item) {
        let size = item.size();
        let mut state = self.lock();
        let fits = state.records.len() + state.in_flight < RECORDS
            && state.bytes + state.in_flight_bytes + size <= BYTES;
        if !fits || state.ended {
            state.counts.dropped += 1;
            return;
        }
        state.records.push_back(item);
        state.bytes += size;
        if state.since.is_none() {
            state.since = Some(Instant::now());
        }
        // In between, the exporter wakes up when the oldest has waited long enough.
        let wake = state.records.len() == 1 || state.records.len() == BATCH;
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    /// Takes a set of metrics in the place of the one before it.
    pub(super) fn put(&self, figures: Figures) {
        self.lock().figures = Some(figures);
        self.work.notify_one();
    }

    /// Has the exporter send what is left and end. What it had not sent by `until` is left and
    /// counted: how many records that is.
    pub(super) fn finish(&self, until: Instant) -> usize {
        let mut state = self.lock();
        state.until = Some(until);
        self.work.notify_one();
        while !state.ended {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            let woken = self.done.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        // An exporter that hangs in a request finds nobody any more.
        state.ended = true;
        state.records.len() + state.in_flight
    }

    /// The exporter will send no more.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.done.notify_all();
    }

    /// Waits until there may be something to do, at most until `until`.
    pub(super) fn wait(&self, state: MutexGuard<'_, State>, until: Option<Instant>) {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        match left {
            Some(left) => drop(self.work.wait_timeout(state, left)),
            None => drop(self.work.wait(state)),
        }
    }
}

impl State {
    /// When the records that wait are to be sent; `None` if there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.since?;
        let now = self.until.is_some() || self.records.len() >= BATCH;
        Some(if now { since } else { since + DELAY })
    }

    /// Takes what goes into a request, oldest first.
    pub(super) fn take(&mut self) -> Vec<Item> {
        let mut bytes = 0;
        let mut n = 0;
        for item in self.records.iter().take(BATCH) {
            if n > 0 && bytes + item.size() > BATCH_BYTES {
                break;
            }
            bytes += item.size();
            n += 1;
        }
        let taken: Vec<Item> = self.records.drain(..n).collect();
        self.bytes -= bytes;
        self.in_flight += n;
        self.in_flight_bytes += bytes;
        // The next one came later than this, but how much later is not worth to be kept.
        self.since = (!self.records.is_empty()).then(Instant::now);
        if self.records.is_empty() {
            // A burst's memory is given back.
            self.records.shrink_to(BATCH);
        }
        taken
    }

    /// The receiver took those in flight, all but `rejected`.
    pub(super) fn taken(&mut self, rejected: u64) {
        let all = self.in_flight as u64;
        let rejected = rejected.min(all);
        self.counts.sent += all - rejected;
        self.counts.rejected += rejected;
        self.in_flight = 0;
        self.in_flight_bytes = 0;
    }

    /// Records that wait or are being sent.
    pub(super) fn waiting(&self) -> usize {
        self.records.len() + self.in_flight
    }
}
