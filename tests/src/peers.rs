//! The programs that judge the router: ping, iperf3, traceroute, promtool; and a file transfer of our own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::command::run;
use crate::frames::Rng;
use crate::netns::Netns;

/// What `ping` saw.
#[derive(Clone, Debug)]
pub struct PingReport {
    /// Requests sent.
    pub sent: u64,
    /// Replies received.
    pub received: u64,
    /// Replies beyond the first to a request.
    pub duplicates: u64,
    /// Everything it printed.
    pub text: String,
}

impl PingReport {
    /// # Panics
    /// Unless `count` requests were sent and each got exactly one reply.
    #[track_caller]
    pub fn expect_all(&self, count: u64) {
        assert_eq!((self.sent, self.received, self.duplicates), (count, count, 0), "{}", self.text);
    }

    /// # Panics
    /// If any reply came.
    #[track_caller]
    pub fn expect_none(&self) {
        assert!(self.sent > 0 && self.received == 0, "{}", self.text);
    }
}

impl PingReport {
    /// The average in `rtt min/avg/max/mdev = 0.1/0.2/0.3/0.1 ms`; empty if nothing came back.
    pub fn average_rtt_ms(&self) -> &str {
        let numbers = self.text.lines().find_map(|line| line.strip_prefix("rtt ")?.split_once(" = "));
        numbers.and_then(|(_, numbers)| numbers.split('/').nth(1)).unwrap_or_default()
    }
}

/// Runs `ping -n ARGS` inside a namespace.
///
/// # Panics
/// If it prints no summary.
#[track_caller]
pub fn ping(from: &Netns, args: &str) -> PingReport {
    let outcome = from.try_run(&format!("ping -n {args}"));
    parse_ping(&format!("{}{}", outcome.out, outcome.err))
}

/// Reads `5 packets transmitted, 5 received, +2 duplicates, 0% packet loss, time 4ms`.
#[track_caller]
fn parse_ping(text: &str) -> PingReport {
    let summary = text.lines().find(|line| line.contains("packets transmitted"));
    let summary = summary.unwrap_or_else(|| panic!("no summary of ping: {text}"));
    let number = |word: &str| {
        let part = summary.split(',').find(|part| part.contains(word));
        let digits = part.and_then(|part| part.trim().trim_start_matches('+').split(' ').next());
        digits.map_or(0, |digits| digits.parse().unwrap_or_else(|why| panic!("{summary}: {why}")))
    };
    PingReport {
        sent: number("transmitted"),
        received: number("received"),
        duplicates: number("duplicates"),
        text: text.to_owned(),
    }
}

/// What `iperf3 -J` measured.
#[derive(Clone, Debug)]
pub struct IperfReport {
    /// Rate at the receiver, bits per second.
    pub bits_per_second: f64,
    /// TCP segments sent again.
    pub retransmits: u64,
    /// Bytes that arrived.
    pub bytes: u64,
}

/// Runs an iperf3 server on `server` at `address`, and a client with `args` on `client`.
///
/// # Panics
/// If either reports an error.
#[track_caller]
pub fn iperf3(client: &Netns, server: &Netns, address: &str, args: &str) -> IperfReport {
    let report = iperf3_report(client, server, address, args);
    let end = &report["end"];
    IperfReport {
        bits_per_second: end["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0),
        retransmits: end["sum_sent"]["retransmits"].as_u64().unwrap_or(0),
        bytes: end["sum_received"]["bytes"].as_u64().unwrap_or(0),
    }
}

/// What `iperf3 -u -J` measured.
#[derive(Clone, Copy, Debug)]
pub struct UdpReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that did not arrive.
    pub lost: u64,
}

impl UdpReport {
    /// Datagrams that arrived.
    pub fn received(&self) -> u64 {
        self.sent.saturating_sub(self.lost)
    }

    /// The part of them that was lost.
    pub fn lost_percent(&self) -> f64 {
        self.lost as f64 * 100.0 / self.sent.max(1) as f64
    }
}

/// [`iperf3`] over UDP.
///
/// # Panics
/// If either end reports an error.
#[track_caller]
pub fn iperf3_udp(client: &Netns, server: &Netns, address: &str, args: &str) -> UdpReport {
    let report = iperf3_report(client, server, address, &format!("-u {args}"));
    let sum = &report["end"]["sum"];
    let number = |name: &str| sum[name].as_u64().unwrap_or(0);
    UdpReport { sent: number("packets"), lost: number("lost_packets") }
}

#[track_caller]
fn iperf3_report(client: &Netns, server: &Netns, address: &str, args: &str) -> Value {
    let mut listening = server.command(&format!("iperf3 -s -1 -B {address}"));
    let mut listening =
        listening.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("iperf3 is installed");
    let is_up = || server.run("ss -Hltn sport = 5201").contains("5201");
    crate::eventually("iperf3 server", Duration::from_secs(5), is_up);
    let outcome = client.try_run(&format!("iperf3 -J -c {address} --connect-timeout 3000 {args}"));
    let _ = listening.kill();
    let _ = listening.wait();

    let report: Value = serde_json::from_str(&outcome.out).unwrap_or_else(|why| panic!("{why}: {outcome:?}"));
    assert!(report["error"].is_null() && outcome.code == 0, "iperf3: {}", report["error"]);
    report
}

/// The hops `traceroute` finds, in order; `*` where nobody answered.
#[track_caller]
pub fn traceroute(from: &Netns, to: &str) -> Vec<String> {
    let text = from.run(&format!("traceroute -n -q 1 -w 1 -m 4 {to}"));
    text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}

/// Sends `len` pseudo-random bytes over TCP and compares what arrives, byte by byte.
///
/// # Panics
/// If the connection fails, stalls for 10 s, or delivers anything else.
#[track_caller]
pub fn transfer(from: &Netns, to: &Netns, address: &str, len: usize) {
    let limit = Some(Duration::from_secs(10));
    let address: SocketAddr = format!("{address}:7001").parse().expect("an IPv4 address");
    let mut sent = vec![0; len];
    Rng::new(len as u64).fill(&mut sent);

    let listener = to.enter(|| TcpListener::bind(address)).unwrap_or_else(|why| panic!("{address}: {why}"));
    let received = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let stream = from.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)));
            let mut stream = stream.unwrap_or_else(|why| panic!("{address}: {why}"));
            stream.set_write_timeout(limit).expect("not zero");
            stream.write_all(&sent).unwrap_or_else(|why| panic!("{address}: {why}"));
        });
        let receiver = scope.spawn(|| {
            let mut stream = accept_within(&listener, Duration::from_secs(10));
            stream.set_read_timeout(limit).expect("not zero");
            let mut received = Vec::with_capacity(len);
            stream.read_to_end(&mut received).unwrap_or_else(|why| panic!("{address}: {why}"));
            received
        });
        sender.join().unwrap_or_else(|why| std::panic::resume_unwind(why));
        receiver.join().unwrap_or_else(|why| std::panic::resume_unwind(why))
    });
    assert_eq!(received.len(), sent.len(), "bytes that arrived");
    assert!(received == sent, "the bytes that arrived are not those that were sent");
}

fn accept_within(listener: &TcpListener, limit: Duration) -> TcpStream {
    listener.set_nonblocking(true).expect("a socket of ours");
    let mut stream = None;
    crate::eventually("a connection", limit, || {
        stream = listener.accept().ok();
        stream.is_some()
    });
    let (stream, _) = stream.expect("accepted");
    stream.set_nonblocking(false).expect("a socket of ours");
    stream
}

/// Lets Prometheus' own linter read a metrics page.
///
/// # Panics
/// If it finds anything.
#[track_caller]
pub fn promtool_check_metrics(page: &str) {
    let dir = crate::TempDir::new();
    let file = dir.write("metrics", page);
    let outcome = run(Command::new("sh").args(["-c", &format!("promtool check metrics < {file}")]));
    assert!(outcome.code == 0 && outcome.err.is_empty() && outcome.out.is_empty(), "{outcome:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_summary_of_ping() {
        let report =
            parse_ping("\n3 packets transmitted, 2 received, +1 duplicates, 33% packet loss, time 2ms\n");
        assert_eq!((report.sent, report.received, report.duplicates), (3, 2, 1));
        let report =
            parse_ping("4 packets transmitted, 0 received, +4 errors, 100% packet loss, time 3062ms");
        assert_eq!((report.sent, report.received, report.duplicates), (4, 0, 0));
    }
}
