//! Flows of datagrams at set rates, and how fast each arrives.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::netns::Netns;

/// Ethernet, IPv4 and UDP headers: what a frame has before its data.
const HEADERS: usize = 14 + 20 + 8;
/// How often a sender looks whether it is behind.
const TICK: Duration = Duration::from_micros(500);

/// One flow.
#[derive(Clone, Copy, Debug)]
pub struct LoadFlow {
    /// Its UDP port at both ends.
    pub port: u16,
    /// Length of its frames, from the Ethernet header on.
    pub frame: usize,
    /// What it sends, as frames, Mbit/s.
    pub mbit: f64,
}

impl LoadFlow {
    /// Frames of 1514 bytes.
    pub fn new(port: u16, mbit: f64) -> Self {
        LoadFlow { port, frame: 1514, mbit }
    }
}

/// Flows that run until they are stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    arrived: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the flows from one namespace to `address` in another.
    ///
    /// # Panics
    /// If `address` is not one of the receiver's, or a port is taken.
    #[track_caller]
    pub fn start(from: &Netns, to: &Netns, address: &str, flows: &[LoadFlow]) -> Load {
        let mut load = Load { stop: Arc::default(), arrived: Vec::new(), threads: Vec::new() };
        for &flow in flows {
            let there: SocketAddr =
                format!("{address}:{}", flow.port).parse().expect("an IPv4 address and a port");
            let receiving =
                to.enter(|| UdpSocket::bind(there)).unwrap_or_else(|why| panic!("{there}: {why}"));
            receiving.set_read_timeout(Some(Duration::from_millis(50))).expect("not zero");
            let sending = from.enter(|| UdpSocket::bind(("0.0.0.0", flow.port))).expect("a port of our own");
            sending.connect(there).unwrap_or_else(|why| panic!("{there}: {why}"));
            sending.set_nonblocking(true).expect("a socket");
            let arrived = Arc::new(AtomicU64::new(0));
            load.arrived.push(Arc::clone(&arrived));
            let stop = Arc::clone(&load.stop);
            load.threads.push(thread::spawn(move || receive(&receiving, &arrived, &stop)));
            let stop = Arc::clone(&load.stop);
            load.threads.push(thread::spawn(move || send(&sending, flow, &stop)));
        }
        load
    }

    /// Bytes of frames that have arrived, a number a flow.
    pub fn arrived(&self) -> Vec<u64> {
        self.arrived.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect()
    }

    /// How fast each flow arrives from now on for this long, Mbit/s of frames.
    pub fn rates(&self, over: Duration) -> Vec<f64> {
        let (before, since) = (self.arrived(), Instant::now());
        thread::sleep(over);
        let (after, seconds) = (self.arrived(), since.elapsed().as_secs_f64());
        before.iter().zip(after).map(|(before, after)| (after - before) as f64 * 8e-6 / seconds).collect()
    }

    /// Ends the flows.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a flow's thread");
        }
    }
}

fn send(socket: &UdpSocket, flow: LoadFlow, stop: &AtomicBool) {
    let data = vec![0; flow.frame - HEADERS];
    let interval = flow.frame as f64 * 8e-6 / flow.mbit;
    let (start, mut sent) = (Instant::now(), 0u64);
    while !stop.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() / interval) as u64;
        while sent < due {
            // What a full queue does not take is offered no more.
            if matches!(socket.send(&data), Err(why) if why.kind() == ErrorKind::WouldBlock) {
                sent = due;
                break;
            }
            sent += 1;
        }
        thread::sleep(TICK);
    }
}

fn receive(socket: &UdpSocket, arrived: &AtomicU64, stop: &AtomicBool) {
    let mut data = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        if let Ok(len) = socket.recv(&mut data) {
            arrived.fetch_add((len + HEADERS) as u64, Ordering::Relaxed);
        }
    }
}
