//! trafgen of netsniff-ng: the kernel's own packets a second over a packet socket. Counts come from the interfaces.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::frame::{Flow, Template};
use crate::interrupt::{self, sleep};
use crate::netns::GENERATOR_PORTS;
use crate::process::{Process, words};
use crate::trial::{Generator, Spec, Trial};

/// Flows it is given, at most: its configuration has each frame in full.
pub const MOST_FLOWS: usize = 4096;
/// How long it takes to read its configuration and to begin.
const START: Duration = Duration::from_millis(500);
/// How long frames are waited for after the last was sent.
const DRAIN: Duration = Duration::from_millis(300);

/// The generator. Needs the calling thread in the generator's namespace.
#[derive(Debug)]
pub struct Trafgen {
    flows: Vec<Flow>,
    cpu: u16,
    dir: PathBuf,
}

impl Trafgen {
    /// One that sends these flows from the first generator port.
    pub fn new(flows: Vec<Flow>, cpu: u16, dir: PathBuf) -> Trafgen {
        Trafgen { flows, cpu, dir }
    }
}

impl Generator for Trafgen {
    fn run(&mut self, spec: &Spec) -> Result<Trial> {
        interrupt::check()?;
        let config = self.dir.join("trafgen.cfg");
        fs::write(&config, configuration(&self.flows, spec.size))?;
        let pace = spec.rate_pps.map_or(String::new(), |rate| format!("-b {rate:.0}pps"));
        let (cpu, port) = (self.cpu, GENERATOR_PORTS[0]);
        let line = words(&format!(
            "taskset -c {cpu} trafgen --in {} --out {port} --cpus 1 --qdisc-path {pace}",
            config.display()
        ));
        let before = counters()?;
        let mut process = Process::start("trafgen", &line, &self.dir.join("trafgen.log"))?;
        sleep(START)?;
        process.check()?;
        let (start, first) = (Instant::now(), counters()?.0);
        sleep(Duration::from_secs_f64(spec.seconds))?;
        process.check()?;
        let rate = (counters()?.0 - first) as f64 / start.elapsed().as_secs_f64();
        drop(process);
        sleep(DRAIN)?;
        let after = counters()?;
        // All of it is counted, from its first frame to its last; the rate is that of its best time.
        let offered = after.0.saturating_sub(before.0);
        Ok(Trial {
            size: spec.size,
            directions: 1,
            target_pps: spec.rate_pps,
            seconds: if rate > 0.0 { offered as f64 / rate } else { spec.seconds },
            offered,
            received: after.1.saturating_sub(before.1),
            ..Trial::default()
        })
    }

    fn measures_latency(&self) -> bool {
        false
    }
}

/// One frame a flow, headers and zeroes.
fn configuration(flows: &[Flow], size: usize) -> String {
    let frame = |flow: &Flow| {
        let template = Template::new(flow, size);
        let headers: Vec<String> = template.headers().iter().map(|byte| format!("0x{byte:02x}")).collect();
        format!("{{ {}, fill(0x00, {}) }}\n", headers.join(", "), template.len() - headers.len())
    };
    flows.iter().take(MOST_FLOWS).map(frame).collect()
}

/// Frames the first port has sent and the second has received.
fn counters() -> Result<(u64, u64)> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").context("no interface counters")?;
    let of = |port: &str, column: usize| {
        let line = table.lines().find_map(|line| line.trim().strip_prefix(port)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().nth(column)?.parse().ok())
            .with_context(|| format!("no counters of {port}"))
    };
    Ok((of(GENERATOR_PORTS[0], 9)?, of(GENERATOR_PORTS[1], 1)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{A, B, Lab};

    #[test]
    fn frames_have_the_size_asked_for() {
        let flows = Lab { sides: [A, B], flows: 3, routes: 1, vlan: None }.flows(A, B);
        let text = configuration(&flows, 128);
        assert_eq!(text.lines().count(), 3);
        let first = text.lines().next().unwrap();
        assert_eq!(first.matches("0x").count(), 42 + 1);
        assert!(first.ends_with(&format!("fill(0x00, {}) }}", 128 - 4 - 42)), "{first}");
    }
}
