//! How far a `--duration` run has come, in one line of a terminal.
//!
//! The line is left with the cursor at its beginning, so that whatever comes next writes over it, and
//! what is known to come takes it away first. Where the records go to the same terminal, the line
//! goes the same way: through their writer, in order with them.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::terminal;

/// Erase from the cursor to the end of the line (ECMA-48, EL).
const ERASE: &str = "\x1b[K";

/// A line is on the screen: for those who write to stderr without knowing of it.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// What to write to stderr before anything else.
#[must_use]
pub fn before_message() -> &'static str {
    if DRAWN.swap(false, Ordering::Relaxed) { ERASE } else { "" }
}

/// Where the line is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// On stderr.
    Own,
    /// Where the records go as well.
    WithRecords,
}

/// The line.
#[derive(Debug)]
pub struct Progress {
    place: Place,
    /// It is there, as far as [`Self::erase`] knows.
    drawn: bool,
}

impl Progress {
    /// If there is a terminal for it: stderr's. `text`: the records are
    /// text for people. JSON on a terminal may still be read by a program, at the other end of it.
    #[must_use]
    pub fn new(text: bool, to_stdout: bool) -> Option<Self> {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        if !stderr.is_terminal() || std::env::var_os("TERM").is_none_or(|term| term == "dumb") {
            return None;
        }
        let device = |fd| nix::sys::stat::fstat(fd).map(|stat| stat.st_rdev).ok();
        let shared =
            to_stdout && stdout.is_terminal() && device(stdout.as_fd()) == device(stderr.as_fd());
        match (shared, text) {
            (false, _) => Some(Self { place: Place::Own, drawn: false }),
            (true, true) => Some(Self { place: Place::WithRecords, drawn: false }),
            (true, false) => None,
        }
    }

    /// Draws the line, which is ASCII; what is returned is to go where the records go.
    pub fn draw(&mut self, mut line: String) -> Option<String> {
        let width = terminal::width(io::stderr().as_fd());
        // In the last column some terminals begin a new line.
        line.truncate(width.saturating_sub(1));
        line.push_str(ERASE);
        line.push('\r');
        self.drawn = true;
        DRAWN.store(true, Ordering::Relaxed);
        match self.place {
            Place::WithRecords => Some(line),
            Place::Own => {
                // A terminal that has gone is no reason to stop.
                let _ = io::stderr().lock().write_all(line.as_bytes());
                None
            }
        }
    }

    /// Takes the line away because records come; what is returned is to go before them. On stderr it
    /// stays: they go elsewhere.
    pub fn before_records(&mut self) -> Option<&'static str> {
        (self.place == Place::WithRecords && std::mem::take(&mut self.drawn)).then_some(ERASE)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.place == Place::Own && self.drawn {
            let _ = io::stderr().lock().write_all(ERASE.as_bytes());
        }
        DRAWN.store(false, Ordering::Relaxed);
    }
}

/// `12s of 60s, 1,234 connections ended`. ASCII only: cut anywhere it stays text.
#[must_use]
pub fn of_duration(elapsed: Duration, duration: Duration, connections: u64) -> String {
    // A duration may be a fraction of a second.
    format!("{}s of {}s, {}", elapsed.as_secs(), duration.as_secs_f64(), ended(connections))
}

/// `34% of 1,234 MB read, 1,234 connections ended`; of a pipe nobody knows how much comes.
#[must_use]
pub fn of_file(read: u64, size: Option<u64>, connections: u64) -> String {
    const MB: u64 = 1_000_000;
    let mut line = match size {
        Some(size) => {
            // A file may grow meanwhile.
            let percent = (u128::from(read) * 100 / u128::from(size.max(1))).min(100);
            let (unit, name) = if size < MB { (1_000, "kB") } else { (MB, "MB") };
            format!("{percent}% of {} {name}", grouped(size.div_ceil(unit)))
        }
        None => format!("{} MB", grouped(read / MB)),
    };
    let _ = write!(line, " read, {}", ended(connections));
    line
}

fn ended(connections: u64) -> String {
    let plural = if connections == 1 { "" } else { "s" };
    format!("{} connection{plural} ended", grouped(connections))
}

/// With a comma every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_reads_well() {
        let at = |elapsed, of, connections| {
            of_duration(Duration::from_millis(elapsed), Duration::from_millis(of), connections)
        };
        assert_eq!(at(12_900, 60_000, 1234), "12s of 60s, 1,234 connections ended");
        assert_eq!(at(0, 1500, 1), "0s of 1.5s, 1 connection ended");
        assert_eq!(of_file(0, Some(0), 1), "0% of 0 kB read, 1 connection ended");
        assert_eq!(of_file(91_544, Some(91_544), 0), "100% of 92 kB read, 0 connections ended");
        assert_eq!(
            of_file(1_000_000_000, Some(1_234_567_890), 5),
            "81% of 1,235 MB read, 5 connections ended"
        );
        assert_eq!(of_file(9_900_000, None, 0), "9 MB read, 0 connections ended");
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn records_take_the_line_away_once() {
        let mut progress = Progress { place: Place::WithRecords, drawn: false };
        assert_eq!(progress.before_records(), None);
        let line = progress.draw("1s of 60s".to_owned()).unwrap();
        assert!(line.ends_with("\x1b[K\r") && line.starts_with("1s of 60s"), "{line:?}");
        assert_eq!(progress.before_records(), Some(ERASE));
        assert_eq!(progress.before_records(), None);
    }
}
