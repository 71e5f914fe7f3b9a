//! SYNs from spoofed sources as fast as one CPU can send them. Slower floods are
//! [`crate::support::flood`]'s.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::Lab;
use crate::support::flood::{Flood, MAX_RATE, open, send_all};
use crate::support::lab::{MAC_A, MAC_B};

/// Frames handed to the kernel at a time.
const BATCH: usize = 64;

/// SYNs made beforehand: making them takes longer than sending them.
pub(crate) struct Arsenal(Vec<Vec<u8>>);

impl Arsenal {
    /// So many different ones.
    pub(crate) fn new(to: SocketAddr, count: u32) -> Self {
        let flood = Flood::new(to, count, MAX_RATE);
        Self(flood.frames(0..flood.total(), (MAC_A, MAC_B)))
    }

    /// Sends them from host a to host b for so long, from the `first` on, over and over if there are
    /// too few; how many that was.
    pub(crate) fn fire(&self, lab: &Lab, first: usize, time: Duration) -> usize {
        lab.a.run(|| {
            super::bulk::stay_on(0);
            let socket = open(c"va");
            let (began, mut sent) = (Instant::now(), 0);
            for batch in self.0.chunks(BATCH).cycle().skip(first / BATCH) {
                if began.elapsed() >= time {
                    break;
                }
                send_all(&socket, batch);
                sent += batch.len();
            }
            sent
        })
    }
}
