//! Checks of one record: all of them are made, then all that failed are said at once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::RangeBounds;

use serde_json::Value;

/// Fields of a `connection` record, which are always all there.
pub(crate) const FIELDS: &[&str] = &[
    "type",
    "time_start",
    "time_end",
    "role",
    "local_addr",
    "local_port",
    "remote_addr",
    "remote_port",
    "netns",
    "pid",
    "comm",
    "cgroup",
    "container",
    "handshake_us",
    "handshake_source",
    "synack_rtt_us",
    "path_rtt_us",
    "syn_retransmits",
    "synack_retransmits",
    "accept_wait_us",
    "established_us",
    "close_initiator",
    "close_us",
    "phases_us",
    "time_wait",
    "outcome",
    "bytes_sent",
    "bytes_received",
    "retransmits",
    "rtt_us",
    "observed_from",
    "events_lost",
];

/// Only a capture tells it.
const OF_CAPTURES: &str = "path_rtt_us";

/// The phases, which are always all there.
pub(crate) const PHASES: &[&str] = &[
    "syn_sent",
    "syn_recv",
    "established",
    "fin_wait1",
    "fin_wait2",
    "close_wait",
    "closing",
    "last_ack",
];

/// Collects what is wrong with a record and panics with all of it when it is dropped.
pub(crate) struct Check<'a> {
    record: &'a Value,
    wrong: String,
}

impl<'a> Check<'a> {
    /// Starts with what holds for every connection record: the set of fields, nothing lost,
    /// watched from its start, a life of positive length.
    #[track_caller]
    pub(crate) fn conn(record: &'a Value) -> Self {
        Self::any_conn(record)
            .eq("observed_from", "start")
            .eq("events_lost", false)
            .eq(OF_CAPTURES, ())
    }

    /// Like [`Self::conn`], for a connection that was already open or lost events.
    #[track_caller]
    pub(crate) fn any_conn(record: &'a Value) -> Self {
        let mut check = Self::of(record).eq("type", "connection");
        check.field_set(record, FIELDS, "fields");
        check.field_set(&record["phases_us"], PHASES, "phases");
        let (start, end) = (record["time_start"].as_str(), record["time_end"].as_str());
        let shape =
            |time: &str| time.len() == "2026-01-01T00:00:00.000000Z".len() && time.ends_with('Z');
        match (start, end) {
            (Some(start), Some(end)) if shape(start) && shape(end) && start <= end => {}
            _ => check.note(&format!("time_start {start:?}, time_end {end:?}")),
        }
        check
    }

    /// Of any record.
    pub(crate) const fn of(record: &'a Value) -> Self {
        Self { record, wrong: String::new() }
    }

    fn note(&mut self, what: &str) {
        let _ = write!(self.wrong, "\n  {what}");
    }

    fn field_set(&mut self, object: &Value, wanted: &[&str], what: &str) {
        let have: BTreeSet<&str> =
            object.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
        if have != wanted {
            let missing: Vec<_> = wanted.difference(&have).collect();
            let extra: Vec<_> = have.difference(&wanted).collect();
            self.note(&format!("{what}: missing {missing:?}, not in the format {extra:?}"));
        }
    }

    /// A field has this value.
    #[must_use]
    pub(crate) fn eq(mut self, name: &str, value: impl Into<Value>) -> Self {
        let (have, value) = (at(self.record, name), value.into());
        if *have != value {
            self.note(&format!("{name}: {have}, expected {value}"));
        }
        self
    }

    /// A number is in the range.
    #[must_use]
    pub(crate) fn within(
        mut self,
        name: &str,
        range: impl RangeBounds<f64> + std::fmt::Debug,
    ) -> Self {
        let have = at(self.record, name);
        if !have.as_f64().is_some_and(|n| range.contains(&n)) {
            self.note(&format!("{name}: {have}, expected {range:?}"));
        }
        self
    }

    /// A duration is `millis` long: not shorter (by more than a jiffy's rounding of timers), and
    /// not longer than a busy machine explains.
    #[must_use]
    pub(crate) fn lasts(self, name: &str, millis: u64) -> Self {
        let us = millis as f64 * 1e3;
        let slack = if super::in_vm() { 5e6 } else { 250e3 };
        self.within(name, us - 2e3..=us + slack)
    }

    /// A duration is as short as the kernel makes it.
    #[must_use]
    pub(crate) fn brief(self, name: &str) -> Self {
        let limit = if super::in_vm() { 2e6 } else { 100e3 };
        self.within(name, 0.0..=limit)
    }

    /// Exactly these fields are null, besides what only captures tell.
    #[must_use]
    pub(crate) fn nulls(mut self, names: &[&str]) -> Self {
        let have: BTreeSet<&str> = self
            .record
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| value.is_null())
            .map(|(name, _)| name.as_str())
            .filter(|name| *name != OF_CAPTURES)
            .collect();
        let wanted: BTreeSet<&str> = names.iter().copied().collect();
        if have != wanted {
            let extra: Vec<_> = have.difference(&wanted).collect();
            let missing: Vec<_> = wanted.difference(&have).collect();
            self.note(&format!("null, should not be: {extra:?}; not null, should be: {missing:?}"));
        }
        self
    }

    /// Exactly these phases were visited.
    #[must_use]
    pub(crate) fn phases(mut self, names: &[&str]) -> Self {
        let have: Vec<&str> = PHASES
            .iter()
            .copied()
            .filter(|name| !self.record["phases_us"][name].is_null())
            .collect();
        if have != names {
            self.note(&format!("phases visited: {have:?}, expected {names:?}"));
        }
        self
    }

    /// The process that owns it.
    #[must_use]
    pub(crate) fn owner(self, pid: u32, comm: &str) -> Self {
        self.eq("pid", pid).eq("comm", comm)
    }

    /// This test's own process owns it.
    #[must_use]
    pub(crate) fn owned_here(self) -> Self {
        let comm = std::fs::read_to_string("/proc/self/comm").expect("/proc/self/comm");
        self.owner(std::process::id(), comm.trim_end())
    }
}

/// A field, or `phases_us/close_wait`.
fn at<'a>(record: &'a Value, name: &str) -> &'a Value {
    static ABSENT: Value = Value::Null;
    match name.split_once('/') {
        Some((outer, inner)) => record.get(outer).and_then(|o| o.get(inner)),
        None => record.get(name),
    }
    .unwrap_or(&ABSENT)
}

impl Drop for Check<'_> {
    fn drop(&mut self) {
        if !self.wrong.is_empty() && !std::thread::panicking() {
            panic!("{}\nin {}", self.wrong, self.record);
        }
    }
}
