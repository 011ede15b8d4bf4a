//! A flow of numbered datagrams, which tells what was lost, doubled or out of order, and for how long nothing came.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::netns::Netns;

/// One that tcpdump knows no protocol for.
const PORT: u16 = 4242;
/// What is on its way when the sender ends has this long to arrive.
const STRAGGLERS: Duration = Duration::from_millis(500);

static COUNT: AtomicU64 = AtomicU64::new(0);

/// A flow that runs until it is stopped.
#[derive(Debug)]
pub struct Flow {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Arrived>,
}

#[derive(Debug, Default)]
struct Arrived {
    numbers: Vec<(u64, Instant)>,
    strays: u64,
}

/// What became of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Different datagrams received.
    pub received: u64,
    /// Datagrams received more than once.
    pub duplicates: u64,
    /// Datagrams that came behind a later one.
    pub reordered: u64,
    /// Datagrams of an earlier flow: a packet ring keeps what a cable without a far end did not take, and a port
    /// over a packet socket sends it when it is used again.
    pub strays: u64,
    /// The longest time without any.
    pub longest_gap: Duration,
    /// How many were missing in a row there, or wherever most were.
    pub longest_loss: u64,
}

impl FlowReport {
    /// Datagrams that never came.
    pub fn lost(&self) -> u64 {
        self.sent - self.received
    }
}

impl Flow {
    /// Sends a datagram from one namespace to `address` in another at every `interval`.
    ///
    /// # Panics
    /// If `address` is not one of the receiver's.
    #[track_caller]
    pub fn start(from: &Netns, to: &Netns, address: &str, interval: Duration) -> Flow {
        let to_address: SocketAddr = format!("{address}:{PORT}").parse().expect("an IPv4 address");
        let receiving =
            to.enter(|| UdpSocket::bind(to_address)).unwrap_or_else(|why| panic!("{address}: {why}"));
        receiving.set_read_timeout(Some(STRAGGLERS)).expect("not zero");
        let sending = from.enter(|| UdpSocket::bind(("0.0.0.0", PORT))).expect("nobody else has the port");
        sending.connect(to_address).unwrap_or_else(|why| panic!("{address}: {why}"));
        let flow = COUNT.fetch_add(1, Ordering::Relaxed);
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let sender = thread::spawn(move || send(&sending, flow, interval, &told));
        let told = Arc::clone(&stop);
        let receiver = thread::spawn(move || receive(&receiving, flow, &told));
        Flow { stop, sender, receiver }
    }

    /// Ends the flow, waits for what is still on its way, and counts.
    pub fn stop(self) -> FlowReport {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the sender");
        judge(sent, &self.receiver.join().expect("the receiver"))
    }
}

fn send(socket: &UdpSocket, flow: u64, interval: Duration, stop: &AtomicBool) -> u64 {
    let (start, mut number) = (Instant::now(), 0u64);
    while !stop.load(Ordering::Relaxed) {
        // A host that does not answer is the test's business, not the sender's.
        let _ = socket.send([flow.to_be_bytes(), number.to_be_bytes()].as_flattened());
        number += 1;
        let next = start + interval * u32::try_from(number).unwrap_or(u32::MAX);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    number
}

fn receive(socket: &UdpSocket, flow: u64, stop: &AtomicBool) -> Arrived {
    let mut arrived = Arrived::default();
    loop {
        let mut bytes = [0; 16];
        match socket.recv(&mut bytes) {
            Ok(_) if bytes[..8] != flow.to_be_bytes() => arrived.strays += 1,
            Ok(_) => {
                let number = u64::from_be_bytes(std::array::from_fn(|at| bytes[8 + at]));
                arrived.numbers.push((number, Instant::now()));
            }
            Err(_) if stop.load(Ordering::Relaxed) => return arrived,
            Err(_) => {}
        }
    }
}

fn judge(sent: u64, arrived: &Arrived) -> FlowReport {
    let mut report = FlowReport { sent, strays: arrived.strays, ..FlowReport::default() };
    let mut seen = vec![false; sent as usize];
    let mut latest = None;
    for &(number, _) in &arrived.numbers {
        let Some(seen) = seen.get_mut(number as usize) else { continue };
        if std::mem::replace(seen, true) {
            report.duplicates += 1;
            continue;
        }
        report.received += 1;
        report.reordered += u64::from(latest.is_some_and(|latest| number < latest));
        latest = latest.max(Some(number));
    }
    let gaps = arrived.numbers.windows(2).map(|pair| pair[1].1 - pair[0].1);
    report.longest_gap = gaps.max().unwrap_or_default();
    let runs = seen.split(|&seen| seen).map(<[bool]>::len);
    report.longest_loss = runs.max().unwrap_or(0) as u64;
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_became_of_each() {
        let start = Instant::now();
        let arrived = [(0, 0), (1, 1), (3, 9), (2, 10), (3, 11), (7, 12)];
        let numbers = arrived.map(|(number, at)| (number, start + Duration::from_millis(at))).to_vec();
        let expected = FlowReport {
            sent: 9,
            received: 5,
            duplicates: 1,
            reordered: 1,
            strays: 2,
            longest_gap: Duration::from_millis(8),
            longest_loss: 3,
        };
        assert_eq!(judge(9, &Arrived { numbers, strays: 2 }), expected);
        assert_eq!(expected.lost(), 4);
        assert_eq!(
            judge(3, &Arrived::default()),
            FlowReport { sent: 3, longest_loss: 3, ..FlowReport::default() }
        );
    }
}
