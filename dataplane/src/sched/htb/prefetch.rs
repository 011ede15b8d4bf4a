//! What will be touched next is brought closer in time.

use skiff_pmd::prefetch_read;

use super::class::{Class, LEVELS, NIL};
use super::tree::Tree;
use crate::sched::packet::SchedPkt;
use crate::sched::queue::PktSlab;

/// No more classes than these are in the cache anyway.
const CACHED: usize = 256;
/// How many turns ahead a class is asked for, the place of its packet, and the packet, less one.
const AHEAD: usize = 6;
const PLACE_AHEAD: usize = 3;
const PKT_AHEAD: usize = 1;

/// Whose turns come next, as far as one could tell.
#[derive(Debug)]
pub(super) struct Ahead {
    leaves: [u32; AHEAD],
    /// The last of them, by what it is called in its round.
    last: u32,
}

impl Ahead {
    pub(super) const NOBODY: Ahead = Ahead { leaves: [NIL; AHEAD], last: 0 };
}

impl Tree {
    /// Starts to bring closer what a packet that comes into a leaf touches.
    #[inline]
    pub(super) fn prefetch_queue(&self, leaf: u32) {
        if let (Some(class), Some(leaf)) = (self.classes.get(leaf as usize), self.leaves.get(leaf as usize)) {
            prefetch_read(class);
            prefetch_read(leaf);
        }
    }

    /// Then, when that is there, what it refers to. True if a discipline is below it.
    #[inline]
    pub(super) fn prefetch_tail<P>(&self, leaf: u32, slab: &PktSlab<P>) -> bool {
        let (Some(class), Some(leaf)) = (self.classes.get(leaf as usize), self.leaves.get(leaf as usize))
        else {
            return false;
        };
        leaf.fifo.prefetch_tail(slab);
        prefetch_read(&*leaf.cells);
        class.grafted
    }

    /// The turn of a leaf has ended: starts to bring closer what those touch whose turns come next in its round.
    ///
    /// A leaf leads to its first packet's place, and that to the packet: each is asked for when what leads to it should
    /// be there.
    #[inline]
    pub(super) fn prefetch_next<P: SchedPkt>(
        &mut self,
        leaf: u32,
        level: usize,
        prio: usize,
        slab: &PktSlab<P>,
    ) {
        if self.classes.len() <= CACHED {
            return;
        }
        if self.ahead.leaves[0] != leaf {
            // Not as it was foreseen.
            self.ahead.last = self.member(leaf, level);
            for at in 0..AHEAD {
                self.ahead.leaves[at] = self.foresee(leaf, level, prio);
                self.prefetch_queue(self.ahead.leaves[at]);
            }
            return;
        }
        self.ahead.leaves.copy_within(1.., 0);
        self.ahead.leaves[AHEAD - 1] = self.foresee(leaf, level, prio);
        self.prefetch_queue(self.ahead.leaves[AHEAD - 1]);
        let at = self.ahead.leaves[PLACE_AHEAD] as usize;
        if let Some(leaf) = self.leaves.get(at) {
            leaf.fifo.prefetch_head(slab);
            prefetch_read(&*leaf.cells);
        }
        if let Some(leaf) = self.leaves.get(self.ahead.leaves[PKT_AHEAD] as usize)
            && let Some(pkt) = leaf.fifo.front(slab)
        {
            pkt.prefetch();
        }
    }

    /// What a leaf is called in its round.
    #[inline]
    fn member(&self, leaf: u32, level: usize) -> u32 {
        if level == 0 { leaf } else { self.classes[leaf as usize].place }
    }

    /// The leaf after the last one that was foreseen, in the round of `leaf`; [`NIL`] if there is none. It touches no
    /// class but the parent.
    #[inline]
    fn foresee(&mut self, leaf: u32, level: usize, prio: usize) -> u32 {
        let last = &mut self.ahead.last;
        if level == 0 {
            *last = self.rows[0][prio].after(*last).unwrap_or(leaf);
            return *last;
        }
        let Class { parent, place, .. } = self.classes[leaf as usize];
        let inner = self.classes[parent as usize].inner as usize;
        *last = self.feeds[inner * LEVELS + prio].after(*last).unwrap_or(place);
        self.inners[inner].children[*last as usize]
    }
}
