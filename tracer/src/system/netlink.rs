//! One netlink dump: a request, the answers to it, and how much they can be trusted.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;

/// The kernel fills dumps up to the size the reader has shown it can take, 32 KiB at most
/// (`netlink_dump()` in `net/netlink/af_netlink.c`).
pub(super) const RECEIVE_BUFFER: usize = 64 * 1024;

/// The kernel answers a dump while it is being read, so waiting this long means that it hangs.
const ANSWER_TIMEOUT_S: i64 = 5;

/// How a dump went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Dumped {
    /// What was listed changed meanwhile (`NLM_F_DUMP_INTR`): something may be missing or double.
    pub(super) interrupted: bool,
    /// Answers that could not be decoded, and were left out.
    pub(super) undecodable: usize,
}

/// Sends `request` as a dump in the calling thread's network namespace and calls `each` with every
/// answer.
///
/// # Errors
/// What the socket or the kernel's answer says.
pub(super) fn dump<Q, A>(protocol: isize, request: Q, each: &mut dyn FnMut(A)) -> io::Result<Dumped>
where
    Q: NetlinkSerializable,
    A: NetlinkDeserializable,
{
    let mut socket = Socket::new(protocol)?;
    // What the request leaves unsaid is then no filter by mistake, and what it says is one: asked
    // for one routing table, the kernel does not send them all (Linux 4.20, else it is ignored).
    if let Err(error) = socket.set_netlink_get_strict_chk(true) {
        log::debug!("no strict netlink dumps: {error}");
    }
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // SAFETY: the descriptor is the socket's, which outlives this borrow.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    setsockopt(&fd, ReceiveTimeout, &TimeVal::new(ANSWER_TIMEOUT_S, 0))?;

    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = 1;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut dumped = Dumped::default();
    let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
    loop {
        buffer.clear();
        let size = socket.recv(&mut buffer, libc::MSG_TRUNC)?;
        if size > buffer.len() {
            return Err(io::Error::other(format!(
                "the kernel sent {size} bytes at once, more than fit in {RECEIVE_BUFFER}"
            )));
        }
        if size == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for message in Messages(&buffer) {
            let (header, body) = message?;
            dumped.interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
            match NetlinkMessage::<A>::deserialize(body).map(NetlinkMessage::into_parts) {
                Ok((_, NetlinkPayload::InnerMessage(answer))) => each(answer),
                Ok((_, NetlinkPayload::Done(done))) => {
                    return if done.code < 0 {
                        Err(io::Error::from_raw_os_error(done.code.saturating_neg()))
                    } else {
                        Ok(dumped)
                    };
                }
                Ok((_, NetlinkPayload::Error(error))) => return Err(error.to_io()),
                Ok((_, NetlinkPayload::Overrun(_))) => dumped.interrupted = true,
                Ok(_) => {}
                Err(_) => dumped.undecodable = dumped.undecodable.saturating_add(1),
            }
        }
    }
}

/// The fields of a message's header that [`Messages`] needs.
pub(super) struct RawHeader {
    /// `nlmsg_type`.
    pub(super) message_type: u16,
    /// `nlmsg_flags`.
    pub(super) flags: u16,
}

/// Takes a received datagram apart into messages: header, and the bytes of the whole message.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = io::Result<(RawHeader, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        // struct nlmsghdr: u32 length, u16 type, u16 flags, u32 sequence, u32 port; host order.
        let cut = || io::Error::new(io::ErrorKind::InvalidData, "a netlink message is cut short");
        let (Some(&[l0, l1, l2, l3, t0, t1, f0, f1]), 16..) = (self.0.first_chunk(), self.0.len())
        else {
            self.0 = &[];
            return Some(Err(cut()));
        };
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let Some(message) = self.0.get(..length).filter(|message| message.len() >= 16) else {
            self.0 = &[];
            return Some(Err(cut()));
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        let header = RawHeader {
            message_type: u16::from_ne_bytes([t0, t1]),
            flags: u16::from_ne_bytes([f0, f1]),
        };
        Some(Ok((header, message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_datagram_is_taken_apart_at_its_padding() {
        let mut datagram = message(16, &[1, 2, 3, 4, 5]);
        datagram.extend(message(17, &[]));
        let parts: Vec<_> = Messages(&datagram)
            .map(|part| part.map(|(header, bytes)| (header.message_type, bytes.len())).unwrap())
            .collect();
        assert_eq!(parts, [(16, 21), (17, 16)]);
    }

    #[test]
    fn what_is_cut_short_ends_in_an_error_not_in_a_loop() {
        let whole = message(16, &[0; 8]);
        for len in 1..whole.len() {
            let parts: Vec<_> = Messages(&whole[..len]).collect();
            assert_eq!(parts.len(), 1, "{len} bytes");
            assert!(parts[0].is_err(), "{len} bytes");
        }
        let mut zero = whole;
        zero[..4].copy_from_slice(&[0; 4]);
        assert!(Messages(&zero).next().unwrap().is_err());
    }
}
