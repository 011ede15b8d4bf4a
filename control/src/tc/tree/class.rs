//! Classes come, change and go, by the rules of the kernel's `tc_ctl_tclass` and of htb.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_dataplane::sched::cells::ClassCells;
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::htb::params::{MAX_DEPTH, OddQuantum, default_quantum};
use skiff_dataplane::sched::op::QdiscOp;
use skiff_dataplane::sched::params::{HtbClassParams, QdiscSpec};

use super::super::error::{Errno, TcError};
use super::super::request::{ClassChange, Device, HtbClassWords, NodeSpec, Verb};
use super::Change;
use super::node::{Classes, HtbClass, Node};

/// The largest priority.
const MAX_PRIO: u8 = 7;

/// Where a change is to be made.
struct Place {
    qdisc: TcHandle,
    class: TcHandle,
    parent: TcHandle,
}

impl Change<'_> {
    /// Carries out `tc class VERB`; a warning may come of it.
    ///
    /// # Errors
    /// What the kernel would refuse; nothing is changed then.
    pub fn class(&mut self, verb: Verb, change: &ClassChange) -> Result<Option<String>, TcError> {
        let place = self.place(change)?;
        let missing = || TcError::errno(Errno::NotFound);
        let node = self.tree.qdiscs.get(&place.qdisc.major()).ok_or_else(missing)?;
        if matches!(node.classes, Classes::None) {
            return Err(TcError::errno(Errno::Invalid));
        }
        let exists = match &node.classes {
            Classes::One(_) => place.class != TcHandle::UNSPEC,
            classes => classes.contains(place.class.minor()),
        };
        match verb {
            Verb::Delete | Verb::Change if !exists => Err(missing()),
            Verb::Add if exists => Err(TcError::errno(Errno::Exists)),
            _ if !matches!(node.classes, Classes::Htb(_)) => Err(TcError::errno(Errno::NotSupported)),
            Verb::Delete => self.delete_class(&place).map(|()| None),
            _ => {
                let words = change.htb.as_ref().ok_or_else(|| TcError::errno(Errno::Invalid))?;
                if exists { self.change_class(&place, words) } else { self.add_class(&place, words) }
            }
        }
    }

    /// Both numbers may leave out the discipline's, which is the root's then.
    fn place(&self, change: &ClassChange) -> Result<Place, TcError> {
        let (class, mut parent) = (change.classid, change.parent);
        let root = || self.tree.root().map_or(TcHandle::UNSPEC, |node| node.handle);
        let mut qdisc = class.qdisc();
        if parent != TcHandle::ROOT {
            let above = parent.qdisc();
            let none = TcHandle::UNSPEC;
            if qdisc != none && above != none && qdisc != above {
                return Err(TcError::errno(Errno::Invalid));
            }
            qdisc = [qdisc, above].into_iter().find(|handle| *handle != none).unwrap_or_else(root);
            if parent != none {
                parent = TcHandle::new(qdisc.major(), parent.minor());
            }
        } else if qdisc == TcHandle::UNSPEC {
            qdisc = root();
        }
        let class = match class {
            TcHandle::UNSPEC => TcHandle::UNSPEC,
            class => TcHandle::new(qdisc.major(), class.minor()),
        };
        Ok(Place { qdisc, class, parent })
    }

    /// As kernel `htb_change_class` without a class: a parent that is not there is none.
    fn add_class(&mut self, place: &Place, words: &HtbClassWords) -> Result<Option<String>, TcError> {
        let class = place.class;
        if class.minor() == 0 {
            return Err(TcError::errno(Errno::Invalid));
        }
        let Some((r2q, classes)) = self.htb(place.qdisc) else {
            return Err(TcError::errno(Errno::Invalid));
        };
        let parent = Some(place.parent.minor()).filter(|minor| classes.contains_key(minor));
        let above = parent.and_then(|minor| classes.get(&minor)).map(|class| (class.parent, class.is_leaf()));
        let level = |minor: Option<u16>| minor.and_then(|m| classes.get(&m)).map(|class| class.level);
        if let Some((Some(grandparent), _)) = above
            && level(Some(grandparent)).is_some_and(|level| level < 2)
        {
            return Err(TcError::refused("sch_htb: tree is too deep"));
        }
        let (params, warning) = params(class, words, r2q);
        let mut orphan = None;
        if let Some(minor) = parent {
            let level_above = above.and_then(|(grandparent, _)| level(grandparent)).unwrap_or(MAX_DEPTH);
            if let Some(above) = classes.get_mut(&minor) {
                if above.is_leaf() {
                    above.level = level_above - 1;
                    // What it held is dropped with its queue.
                    orphan = above.child;
                }
                above.children += 1;
            }
        }
        let cells = Arc::new(ClassCells::default());
        let new = HtbClass {
            parent,
            params,
            level: 0,
            children: 0,
            child: None,
            bound: 0,
            cells: Arc::clone(&cells),
        };
        classes.insert(class.minor(), new);
        if let Some(orphan) = orphan {
            self.tree.remove(orphan);
        }
        let parent = TcHandle::new(place.qdisc.major(), parent.unwrap_or(0));
        let limit = Device::TX_QUEUE_LEN;
        self.tell(place.qdisc, QdiscOp::ClassAdd { class, parent, params, limit, cells });
        Ok(warning)
    }

    fn change_class(&mut self, place: &Place, words: &HtbClassWords) -> Result<Option<String>, TcError> {
        let class = place.class;
        let Some((r2q, classes)) = self.htb(place.qdisc) else { return Ok(None) };
        let Some(known) = classes.get_mut(&class.minor()) else { return Ok(None) };
        let (mut new, mut warning) = params(class, words, r2q);
        if !known.is_leaf() {
            (new.prio, new.quantum, warning) = (known.params.prio, known.params.quantum, None);
        }
        known.params = new;
        self.tell(place.qdisc, QdiscOp::ClassChange(class, new));
        Ok(warning)
    }

    fn delete_class(&mut self, place: &Place) -> Result<(), TcError> {
        let minor = place.class.minor();
        let Some((_, classes)) = self.htb(place.qdisc) else { return Ok(()) };
        let Some(class) = classes.get(&minor) else { return Ok(()) };
        if !class.is_leaf() || class.bound > 0 {
            return Err(TcError::refused("HTB class in use"));
        }
        let (child, parent) = (class.child, class.parent);
        classes.remove(&minor);
        if let Some(above) = parent.and_then(|minor| classes.get_mut(&minor)) {
            above.children -= 1;
            if above.is_leaf() {
                above.level = 0;
                above.child = None;
            }
        }
        if let Some(child) = child {
            self.tree.remove(child);
        }
        self.tell(place.qdisc, QdiscOp::ClassDelete(place.class));
        Ok(())
    }

    fn htb(&mut self, qdisc: TcHandle) -> Option<(u32, &mut BTreeMap<u16, HtbClass>)> {
        let node: &mut Node = self.tree.qdiscs.get_mut(&qdisc.major())?;
        match (&node.spec, &mut node.classes) {
            (NodeSpec::Sched(QdiscSpec::Htb(params)), Classes::Htb(classes)) => Some((params.r2q, classes)),
            _ => None,
        }
    }
}

/// The parameters in full, and the kernel's warning about a quantum that came of the rate.
fn params(class: TcHandle, words: &HtbClassWords, r2q: u32) -> (HtbClassParams, Option<String>) {
    let (quantum, odd) = match words.quantum {
        Some(quantum) => (quantum, None),
        None => default_quantum(words.rate, r2q),
    };
    let warning = odd.map(|odd| {
        let size = match odd {
            OddQuantum::Small => "small",
            OddQuantum::Big => "big",
        };
        format!("Warning: sch_htb: quantum of class {:X} is {size}. Consider r2q change.\n", class.0)
    });
    let params = HtbClassParams {
        rate: words.rate,
        ceil: words.ceil,
        burst: words.burst,
        cburst: words.cburst,
        prio: words.prio.min(MAX_PRIO.into()) as u8,
        quantum,
        rate_layer: words.layer,
        ceil_layer: words.layer,
    };
    (params, warning)
}
