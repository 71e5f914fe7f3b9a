//! What a run did not see, in sentences: the same in every report for people.

use crate::core::record::{End, Frames};

/// What was lost, loudest first; empty after a good run.
#[must_use]
pub fn losses(end: &End) -> Vec<String> {
    let End { events, events_lost, connections_evicted, frames, .. } = end;
    let mut sentences = Vec::new();
    if *events_lost > 0 {
        let all = events.saturating_add(*events_lost);
        sentences.push(format!(
            "LOST {events_lost} of {all} events: the ring buffer was full. Connections they \
             belonged to are marked or missing; a larger --ring-size helps."
        ));
    }
    if let Some(Frames { dropped: dropped @ 1.., .. }) = frames {
        sentences.push(format!(
            "MISSING {dropped} packet{}: the host that captured was too slow. Connections they \
             belonged to are told by what there is.",
            plural(*dropped)
        ));
    }
    if *connections_evicted > 0 {
        sentences.push(format!(
            "FORGOT {connections_evicted} open connection{}: there were more than \
             --max-connections.",
            plural(*connections_evicted)
        ));
    }
    sentences
}

/// Packets that were seen and not understood.
#[must_use]
pub fn unparsed(end: &End) -> Option<String> {
    let unparsed = end.syns_unparsed.filter(|count| *count > 0)?;
    Some(format!(
        "{unparsed} TCP packet{} could not be parsed (fragments, or malformed).",
        plural(unparsed)
    ))
}

const fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}
