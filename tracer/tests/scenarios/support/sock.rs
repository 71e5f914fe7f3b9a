//! Kernel sockets with the options the scenarios need.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::netns::Netns;
use super::{ms, patience};

/// A TCP socket in the namespace of the calling thread.
pub(crate) fn tcp(addr: &SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(*addr), Type::STREAM, Some(Protocol::TCP))
        .expect("socket()");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket
}

/// Sets an integer option that socket2 has no name for.
#[track_caller]
pub(crate) fn set_option(socket: &impl std::os::fd::AsFd, level: i32, name: i32, value: i32) {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `value` outlives the call and its size is passed along.
    let rc = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    assert_eq!(rc, 0, "setsockopt({level}, {name}): {}", std::io::Error::last_os_error());
}

/// Sets an option of level IPPROTO_TCP.
#[track_caller]
pub(crate) fn set_tcp_option(socket: &impl std::os::fd::AsFd, name: i32, value: i32) {
    set_option(socket, libc::IPPROTO_TCP, name, value);
}

/// Reads and writes of a test never hang.
fn bound(stream: &TcpStream) {
    let limit = Some(patience(Duration::from_secs(10)));
    stream.set_read_timeout(limit).expect("SO_RCVTIMEO");
    stream.set_write_timeout(limit).expect("SO_SNDTIMEO");
}

/// A listener in the namespace of the calling thread.
#[track_caller]
pub(crate) fn listen_here(
    addr: SocketAddr,
    backlog: i32,
    options: impl FnOnce(&Socket),
) -> TcpListener {
    let socket = tcp(&addr);
    options(&socket);
    socket.bind(&addr.into()).expect("bind()");
    socket.listen(backlog).expect("listen()");
    socket.into()
}

/// A connection from the namespace of the calling thread.
pub(crate) fn connect_here(
    addr: SocketAddr,
    options: impl FnOnce(&Socket),
) -> std::io::Result<TcpStream> {
    let socket = tcp(&addr);
    options(&socket);
    socket.set_write_timeout(Some(patience(Duration::from_secs(20))))?;
    socket.connect(&addr.into())?;
    let stream = socket.into();
    bound(&stream);
    Ok(stream)
}

impl Netns {
    /// A listener in this namespace.
    #[track_caller]
    pub(crate) fn listen(&self, addr: SocketAddr) -> TcpListener {
        self.run(|| listen_here(addr, 128, |_| ()))
    }

    /// A listener with options set before bind().
    #[track_caller]
    pub(crate) fn listen_with(
        &self,
        addr: SocketAddr,
        backlog: i32,
        options: impl FnOnce(&Socket) + Send,
    ) -> TcpListener {
        self.run(|| listen_here(addr, backlog, options))
    }

    /// A connection from this namespace.
    #[track_caller]
    pub(crate) fn connect(&self, addr: SocketAddr) -> TcpStream {
        self.try_connect(addr, |_| ()).expect("connect()")
    }

    /// Like [`Self::connect`], with options set before connect(); failing is the caller's business.
    pub(crate) fn try_connect(
        &self,
        addr: SocketAddr,
        options: impl FnOnce(&Socket) + Send,
    ) -> std::io::Result<TcpStream> {
        self.run(|| connect_here(addr, options))
    }

    /// A socket that has begun to connect and does not wait.
    #[track_caller]
    pub(crate) fn start_connect(
        &self,
        addr: SocketAddr,
        options: impl FnOnce(&Socket) + Send,
    ) -> Socket {
        self.run(|| {
            let socket = tcp(&addr);
            options(&socket);
            socket.set_nonblocking(true).expect("O_NONBLOCK");
            match socket.connect(&addr.into()) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
                Err(error) => panic!("connect(): {error}"),
            }
            socket
        })
    }
}

/// accept() that does not hang for ever.
#[track_caller]
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    wait_readable(listener, patience(Duration::from_secs(10)));
    let (stream, _) = listener.accept().expect("accept()");
    bound(&stream);
    stream
}

/// Waits until a socket has something to read or accept.
#[track_caller]
pub(crate) fn wait_readable(socket: &impl std::os::fd::AsFd, limit: Duration) {
    let mut poll =
        libc::pollfd { fd: socket.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let limit = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one pollfd, which outlives the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, limit) };
    assert_eq!(ready, 1, "nothing to read or accept");
}

/// What the scenarios do with streams.
pub(crate) trait Talk {
    /// Sends all of it.
    fn say(&mut self, bytes: &[u8]);
    /// Reads exactly `n` bytes.
    fn hear(&mut self, n: usize);
    /// Reads the peer's FIN.
    fn hear_end(&mut self);
    /// shutdown(SHUT_WR): sends our FIN.
    fn finish(&self);
    /// close() that sends a RST.
    fn close_with_reset(self);
}

impl Talk for TcpStream {
    #[track_caller]
    fn say(&mut self, bytes: &[u8]) {
        self.write_all(bytes).expect("send()");
    }

    #[track_caller]
    fn hear(&mut self, n: usize) {
        let mut buffer = vec![0; n];
        self.read_exact(&mut buffer).expect("recv()");
    }

    #[track_caller]
    fn hear_end(&mut self) {
        let mut byte = [0];
        assert_eq!(self.read(&mut byte).expect("recv()"), 0, "data where FIN was expected");
    }

    #[track_caller]
    fn finish(&self) {
        self.shutdown(Shutdown::Write).expect("shutdown()");
    }

    fn close_with_reset(self) {
        SockRef::from(&self).set_linger(Some(ms(0))).expect("SO_LINGER");
        drop(self);
    }
}
