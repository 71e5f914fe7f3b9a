//! What the tracer says about floods: `flood` and `notice` records, and what a flood's test asks of
//! them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::flood::{Flood, Sent};
use super::tracer::{Run, Tracer};
use super::{Check, ms, patience};

/// The flag that has an incident end soon, as the tests need it: 3 s below the threshold.
pub(crate) const CLEAR: [&str; 2] = ["--flood-clear", "3"];

/// Longest time from the last SYN to the end of the incident.
const END_LIMIT: f64 = 15.0;

/// Longest time from the first SYN to the alert on a machine that does other things, too. That the
/// median is 2 s at most is for `cargo xtask detect` to show.
pub(crate) const START_LIMIT: f64 = 4.0;

/// Whether it is a `flood` or `notice` record.
pub(crate) fn is_alert(record: &Value) -> bool {
    record["type"] == "flood" || record["type"] == "notice"
}

/// Seconds since the epoch of a record's time.
#[track_caller]
pub(crate) fn seconds(record: &Value, field: &str) -> f64 {
    let text = record[field].as_str().unwrap_or_else(|| panic!("no {field} in {record}"));
    let time: jiff::Timestamp = text.parse().unwrap_or_else(|e| panic!("{e}: {record}"));
    time.as_microsecond() as f64 / 1e6
}

/// Now, as [`seconds`].
pub(crate) fn now() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("a clock after 1970").as_secs_f64()
}

impl Tracer {
    /// The first record of this kind (`flood`, `notice`) and event, as soon as it has come; `None`
    /// if it does not in time.
    pub(crate) fn alert(&self, kind: &str, event: &str, limit: Duration) -> Option<Value> {
        let deadline = Instant::now() + patience(limit);
        loop {
            let records = self.records();
            let found = records.into_iter().find(|r| r["type"] == kind && r["event"] == event);
            if found.is_some() || Instant::now() > deadline {
                return found;
            }
            std::thread::sleep(ms(20));
        }
    }

    /// Gives an incident of floods the time to end, if one began; what has become of it is for the
    /// checks to say.
    pub(crate) fn let_floods_end(&self) {
        if self.alert("flood", "start", ms(0)).is_some() {
            let _ = self.alert("flood", "end", Duration::from_secs(16));
        }
    }
}

impl Run {
    /// All `flood` and `notice` records, for a message.
    pub(crate) fn alerts(&self) -> String {
        let lines: Vec<String> =
            self.records.iter().filter(|r| is_alert(r)).map(Value::to_string).collect();
        format!("{}\n{}\nstderr: {}", lines.join("\n"), self.end(), self.stderr)
    }

    /// Every verdict told, floods and notices alike.
    pub(crate) fn verdicts(&self) -> BTreeSet<&str> {
        let alerts = self.records.iter().filter(|r| is_alert(r));
        alerts.map(|r| r["verdict"].as_str().unwrap_or("none")).collect()
    }

    /// Checks that no flood was told, and of notices none but these (some, all or none of them).
    #[track_caller]
    pub(crate) fn no_flood_but_perhaps(&self, notices: &[&str]) -> &Self {
        assert!(self.all("flood").is_empty(), "a flood was told:\n{}", self.alerts());
        let odd: Vec<&str> =
            self.verdicts().into_iter().filter(|verdict| !notices.contains(verdict)).collect();
        assert!(odd.is_empty(), "{odd:?} where there may be {notices:?}:\n{}", self.alerts());
        self
    }

    /// Checks that no flood was told, and nothing else but this notice, once.
    #[track_caller]
    pub(crate) fn one_notice(&self, verdict: &str) -> &Value {
        self.no_flood_but_perhaps(&[verdict]);
        let starts: Vec<&Value> =
            self.all("notice").into_iter().filter(|r| r["event"] == "start").collect();
        assert_eq!(starts.len(), 1, "not one {verdict}:\n{}", self.alerts());
        let _ = Check::of(starts[0]).eq("severity", Value::Null);
        starts[0]
    }
}

/// The one flood of a run.
pub(crate) struct Incident<'a> {
    /// Its last record, which is the one of its end.
    pub(crate) end: &'a Value,
}

/// When a flood was sent: seconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Before the first packet.
    pub(crate) first: f64,
    /// After the last.
    pub(crate) last: f64,
}

/// Sends a flood and says when that was.
pub(crate) fn timed(send: impl FnOnce() -> Sent) -> (Sent, Times) {
    let first = now();
    let sent = send();
    (sent, Times { first, last: now() })
}

impl Run {
    /// Checks that the run tells one flood and no more: of this listener, with this verdict from
    /// its first record to its last, begun in time and ended in time; and no notice.
    #[track_caller]
    pub(crate) fn one_flood(
        &self,
        listener: SocketAddr,
        verdict: &str,
        times: Times,
    ) -> Incident<'_> {
        let records = self.all("flood");
        let all = self.alerts();
        let with = |event| records.iter().filter(move |r| r["event"] == event).copied();
        let starts: Vec<&Value> = with("start").collect();
        let ends: Vec<&Value> = with("end").collect();
        assert_eq!((starts.len(), ends.len()), (1, 1), "not one incident:\n{all}");
        let verdicts: Vec<&str> = self.verdicts().into_iter().collect();
        assert_eq!(verdicts, [verdict], "the verdicts:\n{all}");
        for record in &records {
            let said = &record["listener"];
            assert_eq!(said["addr"], listener.ip().to_string(), "{record}");
            assert_eq!(said["port"], listener.port(), "{record}");
            assert_eq!(record["since"], starts[0]["since"], "{record}");
            let severity = record["severity"].as_str().unwrap_or("none");
            assert!(["suspected", "confirmed", "impact"].contains(&severity), "{record}");
            let rate = &record["evidence"][0];
            assert_eq!(rate["metric"], "uncompleted_syns_per_second", "{record}");
            assert!(rate["value"].as_f64() >= rate["threshold"].as_f64(), "{record}");
        }
        let (start, end) = (starts[0], ends[0]);
        let after = seconds(start, "time") - times.first;
        assert!((0.0..=START_LIMIT).contains(&after), "told after {after} s:\n{all}");
        let over = seconds(end, "time") - times.last;
        assert!((0.0..=END_LIMIT).contains(&over), "over after {over} s:\n{all}");
        // The first SYN comes some milliseconds after the first look at the clock: a thread is
        // made, a socket opened.
        let since = seconds(start, "since") - times.first;
        assert!((-0.3..=1.0).contains(&since), "since {since} s:\n{all}");
        // It lasted as long as it was sent, and not until it was called over.
        let until = seconds(end, "until") - times.last;
        assert!((-0.5..=1.5).contains(&until), "until {until} s:\n{all}");
        Incident { end }
    }

    /// Checks that the kernel's own counters bore the flood out, by its severity in some record.
    #[track_caller]
    pub(crate) fn confirmed(&self) -> &Self {
        let sure = |r: &&Value| r["severity"] == "confirmed" || r["severity"] == "impact";
        assert!(self.all("flood").iter().any(sure), "never confirmed:\n{}", self.alerts());
        self
    }
}

impl Incident<'_> {
    /// Checks the figures at the end against what was sent, `lost` of it by the interface.
    #[track_caller]
    pub(crate) fn counts(&self, flood: &Flood, lost: u64) -> &Self {
        let (total, sources) = (flood.total(), flood.different_sources() as f64);
        let _ = Check::of(self.end)
            .within("syn_count", (total - lost) as f64..=total as f64)
            .within("sources_estimate", sources * 0.95..=sources * 1.05)
            .within("completed_ratio", 0.0..=0.01);
        self
    }

    /// Checks that a source (or prefix) is named, with its count right to one percent.
    #[track_caller]
    pub(crate) fn names(&self, addr: IpAddr, len: u8, count: u64) -> &Self {
        let wanted = format!("{addr}/{len}");
        let top = self.end["top_sources"].as_array().expect("top_sources");
        let found = top.iter().find(|source| source["prefix"] == wanted.as_str());
        let found = found.unwrap_or_else(|| panic!("{wanted} is not in {}", self.end));
        let count = count as f64;
        let _ = Check::of(found).within("syn_count", count * 0.99..=count * 1.01);
        self
    }
}
