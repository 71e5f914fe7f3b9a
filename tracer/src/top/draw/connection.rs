//! One connection in full: everything its record says, its phases as bars.

use ratatui::text::{Line, Span};

use super::list::shown;
use super::style::{Palette, bar, cell, safe};
use crate::core::record::{
    CloseInitiator, Connection, HandshakeSource, ObservedFrom, OpenConnection, Outcome, Phases,
    Role,
};
use crate::report::escape::{Blanks, escape};
use crate::report::text::cell as text;
use crate::report::units::{Bytes, Human};
use crate::top::app::Chosen;
use crate::top::view::View;

pub(super) fn lines(
    chosen: &Chosen,
    view: &View,
    width: usize,
    palette: Palette,
) -> Vec<Line<'static>> {
    let (connection, state) = match chosen {
        Chosen::Ended(connection) => (connection, None),
        Chosen::Open(OpenConnection { connection, state, in_state }) => {
            (connection, Some(format!("{state} for {}", Human(*in_state))))
        }
    };
    let Connection {
        cookie,
        start,
        end,
        role,
        local,
        remote,
        netns,
        owner,
        cgroup,
        handshake,
        handshake_source,
        synack_rtt,
        path_rtt,
        syn_retransmits,
        synack_retransmits,
        accept_wait,
        close_initiator,
        close,
        phases,
        time_wait,
        outcome,
        bytes_sent,
        bytes_received,
        retransmits,
        rtt,
        observed_from,
        events_lost,
    } = connection;
    let time = |ns: &Option<u64>| shown(|out| text::duration(*ns, out));
    let count = |n: &Option<u32>| shown(|out| text::value(*n, out));
    let bytes = |n: &Option<u64>| shown(|out| text::value(n.map(Bytes), out));
    let field = |name: &str, value: String| {
        Line::from(vec![cell(name, 16, false, palette.dim), Span::raw(value)])
    };
    let role = match role {
        Some(Role::Client) => "client: this host opened it",
        Some(Role::Server) => "server: the peer opened it",
        None => "not known",
    };
    let source = match handshake_source {
        Some(HandshakeSource::Syn) => " (from the SYN's arrival)",
        Some(HandshakeSource::State) => " (from SYN_SENT)",
        Some(HandshakeSource::Srtt) => " (from the first round trip)",
        Some(HandshakeSource::Capture) => " (from the capture)",
        None => "",
    };
    let closed_by = match close_initiator {
        Some(CloseInitiator::Local) => ", this host closed first",
        Some(CloseInitiator::Remote) => ", the peer closed first",
        Some(CloseInitiator::Both) => ", both closed at once",
        None => "",
    };
    let process = owner.map_or("-".to_owned(), |owner| {
        let name = shown(|out| {
            let _ = escape(owner.comm.as_bytes(), Blanks::Keep, out);
        });
        format!("{name}, pid {}", owner.pid)
    });
    let mut lines = vec![
        field("local", format!("{local}")),
        field("remote", format!("{remote}")),
        field("role", role.to_owned()),
        field("process", process),
    ];
    if let Some(cgroup) = cgroup {
        lines.push(field("cgroup", safe(&cgroup.path)));
    }
    match (state, outcome) {
        (Some(state), _) => lines.push(field("state", state)),
        (None, outcome) => {
            let outcome = outcome.map_or("-", Outcome::name);
            lines.push(field("outcome", format!("{outcome}{closed_by}")));
        }
    }
    let from = match observed_from {
        ObservedFrom::Start => "",
        ObservedFrom::Middle => " (open before tracing began)",
    };
    lines.extend([
        field("began", format!("{}{from}", view.clock.time_of_day(*start))),
        field(
            "ended",
            match outcome {
                Some(_) => view.clock.time_of_day(*end).to_string(),
                None => "open".to_owned(),
            },
        ),
        field("handshake", format!("{}{source}", time(handshake))),
        field("SYN-ACK rtt", time(synack_rtt)),
        field(
            "sent again",
            format!(
                "{} SYN, {} SYN-ACK, {} data",
                count(syn_retransmits),
                count(synack_retransmits),
                count(retransmits)
            ),
        ),
        field("accept wait", time(accept_wait)),
        field("close", time(close)),
        field(
            "TIME_WAIT",
            match time_wait {
                Some(true) => "this side".to_owned(),
                Some(false) => "no".to_owned(),
                None => "-".to_owned(),
            },
        ),
        field("payload", format!("{} sent, {} received", bytes(bytes_sent), bytes(bytes_received))),
        field("round trip", time(rtt)),
    ]);
    match path_rtt {
        Some(path) => lines.push(field(
            "path",
            format!(
                "{} SYN to SYN-ACK, {} SYN-ACK to ACK",
                time(&path.syn_to_synack),
                time(&path.synack_to_ack)
            ),
        )),
        None => lines.push(field("netns, cookie", format!("{netns}, {cookie}"))),
    }
    if *events_lost {
        lines
            .push(Line::styled("events lost: what they would have told is not known", palette.bad));
    }
    let times = phases.in_order();
    let longest = times.iter().flatten().copied().max().unwrap_or(0);
    let room = width.saturating_sub(16 + 8);
    let visited =
        Phases::STATES.iter().zip(times).filter_map(|(state, took)| Some((state.name(), took?)));
    for (phase, took) in visited {
        lines.push(Line::from(vec![
            cell(phase, 16, false, palette.dim),
            cell(&Human(took).to_string(), 7, true, palette.plain),
            Span::raw(" "),
            Span::styled(bar(took, longest, room), palette.bar),
        ]));
    }
    lines
}
