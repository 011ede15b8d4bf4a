//! The routes of one prefix, in the kernel's order.

use super::info::InfoId;

/// At least one route: the local table before main, smaller metrics before larger. Nearly every prefix has one only,
/// so one takes no room of its own.
#[derive(Clone, Debug)]
pub(super) enum Chain {
    One(InfoId),
    Many(Box<[InfoId]>),
}

impl Chain {
    pub(super) fn as_slice(&self) -> &[InfoId] {
        match self {
            Chain::One(id) => std::slice::from_ref(id),
            Chain::Many(ids) => ids,
        }
    }

    pub(super) fn insert(&mut self, at: usize, id: InfoId) {
        let mut ids = self.as_slice().to_vec();
        ids.insert(at, id);
        *self = Chain::Many(ids.into());
    }

    pub(super) fn replace(&mut self, at: usize, id: InfoId) {
        match self {
            Chain::One(there) => *there = id,
            Chain::Many(ids) => ids[at] = id,
        }
    }

    /// What is left without the route at `at`; none if that was the last.
    pub(super) fn without(&self, at: usize) -> Option<Chain> {
        let mut ids = self.as_slice().to_vec();
        ids.remove(at);
        match ids.as_slice() {
            [] => None,
            [one] => Some(Chain::One(*one)),
            _ => Some(Chain::Many(ids.into())),
        }
    }
}
