//! What tracer and its helper tell each other: whole messages over a pair of sockets that never
//! block.

use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Longest line of JSON that is handed on, bytes: some way below the socket's buffer
/// (`net.core.wmem_default`, 212,992), and far more than an alert is.
pub(super) const LONGEST: usize = 128 << 10;

/// What the helper says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Report {
    /// It has no privileges any more and the program can be run.
    Ready,
    /// It can't do its work; it ends.
    Unusable(String),
    /// The program ended with status 0.
    Ran(String),
    /// It could not be started, or ended otherwise.
    Failed(String),
    /// So many alerts were dropped in all, because too many waited.
    Dropped(u64),
}

impl Report {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (tag, text) = match self {
            Self::Ready => (b'r', String::new()),
            Self::Unusable(why) => (b'u', why.clone()),
            Self::Ran(what) => (b'o', what.clone()),
            Self::Failed(why) => (b'f', why.clone()),
            Self::Dropped(count) => (b'd', count.to_string()),
        };
        std::iter::once(tag).chain(text.into_bytes()).collect()
    }

    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let (tag, text) = message.split_first()?;
        let text = String::from_utf8_lossy(text).into_owned();
        Some(match tag {
            b'r' => Self::Ready,
            b'u' => Self::Unusable(text),
            b'o' => Self::Ran(text),
            b'f' => Self::Failed(text),
            b'd' => Self::Dropped(text.parse().ok()?),
            _ => return None,
        })
    }
}

/// Two ends of a socket that keeps messages apart and tells when the other end has gone
/// (`SOCK_SEQPACKET`). The standard library's datagram socket reads and writes it as it is.
pub(super) fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the array has room for the two descriptors.
    let result = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both were just made and belong to nobody else.
    let [one, other] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok((one.into(), other.into()))
}

/// Waits until there is something to read, the other end has gone, or `until` has come; whether
/// there is something to look at.
pub(super) fn wait(socket: &UnixDatagram, until: Instant) -> bool {
    loop {
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout(until)) {
            Ok(0) => return false,
            Err(nix::errno::Errno::EINTR) if Instant::now() < until => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// Milliseconds until then, rounded up: not to wake up just before it.
pub(super) fn timeout(until: Instant) -> PollTimeout {
    let left = until.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(left.min(60_000) as i32).unwrap_or(PollTimeout::ZERO)
}
