//! What matches ask of the router, from the tables of a burst.

use super::matches::{ReversePath, World, rtn};
use crate::core::env::{Env, Hands};
use crate::fib::next_hop::Kind;
use crate::net::IfIndex;
use crate::skb::ipv4;

/// The router as one burst sees it.
pub(super) struct EnvWorld<'a, 'e> {
    pub env: &'a Env<'e>,
    pub hands: &'a mut Hands,
}

impl World for EnvWorld<'_, '_> {
    /// As `inet_dev_addr_type`: only what the local table knows is other than unicast.
    fn addr_type(&self, addr: u32, dev: Option<IfIndex>) -> u8 {
        if ipv4::is_zeronet(addr) || addr == ipv4::BROADCAST {
            return rtn::BROADCAST;
        }
        if ipv4::is_multicast(addr) {
            return rtn::MULTICAST;
        }
        let hop = self.env.shared.next_hops.get(self.env.shared.fib.lookup(addr));
        let ours = dev.is_none_or(|dev| dev == hop.oif);
        match hop.kind {
            Kind::Local if ours => rtn::LOCAL,
            Kind::Broadcast if ours => rtn::BROADCAST,
            _ => rtn::UNICAST,
        }
    }

    fn reverse_path(&self, addr: u32, dev: IfIndex) -> ReversePath {
        let id = self.env.shared.fib.lookup(addr);
        let hop = self.env.shared.next_hops.get(id);
        let by = |oif: IfIndex| oif == dev;
        match hop.kind {
            Kind::Gateway | Kind::Link => ReversePath { unicast: true, local: false, same_dev: by(hop.oif) },
            Kind::Multipath => {
                let same_dev = self.env.shared.next_hops.members(id).any(|m| by(m.oif));
                ReversePath { unicast: true, local: false, same_dev }
            }
            Kind::Local => ReversePath { unicast: false, local: true, same_dev: by(hop.oif) },
            _ => ReversePath::default(),
        }
    }

    fn is_loopback(&self, dev: IfIndex) -> bool {
        dev == IfIndex::LOOPBACK
    }

    fn now_millis(&self) -> u64 {
        self.env.now.as_millis()
    }

    fn wall_seconds(&self) -> u64 {
        self.env.wall_millis() / 1000
    }

    fn random(&mut self) -> u32 {
        self.hands.random()
    }
}
