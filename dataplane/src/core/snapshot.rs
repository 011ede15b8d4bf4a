//! The configuration lcores read: one immutable value, replaced whole.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::capture::{Captures, Direction, Directions};
use super::counters::{MAX_DEVICES, MAX_PORTS};
use super::trace::TraceArm;
use crate::device::vlan::{MAX_NESTING, VlanGroup, VlanOffload};
use crate::device::{DeviceKind, NetDevice};
use crate::ipv4::ipmr::Multicast;
use crate::neigh::proxies::ProxyAddresses;
use crate::net::IfIndex;
use crate::netfilter::hooks::Hooks;

/// Router-wide settings, by the kernel's names (`net.ipv4.*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// TTL of packets of our own.
    pub ip_default_ttl: u8,
    /// Ignore echo requests.
    pub icmp_echo_ignore_all: bool,
    /// Ignore echo requests to broadcast and multicast addresses.
    pub icmp_echo_ignore_broadcasts: bool,
    /// Errors carry the primary address of the device the packet came in by.
    pub icmp_errors_use_inbound_ifaddr: bool,
    /// Say nothing of ICMP errors about packets to broadcast addresses, and take them like others.
    pub icmp_ignore_bogus_error_responses: bool,
    /// Answer extended echo requests (RFC 8335).
    pub icmp_echo_enable_probe: bool,
    /// What the hash of a multipath route covers: 0 addresses, 1 addresses, protocol and ports, 2 addresses inside
    /// tunnels, 3 what `fib_multipath_hash_fields` says.
    pub fib_multipath_hash_policy: u8,
    /// What policy 3 covers: bits of `fib_multipath_hash_fields`.
    pub fib_multipath_hash_fields: u32,
    /// Pass over next hops whose neighbour is known not to answer.
    pub fib_multipath_use_neigh: bool,
    /// Seed of that hash.
    pub fib_multipath_hash_seed: u64,
    /// Set the packet's priority from its TOS when forwarding.
    pub ip_forward_update_priority: bool,
    /// Most memory that fragments may take, bytes.
    pub ipfrag_high_thresh: u32,
    /// Seconds a datagram's fragments may take to come.
    pub ipfrag_time: u32,
    /// Fragments of the same source that may come between two of one datagram; 0 for any number.
    pub ipfrag_max_dist: u32,
}

impl Default for Sysctl {
    fn default() -> Self {
        Sysctl {
            ip_default_ttl: 64,
            icmp_echo_ignore_all: false,
            icmp_echo_ignore_broadcasts: true,
            icmp_errors_use_inbound_ifaddr: false,
            icmp_ignore_bogus_error_responses: true,
            icmp_echo_enable_probe: false,
            fib_multipath_hash_policy: 0,
            fib_multipath_hash_fields: 7,
            fib_multipath_use_neigh: false,
            fib_multipath_hash_seed: 0,
            ip_forward_update_priority: true,
            ipfrag_high_thresh: 4 << 20,
            ipfrag_time: 30,
            ipfrag_max_dist: 64,
        }
    }
}

/// A thousand answers, a byte each: testing one takes an instruction less than testing a bit.
#[derive(Clone, Debug)]
struct Filter([bool; 1024]);

impl Default for Filter {
    fn default() -> Self {
        Filter([false; 1024])
    }
}

/// The set of our own unicast addresses, quick at saying no.
#[derive(Clone, Debug, Default)]
pub struct LocalAddresses {
    /// By hash: whether any address falls there.
    filter: Filter,
    exact: HashSet<u32>,
}

impl LocalAddresses {
    /// Adds an address, host byte order.
    pub fn insert(&mut self, addr: u32) {
        self.filter.0[Self::place(addr)] = true;
        self.exact.insert(addr);
    }

    /// True if `addr` is one of ours. A miss costs one load in all but 1 of a thousand cases per address held.
    #[inline]
    pub fn contains(&self, addr: u32) -> bool {
        self.filter.0[Self::place(addr)] && self.exact.contains(&addr)
    }

    #[inline]
    fn place(addr: u32) -> usize {
        (addr.wrapping_mul(0x9e37_79b1) >> 22) as usize
    }
}

/// Everything an lcore needs to know that changes only by configuration.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts up with each publication.
    pub generation: u64,
    /// Settings of the router.
    pub sysctl: Sysctl,
    /// Our own addresses.
    pub local: LocalAddresses,
    /// Measure the cycles of every stage.
    pub stage_timing: bool,
    /// Who wants copies of packets.
    pub(crate) captures: Captures,
    /// Of which directions: beside the other bytes that every burst looks at.
    taps: Directions,
    /// Who looks at packets, and where.
    pub hooks: Hooks,
    /// Joined groups and the multicast forwarding cache.
    pub multicast: Arc<Multicast>,
    /// Whom we answer ARP for by the operator's will.
    pub proxies: ProxyAddresses,
    /// There are VLAN devices.
    pub has_vlans: bool,
    /// Packets to be traced.
    pub trace: Option<Arc<TraceArm>>,
    /// By number, as far as there are any.
    devices: Vec<NetDevice>,
    absent: NetDevice,
    by_port: [IfIndex; MAX_PORTS],
}

impl Snapshot {
    /// A snapshot of these devices, each at the place its number names.
    pub fn new(
        generation: u64,
        devices: impl IntoIterator<Item = NetDevice>,
        sysctl: Sysctl,
        stage_timing: bool,
    ) -> Self {
        let mut table: Vec<NetDevice> = Vec::new();
        let mut by_port = [IfIndex::NONE; MAX_PORTS];
        let mut local = LocalAddresses::default();
        for device in devices {
            if let DeviceKind::Port(port) = device.kind {
                by_port[usize::from(port.0) % MAX_PORTS] = device.ifindex;
            }
            for address in &device.addresses {
                local.insert(address.net.addr().to_bits());
            }
            let at = device.ifindex.index() % MAX_DEVICES;
            if at >= table.len() {
                table.resize_with(at + 1, NetDevice::absent);
            }
            table[at] = device;
        }
        stack(&mut table);
        Snapshot {
            generation,
            sysctl,
            local,
            stage_timing,
            captures: Captures::default(),
            taps: Directions::default(),
            hooks: Hooks::default(),
            multicast: Arc::default(),
            proxies: ProxyAddresses::default(),
            trace: None,
            has_vlans: table.iter().any(|device| device.vlan.is_some()),
            devices: table,
            absent: NetDevice::absent(),
            by_port,
        }
    }

    /// The same with these hook functions.
    pub fn with_hooks(self, mut hooks: Hooks) -> Self {
        hooks.set_tracing(self.trace.is_some());
        Snapshot { hooks, ..self }
    }

    /// The same with these packets to be traced.
    pub fn with_trace(mut self, trace: Option<Arc<TraceArm>>) -> Self {
        self.hooks.set_tracing(trace.is_some());
        Snapshot { trace, ..self }
    }

    /// The same with these captures.
    pub fn with_captures(self, captures: Captures) -> Self {
        Snapshot { taps: captures.taps(), captures, ..self }
    }

    /// Whether a capture wants packets of this direction.
    #[inline]
    pub fn taps(&self, direction: Direction) -> bool {
        self.taps.has(direction)
    }

    /// The same with these groups and this multicast forwarding cache.
    pub fn with_multicast(self, multicast: Arc<Multicast>) -> Self {
        Snapshot { multicast, ..self }
    }

    /// The device of that number; an absent one, which is down, if there is none.
    #[inline]
    pub fn device(&self, dev: IfIndex) -> &NetDevice {
        self.devices.get(dev.index()).unwrap_or(&self.absent)
    }

    /// The device on top of a DPDK port.
    #[inline]
    pub fn by_port(&self, port: u16) -> IfIndex {
        self.by_port[usize::from(port) % MAX_PORTS]
    }

    /// All devices there are.
    pub fn devices(&self) -> impl Iterator<Item = &NetDevice> {
        self.devices.iter().filter(|d| d.kind != DeviceKind::Absent)
    }
}

/// Tells each device what lies on it.
fn stack(table: &mut [NetDevice]) {
    let mut groups: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    let mut masters = Vec::new();
    for bond in table.iter_mut().filter_map(|device| device.bond.as_mut()) {
        Arc::make_mut(bond).prepare();
    }
    for device in table.iter() {
        if let Some(vlan) = device.vlan.as_ref().filter(|_| nesting(table, device) <= MAX_NESTING) {
            groups.entry(vlan.real_dev.index()).or_default().push((vlan.proto, vlan.vid, device.ifindex));
        }
        if let Some(bond) = &device.bond {
            masters.extend(bond.members.iter().map(|member| (member.dev.index(), device.ifindex)));
        }
    }
    for (at, vlans) in groups {
        if let Some(device) = table.get_mut(at).filter(|device| device.kind != DeviceKind::Absent) {
            device.vlans = Some(VlanGroup::new(vlans));
        }
    }
    for (at, master) in masters {
        // A bond is no member of another, whatever is asked: what is received goes up one step and ends.
        if let Some(device) = table.get_mut(at).filter(|device| device.bond.is_none()) {
            device.master = master;
        }
    }
    let offloads: Vec<VlanOffload> = table.iter().map(|device| vlan_offload(table, device)).collect();
    for (device, offload) in table.iter_mut().zip(offloads) {
        device.vlan_offload = offload;
        device.untags = device.vlans.is_some() || offload.strips.is_some();
    }
}

/// How many VLAN devices there are from this one down to what they lie on, itself included.
fn nesting(table: &[NetDevice], device: &NetDevice) -> usize {
    let below = |device: &&NetDevice| table.get(device.vlan.as_ref()?.real_dev.index());
    let chain = std::iter::successors(Some(device), below);
    chain.take(MAX_NESTING + 1).filter(|device| device.vlan.is_some()).count()
}

/// What is done with tags under a device. A bond does what its members do; inserting is asked of a driver only where
/// packets can come from a VLAN device.
fn vlan_offload(table: &[NetDevice], device: &NetDevice) -> VlanOffload {
    let members =
        || device.bond.iter().flat_map(|bond| &bond.members).filter_map(|m| table.get(m.dev.index()));
    let above = table.get(device.master.index()).filter(|_| device.master != IfIndex::NONE);
    let has_vlans = device.vlans.is_some() || above.is_some_and(|bond| bond.vlans.is_some());
    match device.kind {
        DeviceKind::Port(_) => {
            VlanOffload { inserts: device.vlan_offload.inserts && has_vlans, ..device.vlan_offload }
        }
        DeviceKind::Bond => VlanOffload {
            strips: members().find_map(|member| member.vlan_offload.strips),
            inserts: has_vlans && members().count() > 0 && members().all(|m| m.vlan_offload.inserts),
        },
        _ => VlanOffload::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_exactly_those_inserted() {
        let mut set = LocalAddresses::default();
        for a in (0..64u32).map(|i| 0x0a00_0001 + (i << 8)) {
            set.insert(a);
        }
        for a in 0x0a00_0000..0x0a00_8000u32 {
            assert_eq!(set.contains(a), a & 0xff == 1 && (a >> 8) & 0xff < 64, "{a:#x}");
        }
    }
}
