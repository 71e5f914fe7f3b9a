//! `--top`: the whole screen, live.
//!
//! Two threads. The one that reads the ring counts (`counts`), and every so often makes a `View` of
//! what there is to see: plain data of bounded size. It never waits for the other, the screen's,
//! which shows the newest view, reads keys, and says what the next view should hold (`Wish`). A
//! terminal that does not keep up misses views, nothing else. What the keys do (`app`) and what the
//! screen shows (`draw`) know no terminal.

mod app;
mod counts;
mod draw;
mod filter;
mod incidents;
mod keys;
mod samples;
mod screen;
mod sink;
pub mod stderr;
mod tally;
mod tty;
mod view;

#[cfg(test)]
mod load;
#[cfg(test)]
mod snapshot;

pub use sink::Top;
