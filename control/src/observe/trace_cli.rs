//! `skiff trace` on the command line: asks the daemon for steps and prints each packet's journey when it is over.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use super::filter;
use super::trace::{Line, MOST_PACKETS, TraceRequest};
use crate::cli::{Exit, error_line};
use crate::client::Client;

/// `skiff trace`
#[derive(Clone, Debug, Args)]
pub struct Trace {
    /// Packets to trace
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_PACKETS)))]
    pub count: u32,
    /// Only packets this interface receives: a port, a VLAN or a bond
    #[arg(short, long, value_name = "DEV")]
    pub interface: Option<String>,
    /// JSON, one line a step, as it comes
    #[arg(short, long)]
    pub json: bool,
    /// Only packets this expression of pcap-filter(7) wants
    #[arg(value_name = "FILTER", trailing_var_arg = true)]
    pub filter: Vec<String>,
}

/// Runs it. Ctrl-C ends it, and prints what is known of packets under way.
pub fn main(args: &Trace, client: &Client) -> ExitCode {
    let request = match request(args) {
        Ok(request) => request,
        Err(why) => {
            eprint!("{}", error_line("trace", why));
            return Exit::Usage.into();
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Without it the signal ends the process, which is all right too.
        let _ = signal_hook::flag::register(signal, Arc::clone(&stop));
    }
    let (mut packets, mut rest) = (Packets::default(), Vec::new());
    let body = serde_json::to_vec(&request).unwrap_or_default();
    let ended = client.stream("/v1/trace", body, |bytes| {
        let text = match args.json {
            true => Ok(String::from_utf8_lossy(bytes).into_owned()),
            false => packets.take(&mut rest, bytes),
        };
        let printed = text.is_ok_and(|text| print(&text));
        printed && !stop.load(Ordering::Relaxed)
    });
    print(&packets.under_way());
    match ended {
        Ok(None) => Exit::Ok.into(),
        Ok(Some(refusal)) => crate::cli::print(&refusal),
        Err(error) => {
            eprintln!("skiff: {error}");
            ExitCode::from(error.exit())
        }
    }
}

fn request(args: &Trace) -> Result<TraceRequest, String> {
    let text = args.filter.join(" ");
    let program = match text.trim() {
        "" => None,
        text => Some(filter::compile(text)?[..].into()),
    };
    Ok(TraceRequest { count: args.count, device: args.interface.clone(), filter: program })
}

/// False if nobody reads any more.
fn print(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Journeys that are not over.
#[derive(Debug, Default)]
struct Packets(BTreeMap<u32, String>);

impl Packets {
    /// Takes bytes of the answer; `rest` keeps a line that is not whole. The journeys that are over now.
    fn take(&mut self, rest: &mut Vec<u8>, bytes: &[u8]) -> serde_json::Result<String> {
        let mut text = String::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                text.push_str(&self.line(&serde_json::from_slice(rest)?));
                rest.clear();
            }
        }
        Ok(text)
    }

    fn line(&mut self, line: &Line) -> String {
        let journey = self.0.entry(line.packet).or_insert_with(|| format!("packet {}\n", line.packet));
        let _ = writeln!(journey, "{:>10} ns  {:<24}  {}", line.ns, line.step, line.text);
        if line.end { self.0.remove(&line.packet).unwrap_or_default() } else { String::new() }
    }

    fn under_way(&self) -> String {
        self.0.values().map(|journey| format!("{journey}              (still under way)\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(packet: u32, ns: u64, step: &str, end: bool) -> String {
        let line =
            Line { packet, ns, step: step.into(), text: format!("of {packet}"), end, ..Line::default() };
        format!("{}\n", serde_json::to_string(&line).unwrap())
    }

    #[test]
    fn each_journey_is_printed_whole_when_it_is_over() {
        let all =
            [json(1, 0, "poll", false), json(2, 0, "poll", false), json(1, 1500, "drop", true)].concat();
        let (mut packets, mut rest, mut text) = (Packets::default(), Vec::new(), String::new());
        for chunk in all.as_bytes().chunks(7) {
            text.push_str(&packets.take(&mut rest, chunk).unwrap());
        }
        let first = "packet 1\n         0 ns  poll                      of 1\n      1500 ns  drop                      of 1\n";
        assert_eq!(text, first);
        let second =
            "packet 2\n         0 ns  poll                      of 2\n              (still under way)\n";
        assert_eq!(packets.under_way(), second);
        assert!(packets.take(&mut Vec::new(), b"nonsense\n").is_err());
    }
}
