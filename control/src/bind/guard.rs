//! NICs that must not be taken from the kernel: whoever works on the machine would be cut off.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::kernel::Kernel;
use super::nic::Nic;

/// The port of SSH.
const SSH: u16 = 22;
/// `TCP_ESTABLISHED`, as /proc/net/tcp prints it.
const ESTABLISHED: &str = "01";
/// What the alias of an interface says (`ip link set eth0 alias management`) to keep it with the kernel.
const MARK: &str = "management";

/// Why a NIC stays with the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The interface that a default route leaves by.
    DefaultRoute(String),
    /// The interface that an SSH session came in by.
    Ssh(String),
    /// An interface marked by its alias.
    Marked(String),
}

impl Reason {
    /// Whether `--force` may override it.
    pub(super) fn yields_to_force(&self) -> bool {
        !matches!(self, Reason::DefaultRoute(_))
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::DefaultRoute(netdev) => write!(f, "the default route leaves by {netdev}"),
            Reason::Ssh(netdev) => write!(f, "an SSH session came in by {netdev} (--force takes it)"),
            Reason::Marked(netdev) => write!(f, "the alias of {netdev} says {MARK} (--force takes it)"),
        }
    }
}

/// Interfaces with a reason to be kept, those below them included: a default route by a bridge is one by its ports.
#[derive(Debug, Default)]
pub(super) struct Guard(Vec<(BTreeSet<String>, Reason)>);

impl Guard {
    /// Looks at routes, sessions and aliases.
    pub(super) fn look(kernel: &dyn Kernel) -> Self {
        let routes = default_routes(kernel).into_iter().map(Reason::DefaultRoute);
        let sessions = ssh_interfaces(kernel).into_iter().map(Reason::Ssh);
        let marked = marked(kernel).into_iter().map(Reason::Marked);
        let reasons = routes.chain(sessions).chain(marked);
        let with_lowers = |reason: Reason| {
            let (Reason::DefaultRoute(netdev) | Reason::Ssh(netdev) | Reason::Marked(netdev)) = &reason;
            let mut found = BTreeSet::new();
            add_with_lowers(kernel, netdev, &mut found);
            (found, reason)
        };
        Guard(reasons.map(with_lowers).collect())
    }

    /// Why this NIC stays; the strongest reason first.
    pub(super) fn reason(&self, nic: &Nic) -> Option<&Reason> {
        let keeps = |names: &BTreeSet<String>| nic.netdevs.iter().any(|netdev| names.contains(netdev));
        self.0.iter().find(|(names, _)| keeps(names)).map(|(_, reason)| reason)
    }
}

/// `netdev`, and every interface it stands on: ports of bridges, members of bonds, parents of VLANs.
fn add_with_lowers(kernel: &dyn Kernel, netdev: &str, found: &mut BTreeSet<String>) {
    if !found.insert(netdev.to_owned()) {
        return;
    }
    for name in kernel.list(&format!("/sys/class/net/{netdev}")) {
        if let Some(lower) = name.strip_prefix("lower_") {
            add_with_lowers(kernel, lower, found);
        }
    }
}

/// Interfaces of the default routes: /proc/net/route has interface, destination, gateway, flags, ..., mask as its
/// eighth field; /proc/net/ipv6_route has destination, its length, ..., flags and interface at the end.
fn default_routes(kernel: &dyn Kernel) -> BTreeSet<String> {
    /// `RTF_UP`; a reject route has `RTF_REJECT`.
    const UP: u32 = 0x1;
    const REJECT: u32 = 0x200;
    let leads_out =
        |flags: &str| u32::from_str_radix(flags, 16).is_ok_and(|f| f & UP != 0 && f & REJECT == 0);
    let mut found = BTreeSet::new();
    for line in kernel.read("/proc/net/route").unwrap_or_default().lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [netdev, "00000000", _, flags, _, _, _, "00000000", ..] = fields[..]
            && leads_out(flags)
        {
            found.insert(netdev.to_owned());
        }
    }
    for line in kernel.read("/proc/net/ipv6_route").unwrap_or_default().lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [destination, "00", _, _, _, _, _, _, flags, netdev] = fields[..]
            && destination.bytes().all(|b| b == b'0')
            && leads_out(flags)
            && netdev != "lo"
        {
            found.insert(netdev.to_owned());
        }
    }
    found
}

/// Interfaces with the addresses that SSH sessions came to: this shell's, and every established one.
fn ssh_interfaces(kernel: &dyn Kernel) -> BTreeSet<String> {
    let mut sessions: Vec<IpAddr> = Vec::new();
    // CLIENT PORT SERVER PORT
    let this = kernel.ssh_connection();
    sessions.extend(this.and_then(|text| text.split(' ').nth(2)?.parse::<IpAddr>().ok()));
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = kernel.read(file).unwrap_or_default();
        sessions.extend(text.lines().skip(1).filter_map(ssh_session));
    }
    let sessions: BTreeSet<IpAddr> = sessions.into_iter().map(|address| address.to_canonical()).collect();
    let addresses = kernel.addresses().into_iter();
    addresses.filter(|(name, a)| name != "lo" && sessions.contains(a)).map(|(name, _)| name).collect()
}

/// The local address of an established session at SSH's port: a line of /proc/net/tcp has number, local address and
/// port, remote ones, and the state.
fn ssh_session(line: &str) -> Option<IpAddr> {
    let mut fields = line.split_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    let ours = u16::from_str_radix(port, 16).ok()? == SSH && fields.nth(1)? == ESTABLISHED;
    if ours { hex_address(address) } else { None }
}

/// Words of four bytes, each as this machine's integers are, in hex.
fn hex_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let mut bytes = [0; 16];
            bytes.iter_mut().zip(words.as_flattened()).for_each(|(to, from)| *to = *from);
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

fn marked(kernel: &dyn Kernel) -> Vec<String> {
    let mut names = kernel.list("/sys/class/net");
    names.retain(|netdev| {
        let alias = kernel.word(&format!("/sys/class/net/{netdev}/ifalias"));
        alias.is_some_and(|alias| alias.eq_ignore_ascii_case(MARK))
    });
    names
}
