//! What u32 compares: `match`, `sample`, `offset`, `hashkey`.

use std::net::{Ipv4Addr, Ipv6Addr};

use skiff_dataplane::sched::cls::u32::{Offset, VarOffset};

use super::Selector;
use crate::tc::error::TcError;
use crate::tc::units;
use crate::tc::words::{Words, matches};

fn bad() -> TcError {
    TcError::words("")
}

/// Where a comparison is.
#[derive(Clone, Copy)]
struct Place {
    off: i32,
    next_header: bool,
}

const fn at(off: i32) -> Place {
    Place { off, next_header: false }
}

const fn next(off: i32) -> Place {
    Place { off, next_header: true }
}

/// Reads one comparison.
pub fn read(words: &mut Words<'_>, sel: &mut Selector, mark: &mut Option<(u32, u32)>) -> Result<(), TcError> {
    const KINDS: [&str; 10] = ["u32", "u16", "u8", "ip", "ip6", "udp", "tcp", "icmp", "mark", "ether"];
    let word = words.peek().ok_or_else(bad)?;
    let kind = KINDS.into_iter().find(|kind| matches(word, kind)).ok_or_else(bad)?;
    words.skip();
    words.more()?;
    match kind {
        "u32" => number(words, sel, 4, at(0)),
        "u16" => number(words, sel, 2, at(0)),
        "u8" => number(words, sel, 1, at(0)),
        "mark" => read_mark(words, mark),
        _ if words.len() < 2 => Err(bad()),
        "ip" => ip(words, sel),
        "ip6" => ip6(words, sel),
        "icmp" => match words.value()? {
            "type" => number(words, sel, 1, next(0)),
            "code" => number(words, sel, 1, next(1)),
            _ => Err(bad()),
        },
        "ether" => match words.value()? {
            "src" => ether(words, sel, -8),
            "dst" => ether(words, sel, -14),
            word => Err(TcError::words(format!("Unknown match: ether {word}"))),
        },
        _ => match words.value()? {
            "src" => number(words, sel, 2, next(0)),
            "dst" => number(words, sel, 2, next(2)),
            _ => Err(bad()),
        },
    }
}

fn ip(words: &mut Words<'_>, sel: &mut Selector) -> Result<(), TcError> {
    let word = words.value()?;
    let flags = |sel: &mut Selector, val, mask| pack(sel, 2, val, mask, at(6)).ok_or_else(bad);
    match word {
        "nofrag" => return flags(sel, 0, 0x3fff),
        "firstfrag" => return flags(sel, 0x2000, 0x3fff),
        "df" => return flags(sel, 0x4000, 0x4000),
        "mf" => return flags(sel, 0x2000, 0x2000),
        _ => words.more()?,
    }
    match word {
        "src" => address(words, sel, 12),
        "dst" => address(words, sel, 16),
        "tos" => number(words, sel, 1, at(1)),
        _ if matches(word, "dsfield") || matches(word, "precedence") => number(words, sel, 1, at(1)),
        "ihl" => number(words, sel, 1, at(0)),
        "protocol" => number(words, sel, 1, at(9)),
        "dport" => number(words, sel, 2, at(22)),
        "sport" => number(words, sel, 2, at(20)),
        "icmp_type" => number(words, sel, 1, at(20)),
        "icmp_code" => number(words, sel, 1, at(21)),
        _ => Err(bad()),
    }
}

fn ip6(words: &mut Words<'_>, sel: &mut Selector) -> Result<(), TcError> {
    let word = words.value()?;
    words.more()?;
    match word {
        "src" => address6(words, sel, 8),
        "dst" => address6(words, sel, 24),
        "priority" => {
            let (val, mask) = pair(words)?;
            if val > 0xff || mask > 0xff {
                return Err(bad());
            }
            sel.add(val << 20, mask << 20, 0, false).ok_or_else(bad)
        }
        "protocol" => number(words, sel, 1, at(6)),
        "flowlabel" => number(words, sel, 4, at(0)),
        "dport" => number(words, sel, 2, at(42)),
        "sport" => number(words, sel, 2, at(40)),
        "icmp_type" => number(words, sel, 1, at(40)),
        "icmp_code" => number(words, sel, 1, next(41)),
        _ => Err(bad()),
    }
}

/// A value and a hexadecimal mask.
fn pair(words: &mut Words<'_>) -> Result<(u32, u32), TcError> {
    if words.len() < 2 {
        return Err(bad());
    }
    let val = words.u32(0).ok_or_else(bad)?;
    Ok((val, words.u32(16).ok_or_else(bad)?))
}

/// A number of so many bytes, perhaps at another place.
fn number(words: &mut Words<'_>, sel: &mut Selector, size: u32, place: Place) -> Result<(), TcError> {
    let (val, mask) = pair(words)?;
    if size == 1 && (val > 0xff || mask > 0xff) {
        return Err(bad());
    }
    let place = elsewhere(words, place)?;
    pack(sel, size, val, mask, place).ok_or_else(bad)
}

/// Puts a number into its word.
fn pack(sel: &mut Selector, size: u32, val: u32, mask: u32, place: Place) -> Option<()> {
    let most = (1u64 << (8 * size)) - 1;
    if u64::from(val) > most || u64::from(mask) > most {
        return None;
    }
    let shift = match (size, place.off & 3) {
        (4, _) => 0,
        (2, 0) => 16,
        (2, _) => 0,
        (_, at) => 24 - 8 * at,
    };
    let off = if size == 4 { place.off } else { place.off & !3 };
    sel.add(val << shift, mask << shift, off, place.next_header)
}

/// `at OFFSET` or `at nexthdr+OFFSET`.
fn elsewhere(words: &mut Words<'_>, usual: Place) -> Result<Place, TcError> {
    if !words.take("at") {
        return Ok(usual);
    }
    const NEXT: &str = "nexthdr+";
    let mut text = words.value()?;
    let mut place = usual;
    if let Some(rest) = text.strip_prefix(NEXT).filter(|rest| !rest.is_empty()) {
        (text, place.next_header) = (rest, true);
    } else if matches(text, NEXT) {
        (text, place.next_header) = (words.value()?, true);
    }
    place.off = units::signed(text).ok_or_else(bad)?;
    Ok(place)
}

fn address(words: &mut Words<'_>, sel: &mut Selector, off: i32) -> Result<(), TcError> {
    let (addr, len) = prefix(words.value()?, 32).ok_or_else(bad)?;
    let place = elsewhere(words, at(off))?;
    let addr: u32 = match addr {
        "any" | "default" | "all" => 0,
        addr => ipv4(addr).ok_or_else(bad)?,
    };
    let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
    sel.add(addr, mask, place.off, place.next_header).ok_or_else(bad)
}

fn address6(words: &mut Words<'_>, sel: &mut Selector, off: i32) -> Result<(), TcError> {
    let (addr, len) = prefix(words.value()?, 128).ok_or_else(bad)?;
    let place = elsewhere(words, at(off))?;
    let addr: Ipv6Addr = match addr {
        "any" | "default" | "all" => Ipv6Addr::UNSPECIFIED,
        addr => addr.parse().map_err(|_| bad())?,
    };
    for (i, word) in addr.octets().chunks_exact(4).enumerate() {
        let bits = len.saturating_sub(32 * i as u32).min(32);
        if bits != 0 {
            let word = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
            let mask = u32::MAX << (32 - bits);
            sel.add(word, mask, place.off + 4 * i as i32, place.next_header).ok_or_else(bad)?;
        }
    }
    Ok(())
}

/// An address and the length of its prefix; a mask will do for that.
fn prefix(text: &str, most: u32) -> Option<(&str, u32)> {
    if ["any", "default", "all"].contains(&text) {
        return Some((text, 0));
    }
    match text.split_once('/') {
        None => Some((text, most)),
        Some((addr, len)) => {
            let len = match units::u32_in(len, 0) {
                Some(len) => len,
                None => {
                    let mask = len.parse::<Ipv4Addr>().ok()?.to_bits();
                    (mask.leading_ones() + mask.trailing_zeros() == 32).then_some(mask.leading_ones())?
                }
            };
            (len <= most).then_some((addr, len))
        }
    }
}

/// An IPv4 address; bytes that are left out at the end are 0.
fn ipv4(text: &str) -> Option<u32> {
    let mut bytes = [0u8; 4];
    for (i, part) in text.split('.').enumerate() {
        *bytes.get_mut(i)? = units::u32_in(part, 0)?.try_into().ok()?;
    }
    Some(u32::from_be_bytes(bytes))
}

fn ether(words: &mut Words<'_>, sel: &mut Selector, off: i32) -> Result<(), TcError> {
    let text = words.value()?;
    let parts: Vec<Option<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    if parts.len() != 6 || parts.contains(&None) {
        return Err(TcError::words(format!("parse_ether_addr: improperly formed address '{text}'")));
    }
    let place = elsewhere(words, at(off))?;
    for (i, byte) in parts.into_iter().flatten().enumerate() {
        let place = Place { off: place.off.checked_add(i as i32).ok_or_else(bad)?, ..place };
        pack(sel, 1, byte.into(), 0xff, place).ok_or_else(bad)?;
    }
    Ok(())
}

fn read_mark(words: &mut Words<'_>, mark: &mut Option<(u32, u32)>) -> Result<(), TcError> {
    if words.len() <= 1 {
        return Err(bad());
    }
    let wrong = |what: &str| TcError::words(format!("Illegal \"mark\" {what}"));
    let val = words.u32(0).ok_or_else(|| wrong("value"))?;
    let mask = words.u32(0).ok_or_else(|| wrong("mask"))?;
    // As tc, which wants a word behind it.
    words.more()?;
    if val & mask != val {
        return Err(wrong("(impossible combination)"));
    }
    *mark = Some((val, mask));
    Ok(())
}

/// Reads what stands behind `offset`.
pub fn offset(words: &mut Words<'_>, offset: &mut Offset) -> Result<(), TcError> {
    loop {
        if words.take_abbreviation("plus") {
            offset.plus = Some(units::signed(words.value()?).ok_or_else(bad)? as u16);
        } else if words.take_abbreviation("at") {
            let at = units::signed(words.value()?).ok_or_else(bad)?;
            if at % 2 != 0 {
                return Err(TcError::words("offset \"at\" must be even"));
            }
            var(offset).at = at as i16;
        } else if words.take_abbreviation("mask") {
            words.more()?;
            let mask = words.u32(16).and_then(|mask| u16::try_from(mask).ok());
            var(offset).mask = mask.ok_or_else(bad)?;
        } else if words.take_abbreviation("shift") {
            var(offset).shift = units::signed(words.value()?).ok_or_else(bad)? as u8;
        } else if words.take_abbreviation("eat") {
            offset.eat = true;
        } else {
            return Ok(());
        }
    }
}

fn var(offset: &mut Offset) -> &mut VarOffset {
    offset.var.get_or_insert_default()
}

/// Reads what stands behind `hashkey`.
pub fn hashkey(words: &mut Words<'_>, sel: &mut Selector) -> Result<(), TcError> {
    loop {
        if words.take_abbreviation("mask") {
            words.more()?;
            sel.hash_mask = words.u32(16).ok_or_else(bad)?;
        } else if words.take_abbreviation("at") {
            let at = units::signed(words.value()?).ok_or_else(bad)?;
            if at % 4 != 0 {
                return Err(bad());
            }
            sel.hash_off = at;
        } else {
            return Ok(());
        }
    }
}
