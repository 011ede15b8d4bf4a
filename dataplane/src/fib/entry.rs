//! What the tables hold: a next hop with the depth of its route, or the number of a group.

/// The number of a next hop: 24 bits, 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct NextHopId(pub(super) u32);

impl NextHopId {
    /// No route.
    pub const NONE: NextHopId = NextHopId(0);
    /// The largest number there is.
    pub const MAX: NextHopId = NextHopId(VALUE);

    /// The next hop numbered `id`; `None` if that needs more than 24 bits. 0 gives [`Self::NONE`].
    #[inline]
    pub const fn new(id: u32) -> Option<Self> {
        if id <= VALUE { Some(NextHopId(id)) } else { None }
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Position in a table of next hops.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// True for [`Self::NONE`].
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Next hop or group number.
const VALUE: u32 = (1 << 24) - 1;
/// Where the route's depth, 0 to 32, stands.
const DEPTH_SHIFT: u32 = 24;
const DEPTH: u32 = 0x3f;
/// The value is a group's number.
const EXTENDED: u32 = 1 << 30;

/// How many groups an entry can number.
pub(super) const MAX_GROUPS: usize = 1 << 24;

/// One table entry. All zeros, as fresh memory is, means no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Entry(pub u32);

impl Entry {
    /// No route covers the address.
    pub const EMPTY: Entry = Entry(0);

    /// The address goes to `next_hop` by a route of this depth.
    pub const fn route(next_hop: NextHopId, depth: u8) -> Entry {
        Entry(next_hop.0 | (depth as u32) << DEPTH_SHIFT)
    }

    /// The group of this number decides.
    pub const fn group(group: u32) -> Entry {
        Entry(group | EXTENDED)
    }

    /// True if a group decides.
    #[inline]
    pub const fn is_extended(self) -> bool {
        self.0 & EXTENDED != 0
    }

    /// The next hop, or the number of the group.
    #[inline]
    pub const fn value(self) -> u32 {
        self.0 & VALUE
    }

    /// The length of the prefix the entry came from; 0 if empty.
    pub const fn depth(self) -> u8 {
        (self.0 >> DEPTH_SHIFT & DEPTH) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_overlap() {
        let entry = Entry::route(NextHopId::MAX, 32);
        assert_eq!((entry.value(), entry.depth(), entry.is_extended()), (NextHopId::MAX.get(), 32, false));
        let group = Entry::group(MAX_GROUPS as u32 - 1);
        assert_eq!((group.value(), group.depth(), group.is_extended()), (VALUE, 0, true));
        assert_eq!(Entry::route(NextHopId::NONE, 0), Entry::EMPTY);
        assert_eq!(NextHopId::new(1 << 24), None);
        assert_eq!(NextHopId::new(VALUE), Some(NextHopId::MAX));
    }
}
