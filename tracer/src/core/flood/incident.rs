//! From its start over updates to its end: one incident, one kind, one destination.

use std::net::SocketAddr;

use super::Config;
use crate::core::event::MonoNs;
use crate::core::record::{Alert, AlertEvent, Evidence, Record, Severity, Verdict};

/// First pause between updates that tell nothing new but the figures.
const PAUSE: u64 = 5_000_000_000;
/// Notices that go on for long are told less and less often.
const LONGEST_PAUSE: u64 = 60_000_000_000;

/// What a rule holds to be going on right now.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    pub(super) severity: Option<Severity>,
    pub(super) evidence: Vec<Evidence>,
}

impl Finding {
    pub(super) fn notice(verdict: Verdict, evidence: Vec<Evidence>) -> Self {
        Self { verdict, severity: None, evidence }
    }
}

/// A figure with what it was held against.
pub(super) fn evidence(metric: &'static str, value: f64, threshold: Option<f64>) -> Evidence {
    Evidence { metric, value, threshold }
}

/// What all alerts of a tick have in common.
pub(super) struct Context<'a> {
    pub(super) config: &'a Config,
    pub(super) stack: &'a super::stack::Stack,
    pub(super) interfaces: &'a [String],
    /// SYNs to all listeners between the last two samples of the kernel's counters, about.
    pub(super) syns: f64,
    pub(super) now: MonoNs,
}

impl Context<'_> {
    /// An update with what is common filled in.
    pub(super) fn blank(&self, listener: Option<SocketAddr>, incident: &Incident) -> Alert {
        let Incident { since, finding, active_at, .. } = incident;
        Alert {
            at: self.now,
            event: AlertEvent::Update,
            netns: self.config.netns,
            interfaces: self.interfaces.to_vec(),
            listener,
            verdict: finding.verdict,
            severity: finding.severity,
            syn_count: 0,
            syn_rate: 0.0,
            completed_ratio: None,
            half_open: None,
            sources_estimate: None,
            top_sources: Vec::new(),
            queue: None,
            cookies_sent_rate: None,
            evidence: finding.evidence.clone(),
            since: *since,
            until: *active_at,
        }
    }
}

/// An incident that has been told.
#[derive(Debug)]
pub(super) struct Incident {
    pub(super) since: MonoNs,
    /// SYNs of the target before it began.
    pub(super) base: u64,
    pub(super) finding: Finding,
    active_at: MonoNs,
    told_at: MonoNs,
    pause: u64,
}

impl Incident {
    /// Goes one step: starts, tells what is new, ends. `alert` makes the record of it.
    pub(super) fn step(
        slot: &mut Option<Self>,
        finding: Option<Finding>,
        begin: (MonoNs, u64),
        context: &Context<'_>,
        alert: impl FnOnce(&Self) -> Alert,
        out: &mut Vec<Record>,
    ) {
        let now = context.now;
        let tell = |incident: &Self, event| {
            let mut alert = alert(incident);
            alert.event = event;
            out.push(Record::Alert(Box::new(alert)));
        };
        match (slot.as_mut(), finding) {
            (None, None) => {}
            (None, Some(finding)) => {
                let incident = Self {
                    since: begin.0,
                    base: begin.1,
                    finding,
                    active_at: now,
                    told_at: now,
                    pause: PAUSE,
                };
                tell(&incident, AlertEvent::Start);
                *slot = Some(incident);
            }
            (Some(incident), Some(mut finding)) => {
                incident.active_at = now;
                // Severity does not fall within an incident: how bad it got is what matters.
                if finding.verdict.is_flood() {
                    finding.severity = finding.severity.max(incident.finding.severity);
                }
                let news = finding.verdict != incident.finding.verdict
                    || finding.severity != incident.finding.severity;
                incident.finding = finding;
                if news || now.since(incident.told_at) >= incident.pause {
                    if !news && !incident.finding.verdict.is_flood() {
                        incident.pause = incident.pause.saturating_mul(2).min(LONGEST_PAUSE);
                    }
                    incident.told_at = now;
                    tell(incident, AlertEvent::Update);
                }
            }
            (Some(incident), None) => {
                if now.since(incident.active_at) >= context.config.clear_ns {
                    tell(incident, AlertEvent::End);
                    *slot = None;
                }
            }
        }
    }
}
