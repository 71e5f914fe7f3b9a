//! `--write`: control segments, and what answers them, kept as pcapng.
//!
//! socket with a kernel filter ([`packet_socket`](crate::system::packet_socket)) → [`frame`] →
//! [`hold`] → [`file`], on a thread of its own ([`keeper`]), so that no disk holds up the ring. From
//! the events comes only whose the connections are.

mod file;
mod frame;
mod hold;
mod keeper;

use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use caps::CapsHashSet;
use tracer_common::control::KEPT_PER_SECOND;

use self::file::Generations;
use self::hold::Hold;
use self::keeper::{Keeper, Summary};
use super::{Sink, Standing};
use crate::core::event::Event;
use crate::core::{Core, Shown, Whose};
use crate::kernel::PacketFilter;
use crate::report::{Start, WallClock};
use crate::system::packet_socket::PacketSocket;
use crate::system::privileges;

/// Sockets that are told of at once, at most.
const TOLD_AT_MOST: usize = 8192;
/// Messages that may wait for the thread; it looks every 25 ms.
const MESSAGES: usize = 32;

/// What the thread is told.
enum Message {
    /// Whose connections are.
    Whose(Vec<Whose>),
    /// SIGHUP.
    Reopen,
    /// The run is over.
    Stop,
}

/// FILE, and FILE.1 beside it.
pub struct Target(Generations);

impl Target {
    /// Makes sure that they can be written, while there is time to do something about it; `size`:
    /// bytes of both together.
    ///
    /// # Errors
    /// That they can't, and why.
    pub fn open(path: &Path, size: u64) -> Result<Self> {
        Ok(Self(Generations::open(path, size)?))
    }
}

/// Which packets are to be kept.
pub struct Settings<'a> {
    /// Names of the interfaces; empty: all.
    pub interfaces: &'a [String],
    /// Its `exclude_ports` and `exclude_hosts` are heeded.
    pub shown: Shown,
    /// Only connections that the core calls selected.
    pub selecting: bool,
    /// Inode of tracer's own network namespace.
    pub netns: u32,
}

/// See the module.
pub struct PacketFile {
    filter: PacketFilter,
    state: State,
    sender: SyncSender<Message>,
    needed: CapsHashSet,
    path: String,
    /// It has been said that there are too many.
    warned: bool,
}

enum State {
    /// Not yet started.
    Ready(Box<Keeper>, Receiver<Message>),
    Running(JoinHandle<Summary>),
    Over,
}

impl PacketFile {
    /// Opens the sockets; packets are kept from now on, and written from [`Sink::start`] on.
    ///
    /// # Errors
    /// There is no packet socket to be had.
    pub fn open(
        Target(file): Target,
        settings: Settings<'_>,
        filter: PacketFilter,
    ) -> Result<Self> {
        let Settings { interfaces, shown, selecting, netns } = settings;
        let open = |interface| {
            PacketSocket::open(filter.program().as_fd(), interface)
                .context("--write: packets can't be had")
        };
        let sockets = match interfaces {
            [] => vec![open(None)?],
            named => named.iter().map(|name| open(Some(name.as_str()))).collect::<Result<_>>()?,
        };
        let needed = file.needed_later().clone();
        let path = file.path().display().to_string();
        let keeper = Box::new(Keeper::new(sockets, Hold::new(shown, selecting, netns), file));
        let (sender, receiver) = sync_channel(MESSAGES);
        let state = State::Ready(keeper, receiver);
        Ok(Self { filter, state, sender, needed, path, warned: false })
    }

    /// What it takes to begin a new file, later.
    #[must_use]
    pub const fn needed_later(&self) -> &CapsHashSet {
        &self.needed
    }

    /// For who knows whose the connections are.
    #[must_use]
    pub fn teller(&self) -> Teller {
        Teller { sender: self.sender.clone(), told: Vec::new() }
    }

    /// Says it once when a flood has more packets than are kept.
    fn warn(&mut self) {
        if !self.warned && self.filter.left_out().is_ok_and(|left_out| left_out > 0) {
            self.warned = true;
            log::warn!(
                "--write: there are more than {KEPT_PER_SECOND} SYNs a second on a CPU, or as many \
                 FINs and RSTs: only so many are kept"
            );
        }
    }
}

impl Sink for PacketFile {
    fn start(&mut self, _: &Start, _: &WallClock) {
        let State::Ready(keeper, receiver) = std::mem::replace(&mut self.state, State::Over) else {
            return;
        };
        let keep = self.needed.clone();
        let thread = std::thread::Builder::new().name("tracer-write".to_owned()).spawn(move || {
            // It reads what strangers send. Sets the priority back as well.
            if let Err(error) = privileges::keep_in_this_thread(&keep) {
                log::warn!("--write: {error:#}");
            }
            keeper.run(&receiver)
        });
        match thread {
            Ok(thread) => self.state = State::Running(thread),
            Err(error) => log::error!("--write: no packets are kept: no thread: {error}"),
        }
    }

    fn standing(&mut self, _: &Standing<'_>, _: &WallClock) {
        self.warn();
    }

    fn end(&mut self, _: &Standing<'_>, _: &WallClock, deadline: Instant) -> Result<()> {
        let path = &self.path;
        let State::Running(thread) = std::mem::replace(&mut self.state, State::Over) else {
            bail!("no packets were kept in {path}: the thread for it could not be started");
        };
        let mut stop = Message::Stop;
        while let Err(TrySendError::Full(message)) = self.sender.try_send(stop) {
            ensure!(Instant::now() < deadline, "{path} could not be finished in time");
            stop = message;
            std::thread::sleep(Duration::from_millis(1));
        }
        while !thread.is_finished() {
            ensure!(Instant::now() < deadline, "{path} could not be finished in time");
            std::thread::sleep(Duration::from_millis(1));
        }
        let Ok(Summary { kept, dropped, unwritten, error }) = thread.join() else {
            bail!("what writes {path} has died");
        };
        let left_out = self.filter.left_out()?;
        log::info!("--write: {kept} packets kept in {path}");
        if dropped + left_out > 0 {
            log::warn!(
                "--write: {path} is not complete: {left_out} packets were beyond \
                 {KEPT_PER_SECOND} a second on a CPU, {dropped} came faster than they were read"
            );
        }
        match error {
            Some(error) => {
                Err(anyhow!("{unwritten} packets could not be written to {path}: {error}"))
            }
            None => Ok(()),
        }
    }
}

/// Tells the thread whose the connections are, as the core knows it. What the thread has no time for
/// is told later, or in the end not at all: the packets are kept without it.
pub struct Teller {
    sender: SyncSender<Message>,
    told: Vec<Whose>,
}

impl Teller {
    /// An event has been handled.
    pub fn event(&mut self, event: &Event, core: &Core) {
        if let Event::Transition(socket) | Event::Accepted(socket) = event {
            self.socket(socket.cookie, core);
        }
    }

    /// What is known of a socket may have changed.
    pub fn socket(&mut self, cookie: u64, core: &Core) {
        let Some(whose) = core.whose(cookie) else { return };
        if self.told.len() >= TOLD_AT_MOST {
            self.flush();
        }
        if self.told.len() < TOLD_AT_MOST {
            self.told.push(whose);
        }
    }

    /// Hands over what has been collected.
    pub fn flush(&mut self) {
        if self.told.is_empty() {
            return;
        }
        let told = std::mem::take(&mut self.told);
        let sent = self.sender.try_send(Message::Whose(told));
        if let Err(TrySendError::Full(Message::Whose(told))) = sent {
            self.told = told;
        }
    }

    /// SIGHUP: a file that was moved away is begun anew.
    pub fn reopen(&self) {
        // One that is not delivered to a thread this busy is for the next SIGHUP.
        if self.sender.try_send(Message::Reopen).is_err() {
            log::warn!("--write: too busy to begin a new file: send SIGHUP again");
        }
    }
}
