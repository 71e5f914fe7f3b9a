//! How connections ended.

use maud::{Markup, html};

use super::Run;
use super::head::share;
use super::value::{Percent, count, role};
use crate::core::record::Outcome;
use crate::sinks::page::figures::{Figures, ROLES};

/// What an outcome means, in a few words.
const fn meaning(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Closed => "FINs both ways",
        Outcome::ResetByRemote => "the peer sent a RST",
        Outcome::ResetByLocal => "this host sent a RST",
        Outcome::Refused => "nobody listened there",
        Outcome::TimedOut => "nobody answered",
        Outcome::Unreachable => "the network said so",
        Outcome::Cancelled => "closed while connecting",
        Outcome::Aborted => "ended by an administrator",
        Outcome::Unknown => "the end was lost",
    }
}

/// All that did not end `closed`.
pub(super) fn failed(figures: &Figures) -> u64 {
    let all = Outcome::ALL.iter().zip(&figures.outcomes);
    all.filter(|(outcome, _)| outcome.failed())
        .flat_map(|(_, by_role)| by_role.iter())
        .map(|(_, count)| count)
        .sum()
}

pub(super) fn section(run: &Run<'_>) -> Markup {
    let rows: Vec<_> = Outcome::ALL
        .into_iter()
        .zip(&run.figures.outcomes)
        .map(|(outcome, by_role)| (outcome, by_role, by_role.iter().map(|(_, n)| n).sum::<u64>()))
        .filter(|(.., all)| *all > 0)
        .collect();
    let whole: u64 = rows.iter().map(|(.., all)| all).sum();
    html! {
        section #outcomes aria-labelledby="outcomes-title" {
            h2 #outcomes-title { "How connections ended" }
            @if rows.is_empty() {
                p.empty { "No connection ended." }
            } @else {
                div.scroll tabindex="0" role="region" aria-labelledby="outcomes-title" {
                    table.outcomes {
                        thead { tr {
                            th scope="col" { "Outcome" }
                            @for of in ROLES { th.n scope="col" { (role(of)) } }
                            th.n scope="col" { "all" }
                            th.n scope="col" { "share" }
                            th.wide scope="col" { span.unseen { "as a bar" } }
                        } }
                        tbody {
                            @for (outcome, by_role, all) in &rows {
                                (row(*outcome, by_role, *all, whole))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn row(
    outcome: Outcome,
    by_role: &crate::sinks::page::figures::ByRole<u64>,
    all: u64,
    whole: u64,
) -> Markup {
    let class = if outcome.failed() { "bar failed" } else { "bar closed" };
    html! {
        tr data-outcome=(outcome.name()) {
            th scope="row" {
                code { (outcome.name()) }
                span.meaning { (meaning(outcome)) }
            }
            @for (_, n) in by_role.iter() { td.n { (count(*n)) } }
            td.n data-field="all" { (count(all)) }
            td.n { (share(all, whole)) }
            td.wide {
                svg width="100%" height="12" aria-hidden="true" {
                    @let wide = Percent(Percent::of(all, whole).0.max(0.5));
                    rect class=(class) width=(wide) height="12" {}
                    @if outcome.failed() {
                        rect.hatch width=(wide) height="12" fill="url(#hatch)" {}
                    }
                }
            }
        }
    }
}
