//! The top of the page: what run it was, what was lost, and the figures one looks for first.

use maud::{Markup, html};

use super::Run;
use super::value::{count, duration, grouped, known, plural, unknown};
use crate::core::record::{End, Quantiles};
use crate::report::Capture;
use crate::report::losses::{losses, unparsed};
use crate::report::units::Human;

pub(super) fn header(run: &Run<'_>) -> Markup {
    let (from, to) = (run.start.time, run.at);
    let (local_from, local_to) = (run.clock.local(from), run.clock.local(to));
    let same_day = local_from.date().to_string() == local_to.date().to_string();
    html! {
        header {
            p.product { "tracer report" }
            h1 { (run.host) }
            p.span {
                time datetime=(run.clock.utc(from)) {
                    (local_from.date()) (format_args!(" {:.0}", run.clock.time_of_day(from)))
                }
                " – "
                time datetime=(run.clock.utc(to)) {
                    @if !same_day { (local_to.date()) " " }
                    (format_args!("{:.0}", run.clock.time_of_day(to)))
                }
                " (UTC" (run.offset()) "), " b { (Human(run.end.duration)) }
            }
            dl.facts {
                div { dt { "UTC" } dd { (run.clock.utc(from)) " – " (run.clock.utc(to)) } }
                @if let Some(kernel) = &run.start.kernel {
                    div { dt { "Kernel" } dd { (super::value::name(kernel.as_bytes())) } }
                }
                @if let Some(capture) = &run.start.capture {
                    div { dt { "Capture" } dd { (of(capture)) } }
                }
                div { dt { "tracer" } dd { (run.start.version) } }
                div { dt { "Filters" } dd {
                    @if run.start.filters.is_empty() {
                        "none"
                    } @else {
                        code { (super::value::name(run.start.filters.to_string().as_bytes())) }
                    }
                } }
            }
        }
    }
}

/// What was read, and how.
fn of(capture: &Capture) -> Markup {
    let Capture { file, link_types, interfaces, decap, local, segments: _ } = capture;
    let text = |text: &str| super::value::name(text.as_bytes());
    html! {
        @if file == "-" { "stdin" } @else { code { (text(file)) } }
        @for link in link_types { ", " (text(link)) }
        @for interface in interfaces { ", " code { (text(interface)) } }
        @if *decap { ", inside tunnels" }
        @for (at, prefix) in local.iter().enumerate() {
            @if at == 0 { ", told from " } @else { ", " }
            code { (prefix) }
        }
    }
}

/// What must not be overlooked.
pub(super) fn banners(run: &Run<'_>) -> Markup {
    let incidents = &run.figures.incidents;
    let (floods, notices) = (incidents.floods(), incidents.notices());
    let dropped = run.end.output_dropped;
    html! {
        @for loss in losses(run.end) {
            p.banner.bad role="alert" { b { "Figures are incomplete. " } (loss) }
        }
        @if floods > 0 {
            p.banner.bad {
                b { (floods) " SYN flood" (plural(floods)) ". " }
                a href="#incidents" { "When, where, how hard, and what speaks for it" }
            }
        }
        @if notices > 0 {
            p.banner.mild {
                b { (notices) " notice" (plural(notices)) ". " }
                a href="#incidents" { "What looked like a flood" }
            }
        }
        @if dropped > 0 {
            p.banner.mild {
                (grouped(dropped)) " record" (plural(dropped)) " were dropped from the output \
                 beside this page, because its reader was too slow. The figures here count them."
            }
        }
        @if let Some(unparsed) = unparsed(run.end) {
            p.banner.mild { (unparsed) }
        }
    }
}

pub(super) fn totals(run: &Run<'_>) -> Markup {
    let End {
        connections,
        open,
        events,
        events_lost,
        syns,
        syns_repeated,
        syns_unparsed: _,
        handshakes_failed,
        connections_evicted: _,
        output_dropped: _,
        program_runs: _,
        frames: _,
        duration: _,
    } = run.end;
    let failed: u64 = super::outcomes::failed(run.figures);
    html! {
        section aria-labelledby="totals-title" {
            h2.unseen #totals-title { "Totals" }
            dl.tiles {
                div { dt { "Connections ended" } dd data-field="connections" { (count(*connections)) }
                    dd.more { (count(*open)) " still open" } }
                div { dt { "Failed" } dd data-field="failed" { (count(failed)) }
                    dd.more { "every outcome but " code { "closed" }
                        @if *connections > 0 { ", " (share(failed, *connections)) } } }
                div { dt { "Handshakes" }
                    (percentiles(run.figures.handshakes.all().quantiles())) }
                div { dt { "Closes" } (percentiles(run.figures.closes.all().quantiles())) }
                div { dt { "Handshakes failed" }
                    dd data-field="handshakes_failed" { (count(*handshakes_failed)) }
                    dd.more { "requests that never became a connection" } }
                div { dt { "SYNs seen" } dd data-field="syns" { (known(*syns)) }
                    dd.more { (known(*syns_repeated)) " repeated" } }
                div { dt { "Half-open, most" }
                    dd data-field="half_open_peak" { (known(run.figures.half_open_peak)) }
                    dd.more { (known(run.half_open)) " at the end" } }
                div { dt { "Events" } dd data-field="events" { (count(*events)) }
                    dd.more data-field="events_lost" { (count(*events_lost)) " lost" } }
            }
        }
    }
}

fn percentiles(of: Option<Quantiles>) -> Markup {
    match of {
        Some(Quantiles { count: all, p50, p99, .. }) => html! {
            dd { (duration(p50)) }
            dd.more { "median; p99 " (duration(p99)) ", " (count(all)) " measured" }
        },
        None => html! { dd { (unknown()) } dd.more { "none measured" } },
    }
}

/// A share in percent.
pub(super) fn share(part: u64, whole: u64) -> String {
    crate::report::text::alert::percent(part as f64 / whole.max(1) as f64)
}
