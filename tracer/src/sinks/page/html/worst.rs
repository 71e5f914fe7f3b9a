//! The connections that were worst, with their phases drawn to scale.

use maud::{Markup, html};

use super::Run;
use super::phases::{Part, close_parts, handshake_parts, life_parts, total};
use super::value::{Percent, count, duration, ends, known_duration, name, process, role};
use crate::core::record::{CloseInitiator, Connection, ObservedFrom, Outcome, PathRtt};
use crate::report::units::{Bytes, Human};
use crate::sinks::page::figures::worst::Worst;

pub(super) fn section(run: &Run<'_>) -> Markup {
    let figures = run.figures;
    html! {
        section #worst aria-labelledby="worst-title" {
            h2 #worst-title { "Worst connections" }
            (list(run, "slow-handshakes", "Slowest handshakes", "No handshake was measured.",
                  &figures.slow_handshakes, handshake_parts))
            (list(run, "slow-closes", "Slowest closes", "No close was measured.",
                  &figures.slow_closes, close_parts))
            (list(run, "failed", "Failed after the longest time", "No connection failed.",
                  &figures.failed, life_parts))
        }
    }
}

fn list(
    run: &Run<'_>,
    id: &str,
    title: &str,
    none: &str,
    worst: &Worst<Box<Connection>>,
    parts: fn(&Connection) -> Vec<Part>,
) -> Markup {
    let rows: Vec<_> =
        worst.iter().map(|(figure, connection)| (figure, connection, parts(connection))).collect();
    let scale = rows.iter().map(|(figure, _, parts)| total(parts).max(*figure)).max().unwrap_or(1);
    let mut legend: Vec<Part> = Vec::new();
    for part in rows.iter().flat_map(|(_, _, parts)| parts) {
        if !legend.iter().any(|known| known.name == part.name) {
            legend.push(*part);
        }
    }
    let heading = format!("{id}-title");
    html! {
        div.worst id=(id) {
            h3 id=(heading) { (title) }
            @if rows.is_empty() {
                p.empty { (none) }
            } @else {
                p.legend {
                    @for part in &legend { span { (swatch(part)) " " (part.name) } }
                    span.note { "full width: " (Human(scale)) }
                }
                ol aria-labelledby=(heading) {
                    @for (n, (figure, connection, parts)) in rows.iter().enumerate() {
                        li { (row(run, &format!("{id}-{n}"), *figure, connection, parts, scale)) }
                    }
                }
            }
        }
    }
}

fn swatch(part: &Part) -> Markup {
    html! {
        svg.swatch width="10" height="10" aria-hidden="true" {
            rect class=(format!("bar {}", part.class)) width="100%" height="100%" {}
            @if part.class == "ph-unknown" {
                rect.hatch width="100%" height="100%" fill="url(#hatch)" {}
            }
        }
    }
}

fn row(
    run: &Run<'_>,
    id: &str,
    figure: u64,
    connection: &Connection,
    parts: &[Part],
    scale: u64,
) -> Markup {
    let title = format!("{id}-bar");
    let mut from = 0.0;
    html! {
        p.who {
            b.figure { (duration(figure)) }
            (process(connection.owner.as_ref()))
            (ends(connection.local, connection.role, connection.remote))
            (outcome(connection.outcome))
            time datetime=(run.clock.utc(connection.start)) {
                (run.clock.local(connection.start).date())
                (format_args!(" {}", run.clock.time_of_day(connection.start)))
            }
        }
        svg.phases width="100%" height="14" role="img" aria-labelledby=(title) {
            title id=(title) {
                @for (n, part) in parts.iter().enumerate() {
                    @if n > 0 { ", " }
                    (part.name) " " (Human(part.ns))
                }
            }
            rect.track x="0" y="0" width="100%" height="14" {}
            @for part in parts {
                @let wide = Percent::of(part.ns, scale).0;
                // What is short is to be seen all the same.
                @let at = Percent(f64::min(from, 99.7));
                @let shown = Percent(wide.max(0.3));
                rect class=(format!("bar {}", part.class)) x=(at) y="0" width=(shown) height="14" {}
                @if part.class == "ph-unknown" {
                    rect.hatch x=(at) y="0" width=(shown) height="14" fill="url(#hatch)" {}
                }
                @let () = from += wide;
            }
        }
        p.figures { (figures(connection, parts)) }
    }
}

/// How it ended.
fn outcome(outcome: Option<Outcome>) -> Markup {
    match outcome {
        Some(Outcome::Closed) => html! { code.outcome { "closed" } },
        Some(outcome) => html! { code.outcome.bad { (outcome.name()) } },
        None => html! { code.outcome { "open" } },
    }
}

/// Everything known of it, in words; what is drawn with its colour.
fn figures(connection: &Connection, parts: &[Part]) -> Markup {
    let Connection {
        cookie: _,
        start,
        end,
        role: of,
        local: _,
        remote: _,
        netns,
        owner: _,
        cgroup,
        handshake,
        handshake_source: _,
        synack_rtt,
        path_rtt,
        syn_retransmits,
        synack_retransmits,
        accept_wait,
        close_initiator,
        close,
        phases: _,
        time_wait: _,
        outcome: _,
        bytes_sent,
        bytes_received,
        retransmits,
        rtt,
        observed_from,
        events_lost,
    } = connection;
    let drawn = |name: &str| parts.iter().any(|part| part.name == name);
    let again =
        [("SYN", syn_retransmits), ("SYN-ACK", synack_retransmits), ("segments", retransmits)];
    html! {
        @for part in parts {
            span { (swatch(part)) " " (part.name) " " (duration(part.ns)) }
        }
        span { (role(*of)) }
        span { "life " @if *observed_from == ObservedFrom::Middle { ">" } (duration(end.since(*start))) }
        @if !drawn("handshake") { span { "handshake " (known_duration(*handshake)) } }
        @if let Some(ns) = accept_wait {
            @if !drawn("accept wait") { span { "accept wait " (duration(*ns)) } }
        }
        span {
            "close " (known_duration(*close))
            @if let Some(who) = close_initiator {
                @match who {
                    CloseInitiator::Local => " begun here",
                    CloseInitiator::Remote => " begun by the peer",
                    CloseInitiator::Both => " begun by both",
                }
            }
        }
        @for (what, times) in again {
            @if let Some(times @ 1..) = times {
                span.bad { (what) " sent again " (count(u64::from(*times))) "×" }
            }
        }
        @if let Some(ns) = rtt { span { "round trip " (duration(*ns)) } }
        @else if let Some(ns) = synack_rtt { span { "round trip " (duration(*ns)) } }
        @if let Some(PathRtt { syn_to_synack, synack_to_ack }) = *path_rtt {
            @if let Some(ns) = syn_to_synack { span { "SYN to SYN-ACK " (duration(ns)) } }
            @if let Some(ns) = synack_to_ack { span { "SYN-ACK to ACK " (duration(ns)) } }
        }
        @if let Some(bytes) = bytes_sent { span { "sent " (Bytes(*bytes)) } }
        @if let Some(bytes) = bytes_received { span { "received " (Bytes(*bytes)) } }
        @if let Some(cgroup) = cgroup && cgroup.path != "/" {
            span.cgroup { "cgroup " (name(cgroup.path.as_bytes())) }
        }
        @if *netns != 0 { span { "netns " (netns) } }
        @if *observed_from == ObservedFrom::Middle { span { "open before tracing began" } }
        @if *events_lost { span.bad { "events of it were lost" } }
    }
}
