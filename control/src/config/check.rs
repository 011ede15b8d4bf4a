//! `skiff config check FILE`: reads a configuration and says what it found. No daemon, no root, no EAL.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::model::{Config, Interface, InterfaceKind};
use super::{MemoryPlan, load};

/// Exit code for a configuration with mistakes.
const INVALID: u8 = 3;

/// Checks the file at `path`: `PATH: ok` and a summary on `out`, or one line a mistake on `err`.
///
/// Gives 0 if the file has no mistake and 3 if it has one or cannot be read. A reader that went away is not the
/// file's fault: errors of writing are ignored.
pub fn check(path: &Path, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    match load(path)
        .and_then(|config| config.checked_memory_plan().map(|plan| (config, plan)).map_err(|e| vec![e]))
    {
        Ok((config, plan)) => {
            let _ = summary(&config, &plan, out);
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            for mistake in mistakes {
                let _ = writeln!(err, "skiff: {mistake}");
            }
            ExitCode::from(INVALID)
        }
    }
}

fn summary(config: &Config, plan: &MemoryPlan, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: ok", config.file)?;
    for interface in &config.interfaces {
        writeln!(out, "  interface {}", describe(interface))?;
    }
    let (routes, neighbours, sysctls) = (config.routes.len(), config.neighbours.len(), config.sysctl.len());
    writeln!(out, "  routes {routes}, neighbours {neighbours}, sysctls {sysctls}")?;
    if let Some(netfilter) = &config.netfilter {
        let chains = || netfilter.tables.iter().flat_map(|table| &table.chains);
        let rules: usize = chains().map(|chain| chain.rules.len()).sum();
        writeln!(
            out,
            "  netfilter: rules {rules}, chains {}, sets {}",
            chains().count(),
            netfilter.sets.len()
        )?;
    }
    if let Some(tc) = &config.traffic_control {
        writeln!(out, "  traffic control: commands {}", crate::tc::starts(&tc.commands).len())?;
    }
    writeln!(out, "  memory {plan}")
}

fn describe(interface: &Interface) -> String {
    let under = match &interface.kind {
        InterfaceKind::Port(port) => port.device.to_string(),
        InterfaceKind::Vlan(vlan) => format!("vlan {} of {}", *vlan.id, *vlan.parent),
        InterfaceKind::Bond(bond) => format!("bond of {} members", bond.members.len()),
    };
    let addresses: Vec<String> =
        interface.addresses.iter().map(|address| address.value.to_string()).collect();
    let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(" ") };
    format!("{}: {under}, {addresses}", *interface.name)
}
