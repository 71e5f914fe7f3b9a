//! A row of `--segments`: one control segment of a connection in a capture, and what it means.

use std::fmt;
use std::net::SocketAddr;

use tracer_common::state::TcpState;

use crate::core::event::MonoNs;

/// One control segment: a SYN, FIN or RST, an acknowledgement of one, or what explains why they do
/// not come.
///
/// `None` is "the capture does not show it".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentRow {
    /// When it passed the capture point.
    pub at: MonoNs,
    /// Number of its frame in the file, from 1.
    pub number: u64,
    /// Number of its connection in the file, from 1: rows with the same number belong together.
    pub connection: u64,
    /// The end that opened the connection. Where nobody saw the beginning ([`Self::roles_known`])
    /// the end with the higher port, or the one that is known not to listen.
    pub client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// Which end is the client was seen.
    pub roles_known: bool,
    /// The end that sent the segment.
    pub from: Sender,
    /// TCP flags as on the wire, `tracer_common::packet::tcp_flags`.
    pub flags: u8,
    /// Sequence number, counted from the sender's SYN as 0. Where that SYN was not seen: from the
    /// byte before the first one seen, which then is 1.
    pub seq: u64,
    /// Acknowledgement number, counted from the peer's SYN in the same way; `None` without ACK.
    pub ack: Option<u64>,
    /// Payload, bytes.
    pub payload: u32,
    /// Receive window announced, bytes; `None` where its scale is not known.
    pub window: Option<u32>,
    /// The client's state behind this segment, if it arrives.
    pub client_state: Option<TcpState>,
    /// The server's state behind this segment, if it arrives.
    pub server_state: Option<TcpState>,
    /// Which step of the handshake or the close it is.
    pub step: Option<Step>,
    /// What is odd about it.
    pub oddities: Oddities,
}

/// The end that sent a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sender {
    /// The client.
    Client,
    /// The server.
    Server,
}

impl Sender {
    /// The name users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// A step of the three-way handshake or of the close; displayed as `handshake 1/3`, `close 2/4`, and
/// `close 2+3/4` for the FIN that also acknowledges the peer's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// Of the handshake: 1 a SYN, 2 a SYN-ACK, 3 the acknowledgement of that.
    Handshake(u8),
    /// Of the close: 1 the first FIN, 2 its acknowledgement, 3 the other end's FIN, 4 the
    /// acknowledgement of that.
    Close(u8),
    /// Steps 2 and 3 of the close in one segment: the close needs three then.
    CloseTwoInOne,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(step) => write!(f, "handshake {step}/3"),
            Self::Close(step) => write!(f, "close {step}/4"),
            Self::CloseTwoInOne => f.write_str("close 2+3/4"),
        }
    }
}

macro_rules! oddities {
    ($($(#[$doc:meta])* $variant:ident: $name:literal, $text:literal;)*) => {
        /// Something odd about a segment.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Oddity {
            $($(#[$doc])* $variant,)*
        }

        impl Oddity {
            /// All of them, in the order in which they are told.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name programs see.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What people read.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

oddities! {
    /// The same segment seen a second time by the capture (another interface, a bridge): it was not
    /// sent again.
    Duplicate: "duplicate", "the same segment captured again";
    /// Sent again.
    Retransmission: "retransmission", "sent again";
    /// It comes before something that was sent earlier.
    OutOfOrder: "out_of_order", "out of order";
    /// Something that was sent before it is not in the capture (yet).
    Gap: "gap", "what was sent before it is missing";
    /// It acknowledges what is not in the capture.
    AcksUnseen: "acks_unseen", "acknowledges what the capture does not show";
    /// The first segment seen of a connection that is older.
    BeginningUnseen: "beginning_unseen", "the beginning was not seen";
    /// A SYN that begins another connection on ports that were in use; nobody saw the end of the
    /// one before.
    PortReused: "port_reused", "the ports are used again, the end of the connection before was not seen";
    /// A SYN that begins a connection on ports of one that is over.
    TimeWaitReused: "time_wait_reused", "the ports of an ended connection are used again";
    /// A SYN for a connection that is already there.
    SynOnConnection: "syn_on_connection", "SYN on a connection that is there";
    /// Both ends send a SYN before they see the other's.
    SimultaneousOpen: "simultaneous_open", "both ends open at the same time";
    /// A SYN with a request for a Fast Open cookie, or with one.
    FastOpen: "fast_open", "TCP Fast Open";
    /// A SYN or SYN-ACK with payload.
    SynData: "syn_data", "data with the SYN";
    /// The SYN-ACK does not acknowledge the data of the SYN.
    SynDataRefused: "syn_data_refused", "the data of the SYN was not taken";
    /// A SYN-ACK, or an answer to it, with the wrong acknowledgement number.
    WrongAck: "wrong_ack", "acknowledges what was never sent";
    /// A RST answers the SYN: nobody listens.
    Refused: "refused", "nobody listens on the port";
    /// The FIN also acknowledges the peer's FIN: three segments close.
    AckWithFin: "ack_with_fin", "ACK combined with FIN: the three-segment close";
    /// The FINs crossed.
    SimultaneousClose: "simultaneous_close", "both ends close at the same time";
    /// Data went on in the other direction after the first FIN.
    HalfClose: "half_close", "data came after the first FIN: half-closed until now";
    /// A RST outside the receive window: ignored.
    ResetOutOfWindow: "reset_out_of_window", "outside the window: ignored";
    /// A RST inside the window, but not the next number: answered with a challenge ACK
    /// (RFC 5961, 3.2).
    ResetInexact: "reset_inexact", "in the window, but not the next number: a challenge ACK is due";
    /// A challenge ACK (RFC 5961): to a SYN or RST that does not fit.
    ChallengeAck: "challenge_ack", "challenge ACK";
    /// A RST for a connection that is over already.
    ResetAfterEnd: "reset_after_end", "the connection is over already";
    /// A RST from the side that closed: data came for a socket that nobody reads any more.
    DataAfterClose: "data_after_close", "data came after the close: nobody reads it";
    /// A keepalive that follows one without an answer.
    KeepaliveUnanswered: "keepalive_unanswered", "keepalive, the one before has no answer";
    /// The receive window is closed.
    ZeroWindow: "zero_window", "the window is closed: the peer has to wait";
    /// A probe of a closed window.
    ZeroWindowProbe: "zero_window_probe", "asks whether the window is open again";
    /// The window is open again.
    WindowOpened: "window_opened", "the window is open again";
}

/// A set of [`Oddity`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Oddities(u32);

const _: () = assert!(Oddity::ALL.len() <= 32);

impl Oddities {
    /// Nothing is odd.
    pub const NONE: Self = Self(0);

    /// Adds one.
    pub const fn add(&mut self, oddity: Oddity) {
        self.0 |= 1 << oddity as u8;
    }

    /// Whether it is in the set.
    #[must_use]
    pub const fn has(self, oddity: Oddity) -> bool {
        self.0 & 1 << oddity as u8 != 0
    }

    /// Whether nothing is odd.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All in the set, in the order of [`Oddity::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Oddity> {
        Oddity::ALL.iter().copied().filter(move |oddity| self.has(*oddity))
    }
}

impl FromIterator<Oddity> for Oddities {
    fn from_iter<I: IntoIterator<Item = Oddity>>(all: I) -> Self {
        let mut set = Self::NONE;
        all.into_iter().for_each(|oddity| set.add(oddity));
        set
    }
}

impl fmt::Debug for Oddities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
