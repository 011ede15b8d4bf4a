//! What drivers are told because VLAN devices lie on their ports: tags to take out and put in, VLANs and hardware
//! addresses to let through.
//!
//! All of it follows from the device table that was published last, so nobody has to remember what to take back.

use std::collections::{BTreeMap, BTreeSet};

use skiff_dataplane::core::snapshot::Snapshot;
use skiff_dataplane::device::vlan::{MAX_NESTING, VlanOffload, VlanProto};
use skiff_dataplane::device::{DeviceKind, NetDevice};
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_pmd::{Port, PortInfo};

use super::{LONGEST_BURST, Router};

/// What the drivers of ports were told so far.
#[derive(Debug, Default)]
pub(super) struct PortFilters(BTreeMap<IfIndex, Told>);

#[derive(Debug, Default)]
struct Told {
    offload: VlanOffload,
    strips: bool,
    /// VLANs let through; none while there is no filter.
    vids: Option<BTreeSet<u16>>,
    macs: BTreeSet<MacAddr>,
    /// The driver did not take one of them.
    unheard: bool,
    /// It is promiscuous for what stands on it.
    promiscuous: bool,
    /// The driver was found wanting, and this was said.
    small_frames: bool,
}

/// What the devices on a port need of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    /// Protocols of the outer tags.
    protos: BTreeSet<VlanProto>,
    /// VLANs of the outer tags.
    vids: BTreeSet<u16>,
    /// Hardware addresses other than the port's.
    macs: BTreeSet<MacAddr>,
    /// A device on it is to receive everything.
    promiscuous: bool,
    /// Bytes of the largest packet with its tags.
    with_tags: u32,
}

impl PortFilters {
    /// A port that was just opened: some drivers take tags out from the start.
    pub(super) fn port_added(&mut self, dev: IfIndex, info: &PortInfo) {
        if info.strips_any_vlan() {
            let offload = VlanOffload { strips: Some(VlanProto::Dot1q), inserts: info.inserts_vlan() };
            self.0.insert(dev, Told { offload, strips: true, ..Told::default() });
        }
    }

    /// What the driver of a port does with tags.
    pub(super) fn offload(&self, dev: IfIndex) -> VlanOffload {
        self.0.get(&dev).map(|told| told.offload).unwrap_or_default()
    }
}

impl Router {
    /// Tells drivers what the devices of the snapshot in force need of their ports. What a driver cannot do is done in
    /// software, so a refusal is nobody's fault.
    pub(super) fn sync_port_filters(&mut self) {
        let promiscuous = |dev| self.rtnl.link(dev).is_some_and(|link| link.is_promisc());
        let wanted = wanted(&self.shared.snapshot(), promiscuous);
        let mut changed = false;
        for (&dev, want) in &wanted {
            let Some(handle) = self.ports.get(&dev) else { continue };
            let told = self.filters.0.entry(dev).or_default();
            let offload = offload(&handle.port.info(), want, told.offload);
            changed |= offload != told.offload;
            told.offload = offload;
        }
        if changed {
            // Lcores must know where tags can be before a driver puts them there.
            self.publish();
            self.settle(LONGEST_BURST);
        }
        for (dev, told) in &mut self.filters.0 {
            let Some(handle) = self.ports.get(dev) else { continue };
            let own = self.rtnl.link(*dev).is_some_and(|link| link.is_promisc());
            tell(&handle.port, told, &wanted.get(dev).cloned().unwrap_or_default(), own);
        }
    }
}

/// What the devices of a snapshot need of the ports they lie on; nothing of ports without VLANs.
fn wanted(snapshot: &Snapshot, promiscuous: impl Fn(IfIndex) -> bool) -> BTreeMap<IfIndex, Wanted> {
    let mut wanted: BTreeMap<IfIndex, Wanted> = BTreeMap::new();
    for device in snapshot.devices() {
        let Some((outer, depth)) = outermost(snapshot, device) else { continue };
        let Some(vlan) = &outer.vlan else { continue };
        for port in base_ports(snapshot, device) {
            let want = wanted.entry(port).or_default();
            want.protos.insert(vlan.proto);
            want.vids.insert(vlan.vid);
            if device.mac != snapshot.device(port).mac {
                want.macs.insert(device.mac);
            }
            want.promiscuous |= promiscuous(device.ifindex);
            want.with_tags = want.with_tags.max(u32::from(device.mtu) + 4 * depth as u32);
        }
    }
    wanted
}

/// The device of a VLAN device's outermost tag, and how many tags there are. `None` for other devices.
fn outermost<'a>(snapshot: &'a Snapshot, device: &'a NetDevice) -> Option<(&'a NetDevice, usize)> {
    let below = |device: &&'a NetDevice| device.vlan.as_ref().map(|vlan| snapshot.device(vlan.real_dev));
    let chain = std::iter::successors(Some(device), below).take(MAX_NESTING + 1);
    chain.filter(|device| device.vlan.is_some()).zip(1..).last()
}

/// The ports under a device: those of a bond, its own.
fn base_ports(snapshot: &Snapshot, device: &NetDevice) -> Vec<IfIndex> {
    let below = match outermost(snapshot, device).and_then(|(outer, _)| outer.vlan.clone()) {
        Some(vlan) => snapshot.device(vlan.real_dev),
        None => device,
    };
    match (&below.bond, below.kind) {
        (Some(bond), _) => bond.members.iter().map(|member| member.dev).collect(),
        (None, DeviceKind::Port(_)) => vec![below.ifindex],
        _ => Vec::new(),
    }
}

/// What the driver is to do with tags. Once it has taken some out it may have more of them in its ring, so that is for
/// good.
fn offload(info: &PortInfo, want: &Wanted, now: VlanOffload) -> VlanOffload {
    let strips = if info.strips_any_vlan() {
        // It does not tell which protocol a tag had: customer tags, unless there are none.
        want.protos.first().copied()
    } else {
        // Drivers look for customer tags only.
        want.protos.get(&VlanProto::Dot1q).copied().filter(|_| info.strips_vlan())
    };
    VlanOffload { strips: strips.or(now.strips), inserts: info.inserts_vlan() }
}

fn tell(port: &Port, told: &mut Told, want: &Wanted, promiscuous: bool) {
    let try_to =
        |result: Result<(), skiff_pmd::Error>| result.inspect_err(|error| tracing::debug!("{error}")).is_ok();
    if told.offload.strips.is_some() && !told.strips {
        told.strips = true;
        try_to(port.set_vlan_strip(true));
    }
    say_if_small(port, told, want);

    for mac in told.macs.difference(&want.macs) {
        try_to(port.remove_mac(mac.0));
    }
    for mac in want.macs.difference(&told.macs) {
        told.unheard |= !try_to(port.add_mac(mac.0));
    }
    told.unheard &= !want.macs.is_empty();
    told.macs.clone_from(&want.macs);

    let everything = want.promiscuous || told.unheard;
    if everything || told.promiscuous {
        try_to(port.set_promiscuous(everything || promiscuous));
    }
    told.promiscuous = everything;
    filter(port, told, want, everything || promiscuous);
}

/// Lets the wanted VLANs through and no others, if the driver can and nobody wants to see them all.
fn filter(port: &Port, told: &mut Told, want: &Wanted, everything: bool) {
    let wanted = (!want.vids.is_empty() && !everything && port.info().filters_vlan())
        .then(|| want.vids.iter().copied().chain([0]).collect::<BTreeSet<u16>>());
    if told.vids == wanted {
        return;
    }
    let result = match &wanted {
        None => port.set_vlan_filter(false),
        Some(vids) => {
            let before = told.vids.take().unwrap_or_default();
            let switch_on = || if before.is_empty() { port.set_vlan_filter(true) } else { Ok(()) };
            let gone = before.difference(vids).map(|vid| (*vid, false));
            let new = vids.difference(&before).map(|vid| (*vid, true));
            switch_on().and_then(|()| new.chain(gone).try_for_each(|(vid, on)| port.vlan_filter(vid, on)))
        }
    };
    told.vids = wanted;
    if let Err(error) = result {
        tracing::debug!("{error}");
        // Better all VLANs than too few.
        let _ = port.set_vlan_filter(false);
    }
}

/// Says once that frames of full size with their tags are larger than the driver says it takes. Drivers that do not even
/// count one header right are not believed.
fn say_if_small(port: &Port, told: &mut Told, want: &Wanted) {
    const HEADER_AND_CHECKSUM: u32 = 14 + 4;
    let largest = port.info().max_rx_frame;
    let untagged = u32::from(port.mtu()) + HEADER_AND_CHECKSUM;
    if !told.small_frames && (untagged..want.with_tags + HEADER_AND_CHECKSUM).contains(&largest) {
        told.small_frames = true;
        tracing::warn!(
            "{}: the driver takes frames of {largest} bytes, those of its VLANs have up to {}: lower the MTU of the VLANs",
            port.name(),
            want.with_tags + HEADER_AND_CHECKSUM,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skiff_dataplane::core::snapshot::Sysctl;
    use skiff_dataplane::device::bond::{Bond, BondMember, BondMode, XmitPolicy};
    use skiff_dataplane::device::vlan::Vlan;
    use skiff_pmd::PortId;

    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn device(ifindex: u16, kind: DeviceKind) -> NetDevice {
        NetDevice { ifindex: IfIndex(ifindex), kind, mac: MAC, mtu: 1500, ..NetDevice::absent() }
    }

    fn port(ifindex: u16) -> NetDevice {
        device(ifindex, DeviceKind::Port(PortId(ifindex)))
    }

    fn vlan(ifindex: u16, on: u16, proto: VlanProto, vid: u16) -> NetDevice {
        let real_dev = IfIndex(on);
        let vlan = Vlan { real_dev, proto, vid, reorder_hdr: true, ingress: [0; 8], egress: vec![] };
        NetDevice { vlan: Some(Arc::new(vlan)), ..device(ifindex, DeviceKind::Vlan) }
    }

    fn bond(ifindex: u16, members: &[u16]) -> NetDevice {
        let member = |dev: &u16| BondMember { dev: IfIndex(*dev), transmits: true, receives: true };
        let bond = Bond {
            mode: BondMode::ActiveBackup,
            policy: XmitPolicy::Layer2,
            packets_per_slave: 1,
            all_slaves_active: false,
            members: members.iter().map(member).collect(),
            active: None,
        };
        NetDevice { bond: Some(Arc::new(bond)), ..device(ifindex, DeviceKind::Bond) }
    }

    fn snapshot(devices: Vec<NetDevice>) -> Snapshot {
        Snapshot::new(1, devices, Sysctl::default(), false)
    }

    #[test]
    fn ports_without_vlans_are_told_nothing() {
        assert!(wanted(&snapshot(vec![port(2), bond(3, &[2])]), |_| true).is_empty());
    }

    #[test]
    fn a_port_lets_the_outer_tags_through() {
        let own = NetDevice { mac: OWN, ..vlan(6, 5, VlanProto::Dot1q, 10) };
        let devices =
            vec![port(2), port(3), vlan(4, 2, VlanProto::Dot1q, 7), vlan(5, 2, VlanProto::Dot1ad, 100), own];
        let wanted = wanted(&snapshot(devices), |dev| dev == IfIndex(6));
        let want = Wanted {
            protos: VlanProto::ALL.into(),
            vids: [7, 100].into(),
            macs: [OWN].into(),
            promiscuous: true,
            with_tags: 1508,
        };
        assert_eq!(wanted, BTreeMap::from([(IfIndex(2), want)]));
    }

    #[test]
    fn a_bond_passes_it_on_to_its_members() {
        let snapshot = snapshot(vec![port(2), port(3), bond(4, &[2, 3]), vlan(5, 4, VlanProto::Dot1q, 10)]);
        let wanted = wanted(&snapshot, |_| false);
        assert_eq!(wanted.keys().copied().collect::<Vec<_>>(), [IfIndex(2), IfIndex(3)]);
        assert!(wanted.values().all(|want| want.vids == [10].into() && want.macs.is_empty()));
    }

    #[test]
    fn tags_are_taken_for_what_the_driver_can_have_taken() {
        use skiff_pmd::{RxOffload, TxOffload};
        let info = |driver: &str, rx, tx| PortInfo {
            driver: driver.into(),
            rx_offload_capa: rx,
            tx_offloads: tx,
            ..PortInfo::default()
        };
        let want =
            |protos: &[VlanProto]| Wanted { protos: protos.iter().copied().collect(), ..Wanted::default() };
        let strips = |info: &PortInfo, protos: &[VlanProto], now| {
            offload(info, &want(protos), VlanOffload { strips: now, inserts: false }).strips
        };
        let (c, s) = (VlanProto::Dot1q, VlanProto::Dot1ad);
        let nic = info("net_e1000_igb", RxOffload::VLAN_STRIP, TxOffload::VLAN_INSERT);
        assert_eq!([strips(&nic, &[c, s], None), strips(&nic, &[s], None)], [Some(c), None]);
        assert_eq!(strips(&nic, &[], Some(c)), Some(c), "what is in its ring has none");
        let kernels = PortInfo {
            rx_offloads: RxOffload::VLAN_STRIP,
            ..info("net_af_packet", RxOffload::VLAN_STRIP, TxOffload::empty())
        };
        assert_eq!([strips(&kernels, &[c, s], None), strips(&kernels, &[s], None)], [Some(c), Some(s)]);
        assert_eq!(strips(&info("net_ring", RxOffload::empty(), TxOffload::empty()), &[c], None), None);
        assert!(offload(&nic, &want(&[c]), VlanOffload::default()).inserts);
        assert!(!offload(&kernels, &want(&[c]), VlanOffload::default()).inserts);
    }
}
