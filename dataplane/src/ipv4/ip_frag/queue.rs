//! One datagram on its way together: which bytes are there, and what a further fragment does to it.
//!
//! Plain values only. The rules are the kernel's (`ip_frag_queue`, `inet_frag_queue_insert`), which follow RFC 5722 for
//! IPv4 too: fragments that overlap are an attack or a fault, and nothing of such a datagram is worth keeping.

use crate::skb::ipv4::{IP_DF, IP_MF, IP_OFFSET};

/// Longest datagram there can be, header included.
const MAX_DATAGRAM: u32 = 65535;

/// What a fragment's header says, and how much data it brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where its data begins in the datagram's, bytes.
    offset: u32,
    /// Bytes of data it brings.
    len: u32,
    header_len: u8,
    tos: u8,
    more: bool,
    df: bool,
}

impl Fragment {
    /// A fragment with this flags-and-offset word, a header of `header_len` bytes and `len` bytes of data behind it.
    ///
    /// A fragment that is not the last counts for whole units of 8 bytes; what is over is not looked at, as in the
    /// kernel (RFC 791 section 3.2 has no such fragments).
    pub fn new(frag_off: u16, header_len: u8, len: u16, tos: u8) -> Self {
        let more = frag_off & IP_MF != 0;
        Fragment {
            offset: u32::from(frag_off & IP_OFFSET) * 8,
            len: u32::from(if more { len & !7 } else { len }),
            header_len,
            tos,
            more,
            df: frag_off & IP_DF != 0,
        }
    }

    /// Where its data begins in the datagram's, bytes.
    pub fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Bytes of data that count.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// True if it brings nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Length of its header, bytes.
    pub fn header_len(&self) -> usize {
        usize::from(self.header_len)
    }

    fn end(&self) -> u32 {
        self.offset + self.len
    }

    fn size(&self) -> u16 {
        // A fragment came in a packet, so it is no longer than one.
        (u32::from(self.header_len) + self.len).min(MAX_DATAGRAM) as u16
    }
}

/// Why a datagram is given up with all its fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// Two fragments overlap in part (RFC 5722 section 4).
    Overlap,
    /// Two ends, or data behind the end.
    Contradiction,
    /// A fragment without data.
    Empty,
    /// Fragments that are congestion-capable beside ones that are not (RFC 3168 section 5.3).
    Ecn,
    /// Longer than a datagram can be.
    Oversize,
}

/// What became of a fragment.
#[derive(Debug)]
pub(super) enum Placed<T> {
    /// Held; more are missing.
    Waiting,
    /// Held, and the datagram is whole.
    Complete,
    /// All of it was there already.
    Duplicate(T),
    /// The datagram is to be given up, and with it this fragment, unless it is among those held.
    Discard(Discard, Option<T>),
}

/// Whether the bytes of a fragment are new.
enum Cover {
    New,
    Known,
    Overlap,
}

/// A stretch of data that came in order. One contained in it is a duplicate; the kernel does not join stretches that
/// came to touch later, so one across two of them is an overlap.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u32,
    end: u32,
}

/// The fragments of one datagram, `T` being what carries each.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// By offset.
    pieces: Vec<Piece<T>>,
    /// By start; they do not overlap.
    runs: Vec<Run>,
    /// The end of what is known so far, or of the datagram once its last fragment is there.
    len: u32,
    last_in: bool,
    /// Bytes there.
    meat: u32,
    /// One bit for each ECN codepoint seen.
    ecn: u8,
    max_size: u16,
    max_df_size: u16,
}

/// One fragment held.
#[derive(Debug)]
pub struct Piece<T> {
    /// What its header said.
    pub fragment: Fragment,
    /// What carries it.
    pub carrier: T,
}

/// A datagram put together.
#[derive(Debug)]
pub struct Datagram<T> {
    /// The fragments in the order of their data, which joins without gaps.
    pub pieces: Vec<Piece<T>>,
    /// Length of the data in bytes: with the first fragment's header, at most 65535.
    pub len: usize,
    /// What to set in the first fragment's TOS: the ECN field is CE if any fragment's was.
    pub tos: u8,
    /// Length of the largest fragment, header included: what it may be cut to again.
    pub max_size: u16,
    /// The largest fragment had Don't Fragment set: so have its pieces if it is cut again.
    pub df: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue {
            pieces: Vec::new(),
            runs: Vec::new(),
            len: 0,
            last_in: false,
            meat: 0,
            ecn: 0,
            max_size: 0,
            max_df_size: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Puts a fragment in its place.
    pub(super) fn insert(&mut self, fragment: Fragment, carrier: T) -> Placed<T> {
        if let Err(why) = self.reach(&fragment) {
            return Placed::Discard(why, Some(carrier));
        }
        match self.cover(fragment.offset, fragment.end()) {
            Cover::New => {}
            Cover::Known => return Placed::Duplicate(carrier),
            Cover::Overlap => return Placed::Discard(Discard::Overlap, Some(carrier)),
        }
        let at = self.pieces.partition_point(|piece| piece.fragment.offset < fragment.offset);
        self.pieces.insert(at, Piece { fragment, carrier });
        self.meat += fragment.len;
        self.ecn |= 1 << (fragment.tos & 3);
        self.max_size = self.max_size.max(fragment.size());
        if fragment.df {
            self.max_df_size = self.max_df_size.max(fragment.size());
        }
        self.completion()
    }

    /// True while nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// True if the beginning of the datagram is there.
    pub(super) fn has_first(&self) -> bool {
        self.pieces.first().is_some_and(|piece| piece.fragment.offset == 0)
    }

    /// Fragments held.
    pub(super) fn held(&self) -> usize {
        self.pieces.len()
    }

    /// What is held, in the order of the data.
    pub(super) fn into_carriers(self) -> Vec<T> {
        self.pieces.into_iter().map(|piece| piece.carrier).collect()
    }

    /// The datagram of a queue that is complete.
    pub(super) fn into_datagram(self) -> Datagram<T> {
        Datagram {
            len: self.len as usize,
            tos: ecn_of(self.ecn).unwrap_or(0),
            max_size: self.max_size,
            df: self.max_df_size == self.max_size,
            pieces: self.pieces,
        }
    }

    /// Checks a fragment against the end, and moves the end.
    fn reach(&mut self, fragment: &Fragment) -> Result<(), Discard> {
        let end = fragment.end();
        let beyond = if fragment.more {
            end > self.len && self.last_in
        } else {
            end < self.len || (self.last_in && end != self.len)
        };
        if beyond {
            return Err(Discard::Contradiction);
        }
        if fragment.is_empty() {
            return Err(Discard::Empty);
        }
        self.len = self.len.max(end);
        self.last_in |= !fragment.more;
        Ok(())
    }

    /// Notes that the bytes from `start` to `end` are there.
    fn cover(&mut self, start: u32, end: u32) -> Cover {
        // The runs do not overlap: only the first that ends behind our start can contain us, and if we do not run into
        // that one, we run into none.
        let at = self.runs.partition_point(|run| run.end <= start);
        if let Some(run) = self.runs.get(at)
            && run.start < end
        {
            let contained = run.start <= start && end <= run.end;
            return if contained { Cover::Known } else { Cover::Overlap };
        }
        // In order: nearly every datagram. Only the last run grows.
        match self.runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => self.runs.insert(at, Run { start, end }),
        }
        Cover::New
    }

    fn completion(&self) -> Placed<T> {
        if !self.last_in || self.meat != self.len {
            return Placed::Waiting;
        }
        let header_len = self.pieces.first().map_or(0, |piece| u32::from(piece.fragment.header_len));
        if ecn_of(self.ecn).is_none() {
            Placed::Discard(Discard::Ecn, None)
        } else if header_len + self.len > MAX_DATAGRAM {
            Placed::Discard(Discard::Oversize, None)
        } else {
            Placed::Complete
        }
    }
}

/// What to set in the ECN field of a datagram whose fragments had these codepoints, one bit each; `None` if they do not
/// go together (the kernel's `ip_frag_ecn_table`).
fn ecn_of(seen: u8) -> Option<u8> {
    const NOT_ECT: u8 = 1 << 0;
    const CE: u8 = 1 << 3;
    if seen & NOT_ECT != 0 && seen != NOT_ECT {
        return None;
    }
    Some(if seen & CE != 0 { 3 } else { 0 })
}
