//! Durations of connections, read off a capture. The client closes first in all of them.

use std::collections::HashMap;

use crate::load::PORT;
use crate::support::capture::Seen;
use crate::support::raw::{ACK, FIN, SYN, Segment};

/// Whose end of the cable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// µs; `None` where a segment is not in the capture.
pub(super) struct Truth {
    /// SYN to SYN-ACK at the client, SYN to the ACK of the SYN-ACK at the server.
    pub(super) handshake: Option<f64>,
    /// SYN-ACK to its ACK, at the server.
    pub(super) synack_rtt: Option<f64>,
    /// From the end of the handshake to the client's FIN.
    pub(super) established: Option<f64>,
    /// A side's FIN to its ACK.
    pub(super) acknowledged: Option<f64>,
    /// At the server from the client's FIN to its own; at the client from the ACK of its FIN to the
    /// server's FIN.
    pub(super) answer: Option<f64>,
    /// The client's FIN to the server's FIN at the client, to the ACK of that at the server.
    pub(super) close: Option<f64>,
}

/// The connections to [`PORT`] in a capture, by the client's port.
pub(super) fn read(side: Side, seen: &[Seen]) -> HashMap<u16, Truth> {
    let mut by_port: HashMap<u16, Vec<&Seen>> = HashMap::new();
    for one in seen {
        let Segment { from, to, .. } = &one.segment;
        let client = if to.port() == PORT { from.port() } else { to.port() };
        by_port.entry(client).or_default().push(one);
    }
    by_port.into_iter().map(|(port, of)| (port, truth(side, &of))).collect()
}

fn truth(side: Side, seen: &[&Seen]) -> Truth {
    let from_client = |one: &&Seen| one.segment.to.port() == PORT;
    let find = |client: bool, wanted: &dyn Fn(&Segment) -> bool| {
        seen.iter().copied().find(|one| from_client(one) == client && wanted(&one.segment))
    };
    // The first that acknowledges what `of` ends with.
    let ack_of = |of: Option<&Seen>| {
        let end = of?.segment.seq.wrapping_add(1);
        let from = !from_client(&of?);
        seen.iter().copied().find(|one| {
            let segment = &one.segment;
            from_client(one) == from && segment.flags & ACK != 0 && segment.ack == end
        })
    };
    let at = |one: Option<&Seen>| one.map(|one| one.at);
    let between = |from: Option<u64>, to: Option<u64>| Some((to? as f64 - from? as f64) / 1e3);

    let syn = find(true, &|segment| segment.is(SYN));
    let syn_ack = find(false, &|segment| segment.is(SYN | ACK));
    let ack = ack_of(syn_ack);
    let client_fin = find(true, &|segment| segment.flags & FIN != 0);
    let server_fin = find(false, &|segment| segment.flags & FIN != 0);
    let [syn, syn_ack, ack] = [syn, syn_ack, ack].map(at);
    let (client_ack, last_ack) = (at(ack_of(client_fin)), at(ack_of(server_fin)));
    let [client_fin, server_fin] = [client_fin, server_fin].map(at);
    match side {
        Side::Client => Truth {
            handshake: between(syn, syn_ack),
            synack_rtt: None,
            established: between(syn_ack, client_fin),
            acknowledged: between(client_fin, client_ack),
            answer: between(client_ack, server_fin),
            close: between(client_fin, server_fin),
        },
        Side::Server => Truth {
            handshake: between(syn, ack),
            synack_rtt: between(syn_ack, ack),
            established: between(ack, client_fin),
            acknowledged: between(server_fin, last_ack),
            answer: between(client_fin, server_fin),
            close: between(client_fin, last_ack),
        },
    }
}
