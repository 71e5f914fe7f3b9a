//! Processes of their own: forked, named, in a namespace, steered step by step.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::netns::Netns;
use super::{patience, wait_until};

/// A forked process. Killed when dropped.
pub(crate) struct Child {
    pid: Pid,
    control: UnixStream,
    done: bool,
}

/// The child's end: steps that the test gives, words that it says.
pub(crate) struct Control(UnixStream);

impl Control {
    /// Waits for the test's next [`Child::step`]. Ends the process if the test is gone.
    pub(crate) fn wait(&mut self) {
        let mut byte = [0];
        if !matches!(self.0.read(&mut byte), Ok(1)) {
            // SAFETY: ends this forked process without running the test program's destructors.
            unsafe { libc::_exit(102) }
        }
    }

    /// Tells the test that a step is done.
    pub(crate) fn done(&mut self) {
        let _ = self.0.write_all(&[1]);
    }

    /// Tells the test a number.
    pub(crate) fn tell(&mut self, number: u32) {
        let _ = self.0.write_all(&number.to_ne_bytes());
    }
}

/// Names the calling thread; of a forked process, the process.
pub(crate) fn set_name(name: &str) {
    set_raw_name(name.as_bytes());
}

/// The same with any bytes but NUL.
pub(crate) fn set_raw_name(name: &[u8]) {
    let name = std::ffi::CString::new(name).expect("a name");
    // SAFETY: the kernel copies at most 16 bytes of a NUL-terminated string.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

impl Child {
    /// Forks a process called `name` in `ns` that does `work`.
    pub(crate) fn start(ns: &Netns, name: &str, work: impl FnOnce(&mut Control) + Send) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("socketpair()");
        let limit = Some(patience(Duration::from_secs(20)));
        ours.set_read_timeout(limit).expect("SO_RCVTIMEO");
        let pid = ns.run(|| {
            // SAFETY: glibc keeps malloc usable after fork(); the child uses no lock that another
            // thread of this process may hold, and leaves by _exit().
            match unsafe { fork() }.expect("fork()") {
                ForkResult::Parent { child } => child,
                ForkResult::Child => {
                    set_name(name);
                    let mut control = Control(theirs.try_clone().expect("dup()"));
                    let work = std::panic::AssertUnwindSafe(|| work(&mut control));
                    let code = i32::from(std::panic::catch_unwind(work).is_err());
                    // SAFETY: see above.
                    unsafe { libc::_exit(code) }
                }
            }
        });
        Self { pid, control: ours, done: false }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        u32::try_from(self.pid.as_raw()).expect("a pid")
    }

    /// Lets it go on.
    #[track_caller]
    pub(crate) fn step(&mut self) {
        self.control.write_all(&[1]).expect("the child is gone");
    }

    /// Waits until it has said that a step is done.
    #[track_caller]
    pub(crate) fn wait_done(&mut self) {
        let mut byte = [0];
        self.control.read_exact(&mut byte).expect("the child said nothing");
    }

    /// A number that it tells.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.control.read_exact(&mut bytes).expect("the child said nothing");
        u32::from_ne_bytes(bytes)
    }

    /// Sends it a signal.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("kill()");
    }

    /// Waits for its end; it must have done its work.
    #[track_caller]
    pub(crate) fn join(self) {
        let status = self.wait_end();
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    }

    /// Waits for its end, whatever it is.
    #[track_caller]
    pub(crate) fn wait_end(mut self) -> WaitStatus {
        let mut status = WaitStatus::StillAlive;
        wait_until("the child ends", Duration::from_secs(20), || {
            status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG)).expect("waitpid()");
            status != WaitStatus::StillAlive
        });
        self.done = true;
        status
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.done {
            // Not waited for, so the pid is still its own.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}
