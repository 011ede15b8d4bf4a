//! Expressions as tc prints them.

use skiff_dataplane::sched::cls::ematch::{Layer, Match, Meta, Operand, Relation, Tree};
use skiff_dataplane::sched::cls::u32::Key;

use crate::tc::request::Devices;

/// An expression as tc prints it.
pub fn print(tree: &Tree, devices: &dyn Devices) -> String {
    let mut text = String::from("\n  ");
    sequence(&mut text, tree, 1, devices);
    text
}

fn sequence(text: &mut String, tree: &Tree, depth: usize, devices: &dyn Devices) {
    let (term, rest) = match tree {
        Tree::And(term, rest) => (&**term, Some(("AND ", rest))),
        Tree::Or(term, rest) => (&**term, Some(("OR ", rest))),
        term => (term, None),
    };
    let (not, term) = match term {
        Tree::Not(term) => ("NOT ", &**term),
        term => ("", term),
    };
    text.push_str(not);
    match term {
        Tree::Leaf(leaf) => {
            *text += &leaf_text(leaf, devices);
            text.push('\n');
            if rest.is_some() {
                *text += &"  ".repeat(depth);
            }
        }
        Tree::Group(inner) => {
            *text += "(\n";
            *text += &"  ".repeat(depth + 1);
            sequence(text, inner, depth + 1, devices);
            *text += &"  ".repeat(depth);
            *text += ") ";
        }
        other => sequence(text, other, depth, devices),
    }
    if let Some((word, rest)) = rest {
        text.push_str(word);
        sequence(text, rest, depth, devices);
    }
}

fn leaf_text(leaf: &Match, devices: &dyn Devices) -> String {
    match leaf {
        Match::Cmp(cmp) => {
            let mask = if cmp.mask == 0 { String::new() } else { format!("mask {:#x} ", cmp.mask) };
            let trans = if cmp.trans { "trans " } else { "" };
            let bits = 8 * cmp.align;
            let (off, layer, op, val) = (cmp.off, cmp.layer as u8, op_text(cmp.op), cmp.val as i32);
            format!("cmp(u{bits} at {off} layer {layer} {mask}{trans}{op} {val})")
        }
        Match::U32(Key { off, next_header, mask, val }) => {
            let next = if *next_header { "nexthdr+" } else { "" };
            format!("u32({val:08x}/{mask:08x} at {next}{off})")
        }
        Match::Nbyte { needle, off, layer } => {
            let hex: String = needle.iter().map(|b| format!("{b:02x} ")).collect();
            let shown = |b: &u8| if (0x20..0x7f).contains(b) { *b as char } else { '.' };
            let text: String = needle.iter().map(shown).collect();
            format!("nbyte({hex}\"{text}\" at {off} layer {})", *layer as u8)
        }
        Match::Meta { left, op, right } => {
            let [left, right] = [left, right].map(|side| operand_text(side, devices));
            format!("meta({left} {} {right})", op_text(*op))
        }
    }
}

fn op_text(op: Relation) -> &'static str {
    match op {
        Relation::Eq => "eq",
        Relation::Lt => "lt",
        Relation::Gt => "gt",
    }
}

fn operand_text(operand: &Operand, devices: &dyn Devices) -> String {
    let name = match operand.what {
        Meta::Value(value) => return (value as i32).to_string(),
        Meta::Named(dev) => return devices.name(dev).unwrap_or_default(),
        Meta::Random => "random",
        Meta::Protocol => "protocol",
        Meta::PktLen => "pkt_len",
        Meta::DataLen => "data_len",
        Meta::Priority => "priority",
        Meta::NfMark => "nf_mark",
        Meta::Dev => "dev",
        Meta::Vlan => "vlan",
    };
    let shift = if operand.shift == 0 { String::new() } else { format!(" shift {}", operand.shift) };
    let mask = if operand.mask == 0 { String::new() } else { format!(" mask 0x{:08x}", operand.mask) };
    format!("{name}{shift}{mask}")
}

const _: () = assert!(Layer::Transport as u8 == 2);
