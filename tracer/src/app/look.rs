//! When to look at the ring: a timer of the kernel's.

use std::future::pending;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::flood::TICK;

/// Time between two looks while there is something in the ring.
const BUSY: Duration = Duration::from_millis(20);
/// While there is not; records still reach the user within 100 ms. The flood detector's ticks are
/// done with every third, so that they wake nobody.
const IDLE: Duration = TICK.checked_div(3).expect("3 is not 0");

/// Comes due once, some time after the last look at the ring. Waits on a timer of the kernel's and
/// not of the event loop's, whose wheel turns once or twice more for every 50 ms: that was half of
/// what an idle tracer used.
pub(super) struct NextLook {
    timer: AsyncFd<Timer>,
}

impl NextLook {
    /// The first look is due soon.
    ///
    /// # Errors
    /// The kernel gives no timer: too many files are open.
    pub(super) fn new() -> Result<Self> {
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )
        .context("cannot make a timer")?;
        set(&timer, BUSY)?;
        // SAFETY: `Timer` has its descriptor to itself and gives the same one until it is dropped.
        let timer = unsafe { AsyncFd::register_with_interest(Timer(timer), Interest::READABLE) }
            .context("cannot wait for a timer")?;
        Ok(Self { timer })
    }

    /// Waits until it is time. Due again only after [`Self::looked`].
    pub(super) async fn due(&mut self) {
        match self.timer.readable_mut().await {
            Ok(mut guard) => guard.clear_ready(),
            // The event loop has ended.
            Err(_) => pending().await,
        }
    }

    /// The ring was looked at, and something was in it or not.
    ///
    /// # Errors
    /// The kernel takes no time for the timer: a bug.
    pub(super) fn looked(&mut self, something: bool) -> Result<()> {
        set(&self.timer.get_ref().0, if something { BUSY } else { IDLE })
    }
}

/// What the event loop waits for.
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Sets the timer anew; what had come due is no longer.
fn set(timer: &TimerFd, after: Duration) -> Result<()> {
    let after = Expiration::OneShot(TimeSpec::from_duration(after));
    timer.set(after, TimerSetTimeFlags::empty()).context("cannot set a timer")
}
