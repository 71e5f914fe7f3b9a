//! What the keys do and what the columns mean.

use ratatui::text::{Line, Span};

use super::style::{Palette, cell};

const KEYS: [(&str, &str); 17] = [
    ("↑ ↓ k j", "select a row; PgUp PgDn, Home End (g G) go further"),
    ("Tab", "next pane (Shift-Tab: the one before)"),
    ("Enter", "look at the host, listener or connection; Esc goes back"),
    ("s S", "sort by the next column, the one before; r turns the order round"),
    ("i", "figures of the last second, the last 10 s, or the whole run"),
    ("l", "listeners instead of remote hosts, and back"),
    ("c", "histogram of closes instead of handshakes, and back"),
    ("/", "filter: words that must all occur in host, :port, process or"),
    ("", "outcome (`failed`: every one but closed); Esc shows all again"),
    ("Space p", "pause: the display stands still, counting goes on"),
    ("z", "the pane with the focus fills the screen"),
    ("a", "floods and notices in full"),
    ("m", "messages of tracer about itself, and hooks that are missing"),
    ("^L", "draw everything anew"),
    ("^Z", "suspend; tracer stands still then, and events may be lost"),
    ("q ^C", "quit; the summary of the run follows"),
    ("? h", "this help"),
];

const MEANINGS: [(&str, &str); 9] = [
    ("CONN/s CONNS", "connections that ended, per second or in the whole run"),
    ("FAIL", "of them, those that did not end closed"),
    ("HS CL", "handshake and close: median (p50) and 99th percentile (p99)"),
    ("HALF", "half-open connections now: SYN seen, handshake not completed"),
    ("VERDICT", "what a flood or notice that goes on says of it"),
    ("→ ←", "this host, the peer: who opened; at the end who closed or reset"),
    ("- > !", "not known; at least; events of the connection were lost"),
    ("lost", "events the kernel side could not hand over: --ring-size"),
    ("Stuck", "longer in a state than --stuck-after says"),
];

pub(super) fn lines(palette: Palette) -> Vec<Line<'static>> {
    let line = |(name, what): &(&str, &str)| {
        Line::from(vec![cell(name, 13, false, palette.title), Span::raw((*what).to_owned())])
    };
    KEYS.iter().map(line).chain([Line::default()]).chain(MEANINGS.iter().map(line)).collect()
}
