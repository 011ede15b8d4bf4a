//! The server's loop: packets to listeners, frames from them.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nfqueue::frame::{MAX_FRAME, VERSION, kind_of};
use nfqueue::{Frame, Refusal};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

use super::connection::{Connection, Input};
use super::plane::Plane;
use super::queues::{Owner, Queues, Refused};

/// Packets given to listeners in one turn, before their verdicts are read.
const PACKETS_A_TURN: usize = 256;
/// Frames read from one connection in one turn, so that none keeps the others waiting.
const FRAMES_A_TURN: usize = 256;
/// Connections at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 256;
/// Pause after an accept failed for want of file descriptors: the socket stays ready, and would be tried at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What a poll found.
struct Ready {
    wake: bool,
    accept: bool,
    connections: Vec<(Owner, PollFlags)>,
}

pub(super) struct Service<P: Plane> {
    queues: Queues<P>,
    listener: UnixListener,
    wake: Arc<EventFd>,
    stop: Arc<AtomicBool>,
    connections: BTreeMap<Owner, Connection>,
    next_owner: Owner,
    buffer: Box<[u8; MAX_FRAME + 1]>,
}

impl<P: Plane> Service<P> {
    pub fn new(plane: P, listener: UnixListener, wake: Arc<EventFd>, stop: Arc<AtomicBool>) -> Self {
        Service {
            queues: Queues::new(plane),
            listener,
            wake,
            stop,
            connections: BTreeMap::new(),
            next_owner: 0,
            buffer: Box::new([0; MAX_FRAME + 1]),
        }
    }

    /// Serves until told to stop.
    pub fn run(mut self) {
        while !self.stop.load(Ordering::SeqCst) {
            let more = self.deliver();
            match self.poll(more) {
                Ok(ready) => self.turn(&ready),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the nfqueue socket cannot be polled");
                    break;
                }
            }
        }
        self.connections.clear();
        self.queues.shut_down();
    }

    /// Gives listeners what was queued. True if there may be more.
    fn deliver(&mut self) -> bool {
        let Self { queues, connections, .. } = self;
        let mut send = |owner: Owner, frame: Vec<u8>| {
            connections.get_mut(&owner).is_some_and(|connection| connection.send_packet(&frame))
        };
        (0..PACKETS_A_TURN).all(|_| queues.deliver(&mut send))
    }

    /// Waits for something to do, unless there is more already.
    fn poll(&self, more: bool) -> Result<Ready, Errno> {
        let mut fds = vec![
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
        ];
        for connection in self.connections.values() {
            let out = if connection.is_stuck() { PollFlags::POLLOUT } else { PollFlags::empty() };
            fds.push(PollFd::new(connection.as_fd(), PollFlags::POLLIN | out));
        }
        let sleep = !more && self.queues.plane.may_sleep();
        poll(&mut fds, if sleep { PollTimeout::NONE } else { PollTimeout::ZERO })?;
        let found: Vec<PollFlags> = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        let (own, others) = found.split_at(2);
        Ok(Ready {
            wake: !own[0].is_empty(),
            accept: !own[1].is_empty(),
            connections: self.connections.keys().copied().zip(others.iter().copied()).collect(),
        })
    }

    fn turn(&mut self, ready: &Ready) {
        if ready.wake {
            let _ = self.wake.read();
        }
        for &(owner, flags) in ready.connections.iter().filter(|(_, flags)| !flags.is_empty()) {
            if !self.serve(owner, flags) {
                self.close(owner);
            }
        }
        if ready.accept {
            self.accept();
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) if self.connections.len() < MAX_CONNECTIONS => {
                    if let Ok(connection) = Connection::new(socket) {
                        self.next_owner += 1;
                        self.connections.insert(self.next_owner, connection);
                    }
                }
                Ok(_) => tracing::warn!("too many nfqueue listeners"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "an nfqueue listener was not accepted");
                    return std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Reads what a connection sent. False if it has ended.
    fn serve(&mut self, owner: Owner, flags: PollFlags) -> bool {
        if flags.contains(PollFlags::POLLOUT)
            && !self.connections.get_mut(&owner).is_some_and(Connection::flush)
        {
            return false;
        }
        for _ in 0..FRAMES_A_TURN {
            let Some(connection) = self.connections.get_mut(&owner) else { return false };
            match connection.receive(&mut self.buffer) {
                Input::Message(n) => {
                    let frame = Frame::decode(&self.buffer[..n]).map_err(|error| error.to_string());
                    let kind = kind_of(&self.buffer[..n]);
                    if !self.handle(owner, kind, frame) {
                        return false;
                    }
                }
                Input::Empty => return true,
                Input::Closed => return false,
            }
        }
        true
    }

    fn handle(&mut self, owner: Owner, kind: u8, frame: Result<Frame, String>) -> bool {
        let Some(connection) = self.connections.get_mut(&owner) else { return false };
        let (greeted, peer) = (connection.greeted, connection.peer);
        let answer = match frame {
            Err(why) => return self.complain(owner, kind, why),
            Ok(Frame::Hello(lowest, highest)) if !greeted => {
                if !(lowest..=highest).contains(&VERSION) {
                    let why = format!("versions {lowest} to {highest} are not spoken here: {VERSION} is");
                    return self.complain(owner, kind, why);
                }
                connection.greeted = true;
                return connection.answer(Frame::Welcome(VERSION, MAX_FRAME as u32).encode());
            }
            Ok(_) if !greeted => {
                return self.complain(owner, kind, "the first frame must be HELLO".to_owned());
            }
            Ok(Frame::Bind(bind)) => self.queues.bind(owner, peer, &bind).map(|()| done(kind)),
            Ok(Frame::Config(bind)) => self.queues.configure(owner, &bind).map(|()| done(kind)),
            Ok(Frame::Unbind(first, last)) => self.queues.unbind(owner, first..=last).map(|()| done(kind)),
            Ok(Frame::GetStats(first, last)) => Ok(Some(Frame::Stats(self.queues.stats(first..=last)))),
            Ok(Frame::Verdict(verdict)) => self.queues.verdict(owner, verdict).map(|()| None),
            Ok(Frame::Batch(batch)) => self.queues.batch(owner, &batch).map(|()| None),
            Ok(_) => {
                return self.complain(owner, kind, format!("a frame of type {kind} is not for the router"));
            }
        };
        let answer = answer.unwrap_or_else(|refused| Some(refusal(kind, refused)));
        let Some(answer) = answer else { return true };
        self.connections.get_mut(&owner).is_some_and(|connection| connection.answer(answer.encode()))
    }

    /// Says what was wrong; the connection ends.
    fn complain(&mut self, owner: Owner, kind: u8, text: String) -> bool {
        if let Some(connection) = self.connections.get_mut(&owner) {
            let errno = Errno::EPROTO as u32;
            let error = Refusal { errno, answers: kind, fatal: true, queue: 0, id: 0, text };
            connection.answer(Frame::Error(error).encode());
        }
        false
    }

    fn close(&mut self, owner: Owner) {
        self.connections.remove(&owner);
        self.queues.forget(owner);
    }
}

fn done(kind: u8) -> Option<Frame> {
    Some(Frame::Done(kind))
}

fn refusal(kind: u8, refused: Refused) -> Frame {
    let Refused { errno, queue, id, text } = refused;
    Frame::Error(Refusal { errno: errno as u32, answers: kind, fatal: false, queue, id, text })
}
