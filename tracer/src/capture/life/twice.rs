//! The same segment captured more than once: on several interfaces, into and out of a bridge.
//!
//! Such a copy was sent once and must not count as a retransmission. What carries news is never a
//! copy; of the rest, a copy is
//! - what comes from another place than that where this end's segments are seen first, soon after;
//! - what looks the same and comes from the same place within a few microseconds: the capture does
//!   not tell its interfaces apart.

use crate::capture::segment::Captured;
use crate::core::event::MonoNs;

/// No retransmission follows so fast: the shortest round trips over loopback take longer, and a
/// timer hundreds of microseconds at least.
const SAME_PLACE_NS: u64 = 20_000;
/// A queue between two interfaces of a host; the shortest retransmission timer is 200 ms.
const OTHER_PLACE_NS: u64 = 100_000_000;
const REMEMBERED: usize = 4;

/// A segment as it is remembered: a mix of what it says, and when, in units of 1.024 µs. A wrong
/// guess makes one retransmission a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark {
    mix: u32,
    at: u32,
}

/// The last segments of an end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Twice {
    /// Where the segments of the end are seen first, and when one was last.
    place: Option<u32>,
    seen: MonoNs,
    marks: [Mark; REMEMBERED],
    newest: u8,
}

impl Twice {
    pub(super) const NEW: Self = Self {
        place: None,
        seen: MonoNs(0),
        marks: [Mark { mix: 0, at: 0 }; REMEMBERED],
        newest: 0,
    };

    /// Whether the segment is a copy of one seen before; `news`: it says something new.
    pub(super) fn is_copy(&mut self, captured: &Captured, news: bool) -> bool {
        let place = captured.place();
        let mark = Mark { mix: mix(captured), at: (captured.at.0 >> 10) as u32 };
        let elsewhere = self.place.is_some_and(|first| first != place);
        let copy = !news
            && if elsewhere {
                captured.at.since(self.seen) <= OTHER_PLACE_NS
            } else {
                let recent = (SAME_PLACE_NS >> 10) as u32;
                self.marks
                    .iter()
                    .any(|other| other.mix == mark.mix && mark.at.wrapping_sub(other.at) <= recent)
            };
        if !elsewhere || news {
            self.place = Some(place);
            self.seen = captured.at;
        }
        if !copy {
            let next = (self.newest as usize + 1) % REMEMBERED;
            self.newest = next as u8;
            if let Some(oldest) = self.marks.get_mut(next) {
                *oldest = mark;
            }
        }
        copy
    }
}

fn mix(captured: &Captured) -> u32 {
    let segment = &captured.segment;
    let numbers = u64::from(segment.seq) << 32 | u64::from(segment.ack);
    let rest = u64::from(captured.payload_len) << 32
        | u64::from(captured.window) << 16
        | u64::from(segment.flags)
        | 1 << 8;
    // Two rounds of a multiplicative hash (Knuth); nothing depends on its strength.
    let mixed = (numbers ^ rest.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ rest).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}
