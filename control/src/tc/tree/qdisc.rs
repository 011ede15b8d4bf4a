//! Disciplines come, change and go, by the rules of the kernel's `tc_modify_qdisc` and `tc_get_qdisc`.

use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::op::{QdiscOp, TreeOp};
use skiff_dataplane::sched::params::QdiscSpec;

use super::super::error::{Errno, TcError};
use super::super::request::{KindWords, NodeSpec, QdiscChange, Verb};
use super::node::{Classes, Node};
use super::{Change, Tree};

/// Most disciplines one below the other. Packets go down through them by recursion.
const MAX_NESTING: usize = 16;

const OTHER_KIND: &str = "Invalid qdisc name: must match existing qdisc";

/// What is to be done with what was found.
enum Step {
    /// Make a new one and put it there.
    Create,
    /// Give this one other parameters.
    Modify(TcHandle),
}

impl Change<'_> {
    /// Carries out `tc qdisc VERB`.
    ///
    /// # Errors
    /// What the kernel would refuse, in its words; nothing is changed then.
    pub fn qdisc(&mut self, verb: Verb, change: &QdiscChange) -> Result<(), TcError> {
        if verb == Verb::Delete {
            return self.delete_qdisc(change);
        }
        match self.decide(verb, change)? {
            Step::Modify(handle) => self.modify(handle, change),
            Step::Create => self.create(change),
        }
    }

    fn decide(&self, verb: Verb, change: &QdiscChange) -> Result<Step, TcError> {
        if change.parent == TcHandle::UNSPEC {
            if change.handle == TcHandle::UNSPEC {
                return Err(TcError::refused("Handle cannot be zero"));
            }
            let found = self.tree.qdisc(change.handle);
            return modify_if(verb, found, change.kind.as_ref());
        }
        let there = self.tree.at(change.parent)?;
        match there {
            Some(node) if change.handle == TcHandle::UNSPEC || change.handle == node.handle => {
                let other_kind = change.kind.as_ref().is_some_and(|kind| kind.name != node.spec.kind());
                // Without a name, another kind takes the place; of `change` the kernel cannot know what is meant.
                if change.handle == TcHandle::UNSPEC && other_kind && verb != Verb::Link {
                    return Ok(Step::Create);
                }
                modify_if(verb, there, change.kind.as_ref())
            }
            Some(_) if matches!(verb, Verb::Add | Verb::Change) => {
                Err(TcError::refused("NLM_F_REPLACE needed to override"))
            }
            _ if change.handle != TcHandle::UNSPEC && self.tree.qdisc(change.handle).is_some() => {
                Err(TcError::refused("Cannot move an existing qdisc to a different parent"))
            }
            _ if matches!(verb, Verb::Change | Verb::Link) => {
                Err(TcError::refused("Qdisc not found. To create specify NLM_F_CREATE flag"))
            }
            _ => Ok(Step::Create),
        }
    }

    fn create(&mut self, change: &QdiscChange) -> Result<(), TcError> {
        let kind = change.kind.as_ref();
        let unknown = || TcError::refused("Specified qdisc kind is unknown");
        let spec = kind.and_then(|kind| kind.spec).ok_or_else(unknown)?;
        let (parent, side) = (change.parent, matches!(spec, NodeSpec::Ingress | NodeSpec::Clsact));
        if parent == TcHandle::INGRESS && !side {
            return Err(TcError::refused("Specified parent ID is reserved for ingress and clsact Qdiscs"));
        }
        if side && parent != TcHandle::INGRESS {
            return Err(TcError::errno(Errno::NotSupported));
        }
        if !side && parent != TcHandle::ROOT {
            if spec == NodeSpec::Noqueue {
                return Err(TcError::refused("Cannot assign noqueue to a class"));
            }
            self.tree.check_place(parent)?;
            if self.tree.path(parent.qdisc()).len() + 2 > MAX_NESTING {
                return Err(TcError::refused("Too many disciplines below each other"));
            }
        }
        let handle = match change.handle {
            _ if side => TcHandle::INGRESS.qdisc(),
            TcHandle::UNSPEC => self.free_handle()?,
            handle => handle,
        };
        self.graft(parent, handle, spec, change.estimator);
        Ok(())
    }

    /// A number for a discipline whose operator did not care.
    fn free_handle(&mut self) -> Result<TcHandle, TcError> {
        for _ in 0x8000..0xffffu16 {
            *self.auto = if *self.auto >= 0xfffe { 0x8001 } else { *self.auto + 1 };
            let handle = TcHandle::new(*self.auto, 0);
            if self.tree.qdisc(handle).is_none() {
                return Ok(handle);
            }
        }
        Err(TcError::errno(Errno::NoSpace))
    }

    fn modify(&mut self, handle: TcHandle, change: &QdiscChange) -> Result<(), TcError> {
        let Some(node) = self.tree.qdiscs.get_mut(&handle.major()) else { return Ok(()) };
        let wanted = change.kind.as_ref().filter(|kind| kind.given).and_then(|kind| kind.spec);
        if let Some(wanted) = wanted {
            let NodeSpec::Sched(spec) = wanted else { return Ok(()) };
            if matches!(spec, QdiscSpec::Htb(_)) {
                return Err(TcError::refused("Change operation not supported by specified qdisc"));
            }
            node.spec = wanted;
            self.tell(handle, QdiscOp::Change(spec));
            self.after_change(handle, &spec);
        }
        let estimate = change.estimator.map(|estimator| self.estimate(estimator));
        if let Some(node) = self.tree.qdiscs.get_mut(&handle.major()).filter(|_| estimate.is_some()) {
            node.estimate = estimate;
        }
        Ok(())
    }

    /// What a change does to the disciplines below.
    fn after_change(&mut self, handle: TcHandle, spec: &QdiscSpec) {
        let Some(node) = self.tree.qdiscs.get_mut(&handle.major()) else { return };
        match (spec, &mut node.classes) {
            // red begins again with a queue of its own.
            (QdiscSpec::Red(_), Classes::One(child)) => {
                if let Some(child) = child.take() {
                    self.tree.remove(child);
                }
            }
            // tbf's limit is that of its queue, whoever put it there.
            (QdiscSpec::Tbf(params), Classes::One(Some(child))) => {
                let (child, limit) = (*child, u32::try_from(params.limit).unwrap_or(u32::MAX));
                self.limit_fifo(child, limit);
            }
            // Bands that are no more lose what was put there.
            (QdiscSpec::Prio(params), Classes::Bands(bands, used)) => {
                *used = params.bands.into();
                let gone: Vec<u16> =
                    bands[*used..].iter_mut().filter_map(|band| band.grafted.take()).collect();
                gone.into_iter().for_each(|child| self.tree.remove(child));
            }
            _ => {}
        }
    }

    fn limit_fifo(&mut self, major: u16, new: u32) {
        let Some(node) = self.tree.qdiscs.get_mut(&major) else { return };
        let NodeSpec::Sched(spec) = &mut node.spec else { return };
        match spec {
            QdiscSpec::Pfifo { limit } | QdiscSpec::Bfifo { limit } | QdiscSpec::PfifoHeadDrop { limit } => {
                *limit = new;
            }
            _ => return,
        }
        let (handle, spec) = (node.handle, *spec);
        self.tell(handle, QdiscOp::Change(spec));
    }

    fn delete_qdisc(&mut self, change: &QdiscChange) -> Result<(), TcError> {
        let no_default = || TcError::refused("Cannot delete qdisc with handle of zero");
        let found = match change.parent {
            TcHandle::UNSPEC => {
                let missing = || TcError::refused("Failed to find qdisc with specified handle");
                let node = self.tree.qdisc(change.handle).ok_or_else(missing)?;
                same_kind(node, change.kind.as_ref())?;
                return Err(TcError::refused("Classid cannot be zero"));
            }
            parent => self.tree.to_delete(parent)?,
        };
        let own = found.map_or(TcHandle::UNSPEC, |node| node.handle);
        if change.handle != TcHandle::UNSPEC && change.handle != own {
            return Err(TcError::refused("Invalid handle"));
        }
        match found {
            Some(node) => same_kind(node, change.kind.as_ref())?,
            // The kernel has something of another kind there.
            None if change.kind.is_some() => return Err(TcError::refused(OTHER_KIND)),
            None => {}
        }
        let node = found.ok_or_else(no_default)?;
        let (handle, parent) = (node.handle, node.parent);
        match parent {
            TcHandle::INGRESS => self.tree.ingress = None,
            TcHandle::ROOT => {
                self.tree.remove(handle.major());
                self.ops.push((self.dev.index, TreeOp::Root(None)));
            }
            class => {
                self.tree.remove(handle.major());
                self.tell(class.qdisc(), QdiscOp::Graft(class, None));
            }
        }
        Ok(())
    }
}

fn modify_if(verb: Verb, found: Option<&Node>, kind: Option<&KindWords>) -> Result<Step, TcError> {
    let node = found.ok_or_else(|| TcError::refused("Specified qdisc not found"))?;
    if verb == Verb::Add {
        return Err(TcError::refused("Exclusivity flag on, cannot modify"));
    }
    same_kind(node, kind)?;
    Ok(Step::Modify(node.handle))
}

fn same_kind(node: &Node, kind: Option<&KindWords>) -> Result<(), TcError> {
    match kind {
        Some(kind) if kind.name != node.spec.kind() => Err(TcError::refused(OTHER_KIND)),
        _ => Ok(()),
    }
}

impl Tree {
    /// The discipline at a place, if somebody put one there.
    fn at(&self, parent: TcHandle) -> Result<Option<&Node>, TcError> {
        match parent {
            TcHandle::ROOT => Ok(self.root()),
            TcHandle::INGRESS => Ok(self.ingress.as_ref()),
            class => {
                let missing = || TcError::refused("Failed to find specified qdisc");
                let above = self.qdisc(class).ok_or_else(missing)?;
                if above.parent == TcHandle::INGRESS {
                    return Err(TcError::refused("Cannot add children to ingress/clsact qdisc"));
                }
                self.below(above, class)
            }
        }
    }

    fn below(&self, above: &Node, class: TcHandle) -> Result<Option<&Node>, TcError> {
        if matches!(above.classes, Classes::None) {
            return Err(TcError::refused("Parent qdisc is not classful"));
        }
        if !above.classes.contains(class.minor()) {
            return Err(TcError::refused("Specified class not found"));
        }
        Ok(above.classes.child(class.minor()).and_then(|child| self.qdiscs.get(&child)))
    }

    /// A class can have a discipline below it.
    fn check_place(&self, class: TcHandle) -> Result<(), TcError> {
        match self.htb_class(class) {
            Some(htb) if !htb.is_leaf() => Err(TcError::errno(Errno::Invalid)),
            _ => Ok(()),
        }
    }

    fn to_delete(&self, parent: TcHandle) -> Result<Option<&Node>, TcError> {
        match parent {
            TcHandle::ROOT => Ok(self.root()),
            parent if parent.qdisc() == TcHandle::INGRESS.qdisc() => Ok(self.ingress.as_ref()),
            class => {
                let missing = || TcError::refused("Failed to find qdisc with specified classid");
                let above = self.qdisc(class).ok_or_else(missing)?;
                if self.htb_class(class).is_some_and(|class| !class.is_leaf()) {
                    return Err(TcError::refused("Cannot find specified qdisc on specified device"));
                }
                self.below(above, class)
            }
        }
    }
}
