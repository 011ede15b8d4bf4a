//! NICs: their drivers, where they sit, and which ones must stay with the kernel.

use super::Finding;
use super::host::Host;
use crate::bind::{Nic, survey};

/// A line for each.
pub(super) fn checks(host: &Host) -> Vec<Finding> {
    let nics = survey(host.root());
    if nics.is_empty() {
        let advice = "the router can use the kernel's interfaces, as device = \"netdev:eth1\"";
        return vec![Finding::warn("nic", "none on a PCI bus", advice)];
    }
    nics.iter().map(|(nic, kept)| finding(host, nic, kept.as_deref())).collect()
}

fn finding(host: &Host, nic: &Nic, kept: Option<&str>) -> Finding {
    let mut found = nic.address.clone();
    for name in &nic.netdevs {
        found += &format!(" {name}");
    }
    found += &format!(", {}", nic.driver.as_deref().unwrap_or("no driver"));
    // -1 stands for a machine with one node.
    if let Some(node) = host.number(&nic.file("numa_node")) {
        found += &format!(", NUMA node {node}");
    }
    match kept {
        Some(why) => Finding::warn("nic", found, format!("{why}: leave it with the kernel")),
        None if nic.is_given_away() => Finding::ok("nic", found + ", ready for the router"),
        None if nic.driver.is_some() => Finding::ok("nic", found),
        None => Finding::warn("nic", found, "skiff bind takes it for the router"),
    }
}
