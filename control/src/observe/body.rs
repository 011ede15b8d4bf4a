//! The body of an answer that goes on as long as there is something to tell.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Interval, MissedTickBehavior};

/// How long something waits to be told at most.
const PERIOD: Duration = Duration::from_millis(10);

/// Where the text comes from.
pub trait Source: Send {
    /// What there is by now; empty if there is nothing.
    fn read(&mut self) -> String;
    /// There will be nothing more.
    fn is_over(&self) -> bool;
}

/// A body that asks its source time and again. Dropped with the connection, and the source with it.
pub struct Following {
    source: Box<dyn Source>,
    interval: Interval,
}

impl Following {
    /// Of this source. Inside a runtime.
    pub fn new(source: Box<dyn Source>) -> Following {
        let mut interval = tokio::time::interval(PERIOD);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Following { source, interval }
    }
}

impl Body for Following {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            // Asked before reading: what comes in between is read below.
            let over = self.source.is_over();
            let text = self.source.read();
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(text.into()))));
            }
            if over {
                return Poll::Ready(None);
            }
            ready!(self.interval.poll_tick(cx));
        }
    }
}
