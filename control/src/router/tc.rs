//! `skiff tc` on the running router.

use skiff_dataplane::net::IfIndex;

use super::{PortHandle, Router};
use crate::api::Reply;
use crate::rtnl::{Link, Rtnl};
use crate::tc::{self, Call, Changes, Device, Devices};

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
        let changes = self.tc.forget(dev);
        self.change_trees(changes);
    }
}

/// The devices, as traffic control sees them.
struct Links<'a> {
    rtnl: &'a Rtnl,
    ports: &'a std::collections::BTreeMap<IfIndex, PortHandle>,
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
