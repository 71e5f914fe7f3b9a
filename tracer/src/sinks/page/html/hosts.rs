//! The table of remote hosts: the same rows as in the other reports.

use maud::{Markup, html};

use super::Run;
use super::value::{count, known, known_duration};
use crate::core::record::{Host, Quantiles};

pub(super) fn section(run: &Run<'_>) -> Markup {
    html! {
        section #hosts aria-labelledby="hosts-title" {
            h2 #hosts-title { "Remote hosts" }
            @if run.hosts.is_empty() {
                p.empty { "No host had a connection." }
            } @else {
                div.scroll tabindex="0" role="region" aria-labelledby="hosts-title" {
                    table.hosts {
                        thead {
                            tr {
                                th scope="col" rowspan="2" { "Host" }
                                th.group scope="colgroup" colspan="4" { "Connections" }
                                th.group scope="colgroup" colspan="4" { "Handshake" }
                                th.group scope="colgroup" colspan="4" { "Close" }
                                th.group scope="colgroup" colspan="4" { "Before the connection" }
                            }
                            tr {
                                th.n scope="col" { "ended" } th.n scope="col" { "failed" }
                                th.n scope="col" { "resets" } th.n scope="col" { "timeouts" }
                                @for _ in 0..2 {
                                    @for name in ["p50", "p90", "p99", "max"] {
                                        th.n scope="col" { (name) }
                                    }
                                }
                                th.n scope="col" { "failed" } th.n scope="col" { "SYNs" }
                                th.n scope="col" { "half-open" } th.n scope="col" { "peak" }
                            }
                        }
                        tbody { @for host in run.hosts { (row(host)) } }
                    }
                }
                @if run.hosts.iter().any(|host| !host.exact && host.syn_count.is_some()) {
                    p.note {
                        "≥, ≤, ~: some of a host's SYNs may have been counted with the others."
                    }
                }
            }
        }
    }
}

fn row(host: &Host) -> Markup {
    let Host {
        host: addr,
        interval: _,
        connections,
        failed,
        resets,
        timeouts,
        handshakes_failed,
        handshake,
        close,
        syn_count,
        half_open,
        half_open_peak,
        exact,
    } = host;
    let name = addr.map_or("others".to_owned(), |addr| addr.to_string());
    // As in the text report: for the others it is the most, for a host the least.
    let (bound, about) = match (exact, addr) {
        (true, _) => ("", ""),
        (false, Some(_)) => ("≥", "~"),
        (false, None) => ("≤", "≤"),
    };
    html! {
        tr data-host=(name) {
            th scope="row" { (name) }
            td.n data-field="connections" { (count(*connections)) }
            (bad("failed", *failed))
            (bad("resets", *resets))
            (bad("timeouts", *timeouts))
            (quantiles("handshake_us", handshake.as_ref()))
            (quantiles("close_us", close.as_ref()))
            (bad("handshakes_failed", *handshakes_failed))
            td.n data-field="syn_count" { @if syn_count.is_some() { (bound) } (known(*syn_count)) }
            td.n data-field="half_open" { @if half_open.is_some() { (about) } (known(*half_open)) }
            td.n data-field="half_open_peak" {
                @if half_open_peak.is_some() { (about) }
                (known(*half_open_peak))
            }
        }
    }
}

/// A count that should be zero: it stands out where it is not.
fn bad(field: &str, n: u64) -> Markup {
    html! { td.n.bad[n > 0] data-field=(field) { (count(n)) } }
}

fn quantiles(field: &str, of: Option<&Quantiles>) -> Markup {
    let values = of.map_or([None; 4], |Quantiles { count: _, p50, p90, p99, max }| {
        [*p50, *p90, *p99, *max].map(Some)
    });
    html! {
        @for (name, value) in ["p50", "p90", "p99", "max"].into_iter().zip(values) {
            td.n data-field=(format!("{field}/{name}")) { (known_duration(value)) }
        }
    }
}
