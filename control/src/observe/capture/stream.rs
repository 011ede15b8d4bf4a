//! The daemon's side: an answer that goes on for as long as the capture does.
//!
//! It runs on the API's one thread, so it never waits: it writes down what is there and looks again a little later.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use skiff_dataplane::core::capture::Record;
use tokio::time::{Interval, MissedTickBehavior};

use super::{Format, Live, Plane, Request, pcap, pcapng, text};

/// How long a packet may wait to be written down.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Bytes after which a piece of the answer is sent.
const PIECE: usize = 256 << 10;

/// The body of the answer. Dropping it ends the capture.
pub struct CaptureBody {
    live: Arc<Live>,
    plane: Box<dyn Plane>,
    writer: Writer,
    /// Written down and not sent.
    piece: Vec<u8>,
    /// Packets that may still come.
    left: u64,
    done: bool,
    /// Made when the API's runtime first asks for something.
    look: Option<Interval>,
}

/// A file in the making.
enum Writer {
    Pcapng(pcapng::Writer),
    Pcap,
    Text(String),
}

impl CaptureBody {
    /// The answer to a request that was granted.
    pub fn new(request: &Request, live: Arc<Live>, plane: Box<dyn Plane>) -> CaptureBody {
        let mut piece = Vec::new();
        let writer = match request.format {
            Format::Pcapng => {
                let mut devices = plane.devices();
                devices.retain(|(_, name)| request.device.as_ref().is_none_or(|wanted| wanted == name));
                Writer::Pcapng(pcapng::Writer::begin(request.snaplen, &devices, &mut piece))
            }
            Format::Pcap => {
                pcap::begin(request.snaplen, &mut piece);
                Writer::Pcap
            }
            Format::Text => Writer::Text(String::new()),
        };
        let left = request.count.unwrap_or(u64::MAX);
        CaptureBody { live, plane, writer, piece, left, done: false, look: None }
    }

    /// Writes down what is there, up to a piece.
    fn collect(&mut self) {
        while self.left > 0 && self.piece.len() < PIECE {
            let Some(record) = self.live.session.next() else { return };
            self.write(&record);
            self.live.session.recycle(record);
            self.live.captured.fetch_add(1, Ordering::Relaxed);
            self.left -= 1;
        }
    }

    fn write(&mut self, record: &Record) {
        match &mut self.writer {
            Writer::Pcapng(writer) => writer.packet(record, &*self.plane, &mut self.piece),
            Writer::Pcap => pcap::packet(record, &mut self.piece),
            Writer::Text(line) => {
                line.clear();
                text::packet(record, &self.plane.name(record.dev), line);
                self.piece.extend_from_slice(line.as_bytes());
            }
        }
    }
}

impl Body for CaptureBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            // Asked before the last look: what comes in between is not lost.
            let over = this.live.over.load(Ordering::Acquire) || this.plane.stopped();
            this.collect();
            if !this.piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.piece).into()))));
            }
            if this.done || over || this.left == 0 {
                this.done = true;
                // Before the last byte is out: who has read all can ask how it went.
                this.plane.end(&this.live);
                return Poll::Ready(None);
            }
            let look = this.look.get_or_insert_with(|| {
                let mut look = tokio::time::interval(LOOK_EVERY);
                look.set_missed_tick_behavior(MissedTickBehavior::Delay);
                look
            });
            ready!(look.poll_tick(cx));
        }
    }
}

impl Drop for CaptureBody {
    fn drop(&mut self) {
        self.plane.end(&self.live);
    }
}
