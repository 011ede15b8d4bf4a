//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::frame::{MAX_SIZE, MIN_SIZE};
use crate::lab::{MOST_FLOWS, MOST_ROUTES, parse_mac};

/// Throughput, loss and latency of a router between two generator ports, after RFC 2544.
#[derive(Parser, Clone, Debug, Serialize)]
#[command(name = "rfc2544", version)]
pub struct Args {
    /// What connects the generator and the router
    #[arg(long, value_enum, default_value = "memif")]
    pub link: Link,
    /// The router under test
    #[arg(long, value_enum, default_value = "skiff")]
    pub dut: Dut,
    /// Who makes the frames
    #[arg(long, value_enum, default_value = "own")]
    pub generator: Source,
    /// Send in both directions at once; rates are those of each
    #[arg(long)]
    pub bidirectional: bool,

    /// The skiff to test
    #[arg(long, value_name = "PATH", default_value = "target/release/skiff")]
    pub skiff: PathBuf,
    /// Appended to skiff's configuration: rules, queueing disciplines, sysctls
    #[arg(long, value_name = "FILE")]
    pub config_extra: Option<PathBuf>,
    /// Print the configuration skiff would get, and stop
    #[arg(long)]
    pub print_config: bool,
    /// The forwarding mode of testpmd as the router
    #[arg(long, value_name = "MODE", default_value = "io")]
    pub testpmd_mode: String,
    /// The CPU that forwards
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    pub dut_cpu: u16,
    /// The CPU that generates
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    pub gen_cpu: u16,
    /// Memory of skiff, as in its configuration
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    pub memory: String,
    /// Whether packets are in hugepages, in the generator and in the router
    #[arg(long, value_enum, default_value = "prefer")]
    pub hugepages: Pages,
    /// The router's end of a memif link
    #[arg(long, value_enum, default_value = "server")]
    pub memif_role: Role,
    /// Slots of a link's rings, a power of two; vhost-user has 1024 at most
    #[arg(long, value_name = "SLOTS", default_value_t = 2048)]
    pub ring: u32,

    /// Generator port towards the router's first port, for --dut none: pci:0000:05:00.0 or vdev:DEVARGS
    #[arg(long, value_name = "DEVICE")]
    pub port_a: Option<String>,
    /// Generator port towards its second port
    #[arg(long, value_name = "DEVICE")]
    pub port_b: Option<String>,
    /// MAC address of the router's first port, for --dut none
    #[arg(long, value_name = "MAC", value_parser = mac)]
    pub mac_a: Option<String>,
    /// MAC address of its second port
    #[arg(long, value_name = "MAC", value_parser = mac)]
    pub mac_b: Option<String>,

    /// Flows in each direction
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub flows: usize,
    /// Destination networks in each direction, a route to each
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub routes: usize,
    /// Tag all frames, which makes them 4 bytes longer than their size
    #[arg(long, value_name = "ID")]
    pub vlan: Option<u16>,
    /// Frame sizes, with the frame check sequence
    #[arg(
        long,
        value_name = "BYTES",
        value_delimiter = ',',
        default_value = "64,128,256,512,1024,1280,1518"
    )]
    pub sizes: Vec<usize>,
    /// Length of a trial. RFC 2544 asks for 60s
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub trial: f64,
    /// Length of the flood before the first trial of a size
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub warm_up: f64,
    /// How close a rate must be found, per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    pub precision: f64,
    /// Loss that the partial drop rate allows, per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.5)]
    pub pdr: f64,
    /// The highest rate to try, Mpps in each direction; a flood finds it if it is not given
    #[arg(long, value_name = "MPPS")]
    pub max_rate: Option<f64>,
    /// Leave the loss curve out
    #[arg(long)]
    pub no_curve: bool,
    /// Leave latency out
    #[arg(long)]
    pub no_latency: bool,

    /// Write everything measured to a file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw it
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Say nothing while measuring
    #[arg(short, long)]
    pub quiet: bool,
}

/// What connects the generator and the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub enum Link {
    /// Shared memory packet rings.
    #[value(name = "memif")]
    #[serde(rename = "memif")]
    Memif,
    /// virtio rings in shared memory; the router is the guest.
    #[value(name = "vhost-user")]
    #[serde(rename = "vhost-user")]
    VhostUser,
    /// Packet sockets on veth pairs between network namespaces; needs root.
    #[value(name = "af_packet", alias = "af-packet")]
    #[serde(rename = "af_packet")]
    AfPacket,
}

/// The router under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dut {
    /// skiff, with a configuration made for the test.
    Skiff,
    /// dpdk-testpmd: what generator and link can do at most.
    Testpmd,
    /// Something that is running already.
    None,
}

/// Who makes the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// This program: paced, with exact counts and latency.
    Own,
    /// dpdk-testpmd: full speed only.
    Testpmd,
    /// trafgen of netsniff-ng, over af_packet: paced, no latency.
    Trafgen,
}

/// Whether packets are in hugepages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pages {
    /// If there are any.
    Prefer,
    /// Or fail.
    Require,
    /// No.
    Off,
}

/// An end of a memif link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Listens.
    Server,
    /// Connects, and owns the memory.
    Client,
}

impl Args {
    /// Whether the parts fit together.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn check(&self) -> Result<()> {
        let sizes = MIN_SIZE..=MAX_SIZE;
        ensure!(!self.sizes.is_empty(), "--sizes: there is none");
        ensure!(
            self.sizes.iter().all(|size| sizes.contains(size)),
            "--sizes: a frame has {MIN_SIZE} to {MAX_SIZE} bytes"
        );
        ensure!((1..=MOST_ROUTES).contains(&self.routes), "--routes: 1 to {MOST_ROUTES}");
        ensure!((1..=MOST_FLOWS).contains(&self.flows), "--flows: 1 to {MOST_FLOWS}");
        ensure!(self.flows >= self.routes, "--flows: at least one for each of the {} routes", self.routes);
        ensure!(self.vlan.is_none_or(|id| (1..4095).contains(&id)), "--vlan: 1 to 4094");
        ensure!(self.trial >= 0.05, "--trial: at least 50ms");
        ensure!(self.precision > 0.0 && self.precision <= 50.0, "--precision: above 0, up to 50 per cent");
        ensure!((0.0..100.0).contains(&self.pdr), "--pdr: from 0 to less than 100 per cent");
        ensure!(self.max_rate.is_none_or(|rate| rate > 0.0), "--max-rate: above 0");
        ensure!(
            self.ring.is_power_of_two() && (64..=16384).contains(&self.ring),
            "--ring: a power of two, 64 to 16384"
        );
        self.check_parts()
    }

    fn check_parts(&self) -> Result<()> {
        let foreign = self.dut == Dut::None;
        let ports = self.port_a.is_some() && self.port_b.is_some();
        let macs = self.mac_a.is_some() && self.mac_b.is_some();
        ensure!(!foreign || ports, "--dut none: say which ports the generator has: --port-a and --port-b");
        ensure!(!foreign || macs, "--dut none: say what the router's MAC addresses are: --mac-a and --mac-b");
        let given = [&self.port_a, &self.port_b, &self.mac_a, &self.mac_b];
        ensure!(
            foreign || given.iter().all(|arg| arg.is_none()),
            "--port-a, --port-b, --mac-a, --mac-b: only with --dut none"
        );
        match self.generator {
            Source::Own => {}
            Source::Testpmd => {
                ensure!(!foreign, "--generator testpmd: not with --dut none: run it by hand there");
                ensure!(
                    !self.bidirectional,
                    "--generator testpmd: one direction only: it has one destination for both"
                );
                ensure!(self.vlan.is_none(), "--generator testpmd: its flowgen cannot tag frames");
            }
            Source::Trafgen => {
                ensure!(
                    self.link == Link::AfPacket && !foreign,
                    "--generator trafgen: only with --link af_packet"
                );
                ensure!(!self.bidirectional, "--generator trafgen: one direction only");
            }
        }
        Ok(())
    }
}

/// Seconds, as in `2s`, `500ms` or `2`.
fn duration(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds = number.parse::<f64>().map(|number| number * unit).unwrap_or(f64::NAN);
    match Duration::try_from_secs_f64(seconds) {
        Ok(_) if seconds <= 86_400.0 => Ok(seconds),
        _ => Err("a time, as in 2s or 500ms".to_owned()),
    }
}

fn mac(text: &str) -> Result<String, String> {
    parse_mac(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::parse_from(["rfc2544"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn the_defaults_are_fine() {
        let args = args("");
        args.check().unwrap();
        assert_eq!((args.trial, args.sizes.len()), (2.0, 7));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("60s"), Ok(60.0));
        assert_eq!(duration("250ms"), Ok(0.25));
        assert_eq!(duration("3"), Ok(3.0));
        for wrong in ["", "s", "-1s", "2m", "1e300s", "nan"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (line, why) in [
            ("--sizes 63", "--sizes"),
            ("--sizes 64,1519", "--sizes"),
            ("--routes 2", "--flows"),
            ("--routes 40000 --flows 40000", "--routes"),
            ("--vlan 4095", "--vlan"),
            ("--ring 1000", "--ring"),
            ("--precision 0", "--precision"),
            ("--dut none", "--port-a"),
            ("--dut none --port-a a --port-b b", "--mac-a"),
            ("--port-a a", "only with --dut none"),
            ("--generator trafgen", "--link af_packet"),
            ("--generator testpmd --bidirectional", "one direction"),
        ] {
            let refusal = args(line).check().unwrap_err().to_string();
            assert!(refusal.contains(why), "{line}: {refusal}");
        }
    }
}
