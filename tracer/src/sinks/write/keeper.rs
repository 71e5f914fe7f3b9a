//! The thread that takes packets from the sockets and puts them into the file.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;
use tracer_common::control::SNAP_LEN;

use super::Message;
use super::file::Generations;
use super::frame::Frame;
use super::hold::Hold;
use crate::capture::pcapng_writer as pcapng;
use crate::core::Whose;
use crate::core::event::nanos;
use crate::system::host::ClockOffset;
use crate::system::packet_socket::{PacketSocket, interface_name};

/// How often the sockets are looked at. Nobody waits on them, so that a packet that comes in wakes
/// nobody up.
const ROUND: Duration = Duration::from_millis(25);
/// Calls in a round, some dozen packets each: what comes in faster is dropped by the socket.
const CALLS: usize = 512;
/// How often interfaces that were named are looked for.
const FOLLOW: Duration = Duration::from_secs(1);
/// Bytes that are written at once.
const BUFFER: usize = 256 << 10;

/// What became of the packets.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// In the files, or were before they got too old.
    pub(super) kept: u64,
    /// Found no room in a socket.
    pub(super) dropped: u64,
    /// Could not be written.
    pub(super) unwritten: u64,
    /// Why, the last time.
    pub(super) error: Option<io::Error>,
}

/// See the module.
pub(super) struct Keeper {
    sockets: Vec<PacketSocket>,
    hold: Hold,
    output: Output,
    broken: bool,
}

impl Keeper {
    pub(super) fn new(sockets: Vec<PacketSocket>, hold: Hold, file: Generations) -> Self {
        Self { sockets, hold, output: Output::new(file), broken: false }
    }

    /// Until it is told to stop, or nobody is left to tell it.
    pub(super) fn run(mut self, messages: &Receiver<Message>) -> Summary {
        let mut next_follow = Instant::now() + FOLLOW;
        let mut next_round = Instant::now() + ROUND;
        loop {
            let left = next_round.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.receive();
                self.release(Some(unix_ns()));
                if Instant::now() >= next_follow {
                    next_follow = Instant::now() + FOLLOW;
                    self.follow();
                }
                next_round = Instant::now() + ROUND;
                continue;
            }
            match messages.recv_timeout(left) {
                Ok(Message::Whose(told)) => self.tell(&told),
                Ok(Message::Reopen) => self.output.reopen(),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.receive();
        self.release(None);
        let mut summary = self.output.finish();
        summary.dropped = self.sockets.iter_mut().map(PacketSocket::dropped).sum();
        summary
    }

    fn tell(&mut self, told: &[Whose]) {
        let Ok(offset) = ClockOffset::read() else { return };
        for whose in told {
            self.hold.tell(whose, |at| u64::try_from(offset.realtime_ns(at.0)).unwrap_or(0));
        }
    }

    fn follow(&mut self) {
        for socket in &mut self.sockets {
            socket.follow();
            // Before the kernel's counter, of 32 bits, begins anew.
            socket.dropped();
        }
    }

    fn receive(&mut self) {
        let mut frames = Vec::new();
        for socket in &mut self.sockets {
            for _ in 0..CALLS {
                match socket.receive(|packet| frames.extend(Frame::of(packet))) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        if !std::mem::replace(&mut self.broken, true) {
                            log::warn!("--write: no more packets can be read: {error}");
                        }
                        break;
                    }
                }
            }
        }
        // Of several sockets, and of several CPUs.
        frames.sort_by_key(|frame| frame.at);
        for frame in frames {
            self.hold.take(frame);
        }
    }

    fn release(&mut self, now: Option<u64>) {
        let Self { hold, output, .. } = self;
        hold.release(now, |frame, comment| output.packet(frame, comment));
        output.flush();
    }
}

/// Nanoseconds since the epoch, as the packets' stamps are.
fn unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    nanos(now)
}

/// Blocks on their way into the file.
struct Output {
    file: Generations,
    /// Numbers, in the file's last section, of the interfaces that it describes.
    interfaces: FxHashMap<u32, u32>,
    /// The file's last section has a header.
    begun: bool,
    buffer: Vec<u8>,
    /// Packets in the buffer.
    buffered: u64,
    summary: Summary,
}

impl Output {
    fn new(file: Generations) -> Self {
        Self {
            file,
            interfaces: FxHashMap::default(),
            begun: false,
            buffer: Vec::with_capacity(BUFFER),
            buffered: 0,
            summary: Summary::default(),
        }
    }

    fn packet(&mut self, frame: &Frame, comment: Option<&str>) {
        let end = self.buffer.len();
        self.blocks(frame, comment);
        if self.buffer.len() as u64 > self.file.room() {
            // All of it again, into the next file.
            self.buffer.truncate(end);
            self.flush();
            if let Err(error) = self.file.turn() {
                self.lost(1, error);
                return;
            }
            self.forget();
            self.blocks(frame, comment);
        }
        self.buffered += 1;
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// Puts into the buffer what it takes to have the packet in the file.
    fn blocks(&mut self, frame: &Frame, comment: Option<&str>) {
        if !self.begun {
            self.begun = true;
            pcapng::section(env!("CARGO_PKG_VERSION"), &mut self.buffer);
        }
        let next = self.interfaces.len() as u32;
        let interface = *self.interfaces.entry(frame.interface).or_insert_with(|| {
            let name = interface_name(frame.interface);
            let name = name.unwrap_or_else(|| format!("if{}", frame.interface));
            pcapng::interface(&name, SNAP_LEN, &mut self.buffer);
            next
        });
        let packet = pcapng::Packet {
            interface,
            at: frame.at,
            frame: &frame.bytes,
            original_len: frame.original_len,
            direction: frame.direction,
            comment,
        };
        pcapng::packet(&packet, &mut self.buffer);
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        match self.file.append(&self.buffer) {
            Ok(()) => self.summary.kept += self.buffered,
            Err(error) => {
                let lost = self.buffered;
                self.lost(lost, error);
                // Descriptions of interfaces may be among it.
                self.forget();
            }
        }
        self.buffer.clear();
        self.buffered = 0;
    }

    /// What comes next is to stand behind a header of its own.
    fn forget(&mut self) {
        self.begun = false;
        self.interfaces.clear();
    }

    fn lost(&mut self, packets: u64, error: io::Error) {
        if self.summary.unwritten == 0 {
            let path = self.file.path().display();
            log::warn!("--write: packets are lost, {path} cannot be written: {error}");
        }
        self.summary.unwritten += packets;
        self.summary.error = Some(error);
    }

    /// Begins a new file if the old one was moved away.
    fn reopen(&mut self) {
        self.flush();
        if self.file.is_in_place() {
            return;
        }
        match self.file.turn() {
            Ok(()) => self.forget(),
            Err(error) => self.lost(0, error),
        }
    }

    fn finish(mut self) -> Summary {
        if !self.begun && self.file.is_empty() {
            // A file without a packet is a file all the same, and libpcap wants an interface in it.
            self.begun = true;
            pcapng::section(env!("CARGO_PKG_VERSION"), &mut self.buffer);
            pcapng::interface("any", SNAP_LEN, &mut self.buffer);
        }
        self.flush();
        if let Err(error) = self.file.sync() {
            self.lost(0, error);
        }
        self.summary
    }
}
