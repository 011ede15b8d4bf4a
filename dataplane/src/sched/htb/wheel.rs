//! When classes want to be looked at again: a timing wheel of three levels (Varghese and Lauck, scheme 7).
//!
//! Each class has one entry at most. A time that moves later leaves the entry where it is: that is found out when its slot
//! comes up. So a class that changes its mind with every packet costs a store each time, and no memory.

const NIL: u32 = u32::MAX;
/// Nanoseconds of a slot of the first level, as a power of two: 1.024 us.
const SLOT: u32 = 10;
/// Slots of the first and of the second level, as powers of two; the third has 64, of 1.07 s.
const WIDTH: u32 = 10;
const SLOTS: usize = 1 << WIDTH;
const TOP_SLOTS: u64 = 64;
/// No time.
const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When, in nanoseconds.
    due: u64,
    /// For when it is filed.
    filed: u64,
    next: u32,
    prev: u32,
    /// The slot it is in, of all levels; `NIL` if in none.
    slot: u32,
}

const IDLE: Entry = Entry { due: NEVER, filed: NEVER, next: NIL, prev: NIL, slot: NIL };

/// The wheel. Times are nanoseconds since the tree's origin.
#[derive(Debug)]
pub(super) struct Wheel {
    entries: Vec<Entry>,
    /// First entry of each slot: the first level's, the second's, the third's.
    heads: Box<[u32]>,
    /// Which slots hold something, a bit each, in the same order.
    taken: [u64; 2 * SLOTS / 64 + 1],
    /// The slot of the first level, counted from the origin, before which nothing is filed.
    slot: u64,
    /// Nothing is due before.
    next: u64,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Wheel {
            entries: Vec::new(),
            heads: vec![NIL; 2 * SLOTS + TOP_SLOTS as usize].into_boxed_slice(),
            taken: [0; 2 * SLOTS / 64 + 1],
            slot: 0,
            next: NEVER,
        }
    }

    /// Makes room for classes below `limit`.
    pub(super) fn reserve(&mut self, limit: usize) {
        if self.entries.len() < limit {
            self.entries.resize(limit, IDLE);
        }
    }

    /// Nothing is due before this time; `u64::MAX` if nothing ever is.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Wants `class` looked at when it is `due`, and not at another time.
    #[inline]
    pub(super) fn set(&mut self, class: u32, due: u64, now: u64) {
        if self.next == NEVER {
            // Nothing is filed: it may have stood still for a long time.
            self.slot = self.slot.max(now >> SLOT);
        }
        self.next = self.next.min(due);
        let entry = &mut self.entries[class as usize];
        entry.due = due;
        if entry.slot != NIL {
            if entry.filed <= due {
                return;
            }
            self.unlink(class);
        }
        self.file(class, due);
    }

    /// Forgets a class.
    pub(super) fn remove(&mut self, class: u32) {
        if self.entries[class as usize].slot != NIL {
            self.unlink(class);
        }
        self.entries[class as usize] = IDLE;
    }

    /// Forgets all classes.
    pub(super) fn clear(&mut self) {
        self.entries.fill(IDLE);
        self.heads.fill(NIL);
        self.taken.fill(0);
        self.next = NEVER;
    }

    /// A class that is due, and since when. Each entry touched takes one of `budget`; `None` when that is used up or nothing is due:
    /// [`next`](Self::next) tells which.
    #[inline]
    pub(super) fn pop(&mut self, now: u64, budget: &mut u32) -> Option<(u32, u64)> {
        if now < self.next { None } else { self.pop_due(now, budget) }
    }

    fn pop_due(&mut self, now: u64, budget: &mut u32) -> Option<(u32, u64)> {
        let last = now >> SLOT;
        loop {
            // What the upper levels hold for the present slot comes down first.
            for upper in [self.top_slot(self.slot >> (2 * WIDTH)), self.second_slot(self.slot >> WIDTH)] {
                while self.heads[upper] != NIL {
                    *budget = budget.checked_sub(1)?;
                    self.refile(self.heads[upper]);
                }
            }
            let here = self.slot as usize & (SLOTS - 1);
            let mut at = self.heads[here];
            let mut earliest = NEVER;
            while at != NIL {
                let Entry { due, next, .. } = self.entries[at as usize];
                if due <= now {
                    *budget = budget.checked_sub(1)?;
                    self.remove(at);
                    return Some((at, due));
                }
                if due >> SLOT != self.slot {
                    *budget = budget.checked_sub(1)?;
                    self.refile(at);
                } else {
                    earliest = earliest.min(due);
                }
                at = next;
            }
            if earliest != NEVER {
                self.next = earliest;
                return None;
            }
            let (slot, next) = self.first_taken();
            if slot > last {
                // Nothing is filed up to now: what comes is filed as seen from here.
                self.slot = self.slot.max(last);
                self.next = next;
                return None;
            }
            self.slot = slot;
        }
    }

    /// The first slot after the present one, in units of the first level, where something may be filed, and when it
    /// begins.
    fn first_taken(&self) -> (u64, u64) {
        let slot = self.slot;
        let within = |from: u64, words: &[u64]| first_bit(words, from as usize & (SLOTS - 1));
        if let Some(at) = within(slot, &self.taken[..SLOTS / 64]) {
            return starts(slot >> WIDTH << WIDTH | at);
        }
        let block = slot >> WIDTH;
        if let Some(at) = within(block, &self.taken[SLOTS / 64..2 * SLOTS / 64]) {
            return starts((block >> WIDTH << WIDTH | at) << WIDTH);
        }
        let span = block >> WIDTH;
        let ahead = self.taken[2 * SLOTS / 64].rotate_right((span % TOP_SLOTS) as u32);
        if ahead == 0 {
            return (NEVER, NEVER);
        }
        starts((span + u64::from(ahead.trailing_zeros())) << (2 * WIDTH))
    }

    /// Files an entry anew, where it belongs as seen from the present slot.
    fn refile(&mut self, class: u32) {
        self.unlink(class);
        self.file(class, self.entries[class as usize].due);
    }

    fn file(&mut self, class: u32, due: u64) {
        let tick = (due >> SLOT).max(self.slot);
        let apart = tick ^ self.slot;
        let slot = if apart >> WIDTH == 0 {
            tick as usize & (SLOTS - 1)
        } else if apart >> (2 * WIDTH) == 0 {
            self.second_slot(tick >> WIDTH)
        } else {
            // Later than a turn of the wheel: as late as it can be, then again.
            let span = self.slot >> (2 * WIDTH);
            self.top_slot((tick >> (2 * WIDTH)).min(span + TOP_SLOTS - 1))
        };
        let head = std::mem::replace(&mut self.heads[slot], class);
        if let Some(head) = self.entries.get_mut(head as usize) {
            head.prev = class;
        } else {
            self.taken[slot >> 6] |= 1 << (slot & 63);
        }
        let entry = &mut self.entries[class as usize];
        (entry.filed, entry.next, entry.prev, entry.slot) = (due, head, NIL, slot as u32);
    }

    fn unlink(&mut self, class: u32) {
        let Entry { next, prev, slot, .. } = self.entries[class as usize];
        self.entries[class as usize].slot = NIL;
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.prev = prev;
        }
        if let Some(prev) = self.entries.get_mut(prev as usize) {
            prev.next = next;
            return;
        }
        self.heads[slot as usize] = next;
        if next == NIL {
            self.taken[slot as usize >> 6] &= !(1 << (slot & 63));
        }
    }

    #[inline]
    fn second_slot(&self, block: u64) -> usize {
        SLOTS + (block as usize & (SLOTS - 1))
    }

    #[inline]
    fn top_slot(&self, span: u64) -> usize {
        2 * SLOTS + (span % TOP_SLOTS) as usize
    }
}

fn starts(slot: u64) -> (u64, u64) {
    (slot, slot << SLOT)
}

/// The first bit from `from` on, among words of 64.
fn first_bit(words: &[u64], from: usize) -> Option<u64> {
    let mut mask = u64::MAX << (from & 63);
    for (at, word) in words.iter().enumerate().skip(from >> 6) {
        let rest = word & mask;
        if rest != 0 {
            return Some((at << 6) as u64 + u64::from(rest.trailing_zeros()));
        }
        mask = u64::MAX;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// All that is due, without a bound.
    fn due(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        let mut all = Vec::new();
        while let Some((class, since)) = wheel.pop(now, &mut { u32::MAX }) {
            assert!(since <= now);
            all.push(class);
        }
        all.sort_unstable();
        all
    }

    /// Goes from wake-up to wake-up until `until`, and says what came when.
    fn run(wheel: &mut Wheel, until: u64) -> Vec<(u64, u32)> {
        let mut seen = Vec::new();
        while wheel.next() <= until {
            let now = wheel.next();
            seen.extend(due(wheel, now).into_iter().map(|class| (now, class)));
            assert!(wheel.next() > now);
        }
        seen
    }

    #[test]
    fn times_are_exact_on_all_levels() {
        let mut wheel = Wheel::new();
        wheel.reserve(10);
        let times = [0, 1, 1023, 1024, 5_000, 1_048_575, 1_048_576, 3_000_001, 1_100_000_000, 60_000_000_007];
        for (class, &time) in times.iter().enumerate() {
            wheel.set(class as u32, time, 0);
        }
        let expected: Vec<_> = times.iter().zip(0..).map(|(&time, class)| (time, class)).collect();
        assert_eq!(run(&mut wheel, u64::MAX - 1), expected);
        assert_eq!(wheel.next(), u64::MAX);
    }

    #[test]
    fn later_than_a_turn_of_the_wheel() {
        let mut wheel = Wheel::new();
        wheel.reserve(2);
        wheel.set(0, 500_000_000_123, 0);
        wheel.set(1, 69_000_000_000, 0);
        assert_eq!(run(&mut wheel, u64::MAX - 1), [(69_000_000_000, 1), (500_000_000_123, 0)]);
    }

    #[test]
    fn a_budget_only_puts_off() {
        let mut wheel = Wheel::new();
        wheel.reserve(1000);
        for class in 0..1000 {
            wheel.set(class, 2_000_000 + u64::from(class), 0);
        }
        let (mut seen, mut calls) = (0, 0);
        while wheel.next() <= 3_000_000 {
            let mut budget = 64;
            while wheel.pop(3_000_000, &mut budget).is_some() {
                seen += 1;
            }
            calls += 1;
        }
        assert_eq!(seen, 1000);
        assert!(
            (2000 / 64..=2000 / 64 + 2).contains(&calls),
            "{calls} calls: each came down once, went off once"
        );
    }

    #[test]
    fn a_time_that_moves_to_and_fro() {
        let mut wheel = Wheel::new();
        wheel.reserve(1);
        wheel.set(0, 10, 0);
        wheel.set(0, 500, 0);
        assert_eq!((due(&mut wheel, 10), wheel.next()), (vec![], 500));
        wheel.set(0, 20, 10);
        assert_eq!(run(&mut wheel, 1_000_000), [(20, 0)]);
    }

    #[test]
    fn a_long_stand_is_not_made_up_for() {
        let (mut wheel, day) = (Wheel::new(), 86_400_000_000_000);
        wheel.reserve(1);
        wheel.set(0, 10 * day + 5, 10 * day);
        assert_eq!(wheel.pop(10 * day + 5, &mut 1), Some((0, 10 * day + 5)));
    }

    proptest! {
        #[test]
        fn as_a_sorted_list(
            ops in prop::collection::vec((0..20u32, 0..4u8, 0..38u32, any::<u64>()), 1..300),
        ) {
            let mut wheel = Wheel::new();
            wheel.reserve(20);
            let (mut model, mut now) = (BTreeMap::new(), 0u64);
            for (class, op, scale, random) in ops {
                let step = random & ((1 << scale) - 1);
                match op {
                    0 | 1 => {
                        wheel.set(class, now + step, now);
                        model.insert(class, now + step);
                    }
                    2 => {
                        wheel.remove(class);
                        model.remove(&class);
                    }
                    _ => {
                        now += step;
                        let expected: Vec<u32> =
                            model.iter().filter(|&(_, &at)| at <= now).map(|(&class, _)| class).collect();
                        model.retain(|_, at| *at > now);
                        prop_assert_eq!(due(&mut wheel, now), expected, "at {}", now);
                    }
                }
                let first = model.values().min().copied().unwrap_or(NEVER);
                prop_assert!(wheel.next() <= first.max(now), "{} is later than {}", wheel.next(), first);
            }
        }
    }
}
