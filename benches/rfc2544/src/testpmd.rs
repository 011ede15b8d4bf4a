//! Debian's dpdk-testpmd: as the router under test, which shows what the generator and the links can do, and as a
//! generator that knows only full speed.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::interrupt::sleep;
use crate::process::{Process, words};
use crate::trial::{Generator, Spec, Trial};

const PROMPT: &str = "testpmd> ";
const START_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The address that flowgen sends to, on every port.
pub const FLOWGEN_DESTINATION: [u8; 6] = [0x00, 0x01, 0x02, 0x03, 0x04, 0x01];

/// Where it runs and with what.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// A name for its files, unique on the machine.
    pub name: &'a str,
    /// The devices of its two ports.
    pub devices: &'a [String; 2],
    /// The CPU that forwards.
    pub cpu: u16,
    /// The CPU of its prompt.
    pub main_cpu: u16,
    /// Whether packets are in hugepages.
    pub hugepages: bool,
    /// What is put before its command line: `ip netns exec X`.
    pub prefix: &'a str,
    /// A directory for its log.
    pub dir: &'a Path,
}

/// A testpmd at its prompt.
#[derive(Debug)]
pub struct Testpmd {
    process: Process,
    name: String,
}

impl Testpmd {
    /// Starts it. `app` is what follows the `--`, such as `--forward-mode=io --auto-start`.
    ///
    /// # Errors
    /// If it does not come to its prompt, with what it printed.
    pub fn start(setup: &Setup, app: &str) -> Result<Testpmd> {
        let memory = if setup.hugepages {
            "--in-memory --single-file-segments -m 256"
        } else {
            "--no-huge -m 256 --no-shconf"
        };
        let mut line = words(&format!(
            "{} stdbuf -o0 dpdk-testpmd --lcores 0@{},1@{} {memory} --no-telemetry --file-prefix {}",
            setup.prefix, setup.main_cpu, setup.cpu, setup.name
        ));
        line.extend(setup.devices.iter().flat_map(|device| match device.strip_prefix("pci:") {
            Some(address) => ["-a".to_owned(), address.to_owned()],
            None => ["--vdev".to_owned(), device.strip_prefix("vdev:").unwrap_or(device).to_owned()],
        }));
        if !setup.devices.iter().any(|device| device.starts_with("pci:")) {
            line.push("--no-pci".to_owned());
        }
        line.extend(words(&format!("-- -i --total-num-mbufs=16384 {app}")));
        let mut process = Process::start("testpmd", &line, &setup.dir.join(format!("{}.log", setup.name)))?;
        process.wait_for(0, START_LIMIT, |log| log.contains(PROMPT))?;
        Ok(Testpmd { process, name: setup.name.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Types a command and returns what it prints.
    ///
    /// # Errors
    /// If it does not come back to its prompt.
    pub fn tell(&mut self, command: &str) -> Result<String> {
        let before = self.process.log().len();
        writeln!(self.process.stdin()?, "{command}").context("testpmd is gone")?;
        self.process.wait_for(before, ANSWER_LIMIT, |answer| answer.contains(PROMPT))
    }

    /// The process, to see whether it lives.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.tell("stop");
        let _ = fs::remove_dir_all(format!("/run/dpdk/{}", self.name));
    }
}

/// testpmd's flowgen as a generator. It has no rate: every trial is a flood. Its second port cannot be kept from sending as
/// well, to the same address; only the router's first port has that, so it drops what the second receives.
#[derive(Debug)]
pub struct Flood {
    testpmd: Testpmd,
}

impl Flood {
    /// The forwarding arguments of one that sends so many flows of frames of `size` bytes with their FCS.
    pub fn app(flows: usize, size: usize) -> String {
        format!("--forward-mode=flowgen --flowgen-flows={} --txpkts={size}", flows.clamp(1, 1 << 16))
    }

    /// Takes over a testpmd that was started with [`app`](Self::app).
    pub fn new(testpmd: Testpmd) -> Flood {
        Flood { testpmd }
    }

    fn stats(&mut self, port: u16) -> Result<PortStats> {
        let text = self.testpmd.tell(&format!("show port stats {port}"))?;
        parse_stats(&text).with_context(|| format!("no counters in {text}"))
    }
}

impl Generator for Flood {
    fn run(&mut self, spec: &Spec) -> Result<Trial> {
        if spec.rate_pps.is_some() {
            bail!("testpmd knows no rate but its highest");
        }
        self.testpmd.tell(&format!("set txpkts {}", spec.size))?;
        self.testpmd.tell("start")?;
        // Counted between two moments in mid-flood: what is on its way at either is about the same.
        sleep(Duration::from_millis(300))?;
        let (start, tx, rx) = (Instant::now(), self.stats(0)?, self.stats(1)?);
        sleep(Duration::from_secs_f64(spec.seconds))?;
        let (seconds, tx_after, rx_after) = (start.elapsed().as_secs_f64(), self.stats(0)?, self.stats(1)?);
        self.testpmd.tell("stop")?;
        Ok(Trial {
            size: spec.size,
            directions: 1,
            seconds,
            offered: tx_after.tx_packets.saturating_sub(tx.tx_packets),
            received: rx_after.rx_packets.saturating_sub(rx.rx_packets),
            ..Trial::default()
        })
    }

    fn is_paced(&self) -> bool {
        false
    }

    fn measures_latency(&self) -> bool {
        false
    }
}

/// What testpmd counts for a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PortStats {
    rx_packets: u64,
    tx_packets: u64,
}

fn parse_stats(text: &str) -> Option<PortStats> {
    let after = |name: &str| -> Option<u64> {
        let mut words = text.split_whitespace().skip_while(|word| *word != name);
        words.nth(1)?.parse().ok()
    };
    Some(PortStats { rx_packets: after("RX-packets:")?, tx_packets: after("TX-packets:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_port_stats() {
        let text = "  ######################## NIC statistics for port 0  ########################\n\
              RX-packets: 12         RX-missed: 3          RX-bytes:  1200\n\
              RX-errors: 0\n  RX-nombuf:  0         \n\
              TX-packets: 7          TX-errors: 0          TX-bytes:  700\n";
        assert_eq!(parse_stats(text), Some(PortStats { rx_packets: 12, tx_packets: 7 }));
        assert_eq!(parse_stats("testpmd> "), None);
    }
}
