//! The connections that were open at the end.

use std::cmp::Reverse;

use maud::{Markup, html};
use tracer_common::state::TcpState;

use super::Run;
use super::value::{count, duration, ends, grouped, process};
use crate::core::record::{ObservedFrom, OpenConnection};

/// So many are listed.
const SHOWN: usize = 20;

pub(super) fn section(run: &Run<'_>) -> Markup {
    let mut counts: Vec<(TcpState, u64)> = Vec::new();
    for open in run.open {
        match counts.iter_mut().find(|(state, _)| *state == open.state) {
            Some((_, count)) => *count += 1,
            None => counts.push((open.state, 1)),
        }
    }
    counts.sort_by_key(|(state, count)| (Reverse(*count), *state));
    let stuck = |of: TcpState| run.stuck.iter().find(|(state, n)| *state == of && *n > 0);
    // Long in a state that should be short is what one looks for; idle connections come last.
    let mut order: Vec<&OpenConnection> = run.open.iter().collect();
    order.sort_by_key(|open| (open.state == TcpState::Established, Reverse(open.in_state)));
    html! {
        section #open aria-labelledby="open-title" {
            h2 #open-title { "Still open at the end" }
            @if order.is_empty() {
                p.empty { "No connection." }
            } @else {
                ul.states {
                    @for (state, n) in &counts {
                        li { b { (count(*n)) } " " code { (state.name()) }
                            @if let Some((_, stuck)) = stuck(*state) {
                                ", " span.bad { (count(*stuck)) " stuck" }
                            } }
                    }
                }
                div.scroll tabindex="0" role="region" aria-labelledby="open-title" {
                    table {
                        thead { tr {
                            th scope="col" { "Process" } th scope="col" { "Ends" }
                            th scope="col" { "State" } th.n scope="col" { "in state" }
                            th.n scope="col" { "age" }
                        } }
                        tbody { @for open in order.iter().take(SHOWN) { (row(open)) } }
                    }
                }
                @if order.len() > SHOWN {
                    p.note { "and " (grouped((order.len() - SHOWN) as u64)) " more" }
                }
            }
        }
    }
}

fn row(open: &OpenConnection) -> Markup {
    let OpenConnection { connection, state, in_state } = open;
    let age = connection.end.since(connection.start);
    // What began before tracing did has lasted longer than tracing.
    let before = connection.observed_from == ObservedFrom::Middle;
    html! {
        tr {
            td { (process(connection.owner.as_ref())) }
            td { (ends(connection.local, connection.role, connection.remote)) }
            td { code { (state.name()) } }
            td.n { @if before && *in_state >= age { ">" } (duration(*in_state)) }
            td.n { @if before { ">" } (duration(age)) }
        }
    }
}
