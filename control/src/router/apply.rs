//! A configuration onto the running router: what the file had before and has no more goes, what it has comes.

use skiff_dataplane::neigh::cache::SetMode;
use skiff_dataplane::neigh::nud::Nud;
use skiff_dataplane::net::{IfIndex, MacAddr};

use super::settings::Settings;
use super::{PortHandle, Router, bits};
use crate::config::{At, Config, Diagnostic, Interface, Neighbour, NextHop, Pos, Route, RouteAction};
use crate::ip::{
    AddrSpec, AddrVerb, Metrics, NextHopSpec, Protocol, Refusal, RouteSpec, RouteType, RouteVerb,
};
use crate::rtnl::{Effects, LinkInit, LinkKind};

impl Router {
    /// Adds a device on a port that was opened for `interface`.
    ///
    /// # Errors
    /// The name or MTU is not to the model's taste.
    pub fn add_port(&mut self, interface: &Interface, handle: PortHandle) -> Result<IfIndex, Refusal> {
        let info = handle.port.info();
        let init = LinkInit {
            name: interface.name.value.clone(),
            mac: interface.mac.as_ref().map_or(MacAddr(handle.port.mac()), |mac| mac.value),
            mtu: u32::from(interface.mtu.as_ref().map_or(handle.port.mtu(), |mtu| mtu.value)),
            min_mtu: u32::from(info.min_mtu.max(68)),
            max_mtu: u32::from(info.max_mtu),
            kind: LinkKind::Port,
            carrier: handle.port.link().up,
            rx_queues: handle.rx_lcores.len() as u32,
            tx_queues: u32::from(handle.tx_queues),
        };
        let (dev, effects) = self.rtnl.add_link(init)?;
        self.ports.insert(dev, handle);
        self.filters.port_added(dev, &info);
        self.carry_out(effects);
        Ok(dev)
    }

    /// Makes `config` the configuration in force. The ports of both must be the same.
    ///
    /// # Errors
    /// Everything that was refused, at its place in the file; the rest is in force all the same.
    pub fn apply(&mut self, config: Config) -> Result<(), Vec<Diagnostic>> {
        let mut faults = self.ports_differ(&config);
        if !faults.is_empty() {
            self.applies.refused += 1;
            self.applies.last_ok = false;
            return Err(faults);
        }
        let old = self.config.take();
        self.apply_settings(&config);
        self.stage_timing = config.metrics.as_ref().is_some_and(|metrics| metrics.stage_timing.value);
        if let Some(old) = &old {
            self.remove_obsolete(old, &config);
        }
        self.remove_uppers(old.as_ref(), &config);
        let mut complain = |at: Pos, what: String, refusal: Refusal| {
            faults.push(config.diagnostic(at, format!("{what}: {refusal}")));
        };
        for interface in config.interfaces.iter().filter(|interface| interface.port().is_some()) {
            if let Err(refusal) = self.apply_link(interface) {
                complain(interface.name.pos, format!("interface \"{}\"", interface.name.value), refusal);
            }
        }
        self.apply_uppers(old.as_ref(), &config, &mut faults);
        let mut complain = |at: Pos, what: String, refusal: Refusal| {
            faults.push(config.diagnostic(at, format!("{what}: {refusal}")));
        };
        let mut effects = Effects::default();
        for interface in &config.interfaces {
            for address in &interface.addresses {
                if let Err(refusal) = self.apply_address(interface, address, &mut effects) {
                    complain(address.pos, format!("address {}", address.value), refusal);
                }
            }
        }
        self.carry_out(effects);
        for route in &config.routes {
            if let Err(refusal) = self.apply_route(route) {
                complain(route.to.pos, format!("route {}", route.to.value), refusal);
            }
        }
        for neighbour in &config.neighbours {
            if let Err(refusal) = self.apply_neighbour(neighbour) {
                complain(neighbour.address.pos, format!("neighbour {}", neighbour.address.value), refusal);
            }
        }
        if let Err(fault) = self.apply_netfilter(old.as_ref(), &config) {
            faults.push(fault);
        }
        if let Err(fault) = self.apply_traffic_control(old.as_ref(), &config) {
            faults.push(fault);
        }
        self.apply_multicast(old.as_ref(), &config, &mut faults);
        self.config = Some(config);
        self.applies.last_ok = faults.is_empty();
        if faults.is_empty() {
            self.applies.applied += 1;
            self.applies.last_applied = crate::daemon::unix_now();
            Ok(())
        } else {
            self.applies.refused += 1;
            Err(faults)
        }
    }

    /// The devices a new file may not change while the router runs.
    fn ports_differ(&self, config: &Config) -> Vec<Diagnostic> {
        let known = |interface: &&Interface| self.rtnl.link_by_name(&interface.name.value).is_some();
        let mut faults: Vec<Diagnostic> = config
            .interfaces
            .iter()
            .filter(|interface| interface.port().is_some() && !known(interface))
            .map(|i| {
                config.diagnostic(
                    i.name.pos,
                    format!("interface \"{}\" is new: restart to open its port", i.name.value),
                )
            })
            .collect();
        let Some(old) = &self.config else { return faults };
        for interface in old.interfaces.iter().filter(|interface| interface.port().is_some()) {
            let name = &interface.name.value;
            match config.interface(name) {
                Some(new) if new.kind == interface.kind => {}
                Some(new) => faults.push(config.diagnostic(
                    new.name.pos,
                    format!("interface \"{name}\" has another port: restart to change it"),
                )),
                None => faults.push(config.diagnostic(
                    Pos { line: 1, col: 1 },
                    format!("interface \"{name}\" is gone: restart to close its port"),
                )),
            }
        }
        faults
    }

    fn apply_settings(&mut self, config: &Config) {
        let settings = Settings::new(&config.sysctl);
        self.sysctl = settings.router();
        settings.limit_icmp(&self.shared.icmp_limit.params);
        self.neigh.set_gc(settings.gc());
        let mut weighed_anew = Effects::default();
        let devices: Vec<IfIndex> = self.rtnl.links().map(|link| link.ifindex()).collect();
        for dev in devices {
            weighed_anew.extend(self.equip(&settings, dev));
        }
        self.publish();
        self.carry_out(weighed_anew);
    }

    fn remove_obsolete(&mut self, old: &Config, new: &Config) {
        for route in old.routes.iter().filter(|route| !new.routes.contains(route)) {
            self.quietly(|router| router.rtnl.route_modify(RouteVerb::Del, &route_spec(route)));
        }
        for neighbour in old.neighbours.iter().filter(|neighbour| !new.neighbours.contains(neighbour)) {
            if let Ok(dev) = self.rtnl.find(&neighbour.dev.value) {
                self.delete_neighbour(dev, bits(neighbour.address.value));
            }
        }
        for interface in &old.interfaces {
            let keeps = new.interface(&interface.name.value).map_or(&[][..], |i| &i.addresses);
            for address in interface.addresses.iter().filter(|a| !keeps.contains(a)) {
                self.quietly(|router| router.rtnl.addr_modify(AddrVerb::Del, &addr_spec(interface, address)));
            }
        }
    }

    /// Takes away something that may be gone already.
    fn quietly(&mut self, change: impl FnOnce(&mut Router) -> Result<Effects, Refusal>) {
        if let Ok(effects) = change(self) {
            self.carry_out(effects);
        }
    }

    /// What the file says of a port. A member of a bond has its address, MTU and state from there.
    fn apply_link(&mut self, interface: &Interface) -> Result<(), Refusal> {
        let member =
            self.rtnl.link_by_name(&interface.name.value).is_some_and(|link| link.member().is_some());
        let mut set = super::uppers::properties(interface);
        if member {
            (set.mtu, set.address, set.up) = (None, None, None);
        }
        self.link_set(&set)
    }

    fn apply_address(
        &mut self,
        interface: &Interface,
        address: &At<ipnet::Ipv4Net>,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        match self.rtnl.addr_modify(AddrVerb::Add, &addr_spec(interface, address)) {
            Ok(added) => {
                effects.extend(added);
                Ok(())
            }
            Err(Refusal::AddressExists | Refusal::Exists) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    fn apply_route(&mut self, route: &Route) -> Result<(), Refusal> {
        let effects = self.rtnl.route_modify(RouteVerb::Replace, &route_spec(route))?;
        self.carry_out(effects);
        Ok(())
    }

    fn apply_neighbour(&mut self, neighbour: &Neighbour) -> Result<(), Refusal> {
        let dev = self.rtnl.find(&neighbour.dev.value)?;
        let (addr, mac) = (bits(neighbour.address.value), neighbour.mac.value);
        self.set_neighbour(dev, addr, Some(mac), Nud::Permanent, SetMode::Replace)
    }
}

fn addr_spec(interface: &Interface, address: &At<ipnet::Ipv4Net>) -> AddrSpec {
    AddrSpec {
        local: address.value,
        dev: interface.name.value.clone(),
        broadcast: (address.value.prefix_len() < 31).then_some(crate::ip::Broadcast::Ones),
        label: None,
        scope: None,
    }
}

fn route_spec(route: &Route) -> RouteSpec {
    let (kind, nexthops) = match &route.action {
        RouteAction::Unicast(hops) => (RouteType::Unicast, hops.iter().map(hop_spec).collect()),
        RouteAction::Blackhole => (RouteType::Blackhole, Vec::new()),
        RouteAction::Unreachable => (RouteType::Unreachable, Vec::new()),
        RouteAction::Prohibit => (RouteType::Prohibit, Vec::new()),
        RouteAction::Throw => (RouteType::Throw, Vec::new()),
    };
    RouteSpec {
        kind: Some(kind),
        to: route.to.value,
        nexthops,
        equalize: route.equalize,
        metric: Some(route.metric.value),
        src: route.src.as_ref().map(|src| src.value),
        metrics: Metrics { mtu: route.mtu.as_ref().map(|mtu| u32::from(mtu.value)), mtu_lock: false },
        protocol: Some(Protocol::STATIC),
        scope: None,
        table: None,
    }
}

fn hop_spec(hop: &NextHop) -> NextHopSpec {
    NextHopSpec {
        via: hop.via.as_ref().map(|via| via.value),
        dev: hop.dev.as_ref().map(|dev| dev.value.clone()),
        weight: hop.weight.value,
        onlink: false,
    }
}
