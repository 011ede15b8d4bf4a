//! Tagged frames on a wire, for machines whose kernel has no VLAN devices, and a switch with access ports made of them.

use std::io::Read;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::frames::{Frame, RawSocket};
use crate::netns::Netns;

/// How long an access port sleeps when nothing comes.
const NAP: Duration = Duration::from_micros(200);

/// A tag: its protocol (TPID) and control information.
pub type Tag = (u16, u16);

/// The frame with these tags, outermost first.
pub fn tagged(frame: &[u8], tags: &[Tag]) -> Frame {
    let tags = tags.iter().flat_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()].concat());
    [&frame[..12], &tags.collect::<Vec<_>>(), &frame[12..]].concat()
}

/// The tags of a frame, and the frame without them.
pub fn untagged(frame: &[u8]) -> (Vec<Tag>, Frame) {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let (mut tags, mut at) = (Vec::new(), 12);
    while frame.len() >= at + 6 && matches!(word(at), 0x8100 | 0x88a8) {
        tags.push((word(at), word(at + 2)));
        at += 4;
    }
    (tags, [&frame[..12], &frame[at..]].concat())
}

/// An interface that sends and receives whole frames. The kernel takes the outer tag out of what a packet socket
/// reads; tcpdump, which is asked to read here, puts it back.
#[derive(Debug)]
pub struct Trunk {
    socket: RawSocket,
    tcpdump: Child,
    frames: Receiver<Frame>,
}

impl Trunk {
    /// Opens `iface` inside a namespace. What comes in from now on is received.
    ///
    /// # Panics
    /// If the interface is not there.
    #[track_caller]
    pub fn open(netns: &Netns, iface: &str) -> Self {
        let line = format!("tcpdump -i {iface} -Q in --immediate-mode -U -B 16384 -s 0 -w -");
        let mut command = netns.command(&line);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut tcpdump = command.spawn().unwrap_or_else(|why| panic!("{line}: {why}"));
        let mut out = tcpdump.stdout.take().expect("piped");
        // The file's header comes once the interface is open.
        let mut header = [0; 24];
        out.read_exact(&mut header).unwrap_or_else(|why| panic!("{line}: {why}"));
        let (sender, frames) = channel();
        thread::spawn(move || {
            while let Some(frame) = read_record(&mut out) {
                if sender.send(frame).is_err() {
                    return;
                }
            }
        });
        Trunk { socket: RawSocket::open(netns, iface), tcpdump, frames }
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        self.socket.send(frame);
    }

    /// The next frame that comes within `limit`.
    pub fn receive(&self, limit: Duration) -> Option<Frame> {
        match self.frames.recv_timeout(limit) {
            Ok(frame) => Some(frame),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("tcpdump is gone"),
        }
    }

    /// The next frame that `wanted` holds for; others are passed over.
    pub fn find(&self, limit: Duration, mut wanted: impl FnMut(&[u8]) -> bool) -> Option<Frame> {
        let deadline = Instant::now() + limit;
        loop {
            let frame = self.receive(deadline.saturating_duration_since(Instant::now()))?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }
}

impl Drop for Trunk {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// The next packet of a capture in this machine's byte order (the libpcap file format).
fn read_record(out: &mut ChildStdout) -> Option<Frame> {
    let mut header = [0; 16];
    out.read_exact(&mut header).ok()?;
    let mut frame = vec![0; u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) as usize];
    out.read_exact(&mut frame).ok()?;
    Some(frame)
}

/// A switch port that a host is plugged into: its frames carry tags on the trunk and none here.
#[derive(Debug)]
pub struct AccessPort {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AccessPort {
    /// Switches between `trunk` and the interface `port` of `netns`. Frames of the trunk with other tags are not for it;
    /// the priority in the last of `tags` is for what the host sends, and frames of any priority reach it.
    #[track_caller]
    pub fn start(trunk: Trunk, netns: &Netns, port: &str, tags: &[Tag]) -> Self {
        let (host, tags) = (RawSocket::open(netns, port), tags.to_vec());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let vids = |tags: &[Tag]| tags.iter().map(|(tpid, tci)| (*tpid, tci & 0xfff)).collect::<Vec<_>>();
            let ours = vids(&tags);
            while !stopped.load(Ordering::Relaxed) {
                while let Some(frame) = host.receive() {
                    trunk.send(&tagged(&frame, &tags));
                }
                let mut limit = NAP;
                while let Some(frame) = trunk.receive(limit) {
                    let (seen, frame) = untagged(&frame);
                    if vids(&seen) == ours {
                        host.send(&frame);
                    }
                    limit = Duration::ZERO;
                }
            }
        });
        AccessPort { stop, thread: Some(thread) }
    }
}

impl Drop for AccessPort {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
