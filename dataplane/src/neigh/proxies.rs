//! Addresses the router answers ARP for because the operator says so (`ip neigh add proxy`; kernel: `pneigh_entry`).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::net::IfIndex;

/// A set of addresses, each on one device or on all ([`IfIndex::NONE`]). Copies share it until one changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyAddresses(Arc<BTreeSet<(IfIndex, u32)>>);

impl ProxyAddresses {
    /// True if `ip` is to be answered for on `dev`.
    pub fn contains(&self, dev: IfIndex, ip: u32) -> bool {
        !self.0.is_empty() && (self.0.contains(&(dev, ip)) || self.0.contains(&(IfIndex::NONE, ip)))
    }

    /// Adds an address; false if it was there.
    pub fn insert(&mut self, dev: IfIndex, ip: u32) -> bool {
        Arc::make_mut(&mut self.0).insert((dev, ip))
    }

    /// Takes out an address; false if it was not there.
    pub fn remove(&mut self, dev: IfIndex, ip: u32) -> bool {
        self.0.contains(&(dev, ip)) && Arc::make_mut(&mut self.0).remove(&(dev, ip))
    }

    /// The device went down: nothing is answered for there any more. True if there was something.
    pub fn remove_device(&mut self, dev: IfIndex) -> bool {
        let there = self.0.iter().any(|(on, _)| *on == dev);
        if there {
            Arc::make_mut(&mut self.0).retain(|(on, _)| *on != dev);
        }
        there
    }

    /// Everything in it, by device and address.
    pub fn iter(&self) -> impl Iterator<Item = (IfIndex, u32)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_for_its_device_or_for_all() {
        let (a, b) = (IfIndex(2), IfIndex(3));
        let mut set = ProxyAddresses::default();
        assert!(set.insert(a, 1) && !set.insert(a, 1) && set.insert(IfIndex::NONE, 2) && set.insert(b, 3));
        let shared = set.clone();
        assert!(set.contains(a, 1) && !set.contains(b, 1) && set.contains(a, 2) && set.contains(b, 2));
        assert!(!set.remove(b, 1) && set.remove(a, 1) && !set.contains(a, 1));
        assert!(set.remove_device(b) && !set.remove_device(b));
        assert_eq!(set.iter().collect::<Vec<_>>(), [(IfIndex::NONE, 2)]);
        assert!(shared.contains(a, 1), "a copy keeps what it had");
    }
}
