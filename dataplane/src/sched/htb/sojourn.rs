//! How long packets wait in leaves, by samples: a packet now and then is watched until it leaves. It is told by how many
//! are before it, so that nothing need be kept with packets; a discipline below a leaf is taken to send in order.

use super::class::NIL;

/// Packets that are watched at a time. Leaves share them by their numbers, so that one that starves does not blind the
/// rest.
const WATCHED: usize = 64;

/// From one choice of a packet to the next.
const STEP: usize = 37;

#[derive(Clone, Copy, Debug)]
struct Watched {
    leaf: u32,
    /// Packets that leave until it has left, itself among them.
    ahead: u32,
    since: u64,
}

const NOBODY: Watched = Watched { leaf: NIL, ahead: 0, since: 0 };

/// The packets that are watched.
#[derive(Debug)]
pub(super) struct Sojourn {
    watched: Box<[Watched; WATCHED]>,
    turn: usize,
}

impl Default for Sojourn {
    fn default() -> Self {
        Sojourn { watched: Box::new([NOBODY; WATCHED]), turn: 0 }
    }
}

impl Sojourn {
    /// Which packet of a burst to watch: another one each time.
    #[inline]
    pub fn pick<'a, T>(&mut self, burst: &'a [T]) -> Option<&'a T> {
        // A step without a common factor meets every place in turn, and no two neighbours one after the other.
        self.turn = (self.turn + STEP) % WATCHED;
        burst.get(self.turn * burst.len() / WATCHED)
    }

    /// Watches the last of the `held` packets of a leaf, unless its place is taken.
    #[inline]
    pub fn watch(&mut self, leaf: u32, held: u64, now: u64) {
        let place = &mut self.watched[leaf as usize % WATCHED];
        if place.leaf == NIL && held > 0 {
            *place = Watched { leaf, ahead: u32::try_from(held).unwrap_or(u32::MAX), since: now };
        }
    }

    /// A packet left a leaf: how long it waited in nanoseconds, if it was watched.
    #[inline]
    pub fn left(&mut self, leaf: u32, now: u64) -> Option<u64> {
        let place = &mut self.watched[leaf as usize % WATCHED];
        if place.leaf != leaf {
            return None;
        }
        place.ahead -= 1;
        if place.ahead > 0 {
            return None;
        }
        let waited = now.saturating_sub(place.since);
        *place = NOBODY;
        Some(waited)
    }

    /// Packets went otherwise, or leaves have other numbers now.
    pub fn forget(&mut self) {
        self.watched.fill(NOBODY);
    }
}
