//! What holds between the parts of a configuration: names that must exist, things that can be held once, gateways
//! that must be reachable. Every part has been read and is right by itself.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::device::Device;
use super::diag::{At, Fault, Pos, Source, quote};
use super::model::{Bond, Config, DEFAULT_MTU, Interface, InterfaceKind, NextHop, Oif, RouteAction, Vlan};

/// Most interfaces one on the other.
const MAX_NESTING: usize = 8;

/// Reports every mistake between the parts of `config`.
///
/// `names` are all interfaces of the file, also those whose own mistakes kept them out of `config`: a reference
/// to one of them is no second mistake.
/// `addresses_are_known` is false if one of them had a mistake in its addresses or was left out: the subnet a
/// gateway is on may then be the one that is missing.
pub(super) fn check(source: &Source<'_>, names: &[&str], addresses_are_known: bool, config: &Config) {
    let (known, subnets) = (names.iter().copied().collect(), Subnets::of(config));
    let cross = Cross { source, names, known, addresses_are_known, subnets };
    cross.devices(config);
    cross.addresses(config);
    cross.uppers(config);
    cross.routes(config);
    cross.neighbours(config);
    cross.mroutes(config);
    cross.igmp_proxy(config);
    cross.sysctls(config);
}

struct Cross<'a> {
    source: &'a Source<'a>,
    names: &'a [&'a str],
    known: HashSet<&'a str>,
    addresses_are_known: bool,
    subnets: Subnets<'a>,
}

impl Cross<'_> {
    /// A device, a kernel interface or a socket serves one interface.
    fn devices(&self, config: &Config) {
        let mut held = Once::default();
        for interface in &config.interfaces {
            let Some(port) = interface.port() else { continue };
            for claim in port.device.claims() {
                if let Some((owner, _)) = held.claim(claim.clone(), &interface.name) {
                    self.source
                        .report(port.device.pos, format!("{claim} is already used by {}", quote(owner)));
                }
            }
            if let (Some(most), Some(mtu)) = (port.device.max_mtu(), interface.mtu)
                && mtu.value > most
            {
                let fault =
                    format!("\"mtu\" {} is more than the {most} an AF_PACKET socket takes", mtu.value);
                self.source.report(mtu.pos, fault);
            }
            if let (Device::Netdev(_), Some(tx)) = (&port.device.value, port.tx_queues)
                && tx.value > port.rx_queues.value
            {
                let fault =
                    Fault::from("a netdev has queue pairs: \"tx-queues\" cannot exceed \"rx-queues\"");
                self.source.report(tx.pos, fault.help(format!("{} here", port.rx_queues.value)));
            }
        }
    }

    /// An address is ours once.
    fn addresses(&self, config: &Config) {
        let mut held = Once::default();
        for interface in &config.interfaces {
            for address in &interface.addresses {
                if let Some((owner, first)) =
                    held.claim(address.addr(), &At::new(interface.name.value.clone(), address.pos))
                {
                    let fault = format!(
                        "{} is already an address of {} (line {})",
                        address.addr(),
                        quote(owner),
                        first.line
                    );
                    self.source.report(address.pos, fault);
                }
            }
        }
    }

    /// VLANs stand on interfaces that exist, bonds on members that are theirs alone.
    fn uppers(&self, config: &Config) {
        let mut tags = Once::default();
        let mut members = Once::default();
        for interface in &config.interfaces {
            match &interface.kind {
                InterfaceKind::Port(_) => {}
                InterfaceKind::Vlan(vlan) => {
                    self.lower(interface, &vlan.parent);
                    self.nesting(config, interface, vlan);
                    let key = (vlan.parent.value.clone(), vlan.protocol.value, vlan.id.value);
                    if let Some((owner, _)) = tags.claim(key, &interface.name) {
                        let (id, parent) = (vlan.id.value, quote(&vlan.parent));
                        self.source.report(
                            vlan.id.pos,
                            format!("VLAN {id} of {parent} is already taken by {}", quote(owner)),
                        );
                    }
                    self.vlan_mtu(config, interface, &vlan.parent);
                }
                InterfaceKind::Bond(bond) => {
                    for member in &bond.members {
                        self.lower(interface, member);
                        self.bond_member(config, member);
                        if let Some((owner, _)) = members.claim(member.value.clone(), &interface.name) {
                            let fault = format!("{} is already a member of {}", quote(member), quote(owner));
                            self.source.report(member.pos, fault);
                        }
                    }
                    self.primary(bond);
                }
            }
        }
    }

    fn lower(&self, upper: &Interface, lower: &At<String>) {
        if lower.value == upper.name.value {
            self.source.report(lower.pos, format!("{} cannot stand on itself", quote(lower)));
        } else {
            self.device(lower);
        }
    }

    /// A stack of VLANs has a bottom, and is no higher than devices can lie one on the other.
    fn nesting(&self, config: &Config, interface: &Interface, vlan: &Vlan) {
        let mut below = vlan.parent.value.as_str();
        for _ in 1..MAX_NESTING {
            match config.interface(below).map(|interface| &interface.kind) {
                Some(InterfaceKind::Vlan(vlan)) => below = vlan.parent.value.as_str(),
                _ => return,
            }
            if below == interface.name.value && vlan.parent.value != interface.name.value {
                let fault = format!(
                    "{} stands on {}, which stands on it",
                    quote(&interface.name),
                    quote(&vlan.parent)
                );
                return self.source.report(vlan.parent.pos, fault);
            }
        }
        if vlan.parent.value != interface.name.value {
            let fault = format!("{} is more than {MAX_NESTING} interfaces high", quote(&interface.name));
            self.source.report(vlan.parent.pos, fault);
        }
    }

    /// The preferred member is one.
    fn primary(&self, bond: &Bond) {
        let Some(primary) = bond.options.get("primary") else { return };
        let members = || bond.members.iter().map(|member| member.value.as_str());
        if !members().any(|member| member == primary.value) {
            let fault = Fault::from(format!("{} is not a member of the bond", quote(primary)));
            self.source.report(primary.pos, fault.nearest(primary, members()));
        }
    }

    fn vlan_mtu(&self, config: &Config, vlan: &Interface, parent: &str) {
        let (Some(mtu), Some(parent)) = (vlan.mtu, config.interface(parent)) else { return };
        let most = parent.mtu.map_or(DEFAULT_MTU, |mtu| mtu.value);
        if mtu.value > most && parent.port().is_some() {
            let fault = format!("\"mtu\" {} is more than the {most} of {}", mtu.value, quote(&parent.name));
            self.source.report(mtu.pos, fault);
        }
    }

    fn bond_member(&self, config: &Config, member: &At<String>) {
        let Some(interface) = config.interface(member) else { return };
        if let Some(address) = interface.addresses.first() {
            self.source
                .report(address.pos, format!("{} is a bond member and has no addresses", quote(member)));
        }
        let kind = match interface.kind {
            InterfaceKind::Port(_) => return,
            InterfaceKind::Vlan(_) => "vlan",
            InterfaceKind::Bond(_) => "bond",
        };
        self.source.report(member.pos, format!("{} is a {kind} and cannot be a bond member", quote(member)));
    }

    fn routes(&self, config: &Config) {
        let mut held = Once::default();
        for route in &config.routes {
            let key = (route.to.value, route.metric.value);
            if let Some((_, first)) = held.claim(key, &At::new(String::new(), route.to.pos)) {
                let metric = route.metric.value;
                let fault =
                    Fault::from(format!("a route to {} is already on line {}", route.to.value, first.line));
                self.source.report(route.to.pos, fault.help(format!("both with metric {metric}")));
            }
            if let RouteAction::Unicast(nexthops) = &route.action {
                nexthops.iter().for_each(|nexthop| self.nexthop(nexthop));
            }
            if let Some(src) = route.src
                && !self.subnets.own.contains(&src.value)
            {
                self.source.report(src.pos, format!("{} is not an address of this router", src.value));
            }
        }
    }

    fn nexthop(&self, nexthop: &NextHop) {
        let dev_is_known = nexthop.dev.as_ref().is_none_or(|dev| self.device(dev));
        let Some(via) = nexthop.via else { return };
        if self.subnets.own.contains(&via.value) {
            self.source.report(via.pos, format!("gateway {} is this router's own address", via.value));
            return;
        }
        match &nexthop.dev {
            Some(dev)
                if dev_is_known && self.addresses_are_known && !self.subnets.hold(via.value, Some(dev)) =>
            {
                self.source
                    .report(via.pos, format!("gateway {} is on no subnet of {}", via.value, quote(dev)));
            }
            None if self.addresses_are_known && !self.subnets.hold(via.value, None) => {
                self.source.report(via.pos, format!("gateway {} is on no connected subnet", via.value));
            }
            _ => {}
        }
    }

    fn neighbours(&self, config: &Config) {
        let mut held = Once::default();
        for neighbour in &config.neighbours {
            self.device(&neighbour.dev);
            let (address, dev) = (neighbour.address, &neighbour.dev);
            if self.subnets.own.contains(&address.value) {
                self.source.report(address.pos, format!("{} is this router's own address", address.value));
            }
            let key = (address.value, dev.value.clone());
            if let Some((_, first)) = held.claim(key, &At::new(String::new(), address.pos)) {
                let fault = format!("{} on {} is already on line {}", address.value, quote(dev), first.line);
                self.source.report(address.pos, fault);
            }
        }
    }

    fn mroutes(&self, config: &Config) {
        let mut held = Once::default();
        for route in &config.mroutes {
            self.device(&route.iif);
            self.oifs(&route.oifs, route.source.is_some().then_some(&route.iif));
            let key = (route.group.value, route.source.map(|source| source.value));
            if let Some((_, first)) = held.claim(key, &At::new(String::new(), route.group.pos)) {
                let fault =
                    format!("a route for group {} is already on line {}", route.group.value, first.line);
                self.source.report(route.group.pos, fault);
            }
        }
    }

    /// Every interface once, none of them the one packets come in by.
    fn oifs(&self, oifs: &[Oif], iif: Option<&At<String>>) {
        let mut held = Once::default();
        for oif in oifs {
            self.device(&oif.dev);
            if iif.is_some_and(|iif| iif.value == oif.dev.value) {
                self.source.report(oif.dev.pos, format!("packets come in by {}", quote(&oif.dev)));
            }
            if held.claim(oif.dev.value.clone(), &oif.dev).is_some() {
                self.source.report(oif.dev.pos, format!("{} is listed twice", quote(&oif.dev)));
            }
        }
    }

    fn igmp_proxy(&self, config: &Config) {
        let Some(proxy) = &config.igmp_proxy else { return };
        self.device(&proxy.upstream);
        self.oifs(&proxy.downstream, None);
        for oif in proxy.downstream.iter().filter(|oif| oif.dev.value == proxy.upstream.value) {
            self.source.report(oif.dev.pos, format!("{} is the upstream interface", quote(&oif.dev)));
        }
        for oif in &proxy.downstream {
            let known = config.interface(&oif.dev.value);
            if self.addresses_are_known && known.is_some_and(|interface| interface.addresses.is_empty()) {
                let fault = format!("{} has no address: a querier needs one", quote(&oif.dev));
                self.source.report(oif.dev.pos, fault);
            }
        }
    }

    fn sysctls(&self, config: &Config) {
        let mut held = Once::default();
        for sysctl in &config.sysctl {
            if let Some(dev) = sysctl.scope.dev() {
                self.device(&At::new(dev.to_owned(), sysctl.name.pos));
            }
            let key = (sysctl.scope.clone(), sysctl.param);
            if let Some((_, first)) = held.claim(key, &sysctl.name) {
                let fault = format!("{} is already set on line {}", quote(&sysctl.name), first.line);
                self.source.report(sysctl.name.pos, fault);
            }
        }
    }

    /// Reports a name that no interface has; true if one has it.
    fn device(&self, name: &At<String>) -> bool {
        let known = self.known.contains(name.value.as_str());
        if !known {
            let fault = Fault::from(format!("there is no interface {}", quote(name)));
            self.source.report(name.pos, fault.nearest(name, self.names.iter().copied()));
        }
        known
    }
}

/// Things that can be held once, with the name and place of their first holder.
struct Once<K>(HashMap<K, At<String>>);

impl<K> Default for Once<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Once<K> {
    /// Takes `key` for `holder`; gives back the holder it already has.
    fn claim(&mut self, key: K, holder: &At<String>) -> Option<(&str, Pos)> {
        match self.0.entry(key) {
            Entry::Occupied(held) => {
                let holder = held.into_mut();
                Some((&holder.value, holder.pos))
            }
            Entry::Vacant(free) => {
                free.insert(holder.clone());
                None
            }
        }
    }
}

/// Our own addresses and the subnets they connect us to, by interface.
struct Subnets<'a> {
    own: HashSet<Ipv4Addr>,
    nets: HashSet<Ipv4Net>,
    nets_of: HashSet<(&'a str, Ipv4Net)>,
    /// Prefix lengths that occur, so that a search asks for no others.
    lengths: BTreeSet<u8>,
}

impl<'a> Subnets<'a> {
    fn of(config: &'a Config) -> Self {
        let mut subnets = Subnets {
            own: HashSet::new(),
            nets: HashSet::new(),
            nets_of: HashSet::new(),
            lengths: BTreeSet::new(),
        };
        for interface in &config.interfaces {
            for address in &interface.addresses {
                let net = address.trunc();
                subnets.own.insert(address.addr());
                subnets.nets.insert(net);
                subnets.nets_of.insert((&interface.name.value, net));
                subnets.lengths.insert(net.prefix_len());
            }
        }
        subnets
    }

    /// Whether `address` is on a subnet of `dev`, or of any interface.
    fn hold(&self, address: Ipv4Addr, dev: Option<&str>) -> bool {
        let around = |&length: &u8| Ipv4Net::new(address, length).map(|net| net.trunc()).ok();
        self.lengths.iter().filter_map(around).any(|net| match dev {
            Some(dev) => self.nets_of.contains(&(dev, net)),
            None => self.nets.contains(&net),
        })
    }
}
