//! The picture: every device's tree of disciplines as the control thread knows it.
//!
//! A change is checked here, by the kernel's rules and with the kernel's words, before the owner of the tree hears of it
//! as [`TreeOp`]s, which then cannot fail. Nothing here does I/O.
//!
//! Copies are cheap until they change: trees are shared. That makes a batch all or nothing, and a picture of the moment
//! for metrics.

mod class;
mod estimate;
mod graft;
mod node;
mod qdisc;

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_dataplane::net::IfIndex;
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::op::{QdiscOp, TreeOp};
use skiff_dataplane::skb::Skb;
use skiff_dataplane::time::Instant;

use estimate::Estimate;
pub use node::{Band, Classes, HtbClass, Node};

use super::Changes;
use super::error::TcError;
use super::filters::{Dirty, Filters};
use super::request::{Device, Estimator};

/// Changes for the owners of trees, in order.
pub type Ops = Vec<(IfIndex, TreeOp<Skb>)>;

/// All devices' trees.
#[derive(Clone, Debug)]
pub struct Picture {
    pub(super) trees: BTreeMap<IfIndex, Arc<Tree>>,
    /// Filters and actions.
    pub(super) filters: Filters,
    /// The last number that was given to a discipline without one.
    auto: u16,
    /// When rates were last measured; none if there may be none to measure.
    measured: Option<Instant>,
}

impl Default for Picture {
    fn default() -> Self {
        Picture { trees: BTreeMap::new(), filters: Filters::default(), auto: 0x8000, measured: None }
    }
}

impl Picture {
    /// The tree of a device, if it has one.
    pub fn tree(&self, dev: IfIndex) -> Option<&Tree> {
        self.trees.get(&dev).map(|tree| &**tree)
    }

    /// All trees, by device.
    pub fn trees(&self) -> impl Iterator<Item = (IfIndex, &Arc<Tree>)> {
        self.trees.iter().map(|(dev, tree)| (*dev, tree))
    }

    /// A device is gone, and its tree with it.
    pub fn forget(&mut self, dev: IfIndex) -> Changes {
        let ops = self.trees.remove(&dev).and_then(|tree| end_of(dev, &tree)).into_iter().collect();
        self.after(ops)
    }

    /// What else becomes of trees that have gone.
    fn after(&mut self, mut ops: Ops) -> Changes {
        let hooks = self.compile_filters(&Dirty::default(), &mut ops);
        Changes { ops, hooks }
    }

    /// Takes everything away.
    pub fn clear(&mut self) -> Changes {
        let gone = std::mem::take(&mut self.trees);
        let ops = gone.iter().filter_map(|(dev, tree)| end_of(*dev, tree)).collect();
        self.after(ops)
    }

    /// Looks at the counters of those whose rates are measured, if it is time.
    pub fn measure(&mut self, now: Instant) {
        if self.measured.is_none_or(|last| now.since(last) < Estimate::SHORTEST) {
            return;
        }
        self.measured = Some(now);
        let nodes = self.trees.values().flat_map(|tree| tree.qdiscs.values());
        for (node, estimate) in nodes.filter_map(|node| Some((node, node.estimate()?))) {
            estimate.look(node.cells.bytes.get(), node.cells.packets.get(), now);
        }
    }

    /// Works on a device's tree.
    pub(super) fn change<T>(
        &mut self,
        dev: &Device,
        ops: &mut Ops,
        work: impl FnOnce(&mut Change<'_>) -> Result<T, TcError>,
    ) -> Result<T, TcError> {
        let tree = Arc::make_mut(self.trees.entry(dev.index).or_default());
        let done = work(&mut Change { tree, dev, ops, auto: &mut self.auto, measured: &mut self.measured });
        if tree.is_empty() {
            self.trees.remove(&dev.index);
        }
        done
    }
}

/// What the owner of a tree must do when it is no more.
fn end_of(dev: IfIndex, tree: &Tree) -> Option<(IfIndex, TreeOp<Skb>)> {
    tree.root.map(|_| (dev, TreeOp::Root(None)))
}

/// A device's disciplines.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// By major number.
    qdiscs: BTreeMap<u16, Node>,
    /// The number of the one at the root.
    root: Option<u16>,
    /// `ingress` or `clsact`.
    ingress: Option<Node>,
}

impl Tree {
    fn is_empty(&self) -> bool {
        self.root.is_none() && self.ingress.is_none()
    }

    /// The discipline at the root.
    pub fn root(&self) -> Option<&Node> {
        self.qdiscs.get(&self.root?)
    }

    /// `ingress` or `clsact`.
    pub fn ingress(&self) -> Option<&Node> {
        self.ingress.as_ref()
    }

    /// A discipline by its name.
    pub fn qdisc(&self, handle: TcHandle) -> Option<&Node> {
        let own = self.qdiscs.get(&handle.major()).filter(|_| handle.major() != 0);
        own.or_else(|| self.ingress.as_ref().filter(|node| node.handle().major() == handle.major()))
    }

    /// A class of htb.
    pub fn htb_class(&self, class: TcHandle) -> Option<&HtbClass> {
        match &self.qdiscs.get(&class.major())?.classes {
            Classes::Htb(classes) => classes.get(&class.minor()),
            _ => None,
        }
    }

    /// True if a class exists.
    pub fn has_class(&self, class: TcHandle) -> bool {
        let node = self.qdiscs.get(&class.major());
        class.minor() != 0 && node.is_some_and(|node| node.classes.contains(class.minor()))
    }

    /// All disciplines, each before those below it, and `ingress` or `clsact` last.
    pub fn walk(&self) -> Vec<&Node> {
        let mut found = Vec::with_capacity(self.qdiscs.len() + 1);
        let mut next: Vec<u16> = self.root.into_iter().collect();
        while let Some(node) = next.pop().and_then(|major| self.qdiscs.get(&major)) {
            let mut below = node.classes.grafted();
            below.reverse();
            next.extend(below);
            found.push(node);
        }
        found.extend(&self.ingress);
        found
    }

    /// The classes to go down through from the root to a discipline.
    pub fn path(&self, handle: TcHandle) -> Vec<TcHandle> {
        let mut path = Vec::new();
        let mut at = self.qdiscs.get(&handle.major());
        while let Some(node) = at.filter(|node| node.parent != TcHandle::ROOT) {
            path.push(node.parent);
            at = self.qdiscs.get(&node.parent.major());
        }
        path.reverse();
        path
    }

    /// Counts filters that name a class, which keep it from being deleted.
    pub fn bind(&mut self, class: TcHandle, filters: u32) {
        self.with_htb_class(class, |class| class.bound += filters);
    }

    /// Takes back what [`bind`](Self::bind) counted.
    pub fn unbind(&mut self, class: TcHandle, filters: u32) {
        self.with_htb_class(class, |class| class.bound = class.bound.saturating_sub(filters));
    }

    fn with_htb_class(&mut self, class: TcHandle, work: impl FnOnce(&mut HtbClass)) {
        let node = self.qdiscs.get_mut(&class.major());
        if let Some(Classes::Htb(classes)) = node.map(|node| &mut node.classes)
            && let Some(class) = classes.get_mut(&class.minor())
        {
            work(class);
        }
    }
}

/// A tree that is being changed.
pub(super) struct Change<'a> {
    pub tree: &'a mut Tree,
    pub dev: &'a Device,
    pub ops: &'a mut Ops,
    auto: &'a mut u16,
    measured: &'a mut Option<Instant>,
}

impl Change<'_> {
    /// What measures a rate from now on.
    fn estimate(&mut self, estimator: Estimator) -> Arc<Estimate> {
        self.measured.get_or_insert(Instant::ZERO);
        Arc::new(Estimate::new(estimator))
    }

    /// Tells the owner of a change of the discipline `handle`.
    fn tell(&mut self, handle: TcHandle, op: QdiscOp<Skb>) {
        let path = self.tree.path(handle);
        self.ops.push((self.dev.index, TreeOp::At(path, op)));
    }
}
