use std::io::{BufRead, BufReader, PipeReader, Read};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use std::path::PathBuf;

fn piped(bound: usize) -> (Writer, PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    (Writer::to(Target::fd(writer.into()), bound).unwrap(), reader)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "tracer-writer-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = soon();
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A writer whose pipe is full and which is in the middle of a write of so many bytes.
fn stuck(bound: usize) -> (Writer, PipeReader, usize) {
    let (writer, reader) = piped(bound);
    let (sent, pipe) = (200_000, 65_536);
    assert!(writer.push(&vec![b'x'; sent], 1));
    eventually("the pipe never filled", || writer.shared.lock().in_flight == sent - pipe);
    (writer, reader, sent - pipe)
}

#[test]
fn a_reader_that_stops_loses_records_that_are_counted_and_holds_nobody_up() {
    let (writer, reader) = piped(100_000);
    let began = Instant::now();
    let mut taken = Vec::new();
    for n in 0..20_000_u32 {
        if writer.push(format!("{n:049}\n").as_bytes(), 1) {
            taken.push(n);
        }
    }
    assert!(began.elapsed() < Duration::from_secs(10), "it blocked");
    // At most what waits, what the pipe holds (64 KiB), and what was in between.
    assert!(taken.len() >= 2_000, "{} taken", taken.len());
    assert!(taken.len() <= (100_000 + 65_536) / 50 + 1, "{} taken", taken.len());
    assert_eq!(writer.dropped(), 20_000 - taken.len() as u64);

    // The reader comes back: nothing that was taken is missing, torn or out of order.
    let reading = thread::spawn(move || {
        let lines = BufReader::new(reader).lines();
        lines.map(|line| line.unwrap().parse().unwrap()).collect::<Vec<u32>>()
    });
    writer.finish(soon()).unwrap();
    assert_eq!(reading.join().unwrap(), taken);
}

#[test]
fn the_summary_waits_for_a_reader_that_resumes() {
    let (writer, mut reader, _) = stuck(1_000);
    assert!(!writer.push(b"dropped\n", 1));
    let reading = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    // The second is larger than the bound.
    assert!(writer.push_wait(b"\nsummary\n", 1, soon()));
    assert!(writer.push_wait(&[b'-'; 5_000], 1, soon()));
    assert!(writer.push_wait(b"\nend\n", 1, soon()));
    assert_eq!(writer.dropped(), 1);
    writer.finish(soon()).unwrap();
    let all = reading.join().unwrap();
    assert!(all.ends_with(b"-\nend\n"));
    assert_eq!(all.windows(9).filter(|w| w == b"\nsummary\n").count(), 1);
}

#[test]
fn a_reader_that_never_resumes_is_given_up() {
    let (writer, _reader, waiting) = stuck(10_000);
    let began = Instant::now();
    let deadline = began + Duration::from_millis(100);
    assert!(!writer.push_wait(b"summary\n", 3, deadline));
    assert_eq!(writer.dropped(), 3);
    assert_eq!(writer.finish(deadline), Err(Unwritten { bytes: waiting }));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_closed_pipe_is_noticed_without_writing() {
    let (writer, reader) = piped(BOUND);
    drop(reader);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let why = runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), writer.closed()).await });
    assert_eq!(why.unwrap(), Closed::BrokenPipe);
    assert!(!writer.push(b"late\n", 1));
    assert_eq!(writer.dropped(), 1);
    assert_eq!(writer.finish(soon()), Ok(()));
}

#[test]
fn a_pipe_closed_under_a_write_is_a_broken_pipe() {
    let (writer, reader, _) = stuck(BOUND);
    drop(reader);
    assert_eq!(writer.finish(soon()), Ok(()));
}

#[test]
fn a_pipe_somebody_made_nonblocking_loses_nothing() {
    let (mut reader, writer) = io::pipe().unwrap();
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    let writer = Writer::to(Target::fd(writer.into()), BOUND).unwrap();
    let all: Vec<u8> = (0..60_000).flat_map(|n: u32| format!("{n:04x}\n").into_bytes()).collect();
    assert!(writer.push(&all, 60_000));
    let reading = thread::spawn(move || {
        // In bites that leave room for a part of what is to be written.
        let mut read = Vec::new();
        let mut bite = [0; 5_000];
        loop {
            match reader.read(&mut bite).unwrap() {
                0 => return read,
                size => read.extend_from_slice(&bite[..size]),
            }
        }
    });
    writer.finish(soon()).unwrap();
    assert!(reading.join().unwrap() == all, "torn");
}

#[test]
fn a_file_is_appended_to_and_reopened_under_its_name() {
    let scratch = Scratch::new();
    let (path, rotated) = (scratch.0.join("out"), scratch.0.join("out.1"));
    std::fs::write(&path, "before\n").unwrap();
    let writer = Writer::file(&path).unwrap();
    writer.begin_files_with(b"head\n".to_vec());
    assert!(writer.push(b"one\n", 1));
    eventually("`one` was not written", || read(&path) == "before\none\n");
    std::fs::rename(&path, &rotated).unwrap();
    assert!(writer.push(b"two\n", 1));
    eventually("`two` was not written", || read(&rotated) == "before\none\ntwo\n");
    writer.reopen();
    eventually("it was not reopened", || path.exists());
    eventually("a new file has no head", || read(&path) == "head\n");
    // Nothing was moved away: there is no new file.
    writer.reopen();
    assert!(writer.push(b"three\n", 1));
    writer.finish(soon()).unwrap();
    assert_eq!(read(&rotated), "before\none\ntwo\n");
    assert_eq!(read(&path), "head\nthree\n");
}

#[test]
fn a_file_that_can_not_be_reopened_is_written_on() {
    let scratch = Scratch::new();
    let (dir, moved) = (scratch.0.join("a"), scratch.0.join("b"));
    std::fs::create_dir(&dir).unwrap();
    let writer = Writer::file(&dir.join("out")).unwrap();
    std::fs::rename(&dir, &moved).unwrap();
    writer.reopen();
    assert!(writer.push(b"on\n", 1));
    writer.finish(soon()).unwrap();
    assert_eq!(read(&moved.join("out")), "on\n");
}

#[test]
fn a_full_disk_holds_records_back_until_there_is_room() {
    let scratch = Scratch::new();
    let (link, path) = (scratch.0.join("link"), scratch.0.join("out"));
    std::os::unix::fs::symlink("/dev/full", &link).unwrap();
    let writer = Writer::file(&link).unwrap();
    writer.begin_files_with(b"head\n".to_vec());
    assert!(writer.push(b"one\n", 1));
    eventually("nobody tried to write", || writer.shared.lock().in_flight == 4);
    assert!(writer.push(b"two\n", 1));
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    writer.reopen();
    writer.finish(soon()).unwrap();
    // It begins with its head, whatever had been waiting to be written.
    assert_eq!(read(&path), "head\none\ntwo\n");

    let full = Writer::file(Path::new("/dev/full")).unwrap();
    assert!(full.push(b"lost\n", 1));
    let deadline = Instant::now() + Duration::from_millis(100);
    assert_eq!(full.finish(deadline), Err(Unwritten { bytes: 5 }));
}

#[test]
fn an_output_that_can_not_be_opened_says_so_at_once() {
    let error = Writer::file(Path::new("/nonexistent/out")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_reopened_file_begins_with_a_whole_line() {
    assert_eq!(line_start(b"one\ntwo\n", 0), 0);
    assert_eq!(line_start(b"one\ntwo\n", 3), 0);
    assert_eq!(line_start(b"one\ntwo\n", 4), 4);
    assert_eq!(line_start(b"one\ntwo\n", 6), 4);
    assert_eq!(line_start(b"one\ntwo\n", 8), 8);
}

#[test]
fn who_can_wait_loses_nothing() {
    let (writer, mut reader) = piped(1000);
    let handed = 300_000;
    for n in 0..handed / 100 {
        assert!(writer.push_all(&[b'0' + (n % 10) as u8; 100], 1));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Nobody reads: there is no room, and it is waited for without holding up anybody.
    let waited = runtime.block_on(async {
        tokio::time::timeout(Duration::from_millis(50), writer.room()).await.is_err()
    });
    assert!(waited);
    let read = thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    runtime.block_on(async {
        writer.room().await;
        writer.drained().await;
    });
    assert_eq!(writer.dropped(), 0);
    writer.finish(soon()).unwrap();
    let all = read.join().unwrap();
    assert_eq!(all.len(), handed);
    assert!(
        all.chunks(100).enumerate().all(|(n, hundred)| hundred == [b'0' + (n % 10) as u8; 100])
    );
}

#[test]
fn who_waits_for_a_reader_that_has_gone_is_let_go() {
    let (writer, reader, _) = stuck(BOUND);
    assert!(writer.push_all(&vec![b'x'; BOUND], 1));
    drop(reader);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        writer.room().await;
        writer.drained().await;
    });
}
