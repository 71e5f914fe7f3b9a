//! The page as HTML: one file that needs no other, no network and no script.

mod axis;
mod facts;
mod head;
mod histogram;
mod hosts;
mod incidents;
mod open;
mod outcomes;
mod phases;
mod timeline;
mod value;
mod worst;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};
use tracer_common::state::TcpState;

use super::figures::Figures;
use crate::core::event::MonoNs;
use crate::core::record::{End, Host, OpenConnection};
use crate::report::{Hook, Start, WallClock};

const STYLE: &str = include_str!("style.css");

/// All that the page tells.
pub(super) struct Run<'a> {
    /// Name of the machine, or of the file that was read; harmless.
    pub(super) host: &'a str,
    pub(super) start: &'a Start,
    pub(super) clock: &'a WallClock,
    /// When the run ended.
    pub(super) at: MonoNs,
    pub(super) end: &'a End,
    pub(super) hooks: &'a [Hook],
    pub(super) hosts: &'a [Host],
    pub(super) open: &'a [OpenConnection],
    /// Connections stuck at the end, by state.
    pub(super) stuck: &'a [(TcpState, u64)],
    /// Half-open connections at the end.
    pub(super) half_open: Option<u64>,
    pub(super) figures: &'a Figures,
}

impl Run<'_> {
    /// The local clock's offset from UTC at the end of the run.
    fn offset(&self) -> impl std::fmt::Display + use<> {
        self.clock.local(self.at).offset()
    }
}

/// The page.
pub(super) fn page(run: &Run<'_>) -> String {
    let from = run.clock.local(run.start.time);
    let title = format!("tracer report: {}, {}", run.host, from.date());
    let markup: Markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta name="generator" content=(format!("tracer {}", run.start.version));
                title { (title) }
                // What is hashed must stand here as it is.
                style { (PreEscaped(STYLE)) }
            }
            body {
                (hatch())
                main {
                    (head::header(run))
                    (head::banners(run))
                    (head::totals(run))
                    (timeline::section(run))
                    div.pair {
                        (histogram::section(
                            "handshakes",
                            "Handshakes",
                            "How long until ESTABLISHED: on a client from its first SYN, on a \
                             server from the arrival of it.",
                            &run.figures.handshakes,
                        ))
                        (histogram::section(
                            "closes",
                            "Closes",
                            "How long from the first FIN to the end.",
                            &run.figures.closes,
                        ))
                    }
                    (outcomes::section(run))
                    (hosts::section(run))
                    (worst::section(run))
                    (incidents::section(run))
                    (open::section(run))
                    (facts::section(run))
                }
            }
        }
    };
    markup.into_string()
}

/// Nothing but the style sheet in the page itself, whatever a name from the system may hold.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

/// The pattern that marks what is bad, so that it can be told without its colour.
fn hatch() -> Markup {
    html! {
        svg.defs width="0" height="0" aria-hidden="true" {
            defs {
                pattern #hatch width="5" height="5" patternUnits="userSpaceOnUse"
                    patternTransform="rotate(45)" {
                    line.hatching x1="0" y1="0" x2="0" y2="5" {}
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
