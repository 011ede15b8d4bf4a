//! What the router knows of multicast beyond what lcores read: who set which route, who wants what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skiff_dataplane::ipv4::ipmr::{MAXVIFS, Mfc, MfcStats, Multicast, NOT_AN_OIF, Vif};
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::skb::{Skb, ipv4};
use skiff_dataplane::time::Instant;

use super::unresolved::Unresolved;
use crate::igmp::filter::Filter;
use crate::igmp::host::Host;
use crate::igmp::querier::Querier;
use crate::igmp::{ALL_IGMPV3_ROUTERS, ALL_ROUTERS, Timing};
use crate::ip::Refusal;

/// Entries the proxy may make: no sender can make the router remember more.
const MAX_LEARNT: usize = 1024;
/// An entry of the proxy goes when no packet used it for this long (that of PIM, RFC 7761 section 4.11).
const IDLE: Duration = Duration::from_secs(210);
/// Time between two looks for such entries.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Group, source, and for (*,*) the interface; zeros are any.
pub type Key = (u32, u32, IfIndex);

/// An entry of the forwarding cache.
#[derive(Debug)]
pub struct Route {
    /// The device packets come in by.
    pub iif: IfIndex,
    /// The devices they leave by, with thresholds.
    pub oifs: BTreeMap<IfIndex, u8>,
    /// What lcores count.
    pub stats: Arc<MfcStats>,
    since: Instant,
}

impl Route {
    /// Time since the last packet, or since the entry came.
    pub fn age(&self, now: Instant) -> Duration {
        let used = self.stats.cells.iter().map(|cell| cell.last_use_ms.get()).max().unwrap_or(0);
        now.since(self.since.max(Instant::from_millis(used)))
    }
}

/// `[igmp-proxy]` on devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Towards the sources.
    pub upstream: IfIndex,
    /// The threshold there.
    pub threshold: u8,
    /// Towards the hosts, with thresholds.
    pub downstream: BTreeMap<IfIndex, u8>,
    /// The querier's values.
    pub timing: Timing,
}

impl Proxy {
    fn has(&self, dev: IfIndex) -> bool {
        dev == self.upstream || self.downstream.contains_key(&dev)
    }
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events {
    /// Packets without an entry.
    pub no_cache: u64,
    /// Times an entry's packets came in by another interface.
    pub wrong_vif: u64,
    /// IGMP messages taken in.
    pub igmp_in: u64,
    /// IGMP messages sent.
    pub igmp_out: u64,
    /// IGMP messages that were none.
    pub igmp_malformed: u64,
}

/// All of it.
#[derive(Debug)]
pub struct McState {
    /// What lcores have, or are about to have.
    pub table: Arc<Multicast>,
    /// Routes of the operator and of the configuration.
    pub fixed: BTreeMap<Key, Route>,
    /// Routes of the proxy.
    pub learnt: BTreeMap<Key, Route>,
    /// Groups joined by the operator.
    pub joined: BTreeSet<(IfIndex, u32)>,
    /// What we report, by device.
    pub hosts: BTreeMap<IfIndex, Host>,
    /// Whom we ask, by device.
    pub queriers: BTreeMap<IfIndex, Querier>,
    /// The proxy.
    pub proxy: Option<Proxy>,
    /// Packets without an entry.
    pub waiting: Unresolved<Skb>,
    /// Devices with a link when last looked at.
    pub running: BTreeSet<IfIndex>,
    /// What happened so far.
    pub events: Events,
    /// How often changes are reported.
    pub robustness: u8,
    /// Groups a device may join.
    pub max_memberships: usize,
    /// The table is to be built anew.
    pub dirty: bool,
    vifs: BTreeMap<IfIndex, Vif>,
    next_sweep: Instant,
    lcores: usize,
}

impl McState {
    /// Nothing, for `lcores` workers.
    pub fn new(lcores: usize) -> McState {
        McState {
            table: Arc::default(),
            fixed: BTreeMap::new(),
            learnt: BTreeMap::new(),
            joined: BTreeSet::new(),
            hosts: BTreeMap::new(),
            queriers: BTreeMap::new(),
            proxy: None,
            waiting: Unresolved::default(),
            running: BTreeSet::new(),
            events: Events::default(),
            robustness: 2,
            max_memberships: 20,
            dirty: false,
            vifs: BTreeMap::new(),
            next_sweep: Instant::ZERO,
            lcores,
        }
    }

    /// Adds a route. One of any source has its own device among the ways out, as the kernel wants it: that is what lets
    /// packets of that device use it.
    ///
    /// # Errors
    /// It is there already, or there are too many devices.
    pub fn add_route(
        &mut self,
        group: u32,
        source: u32,
        iif: IfIndex,
        oifs: impl IntoIterator<Item = (IfIndex, u8)>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let key = key(group, source, iif);
        if self.fixed.contains_key(&key) {
            return Err(Refusal::Exists);
        }
        let mut route = self.route(iif, oifs.into_iter().collect(), now);
        if source == 0 {
            route.oifs.entry(iif).or_insert(1);
        }
        self.fixed.insert(key, route);
        if self.used_devices().len() > MAXVIFS {
            self.fixed.remove(&key);
            return Err(Refusal::Invalid(format!("more than {MAXVIFS} devices forward multicast")));
        }
        self.learnt.remove(&key);
        self.dirty = true;
        Ok(())
    }

    /// Deletes a route of the operator; false if there is none.
    pub fn delete_route(&mut self, group: u32, source: u32, iif: IfIndex) -> bool {
        let found = self.fixed.remove(&key(group, source, iif)).is_some();
        self.dirty |= found;
        found
    }

    /// Makes an entry for packets of `source` that came in by `iif`, where the proxy is in charge.
    pub fn learn(&mut self, source: u32, group: u32, iif: IfIndex, now: Instant) {
        let Some(proxy) = self.proxy.as_ref().filter(|proxy| proxy.has(iif)) else { return };
        if self.learnt.len() >= MAX_LEARNT || self.fixed.contains_key(&key(group, source, iif)) {
            return;
        }
        let oifs = self.ways_out(proxy, source, group, iif);
        let route = self.route(iif, oifs, now);
        self.learnt.insert(key(group, source, iif), route);
        self.dirty = true;
    }

    /// A device is gone: its routes, memberships and roles go with it.
    pub fn forget(&mut self, dev: IfIndex) {
        for routes in [&mut self.fixed, &mut self.learnt] {
            routes.retain(|_, route| route.iif != dev);
            for route in routes.values_mut() {
                route.oifs.remove(&dev);
            }
        }
        self.joined.retain(|(on, _)| *on != dev);
        self.hosts.remove(&dev);
        self.queriers.remove(&dev);
        self.running.remove(&dev);
        if self.proxy.as_ref().is_some_and(|proxy| proxy.upstream == dev) {
            self.proxy = None;
        }
        if let Some(proxy) = &mut self.proxy {
            proxy.downstream.remove(&dev);
        }
        self.vifs.remove(&dev);
        self.dirty = true;
    }

    /// Memberships of a group (or all, for `None`) changed: the proxy's entries follow.
    pub fn follow(&mut self, group: Option<u32>) {
        let Some(proxy) = self.proxy.clone() else { return };
        let mut learnt = std::mem::take(&mut self.learnt);
        for (&(of, source, _), route) in &mut learnt {
            if group.is_none_or(|group| group == of) {
                let oifs = self.ways_out(&proxy, source, of, route.iif);
                self.dirty |= oifs != route.oifs;
                route.oifs = oifs;
            }
        }
        self.learnt = learnt;
    }

    /// What is to be reported of a group on a device.
    pub fn wanted(&self, dev: IfIndex, group: u32) -> Filter {
        let own = if self.joined.contains(&(dev, group)) { Filter::ALL } else { Filter::NONE };
        let upstream = self.proxy.as_ref().is_some_and(|proxy| proxy.upstream == dev);
        if !upstream || ipv4::is_local_multicast(group) {
            return own;
        }
        self.queriers.values().fold(own, |wanted, querier| wanted.merge(querier.membership(group)))
    }

    /// Forgets entries of the proxy that nobody uses; looks no more than once a second.
    pub fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP_INTERVAL;
        let before = self.learnt.len();
        self.learnt.retain(|_, route| route.age(now) < IDLE);
        self.dirty |= self.learnt.len() != before;
    }

    /// Builds the table lcores are to read.
    pub fn build(&mut self) {
        let used = self.used_devices();
        self.vifs.retain(|dev, _| used.contains(dev));
        for dev in used.into_iter().take(MAXVIFS) {
            let lcores = self.lcores;
            self.vifs.entry(dev).or_insert_with(|| Vif::new(dev, lcores));
        }
        let numbers: BTreeMap<IfIndex, u8> = self.vifs.keys().copied().zip(0..).collect();
        let entries =
            self.learnt.iter().chain(&self.fixed).filter_map(|(key, route)| mfc(key, route, &numbers));
        let entries: Vec<Mfc> = entries.collect();
        let routers = self.queriers.keys().flat_map(|&dev| [(dev, ALL_ROUTERS), (dev, ALL_IGMPV3_ROUTERS)]);
        let joined = self.joined.iter().copied().chain(routers);
        self.table = Arc::new(Multicast::new(self.vifs.values().cloned().collect(), entries, joined));
        self.dirty = false;
    }

    /// Groups of a device, as `maddr` shows them.
    pub fn groups(&self, dev: IfIndex) -> Vec<u32> {
        let routers = self.queriers.contains_key(&dev).then_some([ALL_ROUTERS, ALL_IGMPV3_ROUTERS]);
        let joined = self.joined.iter().filter(|(on, _)| *on == dev).map(|(_, group)| *group);
        let mut groups: Vec<u32> = joined.chain(routers.into_iter().flatten()).collect();
        groups.push(ipv4::ALL_HOSTS);
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    fn route(&self, iif: IfIndex, oifs: BTreeMap<IfIndex, u8>, now: Instant) -> Route {
        Route { iif, oifs, stats: Arc::new(MfcStats::new(self.lcores)), since: now }
    }

    /// Where RFC 4605 section 4.3 sends a packet: to every downstream link that wants it, of which we are the querier,
    /// and upstream too unless it came from there.
    fn ways_out(&self, proxy: &Proxy, source: u32, group: u32, iif: IfIndex) -> BTreeMap<IfIndex, u8> {
        let wants = |dev: &IfIndex| {
            let querier = self.queriers.get(dev).filter(|querier| querier.is_querier());
            querier.is_some_and(|querier| querier.membership(group).wants(source))
        };
        let down = proxy.downstream.iter().filter(|(dev, _)| **dev != iif && wants(dev));
        let up = (proxy.upstream != iif).then_some((proxy.upstream, proxy.threshold));
        down.map(|(&dev, &ttl)| (dev, ttl)).chain(up).collect()
    }

    fn used_devices(&self) -> BTreeSet<IfIndex> {
        let routes = self.fixed.values().flat_map(|route| route.oifs.keys().copied().chain([route.iif]));
        let proxy = self.proxy.iter().flat_map(|p| p.downstream.keys().copied().chain([p.upstream]));
        routes.chain(proxy).collect()
    }
}

/// The key of a route: the device counts where nothing else does.
pub fn key(group: u32, source: u32, iif: IfIndex) -> Key {
    (group, source, if (group, source) == (0, 0) { iif } else { IfIndex::NONE })
}

fn mfc(&(group, source, _): &Key, route: &Route, numbers: &BTreeMap<IfIndex, u8>) -> Option<Mfc> {
    let parent = *numbers.get(&route.iif)?;
    let mut ttls = [NOT_AN_OIF; MAXVIFS];
    for (dev, &ttl) in &route.oifs {
        if let Some(&number) = numbers.get(dev) {
            ttls[usize::from(number)] = ttl;
        }
    }
    Some(Mfc { source, group, parent, ttls, stats: Arc::clone(&route.stats) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::igmp::wire::Message;

    const UP: IfIndex = IfIndex(2);
    const LAN: [IfIndex; 2] = [IfIndex(3), IfIndex(4)];
    const G: u32 = 0xef01_0203;
    const S: u32 = 0x0a00_0009;

    fn proxy() -> McState {
        let mut mc = McState::new(1);
        let timing = Timing::default();
        mc.proxy =
            Some(Proxy { upstream: UP, threshold: 1, downstream: LAN.map(|dev| (dev, 1)).into(), timing });
        for (dev, address) in LAN.into_iter().zip(1..) {
            mc.queriers.insert(dev, Querier::new(timing, address, Instant::ZERO));
        }
        mc
    }

    fn join(mc: &mut McState, dev: IfIndex, message: Message) {
        mc.queriers.get_mut(&dev).unwrap().receive(99, &message, Instant::ZERO);
        mc.follow(Some(G));
    }

    fn ways(mc: &McState, from: IfIndex) -> Vec<IfIndex> {
        let mut mc_oifs = mc.learnt.values().filter(|route| route.iif == from);
        mc_oifs.next().map(|route| route.oifs.keys().copied().collect()).unwrap_or_default()
    }

    #[test]
    fn packets_from_above_go_where_they_are_wanted() {
        let mut mc = proxy();
        mc.learn(S, G, UP, Instant::ZERO);
        assert_eq!(ways(&mc, UP), [], "an entry all the same, so that the next packet does not ask again");
        join(&mut mc, LAN[1], Message::ReportV2(G));
        assert_eq!(ways(&mc, UP), [LAN[1]]);
        assert_eq!((mc.wanted(UP, G), mc.wanted(LAN[0], G)), (Filter::ALL, Filter::NONE));
        mc.build();
        let found = mc.table.find(S, G, 0).unwrap();
        assert!(found.is_oif(2) && !found.is_oif(1) && found.parent == 0);
    }

    #[test]
    fn packets_from_below_go_up_and_to_the_other_links() {
        let mut mc = proxy();
        join(&mut mc, LAN[1], Message::ReportV2(G));
        mc.learn(S, G, LAN[0], Instant::ZERO);
        assert_eq!(ways(&mc, LAN[0]), [UP, LAN[1]]);
    }

    #[test]
    fn unused_entries_go() {
        let mut mc = proxy();
        mc.learn(S, G, UP, Instant::ZERO);
        mc.sweep(Instant::from_secs(209));
        assert_eq!(mc.learnt.len(), 1);
        mc.learnt.values().next().unwrap().stats.cells.of(0).last_use_ms.set(100_000);
        mc.sweep(Instant::from_secs(309));
        assert_eq!(mc.learnt.len(), 1);
        mc.sweep(Instant::from_secs(310));
        assert_eq!(mc.learnt.len(), 0);
    }

    #[test]
    fn a_route_of_any_source_takes_in_its_own_device() {
        let mut mc = McState::new(1);
        mc.add_route(G, 0, UP, [(LAN[0], 1)], Instant::ZERO).unwrap();
        assert_eq!(mc.add_route(G, 0, LAN[0], [], Instant::ZERO), Err(Refusal::Exists));
        mc.build();
        assert!(mc.table.find(S, G, 0).is_some());
        assert!(mc.delete_route(G, 0, UP) && !mc.delete_route(G, 0, UP));
    }

    #[test]
    fn there_are_32_interfaces() {
        let mut mc = McState::new(1);
        for dev in 0..31 {
            mc.add_route(G, 1 + u32::from(dev), IfIndex(10 + dev), [(UP, 1)], Instant::ZERO).unwrap();
        }
        assert!(mc.add_route(G, 99, IfIndex(99), [(UP, 1)], Instant::ZERO).is_err());
        mc.build();
        assert_eq!(mc.table.vifs().len(), MAXVIFS);
    }
}
