//! What tc fills in where the operator says nothing.

/// The packet size that default bursts allow for, bytes (tc: `mtu`).
pub const DEFAULT_MTU: u64 = 1600;
/// The divisor of a class's rate that makes its quantum (tc: `r2q`).
pub const DEFAULT_R2Q: u32 = 10;
/// Most levels of classes.
pub const MAX_DEPTH: u8 = 8;
/// The smallest and the largest quantum that is derived from a rate, bytes.
pub const QUANTUM_RANGE: std::ops::RangeInclusive<u64> = 1000..=200_000;
/// How long a class may have to wait to be served at its rate without losing tokens, in parts of a second.
const SERVICE_HZ: u64 = 1000;
/// A share of the burst smaller than this is left out: `mtu` has room for it.
const LEAST_SHARE: u64 = 64;

/// A quantum had to be brought into [`QUANTUM_RANGE`]: the kernel warns of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddQuantum {
    /// `quantum of class X is small. Consider r2q change.`
    Small,
    /// `quantum of class X is big. Consider r2q change.`
    Big,
}

/// The quantum in bytes of a class with this rate in bytes a second, and what is odd about it.
pub fn default_quantum(rate: u64, r2q: u32) -> (u32, Option<OddQuantum>) {
    let quantum = rate / u64::from(r2q.max(1));
    let (least, most) = (*QUANTUM_RANGE.start(), *QUANTUM_RANGE.end());
    match quantum {
        small if small < least => (least as u32, Some(OddQuantum::Small)),
        big if big > most => (most as u32, Some(OddQuantum::Big)),
        quantum => (quantum as u32, None),
    }
}

/// The burst in bytes at this rate in bytes a second.
///
/// Tokens of a class beyond its burst are lost while it waits to be served. A kernel with a clock of 1 ms gave every
/// class what it earns in that time; one with a finer clock gives `mtu` alone, and fast classes miss their rates.
pub fn default_burst(rate: u64, mtu: u64) -> u64 {
    let share = rate / SERVICE_HZ;
    if share < LEAST_SHARE { mtu } else { mtu.saturating_add(share) }
}
