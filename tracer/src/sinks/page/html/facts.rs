//! How the figures came about: hooks, what can't be had, limits.

use maud::{Markup, html};

use super::Run;
use super::value::{count, duration, grouped, name, unknown};
use crate::core::record::{Frames, ProgramRuns};
use crate::report::units::Bytes;
use crate::report::{Hook, Limits};

pub(super) fn section(run: &Run<'_>) -> Markup {
    let Limits { max_connections, max_hosts, stuck_after: _ } = &run.start.limits;
    html! {
        section #method aria-labelledby="method-title" {
            h2 #method-title { "How this was measured" }
            p { (unknown()) " stands for what is not known: it is never a zero."
                " Durations are rounded; a pointer on a figure shows it in full." }
            @if !run.start.cannot.is_empty() {
                h3 { "What could not be had here" }
                ul.cannot { @for cannot in &run.start.cannot { li { (name(cannot.as_bytes())) } } }
            }
            @if let Some(frames) = run.end.frames { (captured(frames)) } @else { (hooks(run.hooks)) }
            @if let Some(programs) = &run.end.program_runs { (costs(programs)) }
            h3 { "Limits" }
            p {
                @if let Some(size) = run.start.ring_size { "Buffers of " (Bytes(size)) ", at" }
                @else { "At" }
                " most "
                (grouped(u64::from(*max_connections))) " connections at a time and "
                (grouped(u64::from(*max_hosts))) " remote hosts with figures of their own."
            }
        }
    }
}

/// Every hook, and whether it was in place.
fn hooks(all: &[Hook]) -> Markup {
    html! {
        h3 { "Hooks" }
        div.scroll tabindex="0" role="region" aria-label="Hooks" {
            table.hooks {
                thead { tr {
                    th scope="col" { "Hook" } th scope="col" { "Interface" }
                    th scope="col" { "Kind" } th scope="col" { "In place" }
                    th scope="col" { "Why" }
                } }
                tbody { @for hook in all { (row(hook)) } }
            }
        }
    }
}

/// What the frames of a capture were.
fn captured(frames: Frames) -> Markup {
    let Frames { read, tcp, not_tcp, unparsed, other_link, untimed, dropped } = frames;
    html! {
        h3 { "Frames" }
        p { "Nothing was hooked: the figures are from a capture, and show what passed the place where \
             it was taken." }
        div.scroll tabindex="0" role="region" aria-label="Frames" {
            table.frames {
                tbody { @for (what, n) in [
                    ("read", read),
                    ("TCP", tcp),
                    ("something else", not_tcp),
                    ("not parsed: fragments, cut short, or malformed", unparsed),
                    ("of a link type that is not read", other_link),
                    ("without a time", untimed),
                    ("missed by the host that captured", dropped),
                ] {
                    tr { th scope="row" { (what) } td.n { (count(n)) } }
                } }
            }
        }
    }
}

/// What tracer's own programs cost, with `--hook-stats`.
fn costs(programs: &[ProgramRuns]) -> Markup {
    html! {
        h3 { "What the hooks cost" }
        div.scroll tabindex="0" role="region" aria-label="What the hooks cost" {
            table.costs {
                thead { tr {
                    th scope="col" { "Program" } th.n scope="col" { "runs" }
                    th.n scope="col" { "time in all" } th.n scope="col" { "each" }
                } }
                tbody { @for ProgramRuns { program, runs, took } in programs {
                    tr {
                        th scope="row" { code { (name(program.as_bytes())) } }
                        td.n { (count(*runs)) }
                        td.n { (duration(*took)) }
                        td.n { @match took.checked_div(*runs) {
                            Some(each) => { (grouped(each)) " ns" },
                            None => (unknown()),
                        } }
                    }
                } }
            }
        }
    }
}

fn row(hook: &Hook) -> Markup {
    let Hook { name: what, mode, interface, attached, reason } = hook;
    let text = |text: Option<&String>| text.map(|text| name(text.as_bytes()));
    html! {
        tr {
            th scope="row" { code { (name(what.as_bytes())) } }
            td { (text(interface.as_ref()).unwrap_or_default()) }
            td { (text(mode.as_ref()).unwrap_or_default()) }
            td { @if *attached { "yes" } @else { span.bad { "no" } } }
            td.why { (text(reason.as_ref()).unwrap_or_default()) }
        }
    }
}
