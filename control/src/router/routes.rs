//! Routes of the model onto next hops and the FIB.

use skiff_dataplane::fib::NextHopId;
use skiff_dataplane::fib::next_hop::{NextHopSpec, NextHopsFull};
use skiff_dataplane::net::IfIndex;

use super::{Router, bits};
use crate::rtnl::{FibChange, FibHop, FibRoute};

impl Router {
    /// Writes one prefix to the FIB.
    pub(super) fn install(&mut self, change: FibChange) {
        let old = match change.route {
            None => {
                let old = self.fib.remove(change.prefix);
                self.updates.delete += u64::from(old.is_some());
                old
            }
            Some(route) => match self.next_hop(&route) {
                Ok(id) => match self.fib.add(change.prefix, id) {
                    Ok(old) => {
                        let counter =
                            if old.is_some() { &mut self.updates.replace } else { &mut self.updates.add };
                        *counter += 1;
                        old
                    }
                    Err(error) => {
                        tracing::error!("route {}: {error}", change.prefix);
                        Some(id)
                    }
                },
                Err(error) => {
                    tracing::error!("route {}: {error}", change.prefix);
                    None
                }
            },
        };
        if let Some(old) = old {
            self.release(old);
        }
    }

    /// The next hop for a route, with a reference for the caller.
    fn next_hop(&mut self, route: &FibRoute) -> Result<NextHopId, NextHopsFull> {
        let spec = match route {
            FibRoute::Local { dev, src } => NextHopSpec::Local { oif: *dev, prefsrc: bits(*src) },
            FibRoute::Broadcast { dev, src, mtu } => {
                NextHopSpec::Broadcast { oif: *dev, mtu: *mtu, prefsrc: bits(*src) }
            }
            FibRoute::Blackhole => NextHopSpec::Blackhole,
            FibRoute::Unreachable => NextHopSpec::Unreachable,
            FibRoute::Prohibit => NextHopSpec::Prohibit,
            FibRoute::Throw => NextHopSpec::Throw,
            FibRoute::Unicast(hops) | FibRoute::Equalize(hops) => match (hops.as_ref(), route) {
                ([one], _) => return self.unicast(one),
                (several, FibRoute::Equalize(_)) => return self.multipath(several, NextHopSpec::Equalize),
                (several, _) => return self.multipath(several, NextHopSpec::Multipath),
            },
        };
        self.hops.acquire(&spec, &self.shared.qsbr).map(|(id, _)| id)
    }

    fn unicast(&mut self, hop: &FibHop) -> Result<NextHopId, NextHopsFull> {
        let gateway = match hop.gateway {
            Some(gateway) => Some((bits(gateway), self.gateway(hop.dev, bits(gateway))?)),
            None => None,
        };
        let prefsrc = hop.prefsrc.map_or(0, bits);
        let spec = NextHopSpec::Unicast { oif: hop.dev, gateway, mtu: hop.mtu, prefsrc };
        let acquired = self.hops.acquire(&spec, &self.shared.qsbr);
        match (&acquired, gateway) {
            (Ok((_, true)), _) | (_, None) => {}
            // Only a next hop that is new holds its gateway.
            (_, Some((addr, _))) => self.drop_gateway(hop.dev, addr),
        }
        acquired.map(|(id, _)| id)
    }

    fn multipath(
        &mut self,
        hops: &[FibHop],
        group: fn(Vec<(NextHopId, u16)>) -> NextHopSpec,
    ) -> Result<NextHopId, NextHopsFull> {
        let mut members = Vec::with_capacity(hops.len());
        for hop in hops {
            match self.unicast(hop) {
                Ok(id) => members.push((id, hop.weight)),
                Err(full) => {
                    members.into_iter().for_each(|(id, _)| self.release(id));
                    return Err(full);
                }
            }
        }
        let group = self.hops.acquire(&group(members.clone()), &self.shared.qsbr);
        // The group holds its members itself.
        members.into_iter().for_each(|(id, _)| self.release(id));
        group.map(|(id, _)| id)
    }

    fn release(&mut self, id: NextHopId) {
        let mut gone = Vec::new();
        self.hops.release(id, &self.shared.qsbr, &mut gone);
        for spec in gone {
            if let NextHopSpec::Unicast { oif, gateway: Some((addr, _)), .. } = spec {
                self.drop_gateway(oif, addr);
            }
        }
    }

    /// The neighbour entry of a gateway, held once more.
    fn gateway(
        &mut self,
        dev: IfIndex,
        addr: u32,
    ) -> Result<skiff_dataplane::neigh::table::NeighId, NextHopsFull> {
        if let Some((id, holds)) = self.gateways.get_mut(&(dev, addr)) {
            *holds += 1;
            return Ok(*id);
        }
        let id = self.hold_neighbour(dev, addr).ok_or(NextHopsFull)?;
        self.gateways.insert((dev, addr), (id, 1));
        Ok(id)
    }

    fn drop_gateway(&mut self, dev: IfIndex, addr: u32) {
        if let Some((id, holds)) = self.gateways.get_mut(&(dev, addr)) {
            *holds -= 1;
            if *holds == 0 {
                let id = *id;
                self.gateways.remove(&(dev, addr));
                self.release_neighbour(id);
            }
        }
    }
}
