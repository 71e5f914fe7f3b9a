//! Which alerts say something new.

use std::net::SocketAddr;

use super::{Alert, AlertEvent};
use crate::core::event::MonoNs;
use crate::core::record::{Severity, Verdict};

/// Incidents remembered at a time; there are far fewer.
const REMEMBERED: usize = 256;

/// What was last said of each incident that goes on.
#[derive(Debug, Default)]
pub(super) struct Changes {
    said: Vec<(Incident, Verdict, Option<Severity>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Incident {
    netns: u32,
    listener: Option<SocketAddr>,
    since: MonoNs,
    /// Without a listener only the verdict tells incidents of the same moment apart.
    verdict: Option<Verdict>,
}

impl Changes {
    /// Whether it begins, ends, or has another verdict or severity than was last said.
    pub(super) fn is_news(&mut self, alert: &Alert) -> bool {
        let Alert { event, netns, listener, verdict, severity, since, .. } = alert;
        let incident = Incident {
            netns: *netns,
            listener: *listener,
            since: *since,
            verdict: (listener.is_none()
                || matches!(
                    verdict,
                    Verdict::FlashCrowd
                        | Verdict::AcceptQueueOverload
                        | Verdict::LossyPath
                        | Verdict::QueuePressure
                ))
            .then_some(*verdict),
        };
        let known = self.said.iter().position(|(of, ..)| *of == incident);
        let before = known.map(|at| self.said.remove(at));
        if *event == AlertEvent::End {
            return true;
        }
        if self.said.len() >= REMEMBERED {
            self.said.remove(0);
        }
        self.said.push((incident, *verdict, *severity));
        *event == AlertEvent::Start
            || before.is_none_or(|(_, old, how)| (old, how) != (*verdict, *severity))
    }
}

#[cfg(test)]
impl Changes {
    pub(super) fn len(&self) -> usize {
        self.said.len()
    }
}
