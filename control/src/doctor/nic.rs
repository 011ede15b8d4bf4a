//! NICs: their drivers, where they sit, and which ones somebody works through.

use std::collections::BTreeSet;

use super::Finding;
use super::host::Host;

const DEVICES: &str = "/sys/bus/pci/devices";
/// PCI class of Ethernet controllers, the first digits of `class`.
const ETHERNET: &str = "0x0200";
/// Drivers that hand a NIC to a program.
const GIVEN: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];
const SSH_PORT: u16 = 22;

/// A line for each.
pub(super) fn checks(host: &Host) -> Vec<Finding> {
    let (default, ssh) = (default_routes(host), ssh_interfaces(host));
    let ethernet = |address: &String| {
        host.text(&format!("{DEVICES}/{address}/class")).is_some_and(|class| class.starts_with(ETHERNET))
    };
    let addresses: Vec<String> = host.names(DEVICES).into_iter().filter(ethernet).collect();
    if addresses.is_empty() {
        let advice = "the router can use the kernel's interfaces, as device = \"netdev:eth1\"";
        return vec![Finding::warn("nic", "none on a PCI bus", advice)];
    }
    addresses.iter().map(|address| nic(host, address, &default, &ssh)).collect()
}

fn nic(host: &Host, address: &str, default: &BTreeSet<String>, ssh: &BTreeSet<String>) -> Finding {
    let driver = host.link(&format!("{DEVICES}/{address}/driver"));
    let interfaces = interfaces(host, address);
    let mut found = address.to_owned();
    for name in &interfaces {
        found += &format!(" {name}");
    }
    found += &format!(", {}", driver.as_deref().unwrap_or("no driver"));
    // -1 stands for a machine with one node.
    if let Some(node) = host.number(&format!("{DEVICES}/{address}/numa_node")) {
        found += &format!(", NUMA node {node}");
    }
    let among = |names: &BTreeSet<String>| interfaces.iter().any(|interface| names.contains(interface));
    if among(default) {
        return Finding::warn("nic", found, "the default route leaves by it: never give it to the router");
    }
    if among(ssh) {
        return Finding::warn("nic", found, "an SSH session came in by it: never give it to the router");
    }
    match driver.as_deref() {
        Some(driver) if GIVEN.contains(&driver) => Finding::ok("nic", found + ", ready for the router"),
        Some(_) => Finding::ok("nic", found),
        None => Finding::warn("nic", found, "bind it to vfio-pci for the router"),
    }
}

/// The kernel's interfaces on a NIC: its own, or those of the virtio device on it.
fn interfaces(host: &Host, address: &str) -> Vec<String> {
    let device = format!("{DEVICES}/{address}");
    let virtio = host.names(&device).into_iter().filter(|name| name.starts_with("virtio"));
    let mut names = host.names(&format!("{device}/net"));
    names.extend(virtio.flat_map(|virtio| host.names(&format!("{device}/{virtio}/net"))));
    names
}

/// The interfaces of default routes, and those below them: of a bridge its ports.
fn default_routes(host: &Host) -> BTreeSet<String> {
    let v4 = host.text("/proc/net/route").unwrap_or_default();
    let v6 = host.text("/proc/net/ipv6_route").unwrap_or_default();
    let v4 = v4.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.len() > 7 && fields[1] == "00000000" && fields[7] == "00000000").then(|| fields[0].to_owned())
    });
    let v6 = v6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let default = fields.len() > 9 && fields[1] == "00" && fields[0].bytes().all(|byte| byte == b'0');
        (default && fields[9] != "lo").then(|| fields[9].to_owned())
    });
    let mut names = BTreeSet::new();
    v4.chain(v6).for_each(|name| with_lowers(host, name, &mut names));
    names
}

/// The interfaces by which the other ends of established SSH sessions are reached.
fn ssh_interfaces(host: &Host) -> BTreeSet<String> {
    let sessions = host.text("/proc/net/tcp").unwrap_or_default();
    let routes = host.text("/proc/net/route").unwrap_or_default();
    let peers = sessions.lines().filter_map(ssh_peer);
    let mut names = BTreeSet::new();
    peers.filter_map(|peer| route(&routes, peer)).for_each(|name| with_lowers(host, name, &mut names));
    names
}

/// The other end of an established session at SSH's port, as the kernel writes it: `LOCAL:PORT REMOTE:PORT STATE` behind
/// the number of the line.
fn ssh_peer(line: &str) -> Option<u32> {
    let mut fields = line.split_whitespace().skip(1);
    let (_, port) = fields.next()?.split_once(':')?;
    let (peer, _) = fields.next()?.split_once(':')?;
    let established = fields.next()? == "01";
    let ssh = u16::from_str_radix(port, 16).ok()? == SSH_PORT;
    if established && ssh { u32::from_str_radix(peer, 16).ok() } else { None }
}

/// The interface of the most specific route to `address`. Both are written by the kernel in the same byte order.
fn route(routes: &str, address: u32) -> Option<String> {
    let matching = routes.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let hex = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let (destination, mask) = (hex(1)?, hex(7)?);
        (address & mask == destination).then(|| (mask.count_ones(), fields[0].to_owned()))
    });
    matching.max_by_key(|(bits, _)| *bits).map(|(_, name)| name)
}

fn with_lowers(host: &Host, name: String, names: &mut BTreeSet<String>) {
    if !names.insert(name.clone()) {
        return;
    }
    for entry in host.names(&format!("/sys/class/net/{name}")) {
        if let Some(lower) = entry.strip_prefix("lower_") {
            with_lowers(host, lower.to_owned(), names);
        }
    }
}
