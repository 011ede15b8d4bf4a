//! u32 as tc prints it.

use std::fmt::Write;
use std::net::Ipv4Addr;

use skiff_dataplane::sched::cls::u32::{Key, Node, VarOffset, bucket_of, node_of, table_of};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::skb::eth::{ETH_P_IP, ETH_P_IPV6};

use super::{Devices, FilterRow, Show, hardware, print};
use crate::tc::filter::out::Out;

/// A number of a table or node.
pub(super) fn number(handle: u32) -> String {
    let (table, bucket, node) = (table_of(handle) >> 20, bucket_of(handle), node_of(handle));
    let mut text = String::new();
    if handle == 0 {
        return "none".into();
    }
    if table != 0 {
        let _ = write!(text, "{table:x}:");
    }
    if bucket != 0 {
        let _ = write!(text, "{bucket:x}");
    }
    if node != 0 {
        let _ = write!(text, ":{node:x}");
    }
    text
}

/// A table.
pub(super) fn table(out: &mut Out, handle: u32, divisor: u32) {
    out.str("fh", "fh ", number(handle), " ");
    out.num("ht_divisor", "ht divisor ", divisor, " ");
}

/// A node.
pub(super) fn node(out: &mut Out, row: &FilterRow, node: &Node, show: Show, devices: &dyn Devices) {
    let (table, bucket) = (table_of(row.handle) >> 20, bucket_of(row.handle));
    out.str("fh", "fh ", number(row.handle), " ");
    out.num("order", "order ", node_of(row.handle), " ");
    out.hex("key_ht", table, format_args!("key ht {table:x} "));
    out.hex("bkt", bucket, format_args!("bkt {bucket:x} "));
    match row.classid {
        TcHandle::UNSPEC if node.terminal => out.raw("terminal flowid "),
        TcHandle::UNSPEC => {}
        class => {
            out.raw(if node.terminal { "*" } else { "" });
            out.str("flowid", "flowid ", class, " ");
        }
    }
    if node.link != 0 {
        out.str("link", "link ", number(node.link), " ");
    }
    hardware(out, row, "", " ");
    if let Some((val, mask)) = node.mark {
        out.nl();
        out.hex0x("fwmark_value", val, format_args!("  mark 0x{val:04x} "));
        out.hex0x("fwmark_mask", mask, format_args!("0x{mask:04x} "));
        out.num("fwmark_success", "(success ", row.hits, ")");
    }
    for key in &node.keys {
        match (show.pretty, row.protocol) {
            (true, ETH_P_IP) => pretty(out, key, false),
            (true, ETH_P_IPV6) => pretty(out, key, true),
            _ => raw(out, key),
        }
    }
    places(out, node);
    if let (true, [police]) = (row.old_police, row.actions.as_slice()) {
        out.nl();
        print::old_police(out, police, show);
    }
    if let Some(dev) = row.indev {
        out.nl();
        out.str("input_dev", "  input dev ", devices.name(dev).unwrap_or_default(), "");
        out.nl();
    }
    if !row.old_police {
        super::actions(out, row, show, devices);
    }
}

/// Where the next header and the bucket below are.
fn places(out: &mut Out, node: &Node) {
    let offset = node.offset;
    if offset.var.is_some() || offset.plus.is_some() {
        out.nl();
        out.raw("    offset ");
        if let Some(VarOffset { at, mask, shift }) = offset.var {
            out.hex("offset_mask", mask.into(), format_args!("{mask:04x}"));
            out.num("offset_shift", ">>", shift, " ");
            out.num("offset_off", "at ", at, " ");
        }
        if let Some(plus) = offset.plus.filter(|plus| *plus != 0) {
            out.num("plus", "plus ", plus, " ");
        }
    }
    if offset.eat {
        out.flag("eat", " eat ");
    }
    if node.hash_mask != 0 {
        out.nl();
        let mask = node.hash_mask;
        out.hex("hash_mask", mask, format_args!("    hash mask {mask:08x} "));
        out.num("hash_off", "at ", node.hash_off, " ");
    }
}

fn raw(out: &mut Out, key: &Key) {
    let Key { off, next_header, mask, val } = *key;
    out.open("match");
    out.nl();
    out.hex("value", val, format_args!("  match {val:08x}"));
    out.hex("mask", mask, format_args!("/{mask:08x} "));
    out.str("offmask", "at ", if next_header { "nexthdr+" } else { "" }, "");
    out.num("off", "", off, "");
    out.close();
}

/// As header fields, as far as tc knows them: what it does not know it leaves out.
fn pretty(out: &mut Out, key: &Key, v6: bool) {
    let Key { off, mask, val, .. } = *key;
    out.open("match");
    match (off, mask) {
        (0, 0x0f00_0000) => out.num("ip_ihl", "\n  match IP ihl ", val >> 24, ""),
        (0, 0x00ff_0000) => {
            let dsfield = val >> 16;
            out.hex0x("ip_dsfield", dsfield, format_args!("\n  match IP dsfield {dsfield:#x}"));
        }
        (8, 0x00ff_0000) => out.num("ip_protocol", "\n  match IP protocol ", val >> 16, ""),
        (12 | 16, mask) if mask.leading_ones() + mask.trailing_zeros() == 32 => {
            let name = if off == 12 { "src" } else { "dst" };
            out.raw(format_args!("\n  match IP {name} "));
            out.open(name);
            out.str("address", "", Ipv4Addr::from_bits(val), "");
            out.num("prefixlen", "/", mask.leading_ones(), "");
            out.close();
        }
        (20, _) => ports(out, val, mask, v6),
        _ => {}
    }
    out.close();
}

/// Ports, with tc's names for them, which for IPv6 are the wrong way round, and its line ends.
fn ports(out: &mut Out, val: u32, mask: u32, v6: bool) {
    let (high, low) = (val >> 16, val & 0xffff);
    let (high_name, low_name) = if v6 { ("dport", "sport") } else { ("sport", "dport") };
    // A destination port alone does not begin a line.
    let line =
        |name: &str| if name == "dport" { format!("match {name} ") } else { format!("\n  match {name} ") };
    match mask {
        0xffff => out.num(low_name, &line(low_name), low, ""),
        0xffff_0000 => out.num(high_name, &line(high_name), high, ""),
        u32::MAX => {
            out.num(low_name, &format!("\n  match {low_name} "), low, ", ");
            out.num(high_name, &format!("match {high_name} "), high, "");
        }
        _ => {}
    }
}
