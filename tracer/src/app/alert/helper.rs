//! The process without privileges that runs the program, one alert at a time.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::AccessFlags;

use super::channel::{LONGEST, Report, timeout};
use super::identity::Identity;

/// What bounds the program's work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Time for one alert; then the program is killed with its process group.
    pub(super) time: Duration,
    /// Alerts that may wait; what comes on top is dropped.
    pub(super) waiting: usize,
    /// Time for what is under way when tracer ends.
    pub(super) patience: Duration,
}

/// Where programs are looked for by the program; it inherits nothing of tracer's environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All of the helper's life, in a process just forked, which ends with it.
pub(super) fn main(
    socket: UnixDatagram,
    program: PathBuf,
    identity: Identity,
    bounds: Bounds,
) -> ! {
    // Nothing may return into the caller's code, which believes it is tracer.
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        // It moves, and its old descriptor is closed with all the others.
        let socket = ManuallyDrop::new(socket);
        let socket = match apart(&socket) {
            Ok(socket) => socket,
            Err(error) => {
                tell(&socket, &Report::Unusable(format!("{error:#}")));
                return;
            }
        };
        let ready = identity.assume().and_then(|()| executable(&program, identity));
        if let Err(error) = ready {
            tell(&socket, &Report::Unusable(format!("{error:#}")));
            return;
        }
        tell(&socket, &Report::Ready);
        Helper {
            socket,
            program,
            bounds,
            waiting: VecDeque::new(),
            running: None,
            dropped: 0,
            ends: None,
        }
        .serve();
    }));
    // SAFETY: ends the process without running what tracer registered for its own end.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

/// Cuts what ties the process to tracer: session, signals, descriptors, directory. Gives the
/// socket back, which has moved.
fn apart(socket: &UnixDatagram) -> Result<UnixDatagram> {
    /// Where the socket goes: behind stdin, stdout and stderr.
    const SOCKET: i32 = 3;
    // Ctrl-C is meant for tracer, which tells when to end.
    nix::unistd::setsid().context("can't start a session")?;
    for signal in 1..=libc::SIGRTMAX() {
        let action = if signal == libc::SIGPIPE { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: both are no functions. SIGKILL, SIGSTOP and libc's own refuse, which is fine.
        unsafe { libc::signal(signal, action) };
    }
    // SAFETY: a plain name; the process can neither be traced nor dump core.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"tracer-alert".as_ptr());
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::umask(0o022);
    }
    let null = std::fs::OpenOptions::new().read(true).open("/dev/null").context("/dev/null")?;
    let dup = |from: i32, to: i32, flags: i32| {
        // SAFETY: descriptors are plain numbers.
        match unsafe { libc::dup3(from, to, flags) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    dup(null.as_raw_fd(), 0, 0).context("stdin")?;
    // Data on stdout stays clean.
    dup(2, 1, 0).context("stdout")?;
    if socket.as_raw_fd() != SOCKET {
        dup(socket.as_raw_fd(), SOCKET, libc::O_CLOEXEC).context("socket")?;
    }
    // Hooks are attached for as long as their descriptors are open anywhere, and nothing may stay
    // attached once tracer has gone.
    // SAFETY: what is closed belongs to tracer's objects, none of which is used here any more.
    if unsafe { libc::syscall(libc::SYS_close_range, SOCKET + 1, u32::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error()).context("can't close inherited descriptors");
    }
    std::mem::forget(null);
    nix::unistd::chdir("/").context("can't go to /")?;
    // SAFETY: the descriptor was put there above; the caller's copy is never closed nor used.
    Ok(unsafe { OwnedFd::from_raw_fd(SOCKET) }.into())
}

/// Whether the program exists and this process may run it.
fn executable(program: &Path, identity: Identity) -> Result<()> {
    let who = identity.describe();
    let denied = || {
        format!(
            "it may not be executed by {who}, as whom it runs: make it executable for others \
             (`chmod o+rx`), and the directories above it accessible (`chmod o+x`)"
        )
    };
    match std::fs::metadata(program) {
        Ok(found) if !found.is_file() => bail!("it is no file"),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("there is no such file; give the path of a program (PATH is not searched)")
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => bail!("{}", denied()),
        Err(error) => return Err(error).context("it can't be looked at"),
    }
    match nix::unistd::access(program, AccessFlags::X_OK) {
        Ok(()) => Ok(()),
        Err(Errno::EACCES) => bail!("{}", denied()),
        Err(error) => Err(error).context("it can't be executed"),
    }
}

/// A reader that does not keep up misses it; nobody waits.
fn tell(socket: &UnixDatagram, report: &Report) {
    let _ = socket.send(&report.encode());
}

struct Helper {
    socket: UnixDatagram,
    program: PathBuf,
    bounds: Bounds,
    waiting: VecDeque<Vec<u8>>,
    running: Option<Running>,
    dropped: u64,
    /// tracer ends: when the helper does at the latest.
    ends: Option<Instant>,
}

struct Running {
    child: Child,
    /// Becomes readable at its end.
    pidfd: OwnedFd,
    stdin: Option<ChildStdin>,
    line: Vec<u8>,
    written: usize,
    began: Instant,
    deadline: Instant,
    killed: bool,
}

impl Helper {
    fn serve(mut self) {
        loop {
            while self.running.is_none()
                && let Some(line) = self.waiting.pop_front()
            {
                match Running::start(&self.program, line, self.bounds.time) {
                    Ok(running) => self.running = Some(running),
                    Err(error) => self.failed(&format!("could not be started: {}", hint(&error))),
                }
            }
            if self.ends.is_some() && self.running.is_none() {
                return;
            }
            self.wait();
            if self.ends.is_none() {
                self.receive();
            }
            self.look_after();
            if self.ends.is_some_and(|ends| Instant::now() >= ends) {
                self.give_up();
                return;
            }
        }
    }

    /// Until something happens.
    fn wait(&self) {
        let mut until = Instant::now() + Duration::from_secs(60);
        let mut fds = Vec::with_capacity(3);
        match self.ends {
            Some(ends) => until = until.min(ends),
            None => fds.push(PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)),
        }
        if let Some(running) = &self.running {
            fds.push(PollFd::new(running.pidfd.as_fd(), PollFlags::POLLIN));
            if let Some(stdin) = &running.stdin {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
            }
            if !running.killed {
                until = until.min(running.deadline);
            }
        }
        // Interrupted or not: what there is to do is looked for afresh.
        let _ = poll(&mut fds, timeout(until));
    }

    fn receive(&mut self) {
        let mut buffer = vec![0; LONGEST];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(0) => break,
                Ok(length) if self.waiting.len() < self.bounds.waiting => {
                    self.waiting.push_back(buffer.get(..length).unwrap_or_default().to_vec());
                }
                Ok(_) => {
                    self.dropped += 1;
                    tell(&self.socket, &Report::Dropped(self.dropped));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // tracer has gone, or has told all it had to.
        self.ends = Some(Instant::now() + self.bounds.patience);
    }

    /// Feeds the program, ends it when its time is over, and notes how it ended.
    fn look_after(&mut self) {
        let Some(running) = &mut self.running else { return };
        running.feed();
        let status = match running.child.try_wait() {
            Ok(Some(status)) => status,
            Ok(None) => {
                if !running.killed && Instant::now() >= running.deadline {
                    running.kill();
                }
                return;
            }
            Err(error) => {
                self.running = None;
                self.failed(&format!("got out of sight: {error}"));
                return;
            }
        };
        let (took, killed) = (running.began.elapsed(), running.killed);
        self.running = None;
        if killed {
            let limit = self.bounds.time.as_secs_f64();
            self.failed(&format!("did not end within {limit} s and was killed"));
        } else if status.success() {
            let what = format!("ended with status 0 after {:.3} s", took.as_secs_f64());
            tell(&self.socket, &Report::Ran(what));
        } else {
            self.failed(&how(status));
        }
    }

    /// tracer ends and has waited long enough.
    fn give_up(&mut self) {
        if let Some(running) = &mut self.running {
            running.kill();
            // Killed it is gone in a moment, and then it is no zombie.
            let _ = running.child.wait();
            self.failed("was still running when tracer ended, and was killed");
        }
        let left = self.waiting.len();
        if left > 0 {
            self.failed(&format!("was not run for {left} more alerts: tracer ended"));
        }
    }

    fn failed(&self, how: &str) {
        tell(&self.socket, &Report::Failed(how.to_owned()));
    }
}

impl Running {
    fn start(program: &Path, line: Vec<u8>, time: Duration) -> io::Result<Self> {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit());
        // SAFETY: setsid() is async-signal-safe and touches no memory.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                Ok(())
            });
        }
        let began = Instant::now();
        let mut child = command.spawn()?;
        let prepared = pidfd(&child).and_then(|pidfd| {
            let stdin = child.stdin.take().ok_or(ErrorKind::BrokenPipe)?;
            nonblocking(&stdin)?;
            Ok((pidfd, stdin))
        });
        let (pidfd, stdin) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        Ok(Self {
            child,
            pidfd,
            stdin: Some(stdin),
            line,
            written: 0,
            began,
            deadline: began + time,
            killed: false,
        })
    }

    /// Writes what the pipe takes. A program that does not read its input to the end has its
    /// reasons.
    fn feed(&mut self) {
        while let Some(stdin) = &mut self.stdin {
            let rest = self.line.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                self.stdin = None;
                return;
            }
            match stdin.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.stdin = None,
            }
        }
    }

    /// Kills it and whatever it started in its process group.
    fn kill(&mut self) {
        self.killed = true;
        self.stdin = None;
        // Its leader has not been waited for, so the number is still its own.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let group = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.child.kill();
    }
}

fn pidfd(child: &Child) -> io::Result<OwnedFd> {
    // SAFETY: takes plain numbers; the result is a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    match i32::try_from(fd) {
        // SAFETY: just made, and nobody else's.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn nonblocking(stdin: &ChildStdin) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(stdin, FcntlArg::F_GETFL)?);
    fcntl(stdin, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => {
            let name = nix::sys::signal::Signal::try_from(signal).map(|signal| signal.as_str());
            format!("was killed by {}", name.unwrap_or("a signal"))
        }
        (None, None) => format!("ended oddly ({status})"),
    }
}

fn hint(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOEXEC) => format!("{error}; does the script begin with `#!/bin/sh`?"),
        Some(libc::ENOENT) => format!("{error}; the program or the interpreter in its `#!` line"),
        _ => error.to_string(),
    }
}
