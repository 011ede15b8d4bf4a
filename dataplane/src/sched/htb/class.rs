//! What is touched of a class with every packet: one cache line of it, and one more of a leaf.

use std::sync::Arc;

use super::params::MAX_DEPTH;
use crate::sched::cells::ClassCells;
use crate::sched::params::HtbClassParams;
use crate::sched::queue::Fifo;

/// No class, no place.
pub(super) const NIL: u32 = u32::MAX;
/// Bits of a token below a nanosecond: a frame of 64 bytes at 400 Gbit/s costs 1.28 ns, and shall do so exactly.
pub(super) const FRACTION: u32 = 16;
/// Time beyond this is not made up for, and debts are not larger.
const MOST_NS: u64 = 60_000_000_000;
const MOST: i64 = (MOST_NS as i64) << FRACTION;
/// Largest bucket: what 32 bits of the kernel's 64 ns can say.
const MOST_BUFFER: u128 = (1 << 32) << (6 + FRACTION);
/// Longest length that is charged, with which a cost cannot overflow: the longest packet in ATM cells is shorter.
const MOST_CHARGED: u64 = (1 << 17) - 1;
/// What lengths times multipliers are shifted up before they are shifted down, so that slow rates fit.
const LIFT: u32 = 14;
/// Number of levels, and of priorities.
pub(super) const LEVELS: usize = MAX_DEPTH as usize;

/// What a class may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mode {
    /// Over its ceiling.
    CantSend,
    /// Over its rate: with tokens of an ancestor.
    MayBorrow,
    /// Send.
    CanSend,
}

/// The hot part of a class. Tokens are time: 2^-16 ns.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Class {
    /// Of the rate.
    pub tokens: i64,
    /// Of the ceiling.
    pub ctokens: i64,
    /// When it was charged last, in nanoseconds.
    pub charged_at: u64,
    rate: u32,
    ceil: u32,
    buffer: u32,
    cbuffer: u32,
    /// The class above, or [`NIL`].
    pub parent: u32,
    /// Its place among the children of its parent.
    pub place: u32,
    /// Which of the inner classes it is; [`NIL`] if it is a leaf.
    pub inner: u32,
    rate_shift: u8,
    ceil_shift: u8,
    buffer_shift: u8,
    cbuffer_shift: u8,
    pub mode: Mode,
    /// 0 for leaves, 7 for inner classes below no other.
    pub level: u8,
    /// Of a leaf.
    pub prio: u8,
    /// Priorities in which packets wait in it or below it, a bit each.
    pub active: u8,
    /// Lengths are not charged as they are.
    pub layered: bool,
    /// A discipline of its own is below it, a leaf.
    pub grafted: bool,
}

impl Class {
    /// With full buckets.
    pub(super) fn new(params: &HtbClassParams, parent: u32, now: u64) -> Self {
        let mut class = Class {
            tokens: 0,
            ctokens: 0,
            charged_at: now,
            rate: 0,
            ceil: 0,
            buffer: 0,
            cbuffer: 0,
            parent,
            place: NIL,
            inner: NIL,
            rate_shift: 0,
            ceil_shift: 0,
            buffer_shift: 0,
            cbuffer_shift: 0,
            mode: Mode::CanSend,
            level: 0,
            prio: 0,
            active: 0,
            layered: false,
            grafted: false,
        };
        class.limit(params);
        class.fill(now);
        class
    }

    /// Takes new limits and keeps the tokens.
    pub(super) fn limit(&mut self, params: &HtbClassParams) {
        (self.rate, self.rate_shift) = pace(params.rate);
        (self.ceil, self.ceil_shift) = pace(params.ceil);
        (self.buffer, self.buffer_shift) = bucket(params.burst, params.rate);
        (self.cbuffer, self.cbuffer_shift) = bucket(params.cburst, params.ceil);
        self.prio = params.prio.min(LEVELS as u8 - 1);
        self.layered = params.rate_layer != Default::default() || params.ceil_layer != Default::default();
    }

    /// Fills the buckets.
    pub(super) fn fill(&mut self, now: u64) {
        self.tokens = self.buffer();
        self.ctokens = self.cbuffer();
        self.charged_at = now;
        self.mode = Mode::CanSend;
    }

    #[inline]
    fn buffer(&self) -> i64 {
        i64::from(self.buffer) << self.buffer_shift
    }

    #[inline]
    fn cbuffer(&self) -> i64 {
        i64::from(self.cbuffer) << self.cbuffer_shift
    }

    /// What it has earned since it was charged last.
    #[inline]
    pub(super) fn earned(&self, now: u64) -> i64 {
        (now.saturating_sub(self.charged_at).min(MOST_NS) << FRACTION) as i64
    }

    /// Charges a packet of these lengths to its rate, unless an ancestor pays, and to its ceiling.
    #[inline]
    pub(super) fn charge(&mut self, now: u64, pays: bool, rate_len: u64, ceil_len: u64) {
        let earned = self.earned(now);
        let own = (self.tokens + earned).min(self.buffer()) - cost(rate_len, self.rate, self.rate_shift);
        self.tokens = if pays { own.max(1 - MOST) } else { self.tokens + earned };
        let ceil = (self.ctokens + earned).min(self.cbuffer()) - cost(ceil_len, self.ceil, self.ceil_shift);
        self.ctokens = ceil.max(1 - MOST);
        self.charged_at = now;
    }

    /// What tc shows, in its ticks of 64 ns.
    #[inline]
    pub(super) fn show_tokens(&self, cells: &ClassCells) {
        cells.tokens.set(self.tokens >> (6 + FRACTION));
        cells.ctokens.set(self.ctokens >> (6 + FRACTION));
    }

    /// The mode it should be in, `earned` after it was charged, and how long that will last at least.
    #[inline]
    pub(super) fn due_mode(&self, earned: i64, hysteresis: bool) -> (Mode, i64) {
        let (low, high) = if hysteresis { self.slack() } else { (0, 0) };
        let (tokens, ctokens) = (self.tokens + earned, self.ctokens + earned);
        if ctokens < low {
            (Mode::CantSend, -ctokens)
        } else if tokens >= high {
            (Mode::CanSend, 0)
        } else {
            (Mode::MayBorrow, -tokens)
        }
    }

    /// How far below zero tokens may be before its mode changes for the worse.
    fn slack(&self) -> (i64, i64) {
        let low = if self.mode == Mode::CantSend { 0 } else { -self.cbuffer() };
        let high = if self.mode == Mode::CanSend { -self.buffer() } else { 0 };
        (low, high)
    }
}

/// Tokens as a length of time in nanoseconds, not less.
#[inline]
pub(super) fn nanos_up(tokens: i64) -> u64 {
    (tokens + (1 << FRACTION) - 1).max(0) as u64 >> FRACTION
}

/// What `len` bytes cost: a multiplication instead of a division by the rate.
#[inline]
fn cost(len: u64, mult: u32, shift: u8) -> i64 {
    let product = (len.min(MOST_CHARGED) * u64::from(mult)) << LIFT;
    // The product has 63 bits at most.
    (product >> (shift & 63)) as i64
}

/// The multiplier and the shift for a rate in bytes a second: 32 significant bits, rounded so that nothing costs more
/// than it should and full buckets hold as many packets as they say.
fn pace(rate: u64) -> (u32, u8) {
    const SECOND: u128 = 1_000_000_000 << FRACTION;
    let rate = u128::from(rate.max(1));
    // 2^31 <= SECOND * 2^shift / rate < 2^32
    let mut shift = 0u32;
    while shift < 63 && ((SECOND << shift) >> LIFT) / rate < 1 << 31 {
        shift += 1;
    }
    let mult = ((SECOND << shift) >> LIFT) / rate;
    (u32::try_from(mult).unwrap_or(u32::MAX), shift as u8)
}

/// The time `bytes` take at a rate, as 32 significant bits and a shift, rounded up.
fn bucket(bytes: u64, rate: u64) -> (u32, u8) {
    let time = (u128::from(bytes) * 1_000_000_000) << FRACTION;
    let time = time.div_ceil(u128::from(rate.max(1))).min(MOST_BUFFER) as u64;
    let shift = (64 - time.leading_zeros()).saturating_sub(31);
    // One bit to spare for the rounding.
    (time.div_ceil(1 << shift) as u32, shift as u8)
}

/// The other line of a leaf. Its statistics' address is here because it is needed when this is.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Leaf {
    /// What is left of its turn on each level, bytes.
    deficit: [i32; LEVELS],
    quantum: i32,
    /// Most packets in its own queue.
    pub limit: u32,
    /// Its own queue, while nothing is grafted.
    pub fifo: Fifo,
    /// Of inner classes too.
    pub cells: Arc<ClassCells>,
}

/// A debt that a quantum smaller than the packets would let grow without end.
const MOST_DEBT: i32 = 1 << 30;

impl Leaf {
    pub(super) fn new(params: &HtbClassParams, limit: u32, cells: Arc<ClassCells>) -> Self {
        let mut leaf = Leaf { deficit: [0; LEVELS], quantum: 0, limit, fifo: Fifo::default(), cells };
        leaf.set_quantum(params.quantum);
        leaf
    }

    pub(super) fn set_quantum(&mut self, quantum: u32) {
        self.quantum = i32::try_from(quantum).unwrap_or(i32::MAX).min(MOST_DEBT);
    }

    /// Starts anew, as an empty leaf.
    pub(super) fn renew(&mut self) {
        (self.deficit, self.fifo) = ([0; LEVELS], Fifo::default());
    }

    /// Says how much its own queue holds.
    #[inline]
    pub(super) fn show_held(&self) {
        self.cells.qlen.set(self.fifo.len().into());
        self.cells.backlog.set(self.fifo.bytes().into());
    }

    /// A packet of `len` bytes was sent in its turn; true if that ends it.
    #[inline]
    pub(super) fn spend(&mut self, level: usize, len: u32) -> bool {
        let deficit = &mut self.deficit[level];
        *deficit = deficit.saturating_sub_unsigned(len).max(-MOST_DEBT);
        let over = *deficit < 0;
        if over {
            *deficit += self.quantum;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_cache_line_and_a_leaf_another() {
        assert_eq!((size_of::<Class>(), size_of::<Leaf>()), (64, 64));
    }

    #[test]
    fn costs_are_exact_from_8_bit_to_400_gbit() {
        for rate in [1u64, 2, 125, 1_250, 125_000, 12_500_000, 1_250_000_000, 12_500_000_000, 50_000_000_000]
        {
            let (mult, shift) = pace(rate);
            for len in [1u64, 60, 64, 1514, 9018, 65_535, 108_544] {
                let exact = u128::from(len) * ((1_000_000_000u128) << FRACTION) / u128::from(rate);
                let cost = cost(len, mult, shift) as u128;
                assert!(
                    cost <= exact && exact - cost <= 1 + exact / (1 << 31),
                    "{len} at {rate}: {cost}, {exact}"
                );
                if len >= 60 {
                    assert!((exact - cost) * 10_000 <= exact, "{len} at {rate}: {cost}, {exact}");
                }
            }
        }
        assert_eq!(pace(0), pace(1));
        assert!(pace(u64::MAX).0 > 0);
    }

    #[test]
    fn buckets_hold_what_they_say() {
        for (bytes, rate) in
            [(15_140u64, 125_000u64), (1600, 12_500_000_000), (1_000_000_000, 50_000_000), (100, 125)]
        {
            let (buffer, shift) = bucket(bytes, rate);
            let held = i64::from(buffer) << shift;
            let (mult, mult_shift) = pace(rate);
            assert!(held >= cost(bytes.min(MOST_CHARGED), mult, mult_shift));
            let exact = ((u128::from(bytes) * 1_000_000_000) << FRACTION) / u128::from(rate);
            assert!(held as u128 - exact <= 1 + exact / (1 << 30), "{bytes} at {rate}: {held}, {exact}");
        }
        let (buffer, shift) = bucket(u64::MAX, 1);
        assert_eq!(u128::from(buffer) << shift, MOST_BUFFER);
    }
}
