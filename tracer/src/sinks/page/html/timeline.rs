//! What happened when: connections, SYNs, half-open connections, and floods above them.

use maud::{Markup, html};

use super::Run;
use super::axis::{TimeAxis, round_up};
use super::value::{Percent, count, grouped, known, unknown};
use crate::core::event::MonoNs;
use crate::sinks::page::figures::incidents::Incident;
use crate::sinks::page::figures::timeline::Bucket;

/// Height of a panel, pixels, and where its scale ends: above it stands what it is.
const HEIGHT: f64 = 96.0;
const TOP: f64 = 18.0;

/// One of the panels that share an axis.
struct Panel<'a> {
    id: &'static str,
    title: &'static str,
    /// What the picture shows, in a sentence.
    desc: String,
    /// The most in a bucket; `None` where it is not known of any.
    most: Option<u64>,
    bars: &'a dyn Fn(&Bucket) -> Vec<(&'static str, u64)>,
    /// Drawn as a line above the bars.
    line: Option<&'a dyn Fn(&Bucket) -> u64>,
}

pub(super) fn section(run: &Run<'_>) -> Markup {
    let timeline = &run.figures.timeline;
    let axis =
        TimeAxis { from: timeline.origin(), span: run.end.duration.max(1), clock: run.clock };
    let buckets = timeline.buckets();
    let width = timeline.width();
    let connections = Panel {
        id: "timeline-connections",
        title: "Connections",
        desc: format!(
            "Connections that ended in each {}: closed and failed, one above the other; a line for \
             those that began.",
            in_words(width)
        ),
        most: Some(buckets.iter().map(|b| b.begun.max(b.closed + b.failed)).max().unwrap_or(0)),
        bars: &|bucket| vec![("closed", bucket.closed), ("failed", bucket.failed)],
        line: Some(&|bucket| bucket.begun),
    };
    let syns = Panel {
        id: "timeline-syns",
        title: "SYNs",
        desc: format!("SYNs that came in in each {}, repeated ones included.", in_words(width)),
        most: Some(buckets.iter().map(|b| b.syns).max().unwrap_or(0)),
        bars: &|bucket| vec![("syns", bucket.syns)],
        line: None,
    };
    let half_open = Panel {
        id: "timeline-half-open",
        title: "Half-open connections",
        desc: format!("The most half-open connections at a time in each {}.", in_words(width)),
        most: buckets.iter().filter_map(|b| b.half_open).max(),
        bars: &|bucket| vec![("half-open", bucket.half_open.unwrap_or(0))],
        line: None,
    };
    html! {
        section #timeline aria-labelledby="timeline-title" {
            h2 #timeline-title { "Timeline" }
            p.note {
                "Each bar is " b { (in_words(width)) } ". Local time, UTC" (run.offset()) "."
            }
            div.panels {
                p.legend {
                    span { svg.swatch width="14" height="10" aria-hidden="true" {
                        rect.bar.closed width="100%" height="100%" {} } " closed" }
                    span { svg.swatch width="14" height="10" aria-hidden="true" {
                        rect.bar.failed width="100%" height="100%" {}
                        rect.hatch width="100%" height="100%" fill="url(#hatch)" {} } " failed" }
                    span { svg.swatch width="14" height="10" aria-hidden="true" {
                        line.begun x1="0" x2="100%" y1="5" y2="5" {} } " begun" }
                }
                (panel(&connections, &axis, buckets, width))
                @if !run.figures.incidents.kept().is_empty() {
                    (strip(run, &axis))
                }
                @if timeline.has_syns() {
                    (panel(&syns, &axis, buckets, width))
                    (panel(&half_open, &axis, buckets, width))
                }
                (axis.markup())
                @if !timeline.has_syns() {
                    p.note {
                        "SYNs and half-open connections: " (unknown())
                        " (no interface had the SYN hook)"
                    }
                }
            }
            (table(run, &axis, buckets, width))
        }
    }
}

/// What a bucket covers, as one would say it.
fn in_words(ns: u64) -> String {
    const S: u64 = 1_000_000_000;
    for (unit, name) in [(86_400 * S, "d"), (3_600 * S, "h"), (60 * S, "min"), (S, "s")] {
        if ns >= unit {
            return format!("{}\u{a0}{name}", ns / unit);
        }
    }
    format!("{}\u{a0}ms", ns / 1_000_000)
}

fn panel(panel: &Panel<'_>, axis: &TimeAxis<'_>, buckets: &[Bucket], width: u64) -> Markup {
    let most = panel.most.unwrap_or(0);
    let top = round_up(most);
    let scale = |amount: u64| (HEIGHT - TOP) * amount as f64 / top as f64;
    let (title, desc) = (format!("{}-title", panel.id), format!("{}-desc", panel.id));
    let labelled = format!("{title} {desc}");
    html! {
        svg.panel id=(panel.id) width="100%" height=(HEIGHT) role="img" aria-labelledby=(labelled) {
            title id=(title) { (panel.title) }
            desc id=(desc) { (panel.desc) }
            text.panel-title x="0" y="12" { (panel.title) }
            @if most == 0 {
                text.tick x="50%" y=(HEIGHT / 2.0 + TOP / 2.0) text-anchor="middle" {
                    @if panel.most.is_some() { "none" } @else { "not known" }
                }
            } @else {
                line.grid x1="0" x2="100%" y1=(TOP) y2=(TOP) {}
                text.tick x="100%" y="12" text-anchor="end" { (grouped(top)) }
                @for (n, bucket) in buckets.iter().enumerate() {
                    (bars(panel, axis, bucket, n as u64 * width, width, &scale))
                }
                @if let Some(of) = panel.line {
                    (begun(axis, buckets, width, &|bucket| scale(of(bucket))))
                }
            }
            line.base x1="0" x2="100%" y1=(HEIGHT - 0.5) y2=(HEIGHT - 0.5) {}
        }
    }
}

/// The bars of a bucket, one on top of the other.
fn bars(
    panel: &Panel<'_>,
    axis: &TimeAxis<'_>,
    bucket: &Bucket,
    from: u64,
    width: u64,
    scale: &dyn Fn(u64) -> f64,
) -> Markup {
    let amounts = (panel.bars)(bucket);
    let (from, to) = (from.min(axis.span), from.saturating_add(width).min(axis.span));
    if amounts.iter().all(|(_, amount)| *amount == 0) || to <= from {
        return Markup::default();
    }
    let x = Percent::of(from, axis.span);
    let wide = Percent::of(to - from, axis.span);
    let begins = MonoNs(axis.from.0.saturating_add(from));
    let mut below = 0.0;
    html! {
        g {
            title {
                (format_args!("{:.1}", axis.clock.time_of_day(begins)))
                @for (what, amount) in &amounts { ", " (grouped(*amount)) " " (what) }
            }
            @for (class, amount) in amounts.iter().filter(|(_, amount)| *amount > 0) {
                // One among thousands is to be seen all the same.
                @let high = scale(*amount).max(1.0);
                @let y = format!("{:.1}", HEIGHT - below - high);
                @let high_text = format!("{high:.1}");
                rect class=(format!("bar {class}")) x=(x) y=(y) width=(wide) height=(high_text) {}
                @if *class == "failed" {
                    rect.hatch x=(x) y=(y) width=(wide) height=(high_text) fill="url(#hatch)" {}
                }
                @let () = below += high;
            }
        }
    }
}

/// A line in steps, in a coordinate system of its own that is stretched to the width there is.
fn begun(
    axis: &TimeAxis<'_>,
    buckets: &[Bucket],
    width: u64,
    high: &dyn Fn(&Bucket) -> f64,
) -> Markup {
    let mut path = String::new();
    let mut end = 0;
    for (n, bucket) in buckets.iter().enumerate() {
        let from = (n as u64 * width).min(axis.span);
        end = from.saturating_add(width).min(axis.span);
        let x = |at: u64| at as f64 * 1_000.0 / axis.span as f64;
        let y = HEIGHT - high(bucket) - 0.5;
        let verb = if n == 0 { 'M' } else { 'L' };
        path.push_str(&format!("{verb}{:.1} {y:.1}H{:.1}", x(from), x(end)));
    }
    if end < axis.span && !path.is_empty() {
        path.push_str(&format!("V{:.1}H1000", HEIGHT - 0.5));
    }
    html! {
        svg width="100%" height=(HEIGHT) viewBox=(format!("0 0 1000 {HEIGHT}"))
            preserveAspectRatio="none" {
            path.begun d=(path) vector-effect="non-scaling-stroke" {}
        }
    }
}

/// When there was a flood, or what looked like one.
fn strip(run: &Run<'_>, axis: &TimeAxis<'_>) -> Markup {
    let incidents = run.figures.incidents.kept();
    html! {
        svg.panel #timeline-incidents width="100%" height="34" role="img"
            aria-labelledby="timeline-incidents-title timeline-incidents-desc" {
            title #timeline-incidents-title { "Floods and notices" }
            desc #timeline-incidents-desc {
                "From the first SYN to the end of each; the section Floods and notices lists them."
            }
            text.panel-title x="0" y="12" { "Floods and notices" }
            @for Incident { last, ended, .. } in incidents {
                @let from = axis.place(last.since);
                @let to = axis.place(ended.unwrap_or(run.at));
                // What is short is to be seen all the same.
                @let wide = Percent((to.0 - from.0).max(0.4));
                @let from = Percent(from.0.min(99.6));
                @let kind = if last.verdict.is_flood() { "flood" } else { "notice" };
                g {
                    title {
                        (kind) " " (last.verdict.name())
                        @if let Some(listener) = last.listener { " on " (listener) }
                        (format_args!(", since {:.0}", axis.clock.time_of_day(last.since)))
                    }
                    rect class=(format!("bar {kind}")) x=(from) y="19" width=(wide) height="14" {}
                    @if kind == "flood" {
                        rect.hatch x=(from) y="19" width=(wide) height="14" fill="url(#hatch)" {}
                    }
                }
            }
            line.base x1="0" x2="100%" y1="33.5" y2="33.5" {}
        }
    }
}

/// The same in figures.
fn table(run: &Run<'_>, axis: &TimeAxis<'_>, buckets: &[Bucket], width: u64) -> Markup {
    let syns = run.figures.timeline.has_syns();
    let filled = |bucket: &Bucket| {
        let Bucket { begun, closed, failed, syns, half_open } = bucket;
        begun + closed + failed + syns + half_open.unwrap_or(0) > 0
    };
    html! {
        details {
            summary { "The timeline in figures" }
            div.scroll tabindex="0" role="region" aria-label="The timeline in figures" {
                table {
                    thead { tr {
                        th scope="col" { "From" } th.n scope="col" { "Begun" }
                        th.n scope="col" { "Closed" } th.n scope="col" { "Failed" }
                        th.n scope="col" { "SYNs" } th.n scope="col" { "Half-open, most" }
                    } }
                    tbody {
                        @for (n, bucket) in buckets.iter().enumerate().filter(|(_, b)| filled(b)) {
                            @let from = MonoNs(axis.from.0.saturating_add(n as u64 * width));
                            tr {
                                th scope="row" {
                                    (format_args!("{:.1}", axis.clock.time_of_day(from)))
                                }
                                td.n { (count(bucket.begun)) }
                                td.n { (count(bucket.closed)) }
                                td.n { (count(bucket.failed)) }
                                td.n { (known(syns.then_some(bucket.syns))) }
                                td.n { (known(bucket.half_open)) }
                            }
                        }
                    }
                }
            }
            p.note { "Spans in which nothing happened are left out." }
        }
    }
}
