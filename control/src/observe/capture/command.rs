//! `skiff capture` in the process of the command line.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{DEFAULT_SNAPLEN, Format, MAX_SNAPLEN, Request, Side, Totals};
use crate::cli::{Exit, error_line};
use crate::client::{CaptureError, Client};
use crate::observe::filter::{Program, compile};

/// `skiff capture`
#[derive(Clone, Debug, Args)]
pub struct Capture {
    /// The device, or `any`
    #[arg(short, long, value_name = "DEV", default_value = "any")]
    pub interface: String,
    /// Where: what comes in, what goes out, what is freed and why; several with commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHERE", default_value = "both")]
    pub dir: Vec<Sides>,
    /// Write packets to FILE, or to standard output if it is `-`, instead of a line for each
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// The form of that: pcapng has devices, directions and reasons of drops
    #[arg(long, value_name = "FORM", requires = "write", value_parser = ["pcapng", "pcap"], default_value = "pcapng")]
    pub format: String,
    /// End after so many packets
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Bytes of each packet to keep
    #[arg(short, long, value_name = "BYTES", default_value_t = DEFAULT_SNAPLEN,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SNAPLEN)))]
    pub snaplen: u32,
    /// Which packets, as pcap-filter(7) has it
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
}

/// Words for `--dir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sides {
    /// Coming in
    Rx,
    /// Going out
    Tx,
    /// Freed
    Drop,
    /// rx and tx
    Both,
    /// rx, tx and drop
    All,
}

impl Sides {
    const fn sides(self) -> &'static [Side] {
        match self {
            Sides::Rx => &[Side::Rx],
            Sides::Tx => &[Side::Tx],
            Sides::Drop => &[Side::Drop],
            Sides::Both => &[Side::Rx, Side::Tx],
            Sides::All => &[Side::Rx, Side::Tx, Side::Drop],
        }
    }
}

impl Capture {
    /// What to ask the daemon.
    ///
    /// # Errors
    /// What is wrong with the filter.
    fn request(&self) -> Result<Request, String> {
        let mut sides = Vec::new();
        for side in self.dir.iter().flat_map(|dir| dir.sides()) {
            if !sides.contains(side) {
                sides.push(*side);
            }
        }
        let format = match (&self.write, self.format.as_str()) {
            (None, _) => Format::Text,
            (Some(_), "pcap") => Format::Pcap,
            (Some(_), _) => Format::Pcapng,
        };
        Ok(Request {
            device: Some(self.interface.clone()).filter(|name| name != "any"),
            sides,
            snaplen: self.snaplen,
            count: self.count,
            format,
            filter: Program::from(&compile(&self.filter.join(" "))?[..]),
        })
    }
}

/// Runs it.
pub fn main(socket: &Path, args: &Capture) -> ExitCode {
    match run(socket, args) {
        Ok(()) => Exit::Ok.into(),
        Err((exit, line)) => {
            eprint!("{line}");
            exit.into()
        }
    }
}

fn run(socket: &Path, args: &Capture) -> Result<(), (u8, String)> {
    let failed = |why: &dyn std::fmt::Display| (Exit::Failed as u8, error_line("capture", why));
    let request = args.request().map_err(|why| (Exit::Usage as u8, error_line("capture", why)))?;
    let stop = stop_on_signals().map_err(|error| failed(&error))?;
    let mut out = open(args.write.as_deref()).map_err(|error| failed(&error))?;
    let client = Client::new(socket);
    let sides: Vec<String> = request.sides.iter().map(|side| format!("{side:?}").to_lowercase()).collect();
    let begun = || {
        let (device, snaplen) = (&args.interface, request.snaplen);
        eprintln!(
            "listening on {device} ({}), link-type EN10MB (Ethernet), snapshot length {snaplen} bytes",
            sides.join(",")
        );
    };
    let write = |piece: &[u8]| out.write_all(piece).and_then(|()| out.flush());
    match client.capture(&request, begun, write, &stop) {
        Ok(Some(totals)) => {
            report(&totals);
            Ok(())
        }
        Ok(None) => {
            eprintln!("the router has stopped");
            Ok(())
        }
        Err(CaptureError::Client(error)) => Err((error.exit(), format!("skiff: {error}\n"))),
        Err(CaptureError::Refused(reply)) => Err((reply.exit, reply.stderr)),
        // Who read our output has enough.
        Err(CaptureError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(CaptureError::Write(error)) => Err(failed(&error)),
    }
}

fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The second one ends us whatever we wait for.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

fn open(path: Option<&Path>) -> io::Result<Box<dyn Write>> {
    match path {
        Some(path) if path != Path::new("-") => {
            let named =
                |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            Ok(Box::new(File::create(path).map_err(named)?))
        }
        _ => Ok(Box::new(io::stdout().lock())),
    }
}

/// The lines tcpdump ends with.
fn report(totals: &Totals) {
    eprintln!("{} packets captured", totals.captured);
    eprintln!("{} packets received by filter", totals.matched);
    eprintln!("{} packets missed by the capture", totals.missed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(line: &str) -> Capture {
        let cli = Cli::parse_args(line.split_whitespace()).unwrap_or_else(|reply| panic!("{}", reply.stderr));
        let Command::Capture(args) = cli.command else { panic!("not capture") };
        args
    }

    #[test]
    fn options_stand_before_the_filter_or_behind_it() {
        let args =
            parse("skiff capture -i lan0 --dir rx,drop -w - -c 5 -s 96 tcp port 179 and not host 10.0.0.1");
        let request = args.request().unwrap();
        assert_eq!(request.device.as_deref(), Some("lan0"));
        assert_eq!(request.sides, [Side::Rx, Side::Drop]);
        assert_eq!((request.snaplen, request.count, request.format), (96, Some(5), Format::Pcapng));
        let behind = parse("skiff capture ether[0] - 1 = 2 -c 7").request().unwrap();
        assert_eq!(
            (behind.count, behind.filter),
            (Some(7), Program::from(&compile("ether[0] - 1 = 2").unwrap()[..]))
        );
        let plain = parse("skiff capture").request().unwrap();
        assert_eq!(plain.device, None);
        assert_eq!(plain.sides, [Side::Rx, Side::Tx]);
        assert_eq!((plain.snaplen, plain.count, plain.format), (DEFAULT_SNAPLEN, None, Format::Text));
        assert_eq!(
            parse("skiff capture --dir all -w x --format pcap").request().unwrap().format,
            Format::Pcap
        );
        assert_eq!(
            parse("skiff capture tcp prot 1").request().unwrap_err(),
            "can't parse filter expression: syntax error"
        );
    }
}
