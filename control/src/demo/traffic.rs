//! What the hosts send each other: pings and TCP, by the tools everyone knows or, without iperf3, by this program.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;

use super::job::{Job, command, typed};
use super::lab::{B, Netns};
use super::screen::Screen;
use super::stop::Stop;

/// Longest a peer may keep the other waiting.
const PATIENCE: Duration = Duration::from_secs(15);
/// The port of the built-in transfer.
const PORT: u16 = 5001;

/// Pings `to`, shows the replies, and gives the numbers of pings sent and answered.
pub(super) fn ping(
    from: &Netns,
    options: &[&str],
    to: &str,
    screen: &mut Screen,
    stop: &Stop,
) -> Result<(u64, u64)> {
    let words = from.exec(&[&["ping", "-n"], options, &[to]].concat());
    screen.command(&typed(&words));
    let mut job = Job::start("ping", command(&words))?;
    let mut counts = None;
    job.finish(
        PATIENCE,
        stop,
        |line| {
            counts = counts.or_else(|| ping_counts(&line));
            if !line.is_empty() {
                screen.line(line);
            }
        },
        || Ok(()),
    )?;
    counts.with_context(|| format!("ping: {}", job.last_words()))
}

/// Numbers of `10 packets transmitted, 10 received, 0% packet loss, time 1802ms`.
fn ping_counts(line: &str) -> Option<(u64, u64)> {
    let (sent, rest) = line.split_once(" packets transmitted, ")?;
    Some((sent.parse().ok()?, rest.split(' ').next()?.parse().ok()?))
}

/// What a TCP connection moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moved {
    /// Bytes that arrived.
    pub(super) bytes: u64,
    /// Over how many seconds.
    pub(super) seconds: f64,
    /// Segments sent again, if known.
    pub(super) retransmits: Option<u64>,
}

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mbits = if self.seconds > 0.0 { self.bytes as f64 * 8.0 / 1e6 / self.seconds } else { 0.0 };
        write!(f, "{:.1} MB in {:.1} s: {mbits:.0} Mbit/s", self.bytes as f64 / 1e6, self.seconds)?;
        self.retransmits.map_or(Ok(()), |again| write!(f, ", {again} segments sent again"))
    }
}

/// An iperf3 server on host B.
pub(super) fn iperf_server(b: &Netns, stop: &Stop) -> Result<Job> {
    let mut server = Job::start("the iperf3 server", command(&b.exec(&["iperf3", "-s", "--forceflush"])))?;
    server.wait_for("Server listening", PATIENCE, stop)?;
    Ok(server)
}

/// TCP between host A and the server on B, backwards if `reverse`; calls `turn` all the time.
pub(super) fn iperf(
    a: &Netns,
    seconds: u32,
    reverse: bool,
    screen: &mut Screen,
    stop: &Stop,
    mut turn: impl FnMut(&mut Screen) -> Result<()>,
) -> Result<Moved> {
    let seconds_text = seconds.to_string();
    let mut words = a.exec(&["iperf3", "-c", B, "-t", &seconds_text]);
    words.extend(reverse.then(|| "-R".to_owned()));
    screen.command(&typed(&words));
    words.push("-J".to_owned());
    let mut job = Job::start("iperf3", command(&words))?;
    let mut report = String::new();
    let limit = Duration::from_secs(seconds.into()) + PATIENCE;
    job.finish(limit, stop, |line| report.push_str(&line), || turn(screen))?;
    iperf_result(&report)
}

#[derive(Deserialize)]
struct Iperf {
    error: Option<String>,
    #[serde(default)]
    end: End,
}

#[derive(Default, Deserialize)]
struct End {
    sum_sent: Option<Sum>,
    sum_received: Option<Sum>,
}

#[derive(Deserialize)]
struct Sum {
    seconds: f64,
    bytes: u64,
    retransmits: Option<u64>,
}

fn iperf_result(report: &str) -> Result<Moved> {
    let report: Iperf = serde_json::from_str(report).context("iperf3's report")?;
    if let Some(error) = report.error {
        bail!("iperf3: {error}");
    }
    let received = report.end.sum_received.context("iperf3 received nothing")?;
    let retransmits = report.end.sum_sent.and_then(|sent| sent.retransmits);
    Ok(Moved { bytes: received.bytes, seconds: received.seconds, retransmits })
}

/// The same without iperf3: a TCP connection from `from` to `to`, which has `address`.
pub(super) fn transfer(
    (from, to, address): (&Netns, &Netns, &str),
    seconds: u32,
    screen: &mut Screen,
    stop: &Stop,
    mut turn: impl FnMut(&mut Screen) -> Result<()>,
) -> Result<Moved> {
    let listener = to.enter(|| TcpListener::bind((address, PORT)))?.context("TCP server")?;
    listener.set_nonblocking(true)?;
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&listener, stop));
        let sender =
            scope.spawn(|| from.enter(|| send(address, Duration::from_secs(seconds.into()), stop))?);
        let mut turns = Ok(());
        while !(receiver.is_finished() && sender.is_finished()) {
            turns = turns.and_then(|()| turn(screen)).and_then(|()| stop.nap());
            if turns.is_err() {
                // The threads see it too.
                stop.set();
                break;
            }
        }
        let sent = sender.join().map_err(|_| anyhow!("a thread panicked"))?;
        let received = receiver.join().map_err(|_| anyhow!("a thread panicked"))?;
        turns.and(sent).and(received)
    })
}

fn send(to: &str, how_long: Duration, stop: &Stop) -> Result<()> {
    let address = format!("{to}:{PORT}").parse()?;
    let mut stream =
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("TCP to {address}"))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let data = vec![0x55; 128 << 10];
    let end = Instant::now() + how_long;
    while Instant::now() < end && !stop.is_set() {
        stream.write_all(&data).context("TCP send")?;
    }
    Ok(())
}

fn receive(listener: &TcpListener, stop: &Stop) -> Result<Moved> {
    let end = Instant::now() + PATIENCE;
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => stop.nap()?,
            Err(error) => return Err(error).context("TCP: nobody connected"),
        }
    };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut data, mut bytes, start) = (vec![0; 128 << 10], 0, Instant::now());
    loop {
        stop.check()?;
        match stream.read(&mut data).context("TCP receive")? {
            0 => break,
            n => bytes += n as u64,
        }
    }
    Ok(Moved { bytes, seconds: start.elapsed().as_secs_f64(), retransmits: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_ping_are_understood() {
        let lines = [
            ("10 packets transmitted, 10 received, 0% packet loss, time 1802ms", Some((10, 10))),
            ("5 packets transmitted, 0 received, +2 errors, 100% packet loss, time 4ms", Some((5, 0))),
            ("64 bytes from 10.0.1.2: icmp_seq=1 ttl=63 time=0.2 ms", None),
        ];
        for (line, counts) in lines {
            assert_eq!(ping_counts(line), counts, "{line}");
        }
    }

    #[test]
    fn an_iperf3_report_is_what_arrived_or_its_error() {
        let report = r#"{"start":{},"end":{"streams":[],"sum_sent":{"seconds":2.0,"bytes":9,"retransmits":7},
            "sum_received":{"seconds":2.0,"bytes":1000000}}}"#;
        let moved = iperf_result(report).unwrap();
        assert_eq!(moved, Moved { bytes: 1_000_000, seconds: 2.0, retransmits: Some(7) });
        assert_eq!(moved.to_string(), "1.0 MB in 2.0 s: 4 Mbit/s, 7 segments sent again");
        let error = iperf_result(r#"{"start":{},"end":{},"error":"unable to connect"}"#).unwrap_err();
        assert_eq!(error.to_string(), "iperf3: unable to connect");
        assert!(iperf_result("").is_err());
    }
}
