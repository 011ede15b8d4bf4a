//! Disciplines into their places and out of them.

use std::sync::Arc;

use skiff_dataplane::sched::build::build;
use skiff_dataplane::sched::cells::QdiscCells;
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::op::{QdiscOp, TreeOp};
use skiff_dataplane::sched::qdisc::Qdisc;
use skiff_dataplane::skb::Skb;

use super::super::request::{Estimator, NodeSpec};
use super::node::{Classes, Node};
use super::{Change, Tree};

impl Change<'_> {
    /// Makes a discipline and puts it where another may be.
    pub(super) fn graft(
        &mut self,
        parent: TcHandle,
        handle: TcHandle,
        spec: NodeSpec,
        estimator: Option<Estimator>,
    ) {
        // A class that is found by any name has one.
        let parent = match self.tree.qdiscs.get(&parent.major()).map(|above| &above.classes) {
            Some(Classes::One(_)) => TcHandle::new(parent.major(), 1),
            _ => parent,
        };
        let (built, cells) = match &spec {
            NodeSpec::Sched(spec) => {
                let cells = Arc::new(QdiscCells::for_spec(spec));
                (Some(build::<Skb>(handle, spec, Arc::clone(&cells))), cells)
            }
            _ => (None, Arc::default()),
        };
        let own = |minor| {
            let built = built.as_ref().and_then(|qdisc| qdisc.default_child_cells(handle_of(handle, minor)));
            built.unwrap_or_default()
        };
        let classes = Classes::of(&spec, own);
        let estimate = estimator.map(|estimator| self.estimate(estimator));
        self.tree.put(Node { handle, parent, spec, cells, classes, estimate });
        self.tell_graft(parent, built);
    }

    fn tell_graft(&mut self, parent: TcHandle, built: Option<Box<dyn Qdisc<Skb>>>) {
        match parent {
            TcHandle::INGRESS => {}
            TcHandle::ROOT => self.ops.push((self.dev.index, TreeOp::Root(built))),
            class => self.tell(class.qdisc(), QdiscOp::Graft(class, built)),
        }
    }
}

fn handle_of(qdisc: TcHandle, minor: u16) -> TcHandle {
    TcHandle::new(qdisc.major(), minor)
}

impl Tree {
    /// Puts a discipline in its place; what was there goes.
    fn put(&mut self, node: Node) {
        let (parent, major) = (node.parent, node.handle.major());
        match parent {
            TcHandle::INGRESS => {
                self.ingress = Some(node);
                return;
            }
            TcHandle::ROOT => {
                if let Some(old) = self.root {
                    self.remove(old);
                }
                self.root = Some(major);
            }
            class => {
                let above = self.qdiscs.get(&class.major());
                if let Some(old) = above.and_then(|above| above.classes.child(class.minor())) {
                    self.remove(old);
                }
                let place = self.qdiscs.get_mut(&class.major());
                if let Some(child) = place.and_then(|above| above.classes.child_mut(class.minor())) {
                    *child = Some(major);
                }
            }
        }
        self.qdiscs.insert(major, node);
    }

    /// Takes a discipline away with all below it, and out of its place.
    pub(super) fn remove(&mut self, major: u16) {
        let Some(node) = self.qdiscs.remove(&major) else { return };
        let place = self.qdiscs.get_mut(&node.parent.major());
        if let Some(child) = place.and_then(|above| above.classes.child_mut(node.parent.minor())) {
            child.take_if(|child| *child == major);
        }
        if self.root == Some(major) {
            self.root = None;
        }
        for below in node.classes.grafted() {
            self.remove(below);
        }
    }
}
