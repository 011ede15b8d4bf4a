//! The classes and who may send: rows of classes that may, feeds of classes that wait for their parent's tokens.
//!
//! A class is *active* in a priority while packets of it wait in it or below it. An active class that may send is in the
//! row of its level; one that may borrow is in the feed of its parent, which makes the parent active; one that can't
//! send is in none.

use super::class::{Class, LEVELS, Leaf, Mode, NIL, nanos_up};
use super::prefetch::Ahead;
use super::round::Round;
use super::wheel::Wheel;
use crate::core::counters::Counter;
use crate::sched::cells::{QdiscCells, Special};
use crate::sched::params::LinkLayer;
use crate::sched::qdisc::Held;

/// The last of the priorities.
const TOP_PRIO: u8 = LEVELS as u8 - 1;

/// Numbers of the bits that are set, lowest first.
#[inline(always)]
pub(super) fn bits(mut mask: u8) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let bit = mask.trailing_zeros() as usize & (LEVELS - 1);
        mask &= mask - 1;
        Some(bit)
    })
}

/// An inner class.
#[derive(Debug, Default)]
pub(super) struct Inner {
    /// Which class it is.
    pub class: u32,
    /// Its children by their places.
    pub children: Vec<u32>,
    /// Places where there is none any more.
    pub left: Vec<u32>,
}

/// How lengths are charged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layers {
    pub rate: LinkLayer,
    pub ceil: LinkLayer,
}

/// All classes of a discipline.
#[derive(Debug)]
pub(super) struct Tree {
    pub classes: Vec<Class>,
    /// By number of the class, as all but the inner ones; of inner classes only the statistics are used.
    pub leaves: Vec<Leaf>,
    pub layers: Vec<Layers>,
    pub free: Vec<u32>,
    pub inners: Vec<Inner>,
    pub free_inners: Vec<u32>,
    /// Eight for each inner class: classes that borrow, by their place among its children.
    pub feeds: Vec<Round>,
    /// Classes that may send, by level and priority: leaves by their numbers, others by those of inner classes.
    pub rows: [[Round; LEVELS]; LEVELS],
    /// Rows with somebody in them: a byte for each level, the lowest first, and a bit for each priority.
    pub row_mask: u64,
    pub wheel: Wheel,
    pub hysteresis: bool,
    pub ahead: Ahead,
}

impl Tree {
    pub(super) fn new(hysteresis: bool) -> Self {
        Tree {
            classes: Vec::new(),
            leaves: Vec::new(),
            layers: Vec::new(),
            free: Vec::new(),
            inners: Vec::new(),
            free_inners: Vec::new(),
            feeds: Vec::new(),
            rows: Default::default(),
            row_mask: 0,
            wheel: Wheel::new(),
            hysteresis,
            ahead: Ahead::NOBODY,
        }
    }

    /// Packets wait in a leaf; so they may have before.
    #[inline(always)]
    pub(super) fn activate(&mut self, leaf: u32) {
        let class = &mut self.classes[leaf as usize];
        let prio = usize::from(class.prio & TOP_PRIO);
        class.active = 1 << prio;
        match class.mode {
            Mode::CanSend => self.join_row(0, prio, leaf),
            Mode::MayBorrow => self.join_feed(leaf, prio),
            Mode::CantSend => {}
        }
    }

    /// The last packet of a leaf is gone.
    #[inline(always)]
    pub(super) fn deactivate(&mut self, leaf: u32) {
        let class = &mut self.classes[leaf as usize];
        let prio = usize::from(class.prio & TOP_PRIO);
        class.active = 0;
        match class.mode {
            Mode::CanSend => self.leave_row(0, prio, leaf),
            Mode::MayBorrow => self.leave_feed(leaf, prio),
            Mode::CantSend => {}
        }
    }

    /// Counts packets that came into a leaf, or went.
    #[inline]
    pub(super) fn came(&self, leaf: u32, packets: i64, bytes: i64) {
        // Two's complement: what is less is taken away.
        let cells = &self.leaves[leaf as usize].cells;
        cells.qlen.add(packets as u64);
        cells.backlog.add(bytes as u64);
    }

    /// True if a leaf holds nothing.
    #[inline]
    pub(super) fn is_empty(&self, leaf: u32) -> bool {
        let queue = &self.leaves[leaf as usize];
        if self.classes[leaf as usize].grafted { queue.cells.qlen.get() == 0 } else { queue.fifo.is_empty() }
    }

    /// A leaf takes part as long as it holds packets.
    #[inline]
    pub(super) fn follow_backlog(&mut self, leaf: u32) {
        let holds = !self.is_empty(leaf);
        let active = self.classes[leaf as usize].active != 0;
        match (holds, active) {
            (true, false) => self.activate(leaf),
            (false, true) => self.deactivate(leaf),
            _ => {}
        }
    }

    /// What a leaf holds.
    pub(super) fn held(&self, leaf: u32) -> Held {
        let cells = &self.leaves[leaf as usize].cells;
        Held { packets: cells.qlen.get(), bytes: cells.backlog.get() }
    }

    /// Packets were dropped below a leaf.
    pub(super) fn shrink(&mut self, leaf: u32, dropped: Held) {
        self.came(leaf, -(dropped.packets as i64), -(dropped.bytes as i64));
        self.follow_backlog(leaf);
    }

    /// Puts a class that is active in a priority where it belongs by its mode.
    #[inline]
    fn link(&mut self, at: u32, prio: usize) {
        let class = &self.classes[at as usize];
        match class.mode {
            Mode::CanSend => self.join_row(usize::from(class.level), prio, row_member(class, at)),
            Mode::MayBorrow => self.join_feed(at, prio),
            Mode::CantSend => {}
        }
    }

    /// Makes the ancestors active that were not.
    #[inline]
    fn join_feed(&mut self, mut at: u32, prio: usize) {
        loop {
            let Class { parent, place, .. } = self.classes[at as usize];
            let Some(above) = self.classes.get_mut(parent as usize) else { return };
            let feed = &mut self.feeds[above.inner as usize * LEVELS + prio];
            let active = !feed.is_empty();
            feed.join(place);
            if active {
                return;
            }
            above.active |= 1 << prio;
            match above.mode {
                Mode::CanSend => {
                    let (level, member) = (usize::from(above.level), above.inner);
                    return self.join_row(level, prio, member);
                }
                Mode::MayBorrow => at = parent,
                Mode::CantSend => return,
            }
        }
    }

    /// Takes a class that is active in a priority from where it is by its mode.
    #[inline]
    fn unlink(&mut self, at: u32, prio: usize) {
        let class = &self.classes[at as usize];
        match class.mode {
            Mode::CanSend => self.leave_row(usize::from(class.level), prio, row_member(class, at)),
            Mode::MayBorrow => self.leave_feed(at, prio),
            Mode::CantSend => {}
        }
    }

    /// Ancestors of which nobody borrows any more are not active.
    #[inline]
    fn leave_feed(&mut self, mut at: u32, prio: usize) {
        loop {
            let Class { parent, place, .. } = self.classes[at as usize];
            let Some(above) = self.classes.get_mut(parent as usize) else { return };
            let feed = &mut self.feeds[above.inner as usize * LEVELS + prio];
            feed.leave(place);
            if !feed.is_empty() {
                return;
            }
            above.active &= !(1 << prio);
            match above.mode {
                Mode::CanSend => {
                    let (level, member) = (usize::from(above.level), above.inner);
                    return self.leave_row(level, prio, member);
                }
                Mode::MayBorrow => at = parent,
                Mode::CantSend => return,
            }
        }
    }

    #[inline(always)]
    fn join_row(&mut self, level: usize, prio: usize, member: u32) {
        self.rows[level][prio].join(member);
        self.row_mask |= 1 << (level * LEVELS + prio);
    }

    #[inline(always)]
    fn leave_row(&mut self, level: usize, prio: usize, member: u32) {
        let row = &mut self.rows[level][prio];
        row.leave(member);
        if row.is_empty() {
            self.row_mask &= !(1 << (level * LEVELS + prio));
        }
    }

    /// Brings a class into the mode it should be in `earned` after it was charged, and sees that it is looked at again
    /// when that may change.
    #[inline]
    pub(super) fn update_mode(&mut self, at: u32, now: u64, earned: i64, overlimits: &Counter) {
        let class = &self.classes[at as usize];
        let (mode, lasts) = class.due_mode(earned, self.hysteresis);
        if mode != class.mode {
            self.change_mode(at, mode, overlimits);
            if mode != Mode::CanSend {
                self.wheel.set(at, now + nanos_up(lasts), now);
            }
        }
    }

    fn change_mode(&mut self, at: u32, mode: Mode, overlimits: &Counter) {
        if mode == Mode::CantSend {
            self.leaves[at as usize].cells.overlimits.add(1);
            overlimits.add(1);
        }
        let active = self.classes[at as usize].active;
        bits(active).for_each(|prio| self.unlink(at, prio));
        self.classes[at as usize].mode = mode;
        bits(active).for_each(|prio| self.link(at, prio));
    }

    /// Looks at classes that are due, so many at most; what is left is due still.
    pub(super) fn run_events(&mut self, now: u64, mut budget: u32, cells: &QdiscCells) {
        while let Some((at, due)) = self.wheel.pop(now, &mut budget) {
            if let Special::Htb(cells) = &cells.special {
                cells.event(now - due);
            }
            let class = &self.classes[at as usize];
            let earned = class.earned(now);
            let (mode, lasts) = class.due_mode(earned, self.hysteresis);
            if mode != class.mode {
                self.change_mode(at, mode, &cells.overlimits);
            }
            if mode != Mode::CanSend {
                self.wheel.set(at, now + nanos_up(lasts), now);
            }
        }
    }

    /// The leaf whose turn it is in a row.
    ///
    /// When a round among the children of a class ends, the turn of that class among its own siblings ends with it.
    #[inline]
    pub(super) fn pick(&mut self, level: usize, prio: usize) -> Option<u32> {
        let at = self.seek_row(level, prio)?;
        if level == 0 { Some(at) } else { self.pick_below(at, level, prio) }
    }

    /// The leaf whose turn it is below a class of a row.
    fn pick_below(&mut self, mut at: u32, level: usize, prio: usize) -> Option<u32> {
        // Each step down ends a step up, but for the rounds that end now: never so many.
        for _ in 0..1 << 16 {
            let class = &self.classes[at as usize];
            if class.level == 0 {
                return Some(at);
            }
            let inner = class.inner as usize;
            let feed = &mut self.feeds[inner * LEVELS + prio];
            if let Some(place) = feed.seek() {
                at = self.inners[inner].children[place as usize];
                continue;
            }
            feed.rewind();
            if usize::from(class.level) == level {
                self.rows[level][prio].advance();
                at = self.seek_row(level, prio)?;
            } else {
                at = class.parent;
                self.feed_of_children(at, prio).advance();
            }
        }
        None
    }

    #[inline]
    fn seek_row(&mut self, level: usize, prio: usize) -> Option<u32> {
        let row = &mut self.rows[level][prio];
        let member = match row.seek() {
            Some(member) => member,
            None => {
                row.rewind();
                row.seek()?
            }
        };
        Some(if level == 0 { member } else { self.inners[member as usize].class })
    }

    #[inline]
    fn feed_of_children(&mut self, at: u32, prio: usize) -> &mut Round {
        &mut self.feeds[self.classes[at as usize].inner as usize * LEVELS + prio]
    }

    /// Ends the turn of a leaf that was picked on this level.
    #[inline]
    pub(super) fn end_turn(&mut self, leaf: u32, level: usize, prio: usize) {
        if level == 0 {
            self.rows[0][prio].advance();
        } else {
            self.feed_of_children(self.classes[leaf as usize].parent, prio).advance();
        }
    }

    /// Charges a packet to the leaf it left and to all above. Classes from `level` up pay with their own tokens.
    #[inline]
    pub(super) fn charge(&mut self, leaf: u32, level: usize, len: u32, now: u64, overlimits: &Counter) {
        let mut at = leaf;
        loop {
            let (rate_len, ceil_len) = self.charged(at, len);
            let class = &mut self.classes[at as usize];
            let own_level = usize::from(class.level);
            class.charge(now, own_level >= level, rate_len, ceil_len);
            let parent = class.parent;
            let cells = &self.leaves[at as usize].cells;
            cells.bytes.add(u64::from(len));
            cells.packets.add(1);
            if own_level == level {
                cells.lended.add(1);
            } else if own_level < level {
                cells.borrowed.add(1);
            }
            class.show_tokens(cells);
            self.update_mode(at, now, 0, overlimits);
            if parent == NIL {
                return;
            }
            at = parent;
        }
    }

    /// The lengths at which a packet is charged to a class's rate and to its ceiling.
    #[inline]
    fn charged(&self, at: u32, len: u32) -> (u64, u64) {
        if !self.classes[at as usize].layered {
            return (u64::from(len), u64::from(len));
        }
        let layers = self.layers[at as usize];
        (layers.rate.charged(len), layers.ceil.charged(len))
    }

    #[inline]
    pub(super) fn is_leaf(&self, at: u32) -> bool {
        self.classes[at as usize].inner == NIL
    }

    /// Nobody is active, and all may send.
    pub(super) fn reset(&mut self) {
        for class in &mut self.classes {
            (class.active, class.mode) = (0, Mode::CanSend);
        }
        self.feeds.iter_mut().for_each(Round::clear);
        self.rows.iter_mut().flatten().for_each(Round::clear);
        self.row_mask = 0;
        self.wheel.clear();
    }
}

#[inline]
fn row_member(class: &Class, at: u32) -> u32 {
    if class.level == 0 { at } else { class.inner }
}
