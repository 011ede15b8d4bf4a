//! Multicast on the running router: routes, joined groups, IGMP, and packets that wait for a route.

mod commands;
mod state;
mod unresolved;

use std::collections::BTreeSet;

use skiff_dataplane::core::drop_reason::{DropReason, Node};
use skiff_dataplane::core::shared::ToLcore;
use skiff_dataplane::core::trace::Step;
use skiff_dataplane::device::NetDevice;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::skb::ipv4::{self, Ipv4Header};
use skiff_dataplane::skb::{Skb, SkbExt, SkbFields, eth, flags};
use skiff_dataplane::time::Instant;

pub(super) use state::McState;
use state::Proxy;

use super::Router;
use super::settings::Settings;
use crate::config::{Config, Diagnostic, Mroute};
use crate::igmp::Outgoing;
use crate::igmp::host::Host;
use crate::igmp::querier::{Outcome, Querier};
use crate::igmp::wire::{Message, Version};
use crate::observe::capture::tap_freed;

/// Length of an IP header with a router alert.
const HEADER_LEN: usize = 24;
/// The router alert: every router on the way is to look at the packet (RFC 2113).
const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];
/// Internetwork control (RFC 3376 section 4).
const IGMP_TOS: u8 = 0xc0;

impl Router {
    /// Takes in an IGMP message.
    pub(super) fn igmp_rcv(&mut self, dev: IfIndex, skb: Skb, now: Instant) {
        self.shared.igmp_budget.give_back();
        self.shared.control_cells().delivered.add(1);
        let Some((source, message)) = read_igmp(&skb) else {
            self.mc.events.igmp_malformed += 1;
            return;
        };
        drop(skb);
        self.mc.events.igmp_in += 1;
        if let Some(querier) = self.mc.queriers.get_mut(&dev) {
            let was = querier.is_querier();
            let outcome = querier.receive(source, &message, now);
            let flipped = was != querier.is_querier();
            self.querier_outcome(dev, outcome, flipped, now);
        }
        if let Some(host) = self.mc.hosts.get_mut(&dev) {
            let send = host.receive(&message, now);
            self.igmp_send_all(dev, send);
        }
    }

    /// A packet without an entry of the forwarding cache.
    pub(super) fn mc_unresolved(&mut self, dev: IfIndex, skb: Skb, now: Instant) {
        self.shared.unresolved_budget.give_back();
        self.mc.events.no_cache += 1;
        let Some((source, group)) = Ipv4Header::parse(skb.network()).map(|h| (h.src(), h.dst())) else {
            return self.mc_drop(skb);
        };
        // The entry may have come while the packet was on its way here.
        if self.mc.table.vif_of(dev).is_some_and(|vif| self.mc.table.find(source, group, vif).is_some()) {
            return self.mc_send(ToLcore::McResolved(skb));
        }
        match self.mc.waiting.add(source, group, dev, skb, now) {
            Ok(true) => self.mc.learn(source, group, dev, now),
            Ok(false) => {}
            Err(skb) => self.mc_drop(skb),
        }
    }

    /// A packet of an entry came in by another interface.
    pub(super) fn mc_wrong_vif(&mut self) {
        self.mc.events.wrong_vif += 1;
    }

    /// Does what is due; returns when it wants to run again.
    pub(super) fn mc_turn(&mut self, now: Instant) -> Option<Instant> {
        self.follow_links(now);
        let due: Vec<IfIndex> =
            self.mc.queriers.iter().filter(|(_, q)| q.deadline() <= now).map(|(&dev, _)| dev).collect();
        for dev in due {
            let Some(querier) = self.mc.queriers.get_mut(&dev) else { continue };
            let was = querier.is_querier();
            let outcome = querier.turn(now);
            let flipped = was != querier.is_querier();
            self.querier_outcome(dev, outcome, flipped, now);
        }
        let is_due = |host: &Host| host.deadline().is_some_and(|at| at <= now);
        let due: Vec<IfIndex> =
            self.mc.hosts.iter().filter(|(_, host)| is_due(host)).map(|(&dev, _)| dev).collect();
        for dev in due {
            let send = self.mc.hosts.get_mut(&dev).map(|host| host.turn(now)).unwrap_or_default();
            self.igmp_send_all(dev, send);
        }
        self.mc.waiting.expire(now).into_iter().for_each(|skb| self.mc_drop(skb));
        self.mc.sweep(now);
        self.mc_publish();
        let queriers = self.mc.queriers.values().map(Querier::deadline);
        let hosts = self.mc.hosts.values().filter_map(Host::deadline);
        queriers.chain(hosts).chain(self.mc.waiting.deadline()).min()
    }

    /// Publishes the multicast table if it changed, and sends the packets it has an entry for now.
    pub(super) fn mc_publish(&mut self) {
        if !self.mc.dirty {
            return;
        }
        self.mc.build();
        self.receive_all_groups();
        self.publish();
        let table = &self.mc.table;
        let resolved = self.mc.waiting.take(|entry| {
            table.vif_of(entry.iif).is_some_and(|vif| table.find(entry.source, entry.group, vif).is_some())
        });
        resolved.into_iter().for_each(|skb| self.mc_send(ToLcore::McResolved(skb)));
    }

    /// Makes the file's routes and its proxy those in force. What the operator added stays.
    pub(super) fn apply_multicast(
        &mut self,
        old: Option<&Config>,
        new: &Config,
        faults: &mut Vec<Diagnostic>,
    ) {
        let now = self.clock.now();
        let settings = Settings::new(&new.sysctl);
        let (robustness, max_memberships) = settings.igmp();
        (self.mc.robustness, self.mc.max_memberships) = (robustness, max_memberships);
        for route in old.iter().flat_map(|old| &old.mroutes).filter(|route| !new.mroutes.contains(route)) {
            if let Ok(iif) = self.rtnl.find(&route.iif.value) {
                let source = route.source.map_or(0, |source| source.value.to_bits());
                self.mc.delete_route(route.group.value.to_bits(), source, iif);
            }
        }
        for route in &new.mroutes {
            let had = old.is_some_and(|old| old.mroutes.contains(route));
            if !had && let Err(refusal) = self.apply_mroute(route, now) {
                let what = format!("mroute {}: {refusal}", route.group.value);
                faults.push(new.diagnostic(route.group.pos, what));
            }
        }
        let proxy = self.proxy_of(new);
        if proxy != self.mc.proxy {
            self.set_proxy(proxy, now);
        }
        self.mc_turn(now);
    }

    fn apply_mroute(&mut self, route: &Mroute, now: Instant) -> Result<(), crate::ip::Refusal> {
        let iif = self.rtnl.find(&route.iif.value)?;
        let mut oifs = Vec::new();
        for oif in &route.oifs {
            oifs.push((self.rtnl.find(&oif.dev.value)?, oif.ttl.value));
        }
        let source = route.source.map_or(0, |source| source.value.to_bits());
        self.mc.add_route(route.group.value.to_bits(), source, iif, oifs, now)
    }

    fn proxy_of(&self, config: &Config) -> Option<Proxy> {
        let conf = config.igmp_proxy.as_ref()?;
        let upstream = self.rtnl.find(&conf.upstream.value).ok()?;
        let downstream = conf
            .downstream
            .iter()
            .filter_map(|oif| Some((self.rtnl.find(&oif.dev.value).ok()?, oif.ttl.value)));
        let downstream = downstream.collect();
        Some(Proxy { upstream, threshold: conf.threshold.value, downstream, timing: conf.timing })
    }

    fn set_proxy(&mut self, proxy: Option<Proxy>, now: Instant) {
        self.mc.queriers.clear();
        self.mc.learnt.clear();
        self.report_all(now);
        self.mc.proxy = proxy;
        self.mc.dirty = true;
    }

    /// Queriers are where the proxy's downstream links are up and have an address; reports start anew on a link that
    /// came back.
    fn follow_links(&mut self, now: Instant) {
        if self.mc.proxy.is_none() && self.mc.hosts.is_empty() {
            return;
        }
        let snapshot = self.shared.snapshot();
        let downstream = self.mc.proxy.iter().flat_map(|p| p.downstream.keys().map(|&dev| (dev, p.timing)));
        let mut changed = false;
        for (dev, timing) in downstream.collect::<Vec<_>>() {
            let address = our_address(snapshot.device(dev)).filter(|_| snapshot.device(dev).is_running());
            let known = self.mc.queriers.get(&dev).map(Querier::address);
            if address == known {
                continue;
            }
            match address {
                Some(address) => self.mc.queriers.insert(dev, Querier::new(timing, address, now)),
                None => self.mc.queriers.remove(&dev),
            };
            changed = true;
        }
        if changed {
            self.mc.dirty = true;
            self.mc.follow(None);
            self.report_all(now);
        }
        let reporting: Vec<IfIndex> = self.mc.hosts.keys().copied().collect();
        for dev in reporting {
            if !snapshot.device(dev).is_running() {
                self.mc.running.remove(&dev);
            } else if self.mc.running.insert(dev) {
                let send = self.mc.hosts.get_mut(&dev).map(|host| host.restart(now)).unwrap_or_default();
                self.igmp_send_all(dev, send);
            }
        }
    }

    fn querier_outcome(&mut self, dev: IfIndex, outcome: Outcome, flipped: bool, now: Instant) {
        self.igmp_send_all(dev, outcome.send);
        if flipped {
            self.mc.follow(None);
        }
        for group in outcome.changed {
            self.mc.follow(Some(group));
            if let Some(upstream) = self.mc.proxy.as_ref().map(|proxy| proxy.upstream) {
                self.report(upstream, group, now);
            }
        }
    }

    /// Tells the routers of a link what is wanted of a group there.
    fn report(&mut self, dev: IfIndex, group: u32, now: Instant) {
        let wanted = self.mc.wanted(dev, group);
        if wanted.is_none() && !self.mc.hosts.contains_key(&dev) {
            return;
        }
        let (robustness, version) = (self.mc.robustness, self.igmp_version(dev));
        let seed = now.as_nanos() ^ u64::from(dev.0) << 48;
        // A host that is new says what it has to say now: its link did not just come up.
        let running = &mut self.mc.running;
        let host = self.mc.hosts.entry(dev).or_insert_with(|| {
            running.insert(dev);
            Host::new(robustness, version, seed)
        });
        let send = host.set(group, &wanted, now);
        self.igmp_send_all(dev, send);
    }

    /// Nothing of a device that is gone stays.
    pub(super) fn forget_groups(&mut self, dev: IfIndex) {
        self.mc.forget(dev);
    }

    /// Tells the routers of a link once more what is wanted there.
    pub(super) fn igmp_rejoin(&mut self, dev: IfIndex) {
        let now = self.clock.now();
        let send = self.mc.hosts.get_mut(&dev).map(|host| host.restart(now)).unwrap_or_default();
        self.igmp_send_all(dev, send);
    }

    /// The same for all that is reported or wanted.
    fn report_all(&mut self, now: Instant) {
        let mut all: BTreeSet<(IfIndex, u32)> = BTreeSet::new();
        for (&dev, host) in &self.mc.hosts {
            all.extend(host.memberships().map(|(group, _)| (dev, group)));
        }
        if let Some(proxy) = &self.mc.proxy {
            let wanted = self.mc.queriers.values().flat_map(Querier::memberships);
            all.extend(wanted.map(|(group, _)| (proxy.upstream, group)));
        }
        for (dev, group) in all {
            self.report(dev, group, now);
        }
    }

    fn igmp_version(&self, dev: IfIndex) -> Option<Version> {
        let name = self.rtnl.link(dev)?.name();
        let settings = Settings::new(&self.config.as_ref()?.sysctl);
        match settings.igmp_version(name) {
            1 => Some(Version::V1),
            2 => Some(Version::V2),
            3 => Some(Version::V3),
            _ => None,
        }
    }

    fn igmp_send_all(&mut self, dev: IfIndex, messages: Vec<Outgoing>) {
        messages.into_iter().for_each(|message| self.igmp_send(dev, &message));
    }

    /// Sends a message: TTL 1, router alert, internetwork control (RFC 3376 section 4).
    fn igmp_send(&mut self, dev: IfIndex, out: &Outgoing) {
        let snapshot = self.shared.snapshot();
        let device = snapshot.device(dev);
        let payload = out.message.emit();
        let Some(mut skb) = self.pool.alloc().filter(|_| device.is_running()) else { return };
        let Some(frame) = skb.append(eth::HEADER_LEN + HEADER_LEN + payload.len()) else { return };
        let (header, body) = frame[eth::HEADER_LEN..].split_at_mut(HEADER_LEN);
        body.copy_from_slice(&payload);
        write_ip_header(header, our_address(device).unwrap_or(0), out.to, payload.len());
        *skb.fields_mut() = SkbFields {
            oif: dev.0,
            network_offset: eth::HEADER_LEN as u8,
            ip_hdr_len: HEADER_LEN as u8,
            flags: flags::LOCAL_OUT,
            ..SkbFields::default()
        };
        self.shared.control_cells().created.add(1);
        self.mc.events.igmp_out += 1;
        self.mc_send(ToLcore::McLocalOut(skb));
    }

    fn mc_send(&self, message: ToLcore) {
        if let Err(ToLcore::McResolved(skb) | ToLcore::McLocalOut(skb)) =
            self.shared.send_to_lcore(0, message)
        {
            tap_freed(&self.shared, &skb, Node::IpMrInput, DropReason::PuntFull);
            self.shared.control_cells().count_drop(
                Node::IpMrInput,
                DropReason::PuntFull,
                1,
                skb.len() as u64,
            );
        }
    }

    fn mc_drop(&self, skb: Skb) {
        let (node, reason) = (Node::IpMrInput, DropReason::NotSpecified);
        tap_freed(&self.shared, &skb, node, reason);
        self.shared.trace.note(&skb, Step::Dropped { node, reason });
        self.shared.control_cells().count_drop(node, reason, 1, skb.len() as u64);
    }

    /// Frees every packet that waits for a route, for the end of the router.
    pub(super) fn mc_purge(&mut self) {
        self.mc.waiting.take(|_| true).into_iter().for_each(|skb| self.mc_drop(skb));
    }

    /// Ports that forward or join take every group: a driver's filter knows too few. One that cannot be told shows
    /// them all or has none.
    pub(super) fn receive_all_groups(&self) {
        let joined = self.mc.joined.iter().map(|(dev, _)| *dev);
        let vifs =
            self.rtnl.links().map(|link| link.ifindex()).filter(|dev| self.mc.table.vif_of(*dev).is_some());
        let under: BTreeSet<IfIndex> =
            joined.chain(vifs).flat_map(|dev| self.rtnl.ports_under(dev)).collect();
        for (dev, handle) in &self.ports {
            let wanted = under.contains(dev) || self.bonds.listens(*dev);
            if let Err(error) = handle.port.set_allmulticast(wanted) {
                tracing::debug!("{}: {error}", handle.port.name());
            }
        }
    }
}

/// The address IGMP is sent from.
fn our_address(device: &NetDevice) -> Option<u32> {
    device.select_addr(0)
}

/// The source and the message of an IGMP packet; `None` if it is no message or only a piece of one.
fn read_igmp(skb: &Skb) -> Option<(u32, Message)> {
    let header = Ipv4Header::parse(skb.network())?;
    if header.is_fragment() {
        return None;
    }
    let at = usize::from(skb.fields().network_offset) + header.header_len();
    let mut bytes = vec![0; skb.len().checked_sub(at)?];
    let message = if skb.copy_out(at, &mut bytes) { Message::parse(&bytes).ok()? } else { return None };
    Some((header.src(), message))
}

fn write_ip_header(header: &mut [u8], src: u32, dst: u32, payload: usize) {
    let fields = ipv4::Ipv4Fields {
        tos: IGMP_TOS,
        total_len: (HEADER_LEN + payload) as u16,
        id: 0,
        frag_off: ipv4::IP_DF,
        ttl: 1,
        protocol: ipv4::IPPROTO_IGMP,
        src,
        dst,
    };
    if let Some((plain, options)) = header.split_first_chunk_mut::<{ ipv4::MIN_HEADER_LEN }>() {
        ipv4::emit(plain, &fields);
        plain[0] = 0x40 | (HEADER_LEN / 4) as u8;
        options.copy_from_slice(&ROUTER_ALERT);
    }
    ipv4::set_check(header);
}
