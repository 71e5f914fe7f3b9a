//! What stdout is: a terminal of some width, or something a program reads.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd as _, BorrowedFd};

use clap::ColorChoice;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How text is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Screen {
    /// Columns of the terminal; `None`: no terminal, so the layout is wide, fixed and complete.
    pub width: Option<usize>,
    /// Whether to colour.
    pub color: bool,
}

impl Screen {
    /// Looks at `output`, the terminal's size and `NO_COLOR`.
    #[must_use]
    pub fn detect(output: BorrowedFd<'_>, choice: ColorChoice) -> Self {
        let terminal = output.is_terminal();
        Self {
            width: terminal.then(|| width(output)),
            color: use_color(choice, terminal, env::var_os("NO_COLOR"), env::var_os("TERM")),
        }
    }

    /// For a file.
    #[must_use]
    pub const fn file(choice: ColorChoice) -> Self {
        Self { width: None, color: matches!(choice, ColorChoice::Always) }
    }
}

/// Whether the process may have been started without a stdout. Rust's runtime then puts /dev/null
/// there, open for reading and writing. No shell does that for who redirects, but some programs do
/// for those they start (Python's `DEVNULL`), and a daemon's parent for stdin as well.
#[must_use]
pub fn stdout_may_be_closed() -> bool {
    is_null_both_ways(io::stdout().as_fd()) && !is_null_both_ways(io::stdin().as_fd())
}

fn is_null_both_ways(fd: BorrowedFd<'_>) -> bool {
    let null = nix::sys::stat::stat("/dev/null").map(|stat| stat.st_rdev);
    let same = nix::sys::stat::fstat(fd).map(|stat| stat.st_rdev);
    let mode = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL);
    null.is_ok() && null == same && mode.is_ok_and(|mode| mode & libc::O_ACCMODE == libc::O_RDWR)
}

/// Whether the terminal on stdin has hung up.
#[must_use]
pub fn has_gone() -> bool {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
    let ready = poll(&mut fds, PollTimeout::ZERO);
    let [fd] = fds;
    let bad = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    ready.is_ok() && fd.revents().is_some_and(|events| events.intersects(bad))
}

/// Columns of the terminal `output` is; 80 if it does not say.
#[must_use]
pub fn width(output: BorrowedFd<'_>) -> usize {
    terminal_size::terminal_size_of(output).map_or(80, |(width, _)| usize::from(width.0))
}

/// <https://no-color.org>: set and not empty means no colour, unless it is asked for.
fn use_color(
    choice: ColorChoice,
    terminal: bool,
    no_color: Option<OsString>,
    term: Option<OsString>,
) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            terminal
                && no_color.is_none_or(|value| value.is_empty())
                && term.is_some_and(|term| term != "dumb")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn colour_is_for_terminals_unless_asked_for_or_refused() {
        let xterm = || Some(OsString::from("xterm"));
        let set = |value: &str| Some(OsString::from(value));
        use ColorChoice::{Always, Auto, Never};
        assert!(use_color(Auto, true, None, xterm()));
        assert!(use_color(Auto, true, set(""), xterm()));
        assert!(!use_color(Auto, true, set("1"), xterm()));
        assert!(!use_color(Auto, true, None, set("dumb")));
        assert!(!use_color(Auto, true, None, None));
        assert!(!use_color(Auto, false, None, xterm()));
        assert!(use_color(Always, false, set("1"), None));
        assert!(!use_color(Never, true, None, xterm()));
    }

    #[test]
    fn a_pipe_is_no_terminal() {
        let (reader, _writer) = io::pipe().unwrap();
        let screen = Screen::detect(reader.as_fd(), ColorChoice::Auto);
        assert_eq!(screen, Screen { width: None, color: false });
        assert!(Screen::file(ColorChoice::Always).color && !Screen::file(ColorChoice::Auto).color);
    }
}
