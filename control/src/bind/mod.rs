//! `skiff bind`: takes NICs from the kernel so that a poll-mode driver can have them, and gives them back.
//!
//! Somebody works on the machine by one of its NICs, so what must not be taken is found out first ([`guard`]). A NIC
//! that no driver for programs takes goes back to the driver it had ([`rebind`]), and what was done is written down
//! ([`state`]) for the way back.

mod guard;
mod hugepages;
mod kernel;
mod nic;
mod rebind;
mod state;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::api::Reply;
use crate::cli::{self, Exit, error_line};
use crate::config::{self, Config, Device, Diagnostic, pci_address};
use crate::show::table::Table;
use guard::Guard;
use kernel::{Kernel, Machine};
pub(crate) use nic::Nic;
pub use rebind::Driver;
use state::{State, Taken};

/// `skiff bind`
#[derive(Clone, Debug, Args)]
pub struct Bind {
    /// NICs, by PCI address or interface; without any, and without another task, all are shown
    #[arg(value_name = "PCI|NETDEV")]
    pub nics: Vec<String>,
    /// The driver that hands them to the router
    #[arg(long, value_enum, default_value_t = Driver::Auto)]
    pub driver: Driver,
    /// Bind every NIC that this configuration names as a pci: device
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Reserve hugepages: a quarter of the memory, at most 1 GB; never fewer than there are
    #[arg(long)]
    pub hugepages: bool,
    /// Give NICs back to the drivers they had; without names, all that were taken
    #[arg(long, conflicts_with_all = ["config", "hugepages", "driver"])]
    pub restore: bool,
    /// Take a NIC even if an SSH session came in by it; never one of a default route
    #[arg(long)]
    pub force: bool,
    /// JSON
    #[arg(short, long, conflicts_with_all = ["config", "hugepages", "restore", "nics"])]
    pub json: bool,
}

/// Drivers that a poll-mode driver shares the NIC with instead of replacing them.
const SHARED: [&str; 2] = ["mlx4_core", "mlx5_core"];

/// `skiff bind`.
pub fn main(args: &Bind) -> ExitCode {
    cli::print(&run(&Machine::new("/"), args))
}

/// The NICs of the machine whose files are below `root`, each with why it is to stay with the kernel, if it is.
pub(crate) fn survey(root: &Path) -> Vec<(Nic, Option<String>)> {
    let machine = Machine::new(root);
    let guard = Guard::look(&machine);
    let nics = nic::scan(&machine).into_iter();
    nics.map(|nic| {
        let kept = guard.reason(&nic).map(ToString::to_string);
        (nic, kept)
    })
    .collect()
}

fn run(kernel: &dyn Kernel, args: &Bind) -> Reply {
    if args.restore {
        return restore(kernel, &args.nics);
    }
    if args.nics.is_empty() && args.config.is_none() && !args.hugepages {
        return Reply::ok(status(kernel, args.json));
    }
    let config = match args.config.as_deref().map(config::load).transpose() {
        Ok(config) => config,
        Err(mistakes) => return invalid(args.config.as_deref(), &mistakes),
    };
    let mut report = Report::default();
    if args.hugepages {
        report.hugepages(kernel, config.as_ref());
    }
    let configured = config.as_ref().map(pci_devices).unwrap_or_default();
    let wanted: Vec<&str> = args.nics.iter().chain(&configured).map(String::as_str).collect();
    if wanted.is_empty() && !args.hugepages {
        report.done("no NIC is to be bound".to_owned());
    }
    if !wanted.is_empty() {
        take_all(kernel, args, &wanted, &mut report);
    }
    report.reply()
}

fn invalid(file: Option<&Path>, mistakes: &[Diagnostic]) -> Reply {
    let mut text: String = mistakes.iter().map(|mistake| format!("skiff: {mistake}\n")).collect();
    if text.is_empty() {
        text = error_line(file.unwrap_or(Path::new("")).display(), "cannot be read");
    }
    Reply::failed(Exit::ConfigInvalid as u8, text)
}

/// The PCI addresses a configuration names.
fn pci_devices(config: &Config) -> Vec<String> {
    let ports = config.interfaces.iter().filter_map(|interface| interface.port());
    ports
        .filter_map(|port| match &port.device.value {
            Device::Pci { address, .. } => Some(address.clone()),
            Device::Vdev { .. } | Device::Netdev(_) => None,
        })
        .collect()
}

/// What was done, and what was not.
#[derive(Debug, Default)]
struct Report {
    done: String,
    failed: String,
}

impl Report {
    fn done(&mut self, line: String) {
        self.done.push_str(&line);
        self.done.push('\n');
    }

    fn failed(&mut self, what: &str, why: String) {
        self.failed.push_str(&error_line(format!("bind {what}"), why));
    }

    fn hugepages(&mut self, kernel: &dyn Kernel, config: Option<&Config>) {
        let system = config.map(|config| &config.system);
        if system.is_some_and(|system| system.hugepages.value == config::Hugepages::Off) {
            return self.done("hugepages: the configuration wants none".to_owned());
        }
        // Somebody installed the router and has not come to set it up: the memory is still theirs.
        if config.is_some_and(|config| config.interfaces.is_empty()) {
            return self.done("hugepages: the configuration has no interfaces yet".to_owned());
        }
        match hugepages::reserve(kernel, system.map_or(0, |system| system.memory.value)) {
            Ok(what) => self.done(format!("hugepages: {what}")),
            Err(why) => self.failed("--hugepages", why),
        }
    }

    fn reply(self) -> Reply {
        let exit = if self.failed.is_empty() { Exit::Ok } else { Exit::Failed };
        Reply { exit: exit as u8, stdout: self.done, stderr: self.failed }
    }
}

fn take_all(kernel: &dyn Kernel, args: &Bind, wanted: &[&str], report: &mut Report) {
    let nics = nic::scan(kernel);
    let guard = Guard::look(kernel);
    let mut state = match State::load(kernel) {
        Ok(state) => state,
        Err(why) => return report.failed("", why),
    };
    for name in wanted {
        match find(&nics, &state, name).and_then(|nic| take(kernel, args, &guard, &mut state, nic)) {
            Ok(what) => report.done(what),
            Err(why) => report.failed(name, why),
        }
    }
}

/// The NIC of a name: an address, an interface, or the interface it was before it was taken.
fn find<'n>(nics: &'n [Nic], state: &State, name: &str) -> Result<&'n Nic, String> {
    let netdev = |nic: &&Nic| nic.netdevs.iter().any(|netdev| netdev == name);
    if let Some(nic) = nics.iter().find(netdev) {
        return Ok(nic);
    }
    let former = state.nics.iter().find(|taken| taken.netdev.as_deref() == Some(name));
    let address = former.map(|taken| taken.address.clone()).or_else(|| pci_address(name));
    let nic = address.and_then(|address| nics.iter().find(|nic| nic.address == address));
    nic.ok_or_else(|| "there is no such NIC (\"skiff bind\" shows all)".to_owned())
}

fn take(
    kernel: &dyn Kernel,
    args: &Bind,
    guard: &Guard,
    state: &mut State,
    nic: &Nic,
) -> Result<String, String> {
    let had = nic.driver.as_deref().unwrap_or("no driver");
    if nic.is_given_away() {
        if args.driver == Driver::Auto || args.driver.name() == nic.driver.as_deref() {
            return Ok(format!("{}: is bound to {had} already", nic.label()));
        }
        not_in_use(kernel, nic)?;
    } else if SHARED.contains(&had) {
        return Ok(format!("{}: stays with {had}, which DPDK shares it with", nic.label()));
    }
    if let Some(reason) = guard.reason(nic)
        && !(args.force && reason.yields_to_force())
    {
        return Err(format!("refused: {reason}"));
    }
    // Written down first: what happens after this can be put right by --restore.
    let known = state.taken(&nic.address).is_some();
    if !known {
        let netdev = nic.netdevs.first().cloned();
        let driver = nic.driver.clone().filter(|driver| !nic::is_for_programs(driver));
        state.nics.push(Taken { address: nic.address.clone(), driver, netdev });
        state.store(kernel)?;
    }
    match rebind::bind(kernel, nic, args.driver) {
        Ok(bound) => {
            if bound.allowed_no_iommu {
                state.no_iommu = true;
                state.store(kernel)?;
            }
            Ok(describe(nic, had, &bound))
        }
        Err(why) => {
            if !known {
                state.nics.retain(|taken| taken.address != nic.address);
                state.store(kernel)?;
            }
            Err(format!("{why}{}", stays(nic)))
        }
    }
}

fn describe(nic: &Nic, had: &str, bound: &rebind::Bound) -> String {
    let mut line = format!("{}: {had} -> {}", nic.label(), bound.driver);
    if !bound.passed_over.is_empty() {
        line.push_str(&format!(" ({})", bound.passed_over.join("; ")));
    }
    if bound.allowed_no_iommu {
        line.push_str("; this machine has no IOMMU, so VFIO's enable_unsafe_noiommu_mode was switched on");
    }
    line
}

/// What to do about a NIC that could not be taken.
fn stays(nic: &Nic) -> String {
    match (&nic.driver, nic.netdevs.first()) {
        (Some(driver), Some(netdev)) => {
            format!("; it stays with {driver}, where device = \"netdev:{netdev}\" works, more slowly")
        }
        (Some(driver), None) => format!("; it stays with {driver}"),
        (None, _) => String::new(),
    }
}

fn not_in_use(kernel: &dyn Kernel, nic: &Nic) -> Result<(), String> {
    nic.user(kernel).map_or(Ok(()), |(process, name)| {
        Err(format!("refused: process {process} ({name}) drives it; stop that first"))
    })
}

/// Gives NICs back: those named, or all that were taken.
fn restore(kernel: &dyn Kernel, names: &[String]) -> Reply {
    let mut report = Report::default();
    let mut state = match State::load(kernel) {
        Ok(state) => state,
        Err(why) => {
            report.failed("--restore", why);
            return report.reply();
        }
    };
    let nics = nic::scan(kernel);
    let all: Vec<String> = state.nics.iter().map(|taken| taken.address.clone()).collect();
    let wanted = if names.is_empty() { &all } else { names };
    if wanted.is_empty() {
        report.done("nothing was taken that could be given back".to_owned());
    }
    for name in wanted {
        match give_back(kernel, &mut state, &nics, name) {
            Ok(what) => report.done(what),
            Err(why) => report.failed(name, why),
        }
    }
    if state.no_iommu && state.nics.is_empty() {
        match rebind::forbid_no_iommu(kernel) {
            Ok(()) => state.no_iommu = false,
            Err(why) => report.failed("--restore", why),
        }
    }
    if let Err(why) = state.store(kernel) {
        report.failed("--restore", why);
    }
    report.reply()
}

fn give_back(kernel: &dyn Kernel, state: &mut State, nics: &[Nic], name: &str) -> Result<String, String> {
    let nic = match find(nics, state, name) {
        Ok(nic) => nic,
        // It was pulled out.
        Err(_) if state.taken(name).is_some() => {
            state.nics.retain(|taken| taken.address != name);
            return Ok(format!("{name}: is gone"));
        }
        Err(why) => return Err(why),
    };
    not_in_use(kernel, nic)?;
    let had = nic.driver.as_deref().unwrap_or("no driver");
    let taken = state.taken(&nic.address).cloned();
    let now = match taken {
        _ if !nic.is_given_away() && nic.driver.is_some() => {
            state.nics.retain(|taken| taken.address != nic.address);
            return Ok(format!("{}: is with {had}", nic.label()));
        }
        Some(Taken { driver: Some(driver), .. }) => {
            rebind::give_back(kernel, &nic.address, Some(&driver))?;
            nic::driver_of(kernel, &nic.address).unwrap_or(driver)
        }
        // It had none, so none is no failure.
        Some(_) => rebind::give_to_any(kernel, &nic.address).unwrap_or_else(|_| "no driver".to_owned()),
        None => rebind::give_to_any(kernel, &nic.address)?,
    };
    state.nics.retain(|taken| taken.address != nic.address);
    Ok(format!("{}: {had} -> {now}", nic.address))
}

/// All NICs, and what may be done with them.
fn status(kernel: &dyn Kernel, json: bool) -> String {
    let guard = Guard::look(kernel);
    let nics = nic::scan(kernel);
    let rows = nics.iter().map(|nic| (nic, standing(kernel, &guard, nic)));
    if json {
        let rows: Vec<_> = rows.map(|(nic, standing)| standing.json(nic)).collect();
        return format!("{}\n", json!(rows));
    }
    if nics.is_empty() {
        return "there are no PCI NICs here (\"netdev:NAME\" and \"vdev:\" devices need none)\n".to_owned();
    }
    let dash = || "-".to_owned();
    let mut table = Table::new(6, ["address", "id", "netdev", "driver", "state", "name"]);
    for (nic, standing) in rows {
        table.row([
            nic.address.clone(),
            nic.id.clone(),
            if nic.netdevs.is_empty() { dash() } else { nic.netdevs.join(",") },
            nic.driver.clone().unwrap_or_else(dash),
            standing.to_string(),
            nic.name.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}

/// How a NIC stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// A program may have it; this one has.
    Bound(Option<(u32, String)>),
    /// It must not be taken.
    Kept(String),
    /// It can be taken.
    Free,
}

fn standing(kernel: &dyn Kernel, guard: &Guard, nic: &Nic) -> Standing {
    if nic.is_given_away() {
        return Standing::Bound(nic.user(kernel));
    }
    match (guard.reason(nic), nic.driver.as_deref()) {
        (Some(reason), _) => Standing::Kept(reason.to_string()),
        (None, Some(driver)) if SHARED.contains(&driver) => {
            Standing::Kept(format!("DPDK shares it with {driver}"))
        }
        (None, _) => Standing::Free,
    }
}

impl Standing {
    fn json(&self, nic: &Nic) -> serde_json::Value {
        let (state, why, process) = match self {
            Standing::Bound(user) => ("bound", None, user.as_ref().map(|(process, _)| *process)),
            Standing::Kept(why) => ("kept", Some(why), None),
            Standing::Free => ("free", None, None),
        };
        let mut row = json!(nic);
        row["state"] = json!(state);
        row["why"] = json!(why);
        row["process"] = json!(process);
        row
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Standing::Bound(None) => f.write_str("bound"),
            Standing::Bound(Some((process, name))) => write!(f, "bound, in use by {name} ({process})"),
            Standing::Kept(why) => write!(f, "kept: {why}"),
            Standing::Free => f.write_str("free"),
        }
    }
}
