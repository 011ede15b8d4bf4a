//! What will be touched next is brought closer in time.

use skiff_pmd::prefetch_read;

use super::class::{LEVELS, NIL};
use super::tree::Tree;
use crate::sched::queue::PktSlab;

/// No more classes than these are in the cache anyway.
const CACHED: usize = 256;

impl Tree {
    /// Starts to bring closer what a packet that comes into a leaf touches.
    #[inline]
    pub(super) fn prefetch_queue(&self, leaf: u32) {
        if let (Some(leaf), Some(cells)) = (self.leaves.get(leaf as usize), self.cells.get(leaf as usize)) {
            prefetch_read(leaf);
            prefetch_read(cells);
        }
    }

    /// Then, when that is there, what it refers to. True if a discipline is below it.
    #[inline]
    pub(super) fn prefetch_tail<P>(&self, leaf: u32, slab: &PktSlab<P>) -> bool {
        let (Some(leaf), Some(cells)) = (self.leaves.get(leaf as usize), self.cells.get(leaf as usize))
        else {
            return false;
        };
        leaf.fifo.prefetch_tail(slab);
        prefetch_read(&**cells);
        leaf.grafted
    }

    /// The turn of a leaf has ended: starts to bring closer what those touch whose turns come next, as far as one can
    /// tell.
    #[inline]
    pub(super) fn prefetch_next<P>(&mut self, leaf: u32, level: usize, prio: usize, slab: &PktSlab<P>) {
        if self.classes.len() <= CACHED {
            return;
        }
        let [next, second, third] = self.ahead;
        if next != leaf {
            // Not as it was foreseen.
            let next = self.after(leaf, level, prio);
            let second = self.after(next, level, prio);
            self.ahead = [next, second, self.after(second, level, prio)];
            self.ahead.into_iter().for_each(|leaf| self.prefetch_class(leaf));
            return;
        }
        let fourth = self.after(third, level, prio);
        self.ahead = [second, third, fourth];
        self.prefetch_class(fourth);
        let (Some(leaf), Some(cells)) = (self.leaves.get(third as usize), self.cells.get(third as usize))
        else {
            return;
        };
        leaf.fifo.prefetch_head(slab);
        prefetch_read(&**cells);
    }

    #[inline]
    fn prefetch_class(&self, leaf: u32) {
        let at = leaf as usize;
        if let (Some(class), Some(leaf), Some(cells)) =
            (self.classes.get(at), self.leaves.get(at), self.cells.get(at))
        {
            prefetch_read(class);
            prefetch_read(leaf);
            prefetch_read(cells);
        }
    }

    /// Who comes after a leaf in its round; [`NIL`] if nobody.
    #[inline]
    fn after(&self, leaf: u32, level: usize, prio: usize) -> u32 {
        let Some(class) = self.classes.get(leaf as usize) else { return NIL };
        if level == 0 {
            return self.rows[0][prio].after(leaf).unwrap_or(NIL);
        }
        let Some(parent) = self.classes.get(class.parent as usize) else { return NIL };
        let inner = parent.inner as usize;
        match (self.feeds.get(inner * LEVELS + prio), self.inners.get(inner)) {
            (Some(feed), Some(inner)) => feed
                .after(class.place)
                .and_then(|place| inner.children.get(place as usize).copied())
                .unwrap_or(NIL),
            _ => NIL,
        }
    }
}
