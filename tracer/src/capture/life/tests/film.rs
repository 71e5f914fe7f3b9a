//! A capture in simulated time, and what the core and the rows make of it.

use std::net::{IpAddr, SocketAddr};

use tracer_common::packet::tcp_flags;
use tracer_common::state::TcpState;

use crate::capture::life::key::Key;

use crate::capture::life::{Config, Lives, Taken};
use crate::capture::segment::{Captured, Direction, Options, Segment};
use crate::core::event::MonoNs;
use crate::core::record::{Connection, OpenConnection, SegmentRow};
use crate::core::{Config as CoreConfig, Core, Prefix};

pub(super) use crate::core::record::Oddity as Odd;
pub(super) use crate::core::record::{
    CloseInitiator, ObservedFrom, Outcome, PathRtt, Record, Role,
};
pub(super) use tracer_common::state::TcpState::*;

pub(super) const US: u64 = 1_000;
pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;
/// When every capture begins.
pub(super) const BEGIN: MonoNs = MonoNs(1_700_000_000 * SECOND);

/// One end: its address and the number of its SYN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    pub(super) socket: SocketAddr,
    pub(super) isn: u32,
}

pub(super) fn host(socket: &str, isn: u32) -> Host {
    Host { socket: socket.parse().expect("an address"), isn }
}

/// A segment as the story tells it; numbers count from the SYNs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seg {
    pub(super) flags: u8,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) len: u32,
    pub(super) window: u16,
    pub(super) options: Options,
}

/// `flags`: letters of S, A, F, R, P.
pub(super) fn seg(flags: &str, seq: u32, ack: u32, len: u32) -> Seg {
    let flags = flags.chars().fold(0, |flags, letter| {
        flags
            | match letter {
                'S' => tcp_flags::SYN,
                'A' => tcp_flags::ACK,
                'F' => tcp_flags::FIN,
                'R' => tcp_flags::RST,
                'P' => 0x08,
                other => panic!("no flag: {other}"),
            }
    });
    let mut options = Options::default();
    if flags & tcp_flags::SYN != 0 {
        options.mss = Some(1460);
        options.window_scale = Some(7);
    }
    Seg { flags, seq, ack, len, window: 500, options }
}

pub(super) struct Film {
    pub(super) lives: Lives,
    pub(super) core: Core,
    pub(super) records: Vec<Record>,
    pub(super) rows: Vec<SegmentRow>,
    pub(super) client: Host,
    pub(super) server: Host,
    pub(super) interface: u32,
    pub(super) direction: Option<Direction>,
    pub(super) now: u64,
    number: u64,
}

impl Film {
    /// From no particular point of view.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// From the point of view of one address.
    pub(super) fn at_host(local: &str) -> Self {
        let local: IpAddr = local.parse().expect("an address");
        let len = if local.is_ipv4() { 32 } else { 128 };
        Self::with(|config| config.local = vec![Prefix::new(local, len).expect("a prefix")])
    }

    /// From the client's.
    pub(super) fn at_client() -> Self {
        Self::at_host("10.0.0.1")
    }

    /// From the server's.
    pub(super) fn at_server() -> Self {
        Self::at_host("10.0.0.2")
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { rows: true, ..Config::default() };
        change(&mut config);
        Self {
            lives: Lives::new(config),
            core: Core::new(CoreConfig { started: BEGIN, ..CoreConfig::default() }),
            records: Vec::new(),
            rows: Vec::new(),
            client: host("10.0.0.1:40000", 4_294_967_000),
            server: host("10.0.0.2:80", 5_000),
            interface: 0,
            direction: None,
            now: 0,
            number: 0,
        }
    }

    /// It is so many nanoseconds after the beginning.
    pub(super) fn at(&mut self, now: u64) -> &mut Self {
        self.now = now;
        self
    }

    /// The client sends.
    pub(super) fn c(&mut self, flags: &str, seq: u32, ack: u32, len: u32) -> &mut Self {
        self.send(true, seg(flags, seq, ack, len))
    }

    /// The server sends.
    pub(super) fn s(&mut self, flags: &str, seq: u32, ack: u32, len: u32) -> &mut Self {
        self.send(false, seg(flags, seq, ack, len))
    }

    pub(super) fn send(&mut self, by_client: bool, seg: Seg) -> &mut Self {
        let captured = self.captured(by_client, seg);
        self.take(&captured);
        // Nothing happens at the same nanosecond.
        self.now += 1;
        self
    }

    pub(super) fn captured(&mut self, by_client: bool, seg: Seg) -> Captured {
        let (from, to) =
            if by_client { (self.client, self.server) } else { (self.server, self.client) };
        let ack = if seg.flags & tcp_flags::ACK != 0 { to.isn.wrapping_add(seg.ack) } else { 0 };
        self.number += 1;
        Captured {
            at: MonoNs(BEGIN.0 + self.now),
            number: self.number,
            interface: self.interface,
            direction: self.direction,
            segment: Segment {
                src: from.socket.ip().into(),
                dst: to.socket.ip().into(),
                src_port: from.socket.port(),
                dst_port: to.socket.port(),
                seq: from.isn.wrapping_add(seg.seq),
                ack,
                flags: seg.flags,
            },
            payload_len: seg.len,
            window: seg.window,
            ttl: 64,
            options: seg.options,
        }
    }

    pub(super) fn take(&mut self, captured: &Captured) {
        let mut out = Taken::default();
        self.lives.take(captured, &mut out);
        self.hear(out);
        self.core.handle_timeout(captured.at, &mut self.records);
    }

    fn hear(&mut self, out: Taken) {
        for event in out.events {
            self.core.handle(&event, &mut self.records);
        }
        self.rows.extend(out.rows);
    }

    /// SYN, SYN-ACK, ACK: 1 ms and 2 ms apart.
    pub(super) fn handshake(&mut self) -> &mut Self {
        let now = self.now;
        self.c("S", 0, 0, 0);
        self.at(now + MS).s("SA", 0, 1, 0);
        self.at(now + 3 * MS).c("A", 1, 1, 0)
    }

    /// The server has no socket for the SYN: its RST has the number 0.
    pub(super) fn refuse(&mut self) -> &mut Self {
        let isn = std::mem::take(&mut self.server.isn);
        self.s("RA", 0, 1, 0);
        self.server.isn = isn;
        self
    }

    /// The capture is over.
    pub(super) fn finish(&mut self) -> &mut Self {
        let mut out = Taken::default();
        self.lives.finish(&mut out);
        self.hear(out);
        self.core.finish(&mut self.records);
        self
    }

    /// The connections that ended.
    pub(super) fn connections(&mut self) -> Vec<Connection> {
        self.finish();
        self.records.iter().filter_map(Record::connection).cloned().collect()
    }

    /// The one that ended; none is open.
    pub(super) fn connection(&mut self) -> Connection {
        let mut all = self.connections();
        assert_eq!(all.len(), 1, "{all:#?}");
        assert_eq!(self.open(), []);
        all.remove(0)
    }

    /// Those that are open at the end.
    pub(super) fn open(&mut self) -> Vec<OpenConnection> {
        self.finish();
        self.core.open(MonoNs(BEGIN.0 + self.now))
    }

    /// The one that is open.
    pub(super) fn one_open(&mut self) -> OpenConnection {
        assert_eq!(self.connections(), []);
        let mut open = self.open();
        assert_eq!(open.len(), 1, "{open:#?}");
        open.remove(0)
    }

    /// The states that a row would show now, client's and server's.
    pub(super) fn lives_state(&mut self) -> (Option<TcpState>, Option<TcpState>) {
        let captured = self.captured(true, seg("A", 0, 0, 0));
        let (key, client) = Key::of(&captured.segment).expect("two ends");
        let slot = self.lives.table.find(&key).expect("a connection");
        let conversation = self.lives.table.get_mut(slot).expect("a connection");
        (conversation.state(client), conversation.state(client.peer()))
    }

    /// The rows, as short as can be: who, flags, step, states of client and server, oddities.
    pub(super) fn script(&self) -> Vec<String> {
        self.rows.iter().map(line).collect()
    }
}

fn line(row: &SegmentRow) -> String {
    let letters = [(0x02, 'S'), (0x01, 'F'), (0x04, 'R'), (0x10, 'A')];
    let flags: String =
        letters.iter().filter(|(bit, _)| row.flags & bit != 0).map(|(_, letter)| *letter).collect();
    let state = |state: Option<TcpState>| state.map_or("-", |state| state.name());
    let mut line = format!(
        "{} {flags} {}{}",
        row.from.name(),
        row.seq,
        row.ack.map_or(String::new(), |ack| format!(":{ack}"))
    );
    if let Some(step) = row.step {
        line += &format!(" [{step}]");
    }
    line += &format!(" {} {}", state(row.client_state), state(row.server_state));
    for odd in row.oddities.iter() {
        line += &format!(" {}", odd.name());
    }
    line
}
