//! `skiff ip` on the running router.

use std::net::Ipv4Addr;

use skiff_dataplane::neigh::cache::{NeighError, SetMode};
use skiff_dataplane::neigh::nud::Nud;
use skiff_dataplane::net::{IfIndex, MacAddr};

use super::{Router, bits, neigh_use};
use crate::api::Reply;
use crate::cli::Exit;
use crate::ip::{
    self, AddrFilter, Command, LinkAddrs, LinkFilter, LinkRow, NeighFilter, NeighRow, NeighSpec, NeighVerb,
    NudState, Options, Refusal, RouteFilter,
};

impl Router {
    /// Runs `ip ARGS`.
    pub fn ip(&mut self, args: &[String]) -> Reply {
        let request = match ip::parse(args) {
            Ok(request) => request,
            Err(error) => return Reply::failed(error.exit(), error.line()),
        };
        match self.execute(&request.command, &request.options) {
            Ok(text) => Reply::ok(text),
            Err(refusal) => Reply::failed(Exit::Failed as u8, refusal.line(&request.what)),
        }
    }

    fn execute(&mut self, command: &Command, options: &Options) -> Result<String, Refusal> {
        match command {
            Command::Help(topic) => Ok(ip::help_text(*topic).to_owned()),
            Command::LinkShow(filter) => {
                self.check_filter(filter)?;
                let rows = self.link_rows()?;
                ip::show_links(&rows, filter, options)
            }
            Command::LinkSet(set) => self.link_set(set).map(done),
            Command::LinkAdd(add) => self.link_add(add).map(done),
            Command::LinkDel(name) => self.link_del(name).map(done),
            Command::AddrShow(filter) => {
                self.check_filter(&filter.link)?;
                let rows = self.addr_rows()?;
                ip::show_addrs(&rows, filter, options)
            }
            Command::AddrModify(verb, spec) => {
                let effects = self.rtnl.addr_modify(*verb, spec)?;
                self.carry_out(effects);
                Ok(String::new())
            }
            Command::AddrFlush(filter) => {
                let effects = self.rtnl.addr_flush(filter)?;
                self.carry_out(effects);
                Ok(String::new())
            }
            Command::RouteShow(filter) => {
                self.check_device(filter)?;
                let rows = self.rtnl.route_rows(filter)?;
                Ok(ip::show_routes(&rows, filter, options))
            }
            Command::RouteGet(get) => Ok(ip::show_route_get(&self.rtnl.route_get(get)?, options)),
            Command::RouteModify(verb, spec) => {
                let effects = self.rtnl.route_modify(*verb, spec)?;
                self.carry_out(effects);
                Ok(String::new())
            }
            Command::RouteFlush(filter) => {
                let effects = self.rtnl.route_flush(filter)?;
                self.carry_out(effects);
                Ok(String::new())
            }
            Command::NeighShow(filter) => {
                let rows = self.neigh_rows(filter)?;
                Ok(ip::show_neighs(&rows, filter, options))
            }
            Command::NeighModify(verb, spec) => self.neigh_modify(*verb, spec).map(done),
            Command::NeighFlush(filter) => self.neigh_flush(filter, options).map(done),
            Command::MrouteShow(filter) => Ok(ip::show_mroutes(&self.mroute_rows(), filter, options)),
            Command::MrouteAdd(spec) => self.mroute_add(spec).map(done),
            Command::MrouteDel(key) => self.mroute_del(key).map(done),
            Command::MaddrShow(dev) => Ok(ip::show_maddrs(&self.maddr_rows(dev.as_deref())?, options)),
            Command::MaddrAdd(spec) => self.maddr_add(spec).map(done),
            Command::MaddrDel(spec) => self.maddr_del(spec).map(done),
            Command::ProxyShow(filter) => Ok(ip::show_proxies(&self.proxy_rows(filter)?, filter, options)),
            Command::ProxyModify(add, spec) => self.proxy_modify(*add, spec).map(done),
            Command::ProxyFlush(filter) => self.proxy_flush(filter, options).map(done),
        }
    }

    fn link_rows(&self) -> Result<Vec<LinkRow>, Refusal> {
        let mut rows = self.rtnl.link_rows(&LinkFilter::default())?;
        rows.iter_mut().for_each(|row| self.fill_in_link(row));
        self.fill_in_bonds(rows.iter_mut());
        Ok(rows)
    }

    /// What the model of links does not know: counters, and the discipline at the root.
    fn fill_in_link(&self, row: &mut LinkRow) {
        let dev = IfIndex(row.ifindex as u16);
        row.stats = self.link_stats(dev);
        if let Some(root) = self.tc.tree(dev).and_then(|tree| tree.root()) {
            row.qdisc = root.spec().kind().to_owned();
        }
    }

    fn addr_rows(&self) -> Result<Vec<LinkAddrs>, Refusal> {
        let mut rows = self.rtnl.addr_rows(&AddrFilter::default())?;
        rows.iter_mut().for_each(|row| self.fill_in_link(&mut row.link));
        self.fill_in_bonds(rows.iter_mut().map(|row| &mut row.link));
        Ok(rows)
    }

    fn check_device(&self, filter: &RouteFilter) -> Result<(), Refusal> {
        filter.dev.as_deref().map_or(Ok(()), |name| self.rtnl.find(name).map(drop))
    }

    fn neigh_rows(&self, filter: &NeighFilter) -> Result<Vec<NeighRow>, Refusal> {
        if let Some(name) = &filter.dev {
            self.rtnl.find(name)?;
        }
        let now = self.clock.now();
        let mut rows: Vec<NeighRow> = self
            .neigh
            .iter()
            .filter_map(|info| {
                Some(NeighRow {
                    address: Ipv4Addr::from_bits(info.ip),
                    dev: self.rtnl.link(info.dev)?.name().to_owned(),
                    lladdr: info.mac,
                    router: false,
                    state: nud_word(info.state),
                    usage: neigh_use(&info, now),
                })
            })
            .collect();
        rows.sort_by(|a, b| (&a.dev, a.address).cmp(&(&b.dev, b.address)));
        Ok(rows)
    }

    fn neigh_modify(&mut self, verb: NeighVerb, spec: &NeighSpec) -> Result<(), Refusal> {
        let dev = self.rtnl.find(&spec.dev)?;
        let addr = bits(spec.address);
        let mode = match verb {
            NeighVerb::Del => {
                return if self.delete_neighbour(dev, addr) { Ok(()) } else { Err(Refusal::NoSuchEntry) };
            }
            NeighVerb::Add => SetMode::Add,
            NeighVerb::Change => SetMode::Change,
            NeighVerb::Replace => SetMode::Replace,
        };
        if spec.probe {
            return self.probe_neighbour(dev, addr, mode);
        }
        self.set_neighbour(dev, addr, spec.lladdr, nud(spec.state), mode)
    }

    fn probe_neighbour(&mut self, dev: IfIndex, addr: u32, mode: SetMode) -> Result<(), Refusal> {
        let mut actions = Vec::new();
        let probed = self.neigh.probe(dev, addr, mode, self.clock.now(), &mut actions);
        self.act(actions);
        probed.map(drop).map_err(neigh_refusal)
    }

    /// Sets an entry by the operator's will.
    pub(super) fn set_neighbour(
        &mut self,
        dev: IfIndex,
        addr: u32,
        mac: Option<MacAddr>,
        state: Nud,
        mode: SetMode,
    ) -> Result<(), Refusal> {
        let mut actions = Vec::new();
        let set = self.neigh.set(dev, addr, mac, state, mode, self.clock.now(), &mut actions);
        self.act(actions);
        set.map(drop).map_err(neigh_refusal)
    }

    /// Deletes an entry; false if there was none.
    pub(super) fn delete_neighbour(&mut self, dev: IfIndex, addr: u32) -> bool {
        let mut actions = Vec::new();
        let deleted = self.neigh.delete(dev, addr, self.clock.now(), &mut actions).is_ok();
        self.act(actions);
        deleted
    }

    fn neigh_flush(&mut self, filter: &NeighFilter, options: &Options) -> Result<(), Refusal> {
        let rows = self.neigh_rows(filter)?;
        let chosen: Vec<(String, Ipv4Addr)> =
            ip::matching_neighs(&rows, filter, options).map(|row| (row.dev.clone(), row.address)).collect();
        for (dev, address) in chosen {
            let dev = self.rtnl.find(&dev)?;
            self.delete_neighbour(dev, bits(address));
        }
        Ok(())
    }
}

fn neigh_refusal(error: NeighError) -> Refusal {
    match error {
        NeighError::Exists => Refusal::Exists,
        NeighError::NotFound => Refusal::NoSuchEntry,
        error => Refusal::Invalid(error.to_string()),
    }
}

fn done((): ()) -> String {
    String::new()
}

fn nud(state: NudState) -> Nud {
    Nud::ALL.iter().copied().find(|n| n.name().eq_ignore_ascii_case(state.name())).unwrap_or(Nud::None)
}

fn nud_word(state: Nud) -> NudState {
    NudState::from_word(&state.name().to_ascii_lowercase()).unwrap_or(NudState::None)
}
