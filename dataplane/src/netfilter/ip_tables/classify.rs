//! Which rules of a chain can match a packet at all: bit vectors (Lakshman and Stiliadis, SIGCOMM 1998).
//!
//! A chain is cut into chunks of up to [`CHUNK`] rules. In a chunk every field that a rule looks at, a *dimension*,
//! divides its values into classes, and each class has a row of bits: which rules accept it. The rows of a packet's
//! classes, one a dimension, are combined; what is left are the candidates, in the order of the rules. A summary with
//! one bit for every word of a row skips the words that are empty.
//!
//! A row may say yes too often (for what no dimension holds), never no where the rule could match or stop the packet.

use std::collections::HashMap;

use super::demands::{Accepts, Filter};

/// Rules in a chunk: so many that a summary of 16 bits covers its words.
pub(super) const CHUNK: usize = 1024;
/// Dimensions there are.
pub(super) const DIMS: usize = 7;
/// A value that is another node of a tree, not a class.
const NODE: u16 = 0x8000;

/// What is looked at of every packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Key {
    pub src: u32,
    pub dst: u32,
    /// Length from the IP header on.
    pub len: u32,
    pub sport: u16,
    pub dport: u16,
    /// The protocol, and bit 8 for second and later fragments.
    pub proto: u16,
    pub iif: u16,
    pub oif: u16,
    /// The ports are those of a whole TCP or UDP header.
    pub ports: bool,
}

impl Key {
    /// Offset of the fragment is not 0.
    #[inline]
    pub fn later_fragment(&self) -> bool {
        self.proto & 0x100 != 0
    }

    #[inline]
    pub fn protocol(&self) -> u8 {
        self.proto as u8
    }
}

/// A field of [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Field {
    Src,
    Dst,
    Proto,
    Sport,
    Dport,
    Iif,
    Oif,
}

impl Field {
    pub const ALL: [Field; DIMS] =
        [Field::Src, Field::Dst, Field::Proto, Field::Sport, Field::Dport, Field::Iif, Field::Oif];

    /// The largest value.
    pub const fn last(self) -> u32 {
        match self {
            Field::Src | Field::Dst => u32::MAX,
            Field::Sport | Field::Dport | Field::Iif | Field::Oif => 0xffff,
            Field::Proto => 0x1ff,
        }
    }

    pub const fn is_port(self) -> bool {
        matches!(self, Field::Sport | Field::Dport)
    }

    #[inline]
    fn of(self, key: &Key) -> u32 {
        match self {
            Field::Src => key.src,
            Field::Dst => key.dst,
            Field::Proto => u32::from(key.proto),
            Field::Sport => u32::from(key.sport),
            Field::Dport => u32::from(key.dport),
            Field::Iif => u32::from(key.iif),
            Field::Oif => u32::from(key.oif),
        }
    }
}

/// A chunk of rules.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Words of a row.
    words: usize,
    /// All rules, where no dimension tells them apart.
    all: Box<[u64]>,
    dims: Box<[Dim]>,
}

impl Chunk {
    /// The chunk of these rules, at most [`CHUNK`].
    pub fn new(filters: &[Filter]) -> Chunk {
        let linear = Chunk::linear(filters.len());
        let fields = Field::ALL.iter().filter(|f| filters.iter().any(|r| r.0[**f as usize].is_some()));
        let dims = fields.map(|&field| Dim::new(field, filters, linear.words)).collect();
        Chunk { dims, ..linear }
    }

    /// A chunk of so many rules, each of which is a candidate for every packet.
    pub fn linear(len: usize) -> Chunk {
        let words = len.div_ceil(64).max(1);
        let all = (0..words).map(|word| all_of(len, word)).collect();
        Chunk { words, all, dims: Box::default() }
    }

    /// Begins to go through the candidates of a packet.
    #[inline]
    pub fn scan(&self, key: &Key) -> Scan {
        let mut scan = Scan::default();
        for (class, dim) in scan.classes.iter_mut().zip(&*self.dims) {
            *class = dim.class(key);
        }
        self.begin(&mut scan);
        scan
    }

    /// The same for a burst, one dimension after the other: the loads of a pass do not wait for each other.
    #[inline]
    pub fn scan_burst(&self, keys: &[Key], scans: &mut [Scan]) {
        for (d, dim) in self.dims.iter().enumerate().take(DIMS) {
            match dim.field {
                Field::Src => dim.classes(keys, scans, d, |k| k.src),
                Field::Dst => dim.classes(keys, scans, d, |k| k.dst),
                _ => {
                    for (key, scan) in keys.iter().zip(scans.iter_mut()) {
                        scan.classes[d] = dim.class(key);
                    }
                }
            }
        }
        for scan in scans.iter_mut() {
            self.begin(scan);
        }
    }

    #[inline]
    fn begin(&self, scan: &mut Scan) {
        if self.words == 1 {
            scan.word = self.word(&scan.classes, 0);
            return;
        }
        let mut summary = u16::MAX >> (16 - self.words.min(16));
        for (dim, &class) in self.dims.iter().zip(&scan.classes) {
            summary &= dim.summaries.get(usize::from(class)).copied().unwrap_or(0);
        }
        scan.summary = summary;
    }

    /// The next candidate.
    #[inline(always)]
    pub fn next(&self, scan: &mut Scan) -> Option<usize> {
        while scan.word == 0 {
            if scan.summary == 0 {
                return None;
            }
            scan.at = scan.summary.trailing_zeros() as u8;
            scan.summary &= scan.summary - 1;
            scan.word = self.word(&scan.classes, usize::from(scan.at));
        }
        let bit = scan.word.trailing_zeros() as usize;
        scan.word &= scan.word - 1;
        Some(usize::from(scan.at) * 64 + bit)
    }

    /// Makes the candidate that [`next`](Self::next) has just given the next one again.
    #[inline]
    pub fn again(&self, scan: &mut Scan, candidate: usize) {
        scan.word |= 1 << (candidate % 64);
    }

    /// Every packet has the same candidates.
    #[inline]
    pub fn is_linear(&self) -> bool {
        self.dims.is_empty()
    }

    /// Leaves out the candidates before number `from`, which is a rule of the chunk and not behind the one to come.
    #[inline]
    pub fn seek(&self, scan: &mut Scan, from: usize) {
        let (at, keep) = (from / 64, u64::MAX << (from % 64));
        // The bit of a word in the summary is there until the word is looked at.
        if at == usize::from(scan.at) && scan.summary >> at & 1 == 0 {
            scan.word &= keep;
            return;
        }
        scan.word = 0;
        scan.summary &= u16::MAX.checked_shl(at as u32).unwrap_or(0);
        if scan.summary >> at & 1 == 1 {
            scan.summary &= scan.summary - 1;
            scan.at = at as u8;
            scan.word = self.word(&scan.classes, at) & keep;
        }
    }

    #[inline]
    fn word(&self, classes: &[u16; DIMS], at: usize) -> u64 {
        let mut word = self.all.get(at).copied().unwrap_or(0);
        for (dim, &class) in self.dims.iter().zip(classes) {
            word &= dim.rows.get(usize::from(class) * self.words + at).copied().unwrap_or(0);
        }
        word
    }
}

/// The bits of all of `len` rules in a word of a row.
fn all_of(len: usize, word: usize) -> u64 {
    u64::MAX.checked_shr((64 * (word + 1)).saturating_sub(len) as u32).unwrap_or(0)
}

/// How far a packet has come in a chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// Candidates left in the current word.
    word: u64,
    classes: [u16; DIMS],
    /// Words not yet looked at.
    summary: u16,
    /// The current word.
    at: u8,
}

/// One field's classes.
#[derive(Debug)]
struct Dim {
    field: Field,
    /// The class of packets that have no value here.
    unknown: u16,
    /// Shift of the first node's index.
    shift: u8,
    nodes: Box<[[u16; 256]]>,
    rows: Box<[u64]>,
    summaries: Box<[u16]>,
}

impl Dim {
    fn new(field: Field, filters: &[Filter], words: usize) -> Dim {
        let (starts, mut rows) = partition(field, filters, words);
        let mut unknown = 0;
        if field.is_port() {
            unknown = (rows.len() / words) as u16;
            rows.extend((0..words).map(|word| all_of(filters.len(), word)));
        }
        let summaries = rows
            .chunks(words)
            .map(|row| row.iter().enumerate().fold(0, |s, (i, w)| s | u16::from(*w != 0) << (i & 15)))
            .collect();
        let shift: u8 = match field.last() {
            0..=0xffff => 8,
            _ => 24,
        };
        let mut tree = Tree { starts: &starts, nodes: Vec::new() };
        tree.node(0, u32::from(shift));
        Dim { field, unknown, shift, nodes: tree.nodes.into(), rows: rows.into(), summaries }
    }

    #[inline]
    fn class(&self, key: &Key) -> u16 {
        if self.field.is_port() && !key.ports {
            return self.unknown;
        }
        self.lookup(self.field.of(key), u32::from(self.shift))
    }

    #[inline]
    fn classes(&self, keys: &[Key], scans: &mut [Scan], d: usize, value: impl Fn(&Key) -> u32) {
        for (key, scan) in keys.iter().zip(scans) {
            scan.classes[d] = self.lookup(value(key), 24);
        }
    }

    #[inline]
    fn lookup(&self, value: u32, shift: u32) -> u16 {
        let mut shift = shift;
        let Some(root) = self.nodes.first() else { return 0 };
        let mut entry = root[(value >> shift) as usize & 255];
        while entry & NODE != 0 {
            shift = shift.wrapping_sub(8) & 31;
            let Some(node) = self.nodes.get(usize::from(entry & !NODE)) else { return 0 };
            entry = node[(value >> shift) as usize & 255];
        }
        entry
    }
}

/// Cuts the values of `field` where the answer of any rule changes. Gives the first value and the class of each piece,
/// and the rows of the classes.
fn partition(field: Field, filters: &[Filter], words: usize) -> (Vec<(u32, u16)>, Vec<u64>) {
    let mut toggles: Vec<(u32, usize)> = Vec::new();
    let mut row = vec![0u64; words];
    for (rule, filter) in filters.iter().enumerate() {
        match &filter.0[field as usize] {
            None => row[rule / 64] |= 1 << (rule % 64),
            Some(Accepts(ranges)) => {
                for &(min, max) in ranges {
                    toggles.push((min, rule));
                    if max < field.last() {
                        toggles.push((max + 1, rule));
                    }
                }
            }
        }
    }
    toggles.sort_unstable();
    let mut classes: HashMap<Vec<u64>, u16> = HashMap::new();
    let (mut starts, mut rows) = (Vec::new(), Vec::new());
    let mut class_of = |row: &Vec<u64>| match classes.get(row) {
        Some(&class) => class,
        None => {
            // Two edges a rule at most of a multiport list's 15 ranges, or a class a device: far fewer than NODE in a chunk.
            let class = classes.len() as u16;
            classes.insert(row.clone(), class);
            rows.extend_from_slice(row);
            class
        }
    };
    let mut at = 0;
    let mut toggles = toggles.into_iter().peekable();
    loop {
        while let Some((_, rule)) = toggles.next_if(|(start, _)| *start == at) {
            row[rule / 64] ^= 1 << (rule % 64);
        }
        starts.push((at, class_of(&row)));
        match toggles.peek() {
            Some(&(start, _)) => at = start,
            None => return (starts, rows),
        }
    }
}

/// A tree over 8 bits at a time being built from pieces.
struct Tree<'a> {
    starts: &'a [(u32, u16)],
    nodes: Vec<[u16; 256]>,
}

impl Tree<'_> {
    /// The node for the 256 << shift values from `first` on.
    fn node(&mut self, first: u32, shift: u32) -> u16 {
        let number = self.nodes.len();
        self.nodes.push([0; 256]);
        for i in 0..256u32 {
            let low = first.wrapping_add(i << shift);
            let high = low | ((1u64 << shift) - 1) as u32;
            let piece = self.starts.partition_point(|(start, _)| *start <= low) - 1;
            let whole = self.starts.get(piece + 1).is_none_or(|(start, _)| *start > high);
            let entry = if whole { self.starts[piece].1 } else { NODE | self.node(low, shift - 8) };
            self.nodes[number][i as usize] = entry;
        }
        number as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(filter: &Filter, key: &Key) -> bool {
        Field::ALL.iter().all(|f| {
            (f.is_port() && !key.ports)
                || filter.0[*f as usize]
                    .as_ref()
                    .is_none_or(|a| a.0.iter().any(|(min, max)| (*min..=*max).contains(&f.of(key))))
        })
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let range = |f: Field| {
            (any::<u32>(), 0u32..40, any::<bool>()).prop_map(move |(start, len, invert)| {
                // Few distinct values, so that keys hit them.
                let start = (start % 16 * 0x1001_0101) & f.last();
                Accepts::range(start, start.saturating_add(len).min(f.last())).inverted_if(invert, f)
            })
        };
        Field::ALL.map(|f| prop::option::weighted(0.3, range(f))).prop_map(Filter)
    }

    fn key() -> impl Strategy<Value = Key> {
        (any::<[u32; 7]>(), any::<bool>()).prop_map(|(v, ports)| {
            let value = |f: Field| (v[f as usize] % 16 * 0x1001_0101 + v[f as usize] / 16 % 44) & f.last();
            Key {
                src: value(Field::Src),
                dst: value(Field::Dst),
                proto: value(Field::Proto) as u16,
                sport: value(Field::Sport) as u16,
                dport: value(Field::Dport) as u16,
                iif: value(Field::Iif) as u16,
                oif: value(Field::Oif) as u16,
                ports,
                len: 0,
            }
        })
    }

    proptest! {
        #[test]
        fn candidates_are_the_rules_that_accept(
            filters in prop::collection::vec(filter(), 1..200), keys in prop::collection::vec(key(), 1..32),
            from in 0..200usize, taken in 0..3usize
        ) {
            let chunk = Chunk::new(&filters);
            let mut scans = vec![Scan::default(); keys.len()];
            chunk.scan_burst(&keys, &mut scans);
            for (key, mut scan) in keys.iter().zip(scans) {
                let found: Vec<usize> = std::iter::from_fn(|| chunk.next(&mut scan)).collect();
                let want: Vec<usize> = (0..filters.len())
                    .filter(|&i| accepts(&filters[i], key))
                    .collect();
                prop_assert_eq!(&found, &want);
                let mut one = chunk.scan(key);
                prop_assert_eq!(std::iter::from_fn(|| chunk.next(&mut one)).collect::<Vec<_>>(), &want[..]);
                // Past some, from a place on.
                let from = from % filters.len();
                let before: Vec<usize> = want.iter().copied().take(taken).collect();
                let from = from.max(before.last().map_or(0, |last| last + 1));
                if from < filters.len() {
                    let mut one = chunk.scan(key);
                    before.iter().for_each(|i| assert_eq!(chunk.next(&mut one), Some(*i)));
                    chunk.seek(&mut one, from);
                    let rest: Vec<usize> = want.iter().copied().filter(|i| *i >= from).collect();
                    prop_assert_eq!(std::iter::from_fn(|| chunk.next(&mut one)).collect::<Vec<_>>(), rest);
                }
            }
        }
    }

    #[test]
    fn a_full_chunk_of_hosts_finds_each() {
        let filters: Vec<Filter> = (0..CHUNK as u32)
            .map(|i| {
                let mut filter = Filter::default();
                filter.demand(
                    Field::Src,
                    Accepts::range(i.wrapping_mul(0x9e37_79b9), i.wrapping_mul(0x9e37_79b9)),
                );
                filter
            })
            .collect();
        let chunk = Chunk::new(&filters);
        for i in 0..CHUNK as u32 {
            let mut scan = chunk.scan(&Key { src: i.wrapping_mul(0x9e37_79b9), ..Key::default() });
            assert_eq!(chunk.next(&mut scan), Some(i as usize));
            assert_eq!(chunk.next(&mut scan), None);
        }
    }
}
