//! Changes of the interfaces, as the kernel tells them.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;

use anyhow::Context as _;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket as _, SocketAddr, TokioSocket};

use super::message::{self, LinkAnswer};
use super::{Interface, driver, list};
use crate::system::netlink::{Messages, RECEIVE_BUFFER};

/// `RTMGRP_LINK`: the bit of the multicast group RTNLGRP_LINK.
const RTMGRP_LINK: u32 = 1;

/// A change that matters to whoever hooks interfaces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// An interface came up, or appeared and is up.
    Up(Interface),
    /// It went down. It still exists, and so does what is attached to it.
    Down {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
    },
    /// It has a new name. Told whether it is up or not.
    Renamed {
        /// The interface with its new name.
        interface: Interface,
        /// The old name.
        old: String,
    },
    /// It is gone, or has moved to another namespace; what was attached to it is detached.
    Gone {
        /// Its index, which another interface may get.
        index: u32,
        /// Its name.
        name: String,
    },
}

/// What is known of the interfaces, compared with what the kernel says.
#[derive(Debug, Default)]
struct Known {
    interfaces: BTreeMap<u32, Interface>,
    changes: VecDeque<Change>,
}

impl Known {
    /// Learns an interface's present state.
    fn exists(&mut self, interface: Interface) {
        let index = interface.index;
        let before = self.interfaces.insert(index, interface.clone());
        let was_up = before.as_ref().is_some_and(|before| before.up);
        if let Some(before) = before
            && before.name != interface.name
        {
            self.changes
                .push_back(Change::Renamed { interface: interface.clone(), old: before.name });
        }
        match (was_up, interface.up) {
            (false, true) => self.changes.push_back(Change::Up(interface)),
            (true, false) => self.changes.push_back(Change::Down { index, name: interface.name }),
            _ => {}
        }
    }

    fn gone(&mut self, index: u32) {
        if let Some(Interface { name, .. }) = self.interfaces.remove(&index) {
            self.changes.push_back(Change::Gone { index, name });
        }
    }

    /// Learns that these, and no others, exist.
    fn all(&mut self, interfaces: Vec<Interface>) {
        let gone: Vec<u32> = self
            .interfaces
            .keys()
            .filter(|index| !interfaces.iter().any(|interface| interface.index == **index))
            .copied()
            .collect();
        for index in gone {
            self.gone(index);
        }
        for interface in interfaces {
            self.exists(interface);
        }
    }
}

/// A stream of changes of the interfaces of the namespace it was started in.
pub struct Watch {
    socket: TokioSocket,
    known: Known,
    buffer: Vec<u8>,
    relisted: u64,
}

impl Watch {
    /// Starts to watch, and lists what is there: no change after the listing is missed.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn start() -> anyhow::Result<(Self, Vec<Interface>)> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)
            .context("can't open a netlink socket to watch the network interfaces")?;
        socket
            .socket_mut()
            .bind(&SocketAddr::new(0, RTMGRP_LINK))
            .context("can't subscribe to changes of the network interfaces")?;
        let interfaces = list()?;
        let mut known = Known::default();
        known.all(interfaces.clone());
        known.changes.clear();
        let watch = Self { socket, known, buffer: Vec::with_capacity(RECEIVE_BUFFER), relisted: 0 };
        Ok((watch, interfaces))
    }

    /// Waits for the next change. Nothing is lost if the future is dropped before it is ready.
    ///
    /// When the kernel had to drop messages, the interfaces are listed again: what happened in
    /// between shows as its result.
    ///
    /// # Errors
    /// When the kernel can't be asked any more.
    pub async fn next(&mut self) -> anyhow::Result<Change> {
        loop {
            if let Some(change) = self.known.changes.pop_front() {
                return Ok(change);
            }
            self.buffer.clear();
            let received = poll_fn(|cx| self.socket.poll_recv(cx, &mut self.buffer)).await;
            match received {
                Ok(()) => {
                    if self.learn().is_err() {
                        self.relist()?;
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.relist()?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error).context("can't read changes of the network interfaces");
                }
            }
        }
    }

    /// How often the interfaces were listed again because messages were lost.
    #[must_use]
    pub const fn relisted(&self) -> u64 {
        self.relisted
    }

    /// Learns from the datagram in the buffer.
    fn learn(&mut self) -> anyhow::Result<()> {
        for message in Messages(&self.buffer) {
            let (header, bytes) = message?;
            let payload = bytes.get(16..).unwrap_or_default();
            match message::parse(header.message_type, payload)? {
                LinkAnswer::Link(mut interface) => {
                    let before = self.known.interfaces.get(&interface.index);
                    if let Some(before) = before {
                        interface.driver.clone_from(&before.driver);
                    } else {
                        driver::add(std::slice::from_mut(&mut interface));
                    }
                    self.known.exists(interface);
                }
                LinkAnswer::Gone(index) => self.known.gone(index),
                LinkAnswer::Other => {}
            }
        }
        Ok(())
    }

    fn relist(&mut self) -> anyhow::Result<()> {
        self.relisted = self.relisted.saturating_add(1);
        self.known.all(list()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::ethernet;
    use super::*;

    fn down(index: u32, name: &str) -> Interface {
        Interface { up: false, ..ethernet(index, name) }
    }

    fn told(known: &mut Known) -> Vec<Change> {
        known.changes.drain(..).collect()
    }

    #[test]
    fn only_what_changes_is_told() {
        let mut known = Known::default();
        known.exists(down(1, "a"));
        assert_eq!(told(&mut known), []);
        known.exists(ethernet(1, "a"));
        assert_eq!(told(&mut known), [Change::Up(ethernet(1, "a"))]);
        // The kernel repeats itself with every attribute that changes.
        known.exists(Interface { mtu: 9000, ..ethernet(1, "a") });
        assert_eq!(told(&mut known), []);
        known.exists(down(1, "a"));
        let gone_down = Change::Down { index: 1, name: "a".into() };
        assert_eq!(told(&mut known), [gone_down]);
        known.gone(1);
        let gone = Change::Gone { index: 1, name: "a".into() };
        assert_eq!(told(&mut known), [gone]);
        known.gone(1);
        assert_eq!(told(&mut known), []);
    }

    #[test]
    fn a_new_name_is_told_before_the_interface_comes_up() {
        let mut known = Known::default();
        known.exists(down(1, "eth0"));
        known.exists(ethernet(1, "lan"));
        let renamed = Change::Renamed { interface: ethernet(1, "lan"), old: "eth0".into() };
        assert_eq!(told(&mut known), [renamed, Change::Up(ethernet(1, "lan"))]);
    }

    #[test]
    fn a_new_listing_shows_what_was_missed() {
        let mut known = Known::default();
        known.all(vec![ethernet(1, "stays"), ethernet(2, "goes"), down(3, "rises")]);
        told(&mut known);
        known.all(vec![ethernet(1, "stays"), ethernet(3, "rises"), ethernet(4, "comes")]);
        let goes = Change::Gone { index: 2, name: "goes".into() };
        let rises = Change::Up(ethernet(3, "rises"));
        let comes = Change::Up(ethernet(4, "comes"));
        assert_eq!(told(&mut known), [goes, rises, comes]);
    }
}
