//! Changes of queueing disciplines on their way to the lcores that own them.

use std::time::{Duration, Instant as WallInstant};

use skiff_dataplane::core::shared::ToLcore;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::sched::op::TreeOp;
use skiff_dataplane::skb::Skb;

use super::{LONGEST_BURST, Router};
use crate::rtnl::LinkKind;

/// Changes an lcore carries out in one turn: it forwards between two turns.
const CHANGES_A_TURN: usize = 64;
/// How long an lcore may leave its messages alone before it is given up.
const PATIENCE: Duration = Duration::from_secs(5);

impl Router {
    /// Hands changes to the owners of the trees, in order. Packets go through a tree from when it is there, and past
    /// it before it goes.
    pub fn send_tree_ops(&mut self, ops: Vec<(IfIndex, TreeOp<Skb>)>) {
        let mut owners = self.qdisc_owners.clone();
        for (dev, op) in &ops {
            match op {
                TreeOp::Root(Some(_)) => drop(owners.insert(*dev, self.qdisc_owner_of(*dev))),
                TreeOp::Root(None) => drop(owners.remove(dev)),
                TreeOp::At(..) => {}
            }
        }
        let leaving = self.qdisc_owners.keys().any(|dev| !owners.contains_key(dev));
        let coming = owners.keys().any(|dev| !self.qdisc_owners.contains_key(dev));
        let before = self.qdisc_owners.clone();
        if leaving {
            self.qdisc_owners.retain(|dev, _| owners.contains_key(dev));
            self.publish();
            self.settle(LONGEST_BURST);
        }
        let mut ops = ops.into_iter().peekable();
        while let Some((dev, op)) = ops.next() {
            let mut turn = vec![op];
            while turn.len() < CHANGES_A_TURN
                && let Some((_, op)) = ops.next_if(|(next, _)| *next == dev)
            {
                turn.push(op);
            }
            let owner = owners.get(&dev).or_else(|| before.get(&dev)).copied();
            self.change_tree(owner.unwrap_or_else(|| self.qdisc_owner_of(dev)), dev, turn);
        }
        if coming {
            self.qdisc_owners = owners;
            self.publish();
        }
    }

    fn change_tree(&self, owner: u16, dev: IfIndex, ops: Vec<TreeOp<Skb>>) {
        let mut message = ToLcore::ChangeTree(dev, ops);
        let since = WallInstant::now();
        while let Err(full) = self.shared.send_to_lcore(usize::from(owner), message) {
            if since.elapsed() > PATIENCE {
                tracing::error!("lcore {owner} takes no changes of queueing disciplines: it stands still");
                return;
            }
            message = full;
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// The lcore that owns the tree of a device: one that has a transmit queue of it.
    fn qdisc_owner_of(&self, dev: IfIndex) -> u16 {
        let lcores = self.shared.lcores().max(1) as u16;
        match (self.rtnl.link(dev).map(|link| link.kind()), self.ports.get(&dev)) {
            (Some(LinkKind::Port), Some(port)) => port.port.id().0 % port.tx_queues.clamp(1, lcores),
            _ => dev.0 % lcores,
        }
    }
}
