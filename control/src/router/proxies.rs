//! `skiff ip neigh ... proxy`: addresses that ARP is answered for.

use std::net::Ipv4Addr;

use skiff_dataplane::net::IfIndex;

use super::{Router, bits};
use crate::ip::{self, NeighFilter, Options, ProxyRow, ProxySpec, Refusal};

impl Router {
    /// The proxied addresses, by address and device.
    pub(super) fn proxy_rows(&self, filter: &NeighFilter) -> Result<Vec<ProxyRow>, Refusal> {
        if let Some(name) = &filter.dev {
            self.rtnl.find(name)?;
        }
        let name = |dev: IfIndex| self.rtnl.link(dev).map(|link| link.name().to_owned());
        let row = |(dev, addr)| ProxyRow { address: Ipv4Addr::from_bits(addr), dev: name(dev) };
        let mut rows: Vec<ProxyRow> = self.proxies.iter().map(row).collect();
        rows.sort_by(|a, b| (a.address, &a.dev).cmp(&(b.address, &b.dev)));
        Ok(rows)
    }

    /// Adds an address, which may be there, or takes away one that must be.
    pub(super) fn proxy_modify(&mut self, add: bool, spec: &ProxySpec) -> Result<(), Refusal> {
        let dev = spec.dev.as_deref().map_or(Ok(IfIndex::NONE), |name| self.rtnl.find(name))?;
        let addr = bits(spec.address);
        let changed = if add { self.proxies.insert(dev, addr) } else { self.proxies.remove(dev, addr) };
        match changed {
            true => self.publish(),
            false if add => {}
            false => return Err(Refusal::NoSuchEntry),
        }
        Ok(())
    }

    /// Takes away what the filter lets through.
    pub(super) fn proxy_flush(&mut self, filter: &NeighFilter, options: &Options) -> Result<(), Refusal> {
        let rows = self.proxy_rows(filter)?;
        for row in ip::matching_proxies(&rows, filter, options) {
            self.proxy_modify(false, &ProxySpec { address: row.address, dev: row.dev.clone() })?;
        }
        Ok(())
    }
}
