//! `skiff tc` on the running router.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_dataplane::net::IfIndex;

use super::{PortHandle, Router};
use crate::api::Reply;
use crate::config::{Config, Diagnostic, Pos};
use crate::rtnl::{Link, Rtnl};
use crate::tc::{self, Call, Changes, Device, Devices, Picture, Tree};

impl Router {
    /// Runs `tc ARGS`.
    pub fn tc(&mut self, call: &Call) -> Reply {
        let devices = Links { rtnl: &self.rtnl, ports: &self.ports };
        let (reply, changes) = tc::run(call, &mut self.tc, &devices, self.clock.now());
        self.change_trees(changes);
        reply
    }

    fn change_trees(&mut self, changes: Changes) {
        if !changes.ops.is_empty() {
            self.send_tree_ops(changes.ops);
        }
        if let Some(hooks) = changes.hooks {
            self.tc_hooks = hooks;
            self.publish();
        }
    }

    /// A device is gone: so is its tree.
    pub(super) fn forget_tree(&mut self, dev: IfIndex) {
        self.tc_lost |= self.tc.tree(dev).is_some();
        let changes = self.tc.forget(dev);
        self.change_trees(changes);
    }

    /// Takes the trees of a configuration. Trees that were changed by command stay as long as the file says what it said
    /// before, and none of their devices was gone.
    pub(super) fn apply_traffic_control(
        &mut self,
        old: Option<&Config>,
        new: &Config,
    ) -> Result<(), Diagnostic> {
        let lost = std::mem::take(&mut self.tc_lost);
        let unchanged = old.is_some_and(|old| old.traffic_control == new.traffic_control);
        if unchanged && !lost || old.is_none() && new.traffic_control.is_none() {
            return Ok(());
        }
        let text = new.traffic_control.as_ref().map_or("", |tc| tc.value.commands.as_str());
        let devices = Links { rtnl: &self.rtnl, ports: &self.ports };
        let mut picture = Picture::default();
        let coming = tc::load(text, &mut picture, &devices, self.clock.now()).map_err(|faults| {
            let fault = faults.into_iter().next();
            let (start, why) = fault.map_or((0, String::new()), |fault| (fault.start, fault.why));
            let pos = new.traffic_control.as_ref().map_or(Pos::START, |tc| tc.value.place(start));
            new.diagnostic(pos, format!("tc: {why}"))
        })?;
        let mut going = std::mem::replace(&mut self.tc, picture).clear();
        // A new tree takes the place of the old one.
        going.ops.retain(|(dev, _)| self.tc.tree(*dev).is_none_or(|tree| tree.root().is_none()));
        going.ops.extend(coming.ops);
        self.change_trees(Changes { ops: going.ops, hooks: coming.hooks.or(going.hooks) });
        Ok(())
    }

    /// What is shown and measured of trees, and the devices' names.
    pub(super) fn tree_facts(&self) -> Vec<(String, Arc<Tree>)> {
        let named = |(dev, tree): (IfIndex, &Arc<Tree>)| {
            Some((self.rtnl.link(dev)?.name().to_owned(), Arc::clone(tree)))
        };
        self.tc.trees().filter_map(named).collect()
    }
}

/// The devices, as traffic control sees them.
struct Links<'a> {
    rtnl: &'a Rtnl,
    ports: &'a BTreeMap<IfIndex, PortHandle>,
}

impl Links<'_> {
    fn device(&self, link: &Link) -> Device {
        let index = link.ifindex();
        let mbps = self.ports.get(&index).map(|port| port.port.link().speed_mbps);
        let speed = mbps.filter(|mbps| (1..u32::MAX).contains(mbps)).map(|mbps| u64::from(mbps) * 125_000);
        Device { index, name: link.name().to_owned(), mtu: link.mtu().into(), speed }
    }
}

impl Devices for Links<'_> {
    fn find(&self, name: &str) -> Option<Device> {
        self.rtnl.link_by_name(name).map(|link| self.device(link))
    }

    fn all(&self) -> Vec<Device> {
        self.rtnl.links().map(|link| self.device(link)).collect()
    }
}
