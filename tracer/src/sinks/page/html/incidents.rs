//! Floods and notices, with what speaks for them.

use maud::{Markup, html};

use super::Run;
use super::value::{count, grouped, known, name, unknown};
use crate::core::record::{Alert, Evidence, Queue, TopSource, Verdict};
use crate::report::text::alert::{SHARE_SHOWN, meaning, number, percent, weight};
use crate::report::units::Human;
use crate::sinks::page::figures::incidents::Incident;

pub(super) fn section(run: &Run<'_>) -> Markup {
    let incidents = &run.figures.incidents;
    let left_out = incidents.left_out();
    html! {
        section #incidents aria-labelledby="incidents-title" {
            h2 #incidents-title { "Floods and notices" }
            @if incidents.kept().is_empty() {
                p.empty {
                    @if run.figures.timeline.has_syns() {
                        "None."
                    } @else {
                        (unknown()) " No interface had the SYN hook: floods are not seen."
                    }
                }
            }
            @for incident in incidents.kept() { (article(run, incident)) }
            @if left_out > 0 {
                p.note {
                    (grouped(left_out)) " more of less weight " @if left_out == 1 { "is" } @else { "are" }
                    " not listed."
                }
            }
        }
    }
}

fn article(run: &Run<'_>, incident: &Incident) -> Markup {
    let Incident { last, ended, peak_rate, peak_half_open } = incident;
    let Alert {
        at: _,
        event: _,
        netns,
        interfaces,
        listener,
        verdict,
        severity,
        syn_count,
        syn_rate: _,
        completed_ratio,
        half_open: _,
        sources_estimate,
        top_sources,
        queue,
        cookies_sent_rate,
        evidence,
        since,
        until: _,
    } = last;
    let what = if *verdict == Verdict::Backscatter { "SYN-ACK" } else { "SYN" };
    let kind = if verdict.is_flood() { "flood" } else { "notice" };
    // Among thousands that send one SYN each none matters.
    let sources: Vec<_> = top_sources.iter().filter(|one| one.share >= SHARE_SHOWN).collect();
    let interfaces: Vec<_> = interfaces.iter().map(|one| name(one.as_bytes())).collect();
    html! {
        article class=(format!("incident {kind}")) data-verdict=(verdict.name()) {
            h3 {
                span.kind { (kind) } " " code { (verdict.name()) }
                @if let Some(severity) = severity { ", " (severity.name()) }
                @if let Some(listener) = listener { " on " span.ends { (listener) } }
            }
            p {
                (meaning(*verdict))
                @if let Some(severity) = severity { "; " (weight(*severity)) }
                "."
            }
            dl.facts {
                div { dt { "When" } dd {
                    (run.clock.local(*since).date())
                    (format_args!(" {:.0}", run.clock.time_of_day(*since)))
                    @match ended {
                        Some(end) => {
                            (format_args!(" – {:.0}", run.clock.time_of_day(*end)))
                            ", " (Human(end.since(*since)))
                        }
                        None => { ", going on when the run ended" }
                    }
                } }
                div { dt { (what) "s" } dd { (count(*syn_count)) ", at most "
                    (number(*peak_rate)) " a second" } }
                div { dt { "Completed" } dd {
                    @match completed_ratio {
                        Some(ratio) => (percent(*ratio)),
                        None => (unknown()),
                    }
                } }
                div { dt { "Half-open, most" } dd { (known(*peak_half_open)) } }
                div { dt { "Sources" } dd {
                    @match sources_estimate {
                        Some(n) => { "about " (grouped(*n)) },
                        None => (unknown()),
                    }
                } }
                div { dt { "SYN queue" } dd {
                    @match queue {
                        Some(Queue { length, limit }) => {
                            (grouped(*length)) " of " (grouped(*limit))
                        }
                        None => (unknown()),
                    }
                } }
                div { dt { "SYN cookies" } dd {
                    @match cookies_sent_rate {
                        Some(rate) => { (number(*rate)) " a second" },
                        None => (unknown()),
                    }
                } }
                div { dt { "Seen on" } dd { (interfaces.join(", "))
                    @if *netns != 0 { " (netns " (netns) ")" } } }
            }
            @if !sources.is_empty() {
                div.scroll tabindex="0" role="region" aria-label="Who sent most" {
                    table {
                        thead { tr { th scope="col" { "Source" } th.n scope="col" { (what) "s" }
                                     th.n scope="col" { "share" } } }
                        tbody { @for TopSource { prefix, syn_count, share } in &sources {
                            tr { th scope="row" { (prefix) } td.n { (count(*syn_count)) }
                                 td.n { (percent(*share)) } }
                        } }
                    }
                }
            }
            @if sources.is_empty() && !top_sources.is_empty() {
                p.note { "No source stands out." }
            }
            @if !evidence.is_empty() {
                div.scroll tabindex="0" role="region" aria-label="Evidence" {
                    table {
                        thead { tr { th scope="col" { "Evidence" } th.n scope="col" { "value" }
                                     th.n scope="col" { "threshold" } } }
                        tbody { @for Evidence { metric, value, threshold } in evidence {
                            tr { th scope="row" { code { (metric) } } td.n { (number(*value)) }
                                td.n { @match threshold {
                                    Some(threshold) => (number(*threshold)),
                                    None => abbr title="only told" { "–" },
                                } } }
                        } }
                    }
                }
            }
        }
    }
}
