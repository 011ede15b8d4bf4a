//! Packets for user space: what `-j NFQUEUE` is to the kernel's libnetfilter_queue, over skiff's UNIX socket.
//!
//! A listener binds queues, gets the packets that rules send there, and answers each with a verdict. [`Client`] does
//! that; [`frame`] is the protocol, which the router uses too.
//!
//! ```no_run
//! use nfqueue::{Client, CopyMode, Settings, Verdict};
//!
//! let mut client = Client::connect("/run/skiff/nfqueue.sock")?;
//! client.bind(7..=7, &Settings { copy_mode: CopyMode::Packet, ..Settings::default() })?;
//! loop {
//!     let packet = client.receive()?;
//!     println!("{} bytes from {:?}", packet.length, packet.mac);
//!     client.verdict(&Verdict::accept(packet.queue, packet.id))?;
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), nfqueue::ClientError>(())
//! ```
#![forbid(unsafe_code)]

mod client;
pub mod frame;
mod wire;

pub use client::{Client, ClientError};
pub use frame::{
    Action, Batch, Bind, CopyMode, Frame, FrameError, Packet, QueueStats, Refusal, Settings, Verdict,
};
