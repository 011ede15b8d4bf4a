//! `skiff nstat`: the MIB counters as nstat(8) prints the kernel's.

use std::fmt::Write as _;

use serde_json::{Map, json};
use skiff_dataplane::core::counters::{LcoreCells, Mib};
use skiff_dataplane::core::shared::Shared;

/// The order of the kernel's `/proc/net/snmp` and `netstat`. A name belongs to the longest group it starts with.
const GROUPS: [&str; 7] = ["Ip", "Icmp", "IcmpMsg", "Tcp", "Udp", "TcpExt", "IpExt"];

/// The counters of the kernel's MIBs since the router started, in the kernel's order; those that are zero only if
/// `zeros` asks for them.
pub fn nstat(shared: &Shared, zeros: bool, json: bool) -> String {
    let mut rows = rows(shared);
    rows.retain(|(_, value)| zeros || *value > 0);
    if json { as_json(rows) } else { as_text(&rows) }
}

fn as_text(rows: &[(String, u64)]) -> String {
    let mut text = "#kernel\n".to_owned();
    for (name, value) in rows {
        // The rate, which nstat(8) knows only of its own daemon. Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<32}{value:<16}{:>6}", "0.0");
    }
    text
}

fn as_json(rows: Vec<(String, u64)>) -> String {
    let counters: Map<_, _> = rows.into_iter().map(|(name, value)| (name, value.into())).collect();
    format!("{}\n", json!({ "kernel": counters }))
}

fn rows(shared: &Shared) -> Vec<(String, u64)> {
    let sum = |counter: &dyn Fn(&LcoreCells) -> u64| shared.all_cells().iter().map(counter).sum::<u64>();
    let mibs = Mib::ALL.iter().map(|&mib| (mib.name().to_owned(), sum(&|cells| cells.mib(mib).get())));
    // The kernel has no row for a type before its first message, whatever is asked for.
    let received = (0..=u8::MAX).map(|t| (format!("IcmpMsgInType{t}"), sum(&|cells| cells.icmp_in(t).get())));
    let sent = (0..=u8::MAX).map(|t| (format!("IcmpMsgOutType{t}"), sum(&|cells| cells.icmp_out(t).get())));
    let by_type = received.chain(sent).filter(|(_, value)| *value > 0);
    let mut rows: Vec<_> = mibs.chain(by_type).collect();
    rows.sort_by_key(|(name, _)| group(name));
    rows
}

fn group(name: &str) -> usize {
    let matching = GROUPS.iter().enumerate().filter(|(_, group)| name.starts_with(**group));
    matching.max_by_key(|(_, group)| group.len()).map_or(GROUPS.len(), |(at, _)| at)
}
