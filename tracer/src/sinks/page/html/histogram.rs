//! How long handshakes and closes took, on a logarithmic axis.

use maud::{Markup, html};

use super::axis::{anchor, axis_text};
use super::value::{Percent, count, duration, grouped, role};
use crate::core::record::Quantiles;
use crate::report::units::Human;
use crate::sinks::page::figures::ByRole;
use crate::sinks::page::figures::latency::{EDGES, Latency};

const HEIGHT: f64 = 92.0;
const TOP: f64 = 18.0;
/// Buckets to a decade.
const DECADE: usize = 5;
/// The edge where the last decade begins.
const LAST: usize = EDGES.len() - 1;

/// What the axis covers: from one edge to another.
#[derive(Clone, Copy)]
struct Range {
    from: usize,
    to: usize,
}

impl Range {
    /// Whole decades around all that was measured; `None` where nothing was.
    fn around<'a>(all: impl Iterator<Item = &'a Latency>) -> Option<Self> {
        let mut range: Option<(usize, usize)> = None;
        for latency in all {
            for (n, _) in latency.buckets().iter().enumerate().filter(|(_, count)| **count > 0) {
                let (from, to) = range.unwrap_or((n, n));
                range = Some((from.min(n), to.max(n)));
            }
        }
        let (first, last) = range?;
        // Bucket n ends at edge n.
        let from = first.saturating_sub(1) / DECADE * DECADE;
        let to = last.div_ceil(DECADE) * DECADE;
        // Two decades at least, so that few bars are not taken for many.
        let from = from.min(LAST - 2 * DECADE);
        Some(Self { from, to: to.max(from + 2 * DECADE).min(LAST) })
    }

    fn place(self, edge: usize) -> f64 {
        let at = edge.clamp(self.from, self.to) - self.from;
        at as f64 * 100.0 / (self.to - self.from) as f64
    }

    /// Where a duration is.
    fn place_of(self, ns: u64) -> f64 {
        // Logarithms of what lies between two edges; both are more than 0.
        let edges = (EDGES.get(self.from).copied(), EDGES.get(self.to).copied());
        let (Some(from), Some(to)) = edges else { return 0.0 };
        let log = |ns: u64| (ns.max(1) as f64).ln();
        ((log(ns) - log(from)) / (log(to) - log(from)) * 100.0).clamp(0.0, 100.0)
    }
}

/// A section: a picture for each role in which something was measured.
pub(super) fn section(id: &str, title: &str, note: &str, latencies: &ByRole<Latency>) -> Markup {
    let measured: Vec<_> = latencies
        .iter()
        .filter_map(|(role, latency)| Some((role, latency, latency.quantiles()?)))
        .collect();
    let range = Range::around(measured.iter().map(|(_, latency, _)| *latency));
    let heading = format!("{id}-title");
    html! {
        section id=(id) aria-labelledby=(heading) {
            h2 id=(heading) { (title) }
            p.note { (note) }
            @if let Some(range) = range {
                @for (of, latency, quantiles) in &measured {
                    (picture(&format!("{id}-{}", role(*of).replace(' ', "-")), title, role(*of),
                             latency, quantiles, range))
                }
                (axis(range))
                (table(title, &measured))
            } @else {
                p.empty { "None was measured." }
            }
        }
    }
}

fn picture(
    id: &str,
    title: &str,
    role: &str,
    latency: &Latency,
    quantiles: &Quantiles,
    range: Range,
) -> Markup {
    let most = latency.buckets().iter().copied().max().unwrap_or(0);
    let Quantiles { count: all, p50, p90, p99, max } = *quantiles;
    let (title_id, desc_id) = (format!("{id}-t"), format!("{id}-d"));
    let class = match role {
        "server" | "client" => role,
        _ => "no-role",
    };
    let marks: Vec<_> = [("p50", p50), ("p99", p99)]
        .into_iter()
        .map(|(name, ns)| (name, range.place_of(ns)))
        .collect();
    html! {
        figure.histogram {
            figcaption {
                span.role { svg.swatch width="10" height="10" aria-hidden="true" {
                    rect class=(format!("bar {class}")) width="100%" height="100%" {} } " " (role) }
                span.quantiles {
                    span data-field="count" { (count(all)) " measured" }
                    span data-field="p50" { "p50 " (duration(p50)) }
                    span data-field="p90" { "p90 " (duration(p90)) }
                    span data-field="p99" { "p99 " (duration(p99)) }
                    span data-field="max" { "max " (duration(max)) }
                    span { "highest bar " (grouped(most)) }
                }
            }
            svg.panel id=(id) width="100%" height=(HEIGHT) role="img"
                aria-labelledby=(format!("{title_id} {desc_id}")) {
                title id=(title_id) { (title) ", " (role) }
                desc id=(desc_id) {
                    "Histogram of " (grouped(all)) " durations: half took " (Human(p50))
                    " or less, 99 of 100 " (Human(p99)) " or less, the longest " (Human(max)) "."
                }
                line.grid x1="0" x2="100%" y1=(TOP) y2=(TOP) {}
                @for (n, many) in latency.buckets().iter().enumerate().filter(|(_, n)| **n > 0) {
                    @let high = ((HEIGHT - TOP) * *many as f64 / most as f64).max(1.0);
                    // What is beyond the axis stands at its end.
                    @let from = range.place(n.saturating_sub(1).min(range.to - 1));
                    @let to = range.place(n.max(range.from + 1));
                    g {
                        title { (span(n)) ": " (grouped(*many)) }
                        rect class=(format!("bar {class}")) x=(Percent(from))
                            y=(format!("{:.1}", HEIGHT - high)) width=(Percent(to - from))
                            height=(format!("{high:.1}")) {}
                    }
                }
                @for (n, (name, at)) in marks.iter().enumerate() {
                    line.mark x1=(Percent(*at)) x2=(Percent(*at)) y1=(TOP - 4.0) y2=(HEIGHT) {}
                    // Two that are close together would cover each other's name.
                    @let first = marks.first().map_or(*at, |(_, at)| *at);
                    @if n == 0 || at - first > 12.0 {
                        text.tick x=(Percent(*at)) y="12" text-anchor=(anchor(*at)) { (name) }
                    }
                }
                line.base x1="0" x2="100%" y1=(HEIGHT - 0.5) y2=(HEIGHT - 0.5) {}
            }
        }
    }
}

/// The durations of a bucket.
fn span(bucket: usize) -> String {
    let from = bucket.checked_sub(1).and_then(|n| EDGES.get(n));
    match (from, EDGES.get(bucket)) {
        (Some(from), Some(to)) => format!("{} to {}", Human(*from), Human(*to)),
        (None, Some(to)) => format!("less than {}", Human(*to)),
        (Some(from), None) => format!("{} or more", Human(*from)),
        (None, None) => String::new(),
    }
}

fn axis(range: Range) -> Markup {
    let decades: Vec<_> = (range.from..=range.to).step_by(DECADE).collect();
    html! {
        svg.axis width="100%" height="20" aria-hidden="true" {
            @for (n, edge) in decades.iter().enumerate() {
                @let at = range.place(*edge);
                @let ns = EDGES.get(*edge).copied().unwrap_or(0);
                g class=[(decades.len() > 5 && n % 2 == 1).then_some("spare")] {
                    line.grid x1=(Percent(at)) x2=(Percent(at)) y1="0" y2="4" {}
                    (axis_text(at, &decade(ns)))
                }
            }
        }
    }
}

/// `10µs`, `1ms`, `100s`: powers of ten without a decimal point.
fn decade(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{}µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{}ms", ns / 1_000_000),
        _ => format!("{}s", ns / 1_000_000_000),
    }
}

/// The same in figures.
fn table(
    title: &str,
    measured: &[(Option<crate::core::record::Role>, &Latency, Quantiles)],
) -> Markup {
    let filled =
        |n: usize| measured.iter().any(|(_, l, _)| l.buckets().get(n).is_some_and(|c| *c > 0));
    html! {
        details {
            summary { (title) " in figures" }
            div.scroll tabindex="0" role="region" aria-label=(format!("{title} in figures")) {
                table {
                    thead { tr {
                        th scope="col" { "Duration" }
                        @for (of, _, _) in measured { th.n scope="col" { (role(*of)) } }
                    } }
                    tbody {
                        @for n in (0..=EDGES.len()).filter(|n| filled(*n)) {
                            tr {
                                th scope="row" { (span(n)) }
                                @for (_, latency, _) in measured {
                                    td.n {
                                        (count(latency.buckets().get(n).copied().unwrap_or(0)))
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_are_short() {
        let labels: Vec<_> = EDGES.iter().step_by(DECADE).map(|edge| decade(*edge)).collect();
        assert_eq!(
            labels,
            ["1µs", "10µs", "100µs", "1ms", "10ms", "100ms", "1s", "10s", "100s", "1000s"]
        );
    }

    #[test]
    fn the_axis_covers_what_was_measured_in_whole_decades() {
        let around = |durations: &[u64]| {
            let mut latency = Latency::default();
            for ns in durations {
                latency.record(*ns);
            }
            Range::around([&latency].into_iter()).map(|range| (EDGES[range.from], EDGES[range.to]))
        };
        let (us, ms) = (1_000, 1_000_000);
        assert_eq!(around(&[]), None);
        assert_eq!(around(&[25 * us]), Some((10 * us, ms)));
        assert_eq!(around(&[10 * us]), Some((10 * us, ms)));
        assert_eq!(around(&[99 * us, 2 * ms]), Some((10 * us, 10 * ms)));
        assert_eq!(around(&[0]), Some((us, 100 * us)));
        assert_eq!(around(&[u64::MAX]), Some((10_000 * ms, 1_000_000 * ms)));
    }
}
