//! One listener's connection: frames in and out of a socket that never blocks.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nfqueue::frame::MAX_FRAME;
use nix::sys::socket::{setsockopt, sockopt};

/// Room in the kernel for frames a listener has not read: a queue of default length, of full Ethernet frames.
const SEND_BUFFER: usize = 4 << 20;
/// Answers that may wait until the listener reads again; who lets more pile up is cut off.
const MAX_ANSWERS: usize = 64;

/// What a read brought.
pub(super) enum Input {
    /// A message of so many bytes.
    Message(usize),
    /// Nothing now.
    Empty,
    /// The end.
    Closed,
}

pub(super) struct Connection {
    // A SOCK_SEQPACKET socket: one read, one write is one frame.
    socket: UnixStream,
    /// The listener's process.
    pub peer: u32,
    /// The versions have been agreed on.
    pub greeted: bool,
    answers: VecDeque<Vec<u8>>,
}

impl Connection {
    pub fn new(socket: UnixStream) -> io::Result<Connection> {
        socket.set_nonblocking(true)?;
        // Beyond the administrator's limit where the daemon may, else as far as that reaches.
        if setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER).is_err() {
            let _ = setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER);
        }
        let peer = nix::sys::socket::getsockopt(&socket, sockopt::PeerCredentials);
        let peer = peer.map_or(0, |credentials| credentials.pid().unsigned_abs());
        Ok(Connection { socket, peer, greeted: false, answers: VecDeque::new() })
    }

    /// Reads a message. One longer than any frame fills the buffer, which has a byte more than that.
    pub fn receive(&mut self, buffer: &mut [u8; MAX_FRAME + 1]) -> Input {
        loop {
            return match self.socket.read(buffer) {
                Ok(0) => Input::Closed,
                Ok(n) => Input::Message(n),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Input::Empty,
                Err(_) => Input::Closed,
            };
        }
    }

    /// Sends a packet now or not at all.
    pub fn send_packet(&mut self, frame: &[u8]) -> bool {
        self.answers.is_empty() && self.write(frame).is_ok()
    }

    /// Sends an answer, now or when the listener reads again. False if the connection is to be cut off.
    pub fn answer(&mut self, frame: Vec<u8>) -> bool {
        self.answers.push_back(frame);
        self.flush() && self.answers.len() <= MAX_ANSWERS
    }

    /// Sends the answers that wait. False if the connection has ended.
    pub fn flush(&mut self) -> bool {
        while let Some(frame) = self.answers.front() {
            match write(&mut self.socket, frame) {
                Ok(()) => drop(self.answers.pop_front()),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Whether answers wait.
    pub fn is_stuck(&self) -> bool {
        !self.answers.is_empty()
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        write(&mut self.socket, frame)
    }
}

/// A message goes whole or not at all.
fn write(socket: &mut UnixStream, frame: &[u8]) -> io::Result<()> {
    loop {
        match socket.write(frame) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other.map(drop),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
