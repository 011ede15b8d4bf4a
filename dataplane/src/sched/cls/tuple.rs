//! Tuple-space search: filters that compare the same bits share a hash table.
//!
//! Every filter of a chain has a place in one order. A [`Group`] holds those of one shape: the same words under the same
//! masks. Looking a packet up in a group gives the first place, from a given one on, of a filter it matches.
//!
//! A packet too short for a word of u32 ends the search in that preference at the first filter that would read the word,
//! and that filter is the first whose words before it match: a group has a table of such beginnings too.

use std::collections::HashMap;

use arrayvec::ArrayVec;

use super::flow::{FLOW_WORDS, FlowKey};
use super::view::View;

/// Most words of a filter that has a place in a table.
pub const MAX_WORDS: usize = FLOW_WORDS;

/// The words of a packet under the masks of a group.
pub type Words = ArrayVec<u32, MAX_WORDS>;

/// Which words filters compare.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// None.
    Any,
    /// The firewall mark under this mask.
    Mark(u32),
    /// Words at offsets from the network header, under masks, and the mark if a mask of it is not 0.
    Bytes(Vec<(i32, u32)>, u32),
    /// Words of the flow key, by number, under masks.
    Flow(Vec<(u8, u32)>),
}

/// What a group knows of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// This filter matches.
    Match(u32),
    /// This filter reads behind the packet's end.
    Outside(u32),
}

impl Hit {
    /// The place of the filter.
    pub fn place(self) -> u32 {
        let (Hit::Match(place) | Hit::Outside(place)) = self;
        place
    }
}

/// Filters of one shape and one protocol.
#[derive(Debug)]
pub struct Group {
    protocol: Option<u16>,
    shape: Shape,
    first: u32,
    last: u32,
    full: Table,
    /// Tables of the first words, by how many there are.
    beginnings: Vec<(usize, Table)>,
}

/// The words of a filter, and its place.
type Entry = (Vec<u32>, u32);

/// Filters on their way into groups.
#[derive(Debug, Default)]
pub struct Builder {
    groups: HashMap<(Option<u16>, Shape), Vec<Entry>>,
}

impl Builder {
    /// Adds the filter at `place`: the words a packet must have under its shape.
    pub fn add(&mut self, protocol: Option<u16>, shape: Shape, words: Vec<u32>, place: u32) {
        self.groups.entry((protocol, shape)).or_default().push((words, place));
    }

    /// The groups, that with the first filter first.
    pub fn build(self) -> Vec<Group> {
        let mut groups: Vec<Group> = self
            .groups
            .into_iter()
            .map(|((protocol, shape), filters)| Group::new(protocol, shape, &filters))
            .collect();
        groups.sort_unstable_by_key(|g| g.first);
        groups
    }
}

impl Group {
    fn new(protocol: Option<u16>, shape: Shape, filters: &[Entry]) -> Group {
        let places = || filters.iter().map(|(_, place)| *place);
        let mut beginnings = Vec::new();
        if let Shape::Bytes(words, mark) = &shape {
            let marks = usize::from(*mark != 0);
            let mut end = i32::MIN;
            for (at, (off, _)) in words.iter().enumerate() {
                // A word that ends before one that was there is there itself, unless it lies before the frame.
                if *off > end || *off < 0 {
                    beginnings.push((at, Table::new(at + marks, filters)));
                    end = end.max(*off);
                }
            }
        }
        let width = filters.first().map_or(0, |(words, _)| words.len());
        Group {
            protocol,
            first: places().min().unwrap_or(0),
            last: places().max().unwrap_or(0),
            full: Table::new(width, filters),
            shape,
            beginnings,
        }
    }

    /// The first place of its filters.
    #[inline]
    pub fn first(&self) -> u32 {
        self.first
    }

    /// True if it looks at the flow key.
    pub fn is_flow(&self) -> bool {
        matches!(self.shape, Shape::Flow(_))
    }

    /// The first of its filters from `from` on that has to do with the packet.
    #[inline]
    pub fn find(&self, view: &View<'_>, flow: &FlowKey, from: u32) -> Option<Hit> {
        if self.last < from || self.protocol.is_some_and(|p| p != view.protocol) {
            return None;
        }
        let mut words = Words::new();
        match &self.shape {
            Shape::Any => {}
            Shape::Mark(mask) => words.push(view.mark & mask),
            Shape::Flow(masks) => {
                for &(at, mask) in masks {
                    words.push(flow.0[usize::from(at) % FLOW_WORDS] & mask);
                }
            }
            Shape::Bytes(keys, mark) => {
                if *mark != 0 {
                    words.push(view.mark & mark);
                }
                for (at, &(off, mask)) in keys.iter().enumerate() {
                    let Some(word) = view.word(off as isize) else {
                        return self.outside(at, &words, from);
                    };
                    words.push(word & mask);
                }
            }
        }
        self.full.find(&words, from).map(Hit::Match)
    }

    #[cold]
    fn outside(&self, at: usize, words: &[u32], from: u32) -> Option<Hit> {
        let (_, table) = self.beginnings.iter().find(|(n, _)| *n == at)?;
        table.find(words, from).map(Hit::Outside)
    }
}

/// Places by words: open addressing, at most half full.
#[derive(Debug)]
struct Table {
    width: usize,
    mask: usize,
    /// 0, or one more than the number of an entry.
    slots: Box<[u32]>,
    /// The words of the entries, one after another.
    words: Vec<u32>,
    /// Where the places of each entry begin; one more at the end.
    starts: Vec<u32>,
    /// Places, ascending within an entry.
    places: Vec<u32>,
}

impl Table {
    fn new(width: usize, filters: &[Entry]) -> Table {
        let mut entries: HashMap<&[u32], Vec<u32>> = HashMap::new();
        for (words, place) in filters {
            entries.entry(words.get(..width).unwrap_or(words)).or_default().push(*place);
        }
        let slots = (entries.len() * 2).next_power_of_two().max(2);
        let mut table = Table {
            width,
            mask: slots - 1,
            slots: vec![0; slots].into(),
            words: Vec::new(),
            starts: vec![0],
            places: Vec::new(),
        };
        for (number, (words, mut places)) in entries.into_iter().enumerate() {
            places.sort_unstable();
            let mut at = hash(words) & table.mask;
            while table.slots[at] != 0 {
                at = (at + 1) & table.mask;
            }
            table.slots[at] = number as u32 + 1;
            table.words.extend_from_slice(words);
            table.places.append(&mut places);
            table.starts.push(table.places.len() as u32);
        }
        table
    }

    #[inline]
    fn find(&self, words: &[u32], from: u32) -> Option<u32> {
        let mut at = hash(words) & self.mask;
        loop {
            let entry = (*self.slots.get(at)?).checked_sub(1)? as usize;
            if self.words.get(entry * self.width..(entry + 1) * self.width)? == words {
                let range = *self.starts.get(entry)? as usize..*self.starts.get(entry + 1)? as usize;
                let places = self.places.get(range)?;
                let first = *places.first()?;
                if first >= from {
                    return Some(first);
                }
                return places.get(places.partition_point(|place| *place < from)).copied();
            }
            at = (at + 1) & self.mask;
        }
    }
}

/// Spreads; tables are made of an operator's filters, so nobody else can make them uneven.
#[inline]
fn hash(words: &[u32]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = words.iter().fold(0u64, |h, w| (h.rotate_left(23) ^ u64::from(*w)).wrapping_mul(ODD));
    (mixed >> 32) as usize
}
