//! Extended matches: expressions over the packet and what is known of it (tc-ematch(8)).

use super::view::View;
use crate::net::IfIndex;
use crate::skb::eth::{ETH_P_IP, ETH_P_IPV6};

/// Deepest nesting of an expression.
pub const MAX_DEPTH: usize = 32;

/// An expression. What follows an `and` or `or` belongs together, to the end of the expression or its parenthesis, as the
/// kernel evaluates it: `a and b or c` is `a and (b or c)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// One match.
    Leaf(Match),
    /// Not that.
    Not(Box<Tree>),
    /// Both.
    And(Box<Tree>, Box<Tree>),
    /// One of them.
    Or(Box<Tree>, Box<Tree>),
    /// A parenthesis; as what it holds.
    Group(Box<Tree>),
}

/// A match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// A number in the packet.
    Cmp(Cmp),
    /// Bits of a word of the packet.
    U32(super::u32::Key),
    /// Bytes of the packet.
    Nbyte {
        /// The bytes.
        needle: Vec<u8>,
        /// Where.
        off: u16,
        /// From which header on.
        layer: Layer,
    },
    /// What is known of the packet.
    Meta {
        /// Left side.
        left: Operand,
        /// How they relate.
        op: Relation,
        /// Right side.
        right: Operand,
    },
}

/// A number in the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cmp {
    /// From which header on.
    pub layer: Layer,
    /// Where.
    pub off: u16,
    /// Bytes: 1, 2 or 4.
    pub align: u8,
    /// Bits that count; 0 for all.
    pub mask: u32,
    /// The bytes are turned round.
    pub trans: bool,
    /// How it relates to the value.
    pub op: Relation,
    /// The value.
    pub val: u32,
}

/// Where offsets count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The Ethernet header (0).
    Link,
    /// The network header (1).
    Network,
    /// The transport header (2).
    Transport,
}

/// How two numbers relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same.
    Eq,
    /// The left one is smaller.
    Lt,
    /// The left one is greater.
    Gt,
}

/// One side of a comparison of what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// What.
    pub what: Meta,
    /// Shifted right by so many bits.
    pub shift: u8,
    /// Then under this mask; 0 for all bits.
    pub mask: u32,
}

/// What is known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// A number.
    Value(u32),
    /// A random number.
    Random,
    /// The EtherType, its bytes as they stand on the wire, read as the kernel's machine reads them (little endian).
    Protocol,
    /// Who it was for.
    PktLen,
    /// Length of what is behind the first bytes; the kernel's fragments. Always 0 here.
    DataLen,
    /// Queueing priority.
    Priority,
    /// Firewall mark.
    NfMark,
    /// The device: where it leaves on its way out, where it came in on its way in.
    Dev,
    /// Control information of the tag; a packet without one matches nothing.
    Vlan,
}

impl Tree {
    /// Whether the packet is one of its. `ingress`: it is on its way in.
    pub fn matches(&self, view: &View<'_>) -> bool {
        match self {
            Tree::Leaf(leaf) => leaf.matches(view).unwrap_or(false),
            Tree::Not(tree) => !tree.matches(view),
            Tree::And(a, b) => a.matches(view) && b.matches(view),
            Tree::Or(a, b) => a.matches(view) || b.matches(view),
            Tree::Group(tree) => tree.matches(view),
        }
    }
}

impl Match {
    /// `None` where a byte is not there.
    fn matches(&self, view: &View<'_>) -> Option<bool> {
        match self {
            Match::Cmp(cmp) => cmp.matches(view),
            Match::U32(key) => Some((view.word(key.off as isize)? ^ key.val) & key.mask == 0),
            Match::Nbyte { needle, off, layer } => {
                let at = base(view, *layer)? + usize::from(*off);
                Some(view.data.get(at..at.checked_add(needle.len())?)? == needle.as_slice())
            }
            Match::Meta { left, op, right } => Some(op.holds(left.value(view)?, right.value(view)?)),
        }
    }
}

impl Cmp {
    fn matches(&self, view: &View<'_>) -> Option<bool> {
        let bytes = view.data.get(base(view, self.layer)? + usize::from(self.off)..)?;
        let number = match self.align {
            1 => u32::from(*bytes.first()?),
            2 => {
                let word = u16::from_be_bytes(*bytes.first_chunk()?);
                u32::from(if self.trans { word.swap_bytes() } else { word })
            }
            _ => {
                let word = u32::from_be_bytes(*bytes.first_chunk()?);
                if self.trans { word.swap_bytes() } else { word }
            }
        };
        let number = if self.mask == 0 { number } else { number & self.mask };
        Some(self.op.holds(number, self.val))
    }
}

impl Relation {
    fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Relation::Eq => a == b,
            Relation::Lt => a < b,
            Relation::Gt => a > b,
        }
    }
}

impl Operand {
    fn value(&self, view: &View<'_>) -> Option<u32> {
        let value = match self.what {
            Meta::Value(value) => value,
            Meta::Random => view.random,
            Meta::Protocol => view.protocol.swap_bytes().into(),
            Meta::PktLen => view.len,
            Meta::DataLen => 0,
            Meta::Priority => view.priority,
            Meta::NfMark => view.mark,
            Meta::Dev if view.oif != IfIndex::NONE => view.oif.0.into(),
            Meta::Dev => view.iif.0.into(),
            Meta::Vlan => view.tag?.tci.into(),
        };
        let value = value.checked_shr(self.shift.into()).unwrap_or(0);
        Some(if self.mask == 0 { value } else { value & self.mask })
    }
}

/// Where a header begins.
fn base(view: &View<'_>, layer: Layer) -> Option<usize> {
    match layer {
        Layer::Link => Some(0),
        Layer::Network => Some(view.network),
        Layer::Transport => {
            let ethertype = view.data.get(view.network.checked_sub(2)?..)?.first_chunk()?;
            let packet = view.data.get(view.network..)?;
            match u16::from_be_bytes(*ethertype) {
                ETH_P_IP => Some(view.network + usize::from(packet.first()? & 0xf) * 4),
                ETH_P_IPV6 => Some(view.network + 40),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(what: Meta, op: Relation, value: u32) -> Tree {
        let side = |what| Operand { what, shift: 0, mask: 0 };
        Tree::Leaf(Match::Meta { left: side(what), op, right: side(Meta::Value(value)) })
    }

    #[test]
    fn what_follows_an_and_belongs_together() {
        let frame = [0u8; 60];
        let view = View { priority: 6, mark: 3, ..View::of_frame(&frame) };
        let p = |v| Box::new(meta(Meta::Priority, Relation::Eq, v));
        let m = |v| Box::new(meta(Meta::NfMark, Relation::Gt, v));
        assert!(Tree::And(p(6), m(2)).matches(&view));
        assert!(!Tree::And(p(5), Box::new(Tree::Or(m(7), m(2)))).matches(&view));
        assert!(Tree::And(Box::new(Tree::Not(p(5))), Box::new(Tree::Or(m(7), m(2)))).matches(&view));
    }

    #[test]
    fn numbers_are_read_in_network_order_and_none_is_behind_the_end() {
        let mut frame = vec![0u8; 14];
        frame[12] = 8;
        frame.extend([0x45, 7, 0x12, 0x34]);
        let view = View::of_frame(&frame);
        let cmp = |off, align, op, val| {
            let cmp = Cmp { layer: Layer::Network, off, align, mask: 0, trans: false, op, val };
            Tree::Leaf(Match::Cmp(cmp)).matches(&view)
        };
        assert!(
            cmp(1, 1, Relation::Gt, 6)
                && cmp(2, 2, Relation::Eq, 0x1234)
                && cmp(0, 4, Relation::Lt, u32::MAX)
        );
        assert!(!cmp(3, 2, Relation::Eq, 0) && !cmp(4, 1, Relation::Lt, 9));
        let nbyte = Match::Nbyte { needle: vec![7, 0x12], off: 1, layer: Layer::Network };
        assert!(Tree::Leaf(nbyte).matches(&view));
    }
}
