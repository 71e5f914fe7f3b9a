//! A thread that renders. Rendering takes about as long as all that comes before it.

use std::io;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Result, bail};
use tokio::sync::Notify;

use crate::core::event::MonoNs;
use crate::core::record::{End, Host, OpenConnection, Record};
use crate::report::writer::Inlet;
use crate::report::{Covered, Report, WallClock};

/// Pieces that may wait to be rendered. Working on segments and rendering are slower by turns: with
/// few, each waits for the other.
const WAITING: usize = 32;
/// Records that are rendered in one piece: what comes of them fits the nearer caches.
const PART: usize = 512;

/// What is to be rendered.
pub(super) enum Told {
    Records(Vec<Record>),
    Hosts(Vec<Host>, Covered),
    Open(Vec<OpenConnection>, MonoNs),
    End(Box<End>, MonoNs),
    Raw(String),
    Resize(usize),
}

/// What is handed on in one piece, and how many records it makes.
type Piece = (Vec<Told>, u64);

/// The thread, and what it has not been given yet.
pub(super) struct Apart {
    pieces: mpsc::Sender<Piece>,
    queue: Arc<Queue>,
    thread: JoinHandle<()>,
    clock: WallClock,
    told: Vec<Told>,
    /// What has been rendered. It is dropped where it was made: an allocator that two threads give
    /// and take has them wait for each other.
    rendered: mpsc::Receiver<Vec<Told>>,
}

/// What has been given to it.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// For who blocks,
    changed: Condvar,
    /// and for who does not.
    less: Notify,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Pieces.
    waiting: usize,
    /// The thread has ended.
    over: bool,
}

impl Apart {
    /// Starts it; `out` is what has been rendered before.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(
        mut report: Box<dyn Report>,
        out: Vec<u8>,
        inlet: Inlet,
    ) -> io::Result<Self> {
        let clock = report.clock().clone();
        let (pieces, given) = mpsc::channel();
        let (back, rendered) = mpsc::channel();
        let queue = Arc::<Queue>::default();
        let ends = Ends(Arc::clone(&queue));
        let thread = thread::Builder::new()
            .name("tracer-report".into())
            .spawn(move || run(&given, &back, report, out, &inlet, &ends))?;
        Ok(Self { pieces, queue, thread, clock, told: Vec::new(), rendered })
    }

    /// The clock of the report. It is not set again: times are those of a capture.
    pub(super) const fn clock(&mut self) -> &mut WallClock {
        &mut self.clock
    }

    pub(super) fn tell(&mut self, told: Told) {
        self.told.push(told);
    }

    pub(super) fn record(&mut self, record: Record) {
        if let Some(Told::Records(records)) = self.told.last_mut() {
            records.push(record);
        } else {
            self.told.push(Told::Records(vec![record]));
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Gives it what has been told, which makes so many records.
    pub(super) fn flush(&mut self, records: u64) {
        if self.told.is_empty() {
            return;
        }
        while let Ok(rendered) = self.rendered.try_recv() {
            drop(rendered);
        }
        self.queue.lock().waiting += 1;
        // If it has died, `finish` says so.
        let _ = self.pieces.send((std::mem::take(&mut self.told), records));
    }

    /// Waits until it has caught up.
    pub(super) async fn room(&self) {
        self.queue.down_to(WAITING / 2).await;
    }

    /// Waits until it has nothing to do.
    pub(super) async fn drained(&self) {
        self.queue.down_to(0).await;
    }

    /// Waits until it has done everything, until `deadline` at most: whether it has. It waits for
    /// nothing but the reader of the output.
    ///
    /// # Errors
    /// It has died.
    pub(super) fn finish(self, deadline: Instant) -> Result<bool> {
        let Self { pieces, queue, thread, clock: _, told: _, rendered: _ } = self;
        drop(pieces);
        let mut state = queue.lock();
        while !state.over {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Ok(false);
            };
            let woken = queue.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        if thread.join().is_err() {
            bail!("the thread that writes the report has died: the report is not complete");
        }
        Ok(true)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every moment a holder could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
        self.less.notify_one();
    }

    async fn down_to(&self, few: usize) {
        loop {
            let State { waiting, over } = *self.lock();
            if waiting <= few || over {
                return;
            }
            // Keeps a permit: what was done since the look is not missed.
            self.less.notified().await;
        }
    }
}

/// Tells that the thread has ended, however it does.
struct Ends(Arc<Queue>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.change(|state| state.over = true);
    }
}

fn run(
    given: &mpsc::Receiver<Piece>,
    back: &mpsc::Sender<Vec<Told>>,
    mut report: Box<dyn Report>,
    mut out: Vec<u8>,
    inlet: &Inlet,
    ends: &Ends,
) {
    let hand_on = |out: &mut Vec<u8>, records| {
        if !out.is_empty() {
            inlet.wait_for_room();
            inlet.give_all(out, records);
        }
    };
    while let Ok((told, mut records)) = given.recv() {
        for told in &told {
            match told {
                Told::Records(all) => {
                    for part in all.chunks(PART) {
                        for record in part {
                            report.record(record, &mut out);
                        }
                        let part = part.len() as u64;
                        records = records.saturating_sub(part);
                        hand_on(&mut out, part);
                    }
                }
                Told::Hosts(hosts, covered) => report.hosts(hosts, *covered, &mut out),
                Told::Open(open, at) => report.open(open, *at, &mut out),
                Told::End(end, at) => report.end(end, *at, &mut out),
                Told::Raw(text) => out.extend_from_slice(text.as_bytes()),
                Told::Resize(width) => report.resize(*width),
            }
        }
        hand_on(&mut out, records);
        // Nobody waits for it at the end.
        let _ = back.send(told);
        ends.0.change(|state| state.waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::{Json, Start, Writer, samples};

    /// Dies of an `end`.
    struct Mortal(Json);

    impl Report for Mortal {
        fn start(&mut self, _start: &Start, _out: &mut Vec<u8>) {}

        fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
            self.0.record(record, out);
        }

        fn hosts(&mut self, _hosts: &[Host], _covered: Covered, _out: &mut Vec<u8>) {}

        fn open(&mut self, _open: &[OpenConnection], _at: MonoNs, _out: &mut Vec<u8>) {}

        fn end(&mut self, _end: &End, _at: MonoNs, _out: &mut Vec<u8>) {
            panic!("a report may be wrong");
        }

        fn clock(&mut self) -> &mut WallClock {
            self.0.clock()
        }
    }

    fn start() -> (tempfile::TempDir, std::path::PathBuf, Writer, Apart) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let writer = Writer::file(&path).unwrap();
        let report = Box::new(Mortal(Json::new(samples::clock())));
        let out = b"before\n".to_vec();
        let apart = Apart::start(report, out, writer.inlet()).unwrap();
        (dir, path, writer, apart)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn record() -> Record {
        Record::Connection(Box::new(samples::full()))
    }

    #[test]
    fn everything_is_written_in_order() {
        let (_dir, path, writer, mut apart) = start();
        let mut expected = "before\n".to_owned();
        for n in 0..3 * WAITING {
            apart.record(record());
            apart.record(record());
            apart.tell(Told::Raw(format!("{n}\n")));
            apart.flush(2);
            let mut line = Vec::new();
            Json::new(samples::clock()).record(&record(), &mut line);
            let line = std::str::from_utf8(&line).unwrap();
            expected += &format!("{line}{line}{n}\n");
        }
        assert!(apart.is_empty());
        assert!(apart.finish(soon()).unwrap());
        writer.finish(soon()).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
    }

    #[tokio::test]
    async fn one_that_dies_keeps_nobody_waiting_and_is_told_of() {
        let (_dir, _path, _writer, mut apart) = start();
        apart.tell(Told::End(Box::default(), samples::at(0)));
        apart.flush(1);
        for _ in 0..3 * WAITING {
            apart.record(record());
            apart.flush(1);
        }
        apart.room().await;
        apart.drained().await;
        let died = apart.finish(soon()).unwrap_err();
        assert!(died.to_string().contains("has died"), "{died}");
    }
}
