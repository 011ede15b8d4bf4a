//! u32: comparisons of words of the packet, and tables of them reached by links (tc-u32(8)).
//!
//! A node number is `table:bucket:node` in 12, 8 and 12 bits. A node whose words match sends the packet on to the table it
//! links to, in the bucket its hash key picks; if nothing there takes it, and the node is terminal, it takes the packet
//! itself. A word that lies behind the packet's end ends the search in this preference, as it does in the kernel.

use super::view::View;

/// How deep links may go (`TC_U32_MAXDEPTH`).
pub const MAX_DEPTH: usize = 8;
/// Most words of a node.
pub const MAX_KEYS: usize = 128;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Where: bytes from the network header, or from where a link's `eat` has put it.
    pub off: i32,
    /// The offset counts from the next header (`nexthdr+`).
    pub next_header: bool,
    /// Bits that count.
    pub mask: u32,
    /// What they must be.
    pub val: u32,
}

/// Where the next header is, for nodes behind a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset {
    /// `plus`: bytes more. `None` if the word was not given.
    pub plus: Option<u16>,
    /// `at`, `mask`, `shift`: a 16-bit word gives the offset.
    pub var: Option<VarOffset>,
    /// `eat`: all offsets behind the link count from there.
    pub eat: bool,
}

/// An offset that is read from the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VarOffset {
    /// Where.
    pub at: i16,
    /// Bits that count.
    pub mask: u16,
    /// How far to the right they are shifted.
    pub shift: u8,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its comparisons, all of which must hold.
    pub keys: Vec<Key>,
    /// It takes packets: it has a class or actions.
    pub terminal: bool,
    /// The table it links to, as the high 12 bits of a node number; 0 for none.
    pub link: u32,
    /// Bits of the word that picks the bucket of that table.
    pub hash_mask: u32,
    /// Where the word is.
    pub hash_off: i32,
    /// Where the next header is.
    pub offset: Offset,
    /// Value and mask of the firewall mark.
    pub mark: Option<(u32, u32)>,
}

/// The table of a node number.
pub const fn table_of(handle: u32) -> u32 {
    handle & 0xfff0_0000
}

/// The bucket of a node number.
pub const fn bucket_of(handle: u32) -> u32 {
    handle >> 12 & 0xff
}

/// The node of a node number.
pub const fn node_of(handle: u32) -> u32 {
    handle & 0xfff
}

/// The bucket a word picks (kernel `u32_hash_fold`).
#[inline]
pub fn fold(word: u32, mask: u32) -> u32 {
    if mask == 0 { 0 } else { (word & mask) >> mask.trailing_zeros() }
}

/// What comparing a node with a packet showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// All holds.
    Yes,
    /// Something differs.
    No,
    /// A word lies outside the packet.
    Outside,
}

impl Node {
    /// Compares it with a packet whose headers begin at `off`, and the next one `next` bytes behind.
    #[inline]
    pub fn compare(&self, view: &View<'_>, off: isize, next: isize) -> Compared {
        if let Some((val, mask)) = self.mark
            && view.mark & mask != val
        {
            return Compared::No;
        }
        for key in &self.keys {
            let at = off + key.off as isize + if key.next_header { next } else { 0 };
            match view.word(at) {
                None => return Compared::Outside,
                Some(word) if (word ^ key.val) & key.mask != 0 => return Compared::No,
                Some(_) => {}
            }
        }
        Compared::Yes
    }

    /// Its comparisons are of constant places: it stands in a table no link leads to, where there is no next header yet.
    pub fn words(&self) -> impl Iterator<Item = (i32, u32, u32)> + '_ {
        self.keys.iter().map(|key| (key.off, key.mask, key.val & key.mask))
    }
}

/// A table as it is searched.
#[derive(Debug)]
pub struct Table {
    /// Its number.
    pub id: u32,
    /// Its buckets: places of nodes in the list, by node number.
    pub buckets: Vec<Vec<u32>>,
}

/// Everything links can lead to.
#[derive(Debug, Default)]
pub struct Tables {
    /// Sorted by number.
    pub tables: Vec<Table>,
    /// The nodes of all of them, and of those that link.
    pub nodes: Vec<Node>,
}

impl Tables {
    fn find(&self, id: u32) -> Option<usize> {
        self.tables.binary_search_by_key(&id, |t| t.id).ok()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    node: u32,
    table: usize,
    bucket: usize,
    /// The next node to look at in that bucket.
    place: usize,
    off: isize,
}

/// A search through tables that begins with a node that links. It goes on where it stopped when what it found does not
/// take the packet.
#[derive(Debug)]
pub struct Walk {
    stack: [Frame; MAX_DEPTH],
    depth: usize,
    here: Frame,
    next: isize,
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This node may take the packet.
    Node(u32),
    /// Nothing: the next node of the first table.
    End,
    /// Nothing, and nothing more in this preference.
    Abort,
}

impl Walk {
    /// Begins at a node that has been found to match in the first table.
    pub fn begin(tables: &Tables, view: &View<'_>, node: u32, next_header: isize) -> Option<Walk> {
        let start = Frame { node, ..Frame::default() };
        let mut walk = Walk { stack: [start; MAX_DEPTH], depth: 0, here: start, next: next_header };
        walk.here.table = usize::MAX;
        walk.descend(tables, view, node).then_some(walk)
    }

    /// Where the next header is, as far as it was looked for.
    pub fn next_header(&self) -> isize {
        self.next
    }

    /// Goes down through a node's link. False if that ends the search in this preference.
    fn descend(&mut self, tables: &Tables, view: &View<'_>, node: u32) -> bool {
        let Some(link) = tables.nodes.get(node as usize) else { return false };
        if self.depth >= MAX_DEPTH {
            return false;
        }
        let off = self.here.off;
        self.stack[self.depth] = Frame { node, ..self.here };
        self.depth += 1;
        let table = tables.find(link.link);
        let mut bucket = 0;
        if let Some(table) = table.and_then(|t| tables.tables.get(t))
            && table.buckets.len() > 1
        {
            let Some(word) = view.word(off + link.hash_off as isize) else { return false };
            bucket = fold(word, link.hash_mask) as usize & (table.buckets.len() - 1);
        }
        self.here = Frame { node: 0, table: table.unwrap_or(usize::MAX), bucket, place: 0, off };
        self.shift(view, link)
    }

    fn shift(&mut self, view: &View<'_>, link: &Node) -> bool {
        let Offset { plus, var, eat } = link.offset;
        if plus.is_some() || var.is_some() {
            let mut next = plus.unwrap_or(0) as isize + 3;
            if let Some(var) = var {
                let at = self.here.off + isize::from(var.at);
                let (Some(high), Some(low)) = (view.octet(at), view.octet(at + 1)) else { return false };
                let word = u16::from_be_bytes([high, low]) & var.mask;
                next += (u32::from(word) >> var.shift.min(31)) as isize;
            }
            self.next = next & !3;
        }
        if eat {
            self.here.off += self.next;
            self.next = 0;
        }
        if self.here.off >= view.behind as isize {
            // Behind the packet: nothing below this link.
            self.here.table = usize::MAX;
        }
        true
    }

    /// The next node that may take the packet.
    pub fn next(&mut self, tables: &Tables, view: &View<'_>) -> Found {
        loop {
            let bucket = tables.tables.get(self.here.table).and_then(|t| t.buckets.get(self.here.bucket));
            match bucket.and_then(|bucket| bucket.get(self.here.place)) {
                Some(&at) => {
                    self.here.place += 1;
                    let Some(node) = tables.nodes.get(at as usize) else { continue };
                    match node.compare(view, self.here.off, self.next) {
                        Compared::Outside => return Found::Abort,
                        Compared::No => {}
                        Compared::Yes if node.link != 0 => {
                            if !self.descend(tables, view, at) {
                                return Found::Abort;
                            }
                        }
                        Compared::Yes if node.terminal => return Found::Node(at),
                        Compared::Yes => {}
                    }
                }
                None => {
                    let Some(depth) = self.depth.checked_sub(1) else { return Found::End };
                    self.depth = depth;
                    self.here = self.stack[depth];
                    let node = self.here.node;
                    if depth == 0 {
                        self.here.table = usize::MAX;
                    }
                    if tables.nodes.get(node as usize).is_some_and(|n| n.terminal) {
                        return Found::Node(node);
                    }
                }
            }
        }
    }
}
