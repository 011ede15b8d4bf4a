//! A discipline and its classes.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_dataplane::sched::cells::{ClassCells, QdiscCells};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::params::{HtbClassParams, QdiscSpec};

use super::super::request::NodeSpec;
use super::estimate::Estimate;

/// A discipline.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) handle: TcHandle,
    pub(super) parent: TcHandle,
    pub(super) spec: NodeSpec,
    pub(super) cells: Arc<QdiscCells>,
    pub(super) classes: Classes,
    pub(super) estimate: Option<Arc<Estimate>>,
}

impl Node {
    /// Its name.
    pub fn handle(&self) -> TcHandle {
        self.handle
    }

    /// The class above, or [`TcHandle::ROOT`] or [`TcHandle::INGRESS`].
    pub fn parent(&self) -> TcHandle {
        self.parent
    }

    /// Its kind and parameters.
    pub fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// Its statistics.
    pub fn cells(&self) -> &Arc<QdiscCells> {
        &self.cells
    }

    /// Its classes.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Its rate, if it is measured.
    pub fn estimate(&self) -> Option<&Estimate> {
        self.estimate.as_deref()
    }
}

/// What a discipline has below it.
#[derive(Clone, Debug)]
pub enum Classes {
    /// It has none.
    None,
    /// One, with the minor number 1, which every name finds: the number of the discipline that was put there.
    One(Option<u16>),
    /// The bands in use, from 1; and statistics of the queues of all it may have.
    Bands(Vec<Band>, usize),
    /// By minor number.
    Htb(BTreeMap<u16, HtbClass>),
}

impl Classes {
    /// Those a discipline begins with.
    pub(super) fn of(spec: &NodeSpec, band_cells: impl Fn(u16) -> Arc<QdiscCells>) -> Classes {
        match spec {
            NodeSpec::Sched(QdiscSpec::Htb(_)) => Classes::Htb(BTreeMap::new()),
            NodeSpec::Sched(QdiscSpec::Tbf(_) | QdiscSpec::Red(_)) => Classes::One(None),
            NodeSpec::Sched(QdiscSpec::Prio(params)) => {
                let bands = (1..=16).map(|minor| Band { grafted: None, own: band_cells(minor) });
                Classes::Bands(bands.collect(), params.bands.into())
            }
            _ => Classes::None,
        }
    }

    /// True if there is a class with this number.
    pub fn contains(&self, minor: u16) -> bool {
        match self {
            Classes::None => false,
            Classes::One(_) => true,
            Classes::Bands(_, used) => (1..=*used).contains(&usize::from(minor)),
            Classes::Htb(classes) => classes.contains_key(&minor),
        }
    }

    /// The number of the discipline that was put below a class.
    pub fn child(&self, minor: u16) -> Option<u16> {
        match self {
            Classes::None => None,
            Classes::One(child) => *child,
            Classes::Bands(bands, _) => bands.get(usize::from(minor).checked_sub(1)?)?.grafted,
            Classes::Htb(classes) => classes.get(&minor)?.child,
        }
    }

    /// The place for that number.
    pub(super) fn child_mut(&mut self, minor: u16) -> Option<&mut Option<u16>> {
        match self {
            Classes::None => None,
            Classes::One(child) => Some(child),
            Classes::Bands(bands, _) => {
                bands.get_mut(usize::from(minor).checked_sub(1)?).map(|band| &mut band.grafted)
            }
            Classes::Htb(classes) => classes.get_mut(&minor).map(|class| &mut class.child),
        }
    }

    /// The classes of htb by number, each before those below it.
    pub fn in_order(&self) -> Vec<(u16, &HtbClass)> {
        let Classes::Htb(classes) = self else { return Vec::new() };
        let mut below: BTreeMap<Option<u16>, Vec<u16>> = BTreeMap::new();
        for (&minor, class) in classes.iter().rev() {
            below.entry(class.parent).or_default().push(minor);
        }
        let mut next = below.remove(&None).unwrap_or_default();
        let mut found = Vec::with_capacity(classes.len());
        while let Some(minor) = next.pop() {
            next.extend(below.remove(&Some(minor)).unwrap_or_default());
            found.extend(classes.get(&minor).map(|class| (minor, class)));
        }
        found
    }

    /// The numbers of all disciplines that were put below a class, by class.
    pub fn grafted(&self) -> Vec<u16> {
        match self {
            Classes::None => Vec::new(),
            Classes::One(child) => child.iter().copied().collect(),
            Classes::Bands(bands, _) => bands.iter().filter_map(|band| band.grafted).collect(),
            Classes::Htb(classes) => classes.values().filter_map(|class| class.child).collect(),
        }
    }
}

/// A band of prio.
#[derive(Clone, Debug)]
pub struct Band {
    /// The number of the discipline that was put there.
    pub grafted: Option<u16>,
    /// Statistics of its own queue, which works if none was.
    pub own: Arc<QdiscCells>,
}

/// A class of htb.
#[derive(Clone, Debug)]
pub struct HtbClass {
    /// Number of the class above; without one it is below the discipline.
    pub parent: Option<u16>,
    /// Its parameters.
    pub params: HtbClassParams,
    /// 0 of a leaf; 7 of one with children that is below the discipline, and one less each step down.
    pub level: u8,
    /// How many classes are directly below it.
    pub children: u32,
    /// The number of the discipline that was put there.
    pub child: Option<u16>,
    /// Filters that name it.
    pub bound: u32,
    /// Its statistics.
    pub cells: Arc<ClassCells>,
}

impl HtbClass {
    /// True without classes below it.
    pub fn is_leaf(&self) -> bool {
        self.children == 0
    }
}
