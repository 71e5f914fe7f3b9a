//! `--on-alert`: a program that is run without privileges when a flood or a notice begins, changes
//! or ends.
//!
//! tracer itself starts nothing: before it opens or attaches anything it forks a helper, which
//! becomes nobody at once ([`identity`]) and runs the program ([`helper`]). So tracer keeps no right
//! to change users or to kill, and nothing it holds can be inherited. The helper gets alerts and
//! tells how the program fared over a socket that never blocks ([`channel`]).

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid};

use crate::cli::Options;
use crate::core::record::{Alert, AlertEvent, Record};
use crate::report::{Json, Report as _, WallClock};

mod changes;
mod channel;
mod helper;
mod identity;
mod test_alert;

#[cfg(test)]
mod tests;

use changes::Changes;
use channel::Report;
use helper::Bounds;
use identity::Identity;

pub(super) use test_alert::test_alert;

/// Time for one alert.
const TIME: Duration = Duration::from_secs(30);
/// Alerts that may wait for the program.
const WAITING: usize = 64;
/// How long the end of a run waits for a program that is still at work.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How long the helper may take to say that it is ready.
const START: Duration = Duration::from_secs(10);
/// What the helper needs beyond its patience to say that it is over.
const SLACK: Duration = Duration::from_millis(250);
/// At most one failure of the program is told in this time.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

/// Hands alerts to the program of `--on-alert`. Nothing here waits but [`AlertRunner::finish`].
#[derive(Debug)]
pub(super) struct AlertRunner {
    program: PathBuf,
    identity: Identity,
    /// `None` once the helper has gone.
    socket: Option<UnixDatagram>,
    /// How long the helper is waited for, once there are no more alerts.
    until: Option<Instant>,
    helper: Pid,
    changes: Changes,
    outcome: Outcome,
    /// Whether failures are logged; else the caller tells them.
    logs: bool,
    warned: Option<Instant>,
    untold: u64,
}

/// How the program has fared so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Outcome {
    /// Runs that ended with status 0, the last one in words.
    pub(super) succeeded: u64,
    pub(super) last_success: String,
    /// Runs that did not, and attempts.
    pub(super) failed: u64,
    pub(super) last_failure: String,
    /// Alerts dropped because too many waited.
    pub(super) dropped: u64,
}

impl AlertRunner {
    /// Starts the helper, if a program is asked for. It must come before privileges are given up
    /// and while the process has one thread.
    ///
    /// # Errors
    /// The program does not exist, or can't be run without privileges: what to do about it.
    pub(super) fn new(options: &Options) -> Result<Option<Self>> {
        // A sample has all the time it needs: whoever asks for it waits.
        let patience = if options.output.test_alert { TIME + PATIENCE } else { PATIENCE };
        let bounds = Bounds { time: TIME, waiting: WAITING, patience };
        let program = options.output.on_alert.as_deref();
        program.map(|program| Self::start(program, bounds)).transpose()
    }

    fn start(program: &Path, bounds: Bounds) -> Result<Self> {
        let what = || format!("--on-alert {}", program.display());
        let identity = Identity::choose().with_context(what)?;
        // The helper works in `/`.
        let absolute = std::path::absolute(program).with_context(what)?;
        let (ours, helpers) = channel::pair().context("cannot make a pair of sockets")?;
        // SAFETY: the child never returns to this code and uses none of its objects.
        let helper = match unsafe { nix::unistd::fork() } {
            Ok(ForkResult::Child) => helper::main(helpers, absolute, identity, bounds),
            Ok(ForkResult::Parent { child }) => child,
            Err(error) => return Err(error).context("cannot start the helper of --on-alert"),
        };
        drop(helpers);
        let mut answer = [0; 1024];
        let report = channel::wait(&ours, Instant::now() + START)
            .then(|| ours.recv(&mut answer).ok())
            .flatten()
            .and_then(|length| Report::decode(answer.get(..length)?));
        if report == Some(Report::Ready) {
            return Ok(Self {
                program: program.to_owned(),
                identity,
                socket: Some(ours),
                until: None,
                helper,
                changes: Changes::default(),
                outcome: Outcome::default(),
                logs: true,
                warned: None,
                untold: 0,
            });
        }
        drop(ours);
        let why = match report {
            // It ends right after having said so.
            Some(Report::Unusable(why)) => {
                let _ = waitpid(helper, None);
                why
            }
            _ => "the process that is to run it does not start".to_owned(),
        };
        bail!("--on-alert {}: {why}", program.display())
    }

    /// Runs the program for it, if it says something new: the beginning, another severity or
    /// verdict, the end.
    pub(super) fn alert(&mut self, alert: &Alert, clock: &WallClock) {
        if !self.changes.is_news(alert) {
            return;
        }
        let mut line = Vec::new();
        Json::new(clock.clone()).record(&Record::Alert(Box::new(alert.clone())), &mut line);
        self.hand_over(&line);
    }

    fn hand_over(&mut self, line: &[u8]) {
        let Some(socket) = &self.socket else { return };
        if line.len() > channel::LONGEST {
            self.failed(&format!("was not run: an alert of {} bytes is too long", line.len()));
            return;
        }
        match socket.send(line) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                self.dropped(self.outcome.dropped + 1);
            }
            Err(_) => self.helper_gone(),
        }
    }

    /// Takes in how the program fared, and tells the user what went wrong. To be called every now
    /// and then.
    pub(super) fn poll(&mut self) {
        let mut message = [0; 1024];
        while let Some(socket) = &self.socket {
            match socket.recv(&mut message) {
                Ok(0) => self.helper_gone(),
                Ok(length) => {
                    if let Some(report) = message.get(..length).and_then(Report::decode) {
                        self.take(report);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => self.helper_gone(),
            }
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Ready => {}
            Report::Ran(what) => {
                log::debug!("{} {what}", self.program.display());
                self.outcome.succeeded += 1;
                self.outcome.last_success = what;
            }
            Report::Failed(why) | Report::Unusable(why) => self.failed(&why),
            Report::Dropped(count) => self.dropped(count),
        }
    }

    /// Says it, unless something was said a moment ago; then it is counted.
    fn failed(&mut self, why: &str) {
        self.outcome.failed += 1;
        why.clone_into(&mut self.outcome.last_failure);
        if !self.logs {
            return;
        }
        let now = Instant::now();
        if self.warned.is_some_and(|at| now.duration_since(at) < BETWEEN_WARNINGS) {
            self.untold += 1;
            return;
        }
        self.warned = Some(now);
        let program = self.program.display();
        match std::mem::take(&mut self.untold) {
            0 => log::warn!("--on-alert: {program} {why}"),
            before => log::warn!("--on-alert: {program} {why} ({before} more failures before)"),
        }
    }

    /// `in_all` alerts were dropped by now. Said once; the end of the run has the number.
    fn dropped(&mut self, in_all: u64) {
        if self.outcome.dropped == 0 && in_all > 0 {
            log::warn!(
                "--on-alert: {} does not keep up: alerts are dropped while {WAITING} wait",
                self.program.display()
            );
        }
        self.outcome.dropped = self.outcome.dropped.max(in_all);
    }

    fn helper_gone(&mut self) {
        self.socket = None;
        let _ = waitpid(self.helper, Some(WaitPidFlag::WNOHANG));
        log::warn!(
            "--on-alert: the process that runs {} has ended; it is not run any more",
            self.program.display()
        );
    }

    /// No more alerts: the helper has the program end, and kills what is still at work after
    /// `patience`. Waits for nothing.
    pub(super) fn close(&mut self, patience: Duration) {
        if let Some(socket) = &self.socket {
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
        self.until = Some(Instant::now() + patience + SLACK);
    }

    /// Waits for what [`Self::close`] has begun, and says what has not been said.
    pub(super) fn finish(mut self) -> Outcome {
        let until = self.until.unwrap_or_else(Instant::now);
        if let Some(socket) = self.socket.take() {
            let mut message = [0; 1024];
            while channel::wait(&socket, until) {
                match socket.recv(&mut message) {
                    Ok(0) | Err(_) => break,
                    Ok(length) => {
                        if let Some(report) = message.get(..length).and_then(Report::decode) {
                            self.take(report);
                        }
                    }
                }
            }
            // Gone a moment after its end of the socket; else it becomes init's to reap.
            for _ in 0..50 {
                match waitpid(self.helper, Some(WaitPidFlag::WNOHANG)) {
                    Ok(nix::sys::wait::WaitStatus::StillAlive) => {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    _ => break,
                }
            }
        }
        let program = self.program.display();
        if self.untold > 0 {
            let why = &self.outcome.last_failure;
            log::warn!("--on-alert: {} more failures; the last: {program} {why}", self.untold);
        }
        if self.outcome.dropped > 0 {
            let count = self.outcome.dropped;
            log::warn!("--on-alert: {count} alerts never reached {program}: too many waited");
        }
        self.outcome
    }

    /// As whom the program runs, in words.
    fn runs_as(&self) -> String {
        self.identity.describe()
    }
}
