//! The machine a figure was taken on, and who had its CPUs.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use skiff_pmd::{Eal, tsc_hz};

use crate::trial::{Generator, Spec, Trial};

/// What a figure depends on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// CPUs this program may use.
    pub cpus: usize,
    /// Time stamp counter, MHz.
    pub tsc_mhz: f64,
    /// The kernel's release.
    pub kernel: String,
    /// DPDK's version in the generator.
    pub dpdk: String,
    /// The router's own words about its version.
    pub dut: String,
    /// 2 MiB pages there are.
    pub hugepages: u64,
    /// Whether the generator's packets are in them; none if it has no memory of its own.
    pub generator_uses_hugepages: Option<bool>,
    /// CPUs the scheduler leaves alone.
    pub isolated_cpus: String,
    /// Load averages at the start: one, five and fifteen minutes.
    pub load_before: String,
}

impl Machine {
    /// As it is now. `dut` is the router's version.
    pub fn look(dut: String, generator_uses_hugepages: Option<bool>) -> Machine {
        Machine {
            cpu: cpu_name(&read("/proc/cpuinfo")),
            cpus: skiff_pmd::allowed_cpus().len(),
            tsc_mhz: tsc_hz() as f64 / 1e6,
            kernel: read("/proc/sys/kernel/osrelease"),
            dpdk: Eal::dpdk_version().to_owned(),
            dut,
            hugepages: read("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages").parse().unwrap_or(0),
            generator_uses_hugepages,
            isolated_cpus: read("/sys/devices/system/cpu/isolated"),
            load_before: load(),
        }
    }
}

/// What a program prints for `--version`, or its package's version.
pub fn version_of(program: &str, package: Option<&str>) -> String {
    let output = match package {
        Some(package) => {
            Command::new("dpkg-query").args(["-W", "-f", "${Package} ${Version}", package]).output()
        }
        None => Command::new(program).arg("--version").output(),
    };
    let printed = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&printed).lines().next().unwrap_or(program).to_owned()
}

/// The three load averages.
pub fn load() -> String {
    read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// A generator that also says how the machine was during a trial.
pub struct Watched<'a> {
    generator: &'a mut dyn Generator,
    dut: Option<u32>,
}

impl<'a> Watched<'a> {
    /// Watches the process `dut`, if there is one.
    pub fn new(generator: &'a mut dyn Generator, dut: Option<u32>) -> Watched<'a> {
        Watched { generator, dut }
    }
}

impl Generator for Watched<'_> {
    fn run(&mut self, spec: &Spec) -> Result<Trial> {
        let before = self.dut.map(cpu_times);
        let start = Instant::now();
        let trial = self.generator.run(spec)?;
        let passed = start.elapsed().as_nanos() as f64;
        let dut_cpu = before.zip(self.dut).map(|(before, dut)| busiest(&before, &cpu_times(dut)) / passed);
        let load = load().split(' ').next().and_then(|load| load.parse().ok());
        Ok(Trial { dut_cpu: dut_cpu.map(|share| share.min(1.0)), load, ..trial })
    }

    fn is_paced(&self) -> bool {
        self.generator.is_paced()
    }

    fn measures_latency(&self) -> bool {
        self.generator.measures_latency()
    }
}

/// CPU time of a process's threads, ns.
fn cpu_times(pid: u32) -> HashMap<String, u64> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return HashMap::new() };
    tasks
        .flatten()
        .filter_map(|task| {
            let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
            Some((task.file_name().into_string().ok()?, times.split(' ').next()?.parse().ok()?))
        })
        .collect()
}

/// The most CPU time a thread has used between the two, ns.
fn busiest(before: &HashMap<String, u64>, after: &HashMap<String, u64>) -> f64 {
    let used = |(task, time): (&String, &u64)| time.saturating_sub(*before.get(task).unwrap_or(&0));
    after.iter().map(used).max().unwrap_or(0) as f64
}

fn cpu_name(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or_else(String::new, |(_, name)| name.to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_thread_is_found() {
        let times = |of: &[(&str, u64)]| of.iter().map(|(task, ns)| ((*task).to_owned(), *ns)).collect();
        let before = times(&[("1", 1000), ("2", 10)]);
        let after = times(&[("1", 1100), ("2", 310), ("3", 50)]);
        assert_eq!(busiest(&before, &after), 300.0);
        assert_eq!(busiest(&HashMap::new(), &HashMap::new()), 0.0);
    }

    #[test]
    fn the_processor_has_a_name() {
        assert_eq!(cpu_name("processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: x\n"), "AMD EPYC");
        assert_eq!(cpu_name(""), "");
    }
}
