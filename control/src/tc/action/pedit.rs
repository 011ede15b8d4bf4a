//! pedit: bytes of the packet (tc-pedit(8)).

use std::net::{Ipv4Addr, Ipv6Addr};

use skiff_dataplane::net::MacAddr;
use skiff_dataplane::sched::act::pedit::{Header, Key, Pedit};
use skiff_dataplane::sched::act::{ActionKind, Control};

use super::{ActionRequest, request};
use crate::tc::error::{Errno, TcError};
use crate::tc::filter::out::Out;
use crate::tc::units;
use crate::tc::words::{Words, matches};

/// Most words that one action changes.
const MAX_KEYS: usize = 128;

const USAGE: &str = "Usage: ... pedit munge [ex] <MUNGE> [CONTROL]\n\
Where: MUNGE := <RAW>|<LAYERED>\n\
\t<RAW>:= <OFFSETC>[ATC]<CMD>\n \
\t\tOFFSETC:= offset <offval> <u8|u16|u32>\n\
\t\tATC:= at <atval> offmask <maskval> shift <shiftval>\n\
\t\tNOTE: offval is byte offset, must be multiple of 4\n\
\t\tNOTE: maskval is a 32 bit hex number\n \
\t\tNOTE: shiftval is a shift value\n\
\t\tCMD:= clear | invert | set <setval> | add <addval> | decrement | retain\n\
\t<LAYERED>:= ip <ipdata> | ip6 <ip6data>\n \
\t\t| udp <udpdata> | tcp <tcpdata> | icmp <icmpdata>\n\
\tCONTROL:= reclassify | pipe | drop | continue | pass |\n\
\t          goto chain <CHAIN_INDEX>\n\
\tNOTE: if 'ex' is set, extended functionality will be supported (kernel >= 4.11)\n\
For Example usage look at the examples directory\n";

/// What a field holds.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Number,
    Ipv4,
    Ipv6,
    Mac,
}

/// A field of a header.
struct Field {
    name: &'static str,
    off: i32,
    len: u32,
    kind: Kind,
    /// Bits that may change.
    retain: u32,
    /// It knows `decrement`.
    decrements: bool,
    /// Only without `ex`.
    plain_only: bool,
}

const fn field(name: &'static str, off: i32, len: u32, kind: Kind, retain: u32) -> Field {
    Field { name, off, len, kind, retain, decrements: false, plain_only: false }
}

const fn plain(name: &'static str, off: i32, len: u32, retain: u32) -> Field {
    Field { plain_only: true, ..field(name, off, len, Kind::Number, retain) }
}

const IP: [Field; 17] = [
    field("src", 12, 4, Kind::Ipv4, u32::MAX),
    field("dst", 16, 4, Kind::Ipv4, u32::MAX),
    field("tos", 1, 1, Kind::Number, 0xff),
    field("dsfield", 1, 1, Kind::Number, 0xff),
    field("ihl", 0, 1, Kind::Number, 0x0f),
    Field { decrements: true, ..field("ttl", 8, 1, Kind::Number, 0xff) },
    field("protocol", 9, 1, Kind::Number, 0xff),
    field("precedence", 1, 1, Kind::Number, 0xff),
    field("nofrag", 6, 1, Kind::Number, 0x3f),
    field("firstfrag", 6, 1, Kind::Number, 0x1f),
    field("ce", 6, 1, Kind::Number, 0x80),
    field("df", 6, 1, Kind::Number, 0x40),
    field("mf", 6, 1, Kind::Number, 0x20),
    plain("dport", 22, 2, 0xffff),
    plain("sport", 20, 2, 0xffff),
    plain("icmp_type", 20, 1, 0xff),
    plain("icmp_code", 20, 1, 0xff),
];
const IP6: [Field; 8] = [
    field("src", 8, 16, Kind::Ipv6, u32::MAX),
    field("dst", 24, 16, Kind::Ipv6, u32::MAX),
    field("traffic_class", 0, 4, Kind::Number, 0x0ff0_0000),
    field("tos", 0, 4, Kind::Number, 0x0ff0_0000),
    field("flow_lbl", 0, 4, Kind::Number, 0x000f_ffff),
    field("payload_len", 4, 2, Kind::Number, 0xffff),
    field("nexthdr", 6, 1, Kind::Number, 0xff),
    Field { decrements: true, ..field("hoplimit", 7, 1, Kind::Number, 0xff) },
];
const TCP: [Field; 3] = [
    field("sport", 0, 2, Kind::Number, 0xffff),
    field("dport", 2, 2, Kind::Number, 0xffff),
    field("flags", 13, 1, Kind::Number, 0xff),
];
const ETH: [Field; 3] = [
    field("type", 12, 2, Kind::Number, 0xffff),
    field("dst", 0, 6, Kind::Mac, u32::MAX),
    field("src", 6, 6, Kind::Mac, u32::MAX),
];

fn bad() -> TcError {
    TcError::words("")
}

/// Reads what follows the word.
pub fn parse(words: &mut Words<'_>) -> Result<ActionRequest, TcError> {
    words.more()?;
    let mut edit = Pedit { extended: words.take_abbreviation("ex"), ..Pedit::default() };
    if edit.extended {
        words.more()?;
    }
    loop {
        if words.take_abbreviation("pedit") {
            words.more()?;
            if words.abbreviates("ex") {
                return Err(TcError::words(format!("'ex' must be before first 'munge'\n{USAGE}")));
            }
        } else if words.abbreviates("help") {
            return Err(TcError::usage(USAGE));
        } else if words.take_abbreviation("munge") {
            words.more()?;
            let at = words.peek().unwrap_or_default().to_owned();
            munge(words, &mut edit).map_err(|err| match err.exit {
                1 => err.then(&format!("Bad pedit construct ({at})\n{USAGE}")),
                _ => err,
            })?;
        } else {
            break;
        }
    }
    let next = super::control(words, false).ok().flatten().unwrap_or(Control::Ok);
    let index = super::index(words, "Pedit: Illegal \"index\"")?;
    let bare = edit.keys.is_empty();
    if bare && index.is_none() {
        return Err(TcError::filter_errno(Errno::Invalid));
    }
    Ok(ActionRequest { bare, ..request(ActionKind::Pedit(edit), next, index) })
}

fn munge(words: &mut Words<'_>, edit: &mut Pedit) -> Result<(), TcError> {
    if words.take_abbreviation("offset") {
        words.more()?;
        return raw(words, edit);
    }
    let word = words.value()?;
    let (fields, header): (&[Field], _) = match word {
        "ip" => (&IP, if edit.extended { Header::Ip4 } else { Header::Network }),
        "ip6" => (&IP6, if edit.extended { Header::Ip6 } else { Header::Network }),
        "tcp" if edit.extended => (&TCP, Header::Tcp),
        "udp" if edit.extended => (&TCP[..2], Header::Udp),
        "eth" if edit.extended => (&ETH, Header::Eth),
        _ => return Err(TcError::words("bad pedit parsing")),
    };
    let wrong = || TcError::words("bad pedit parsing");
    if words.len() < 2 {
        return Err(wrong());
    }
    let name = words.value()?;
    let abbreviates = |f: &Field| matches!(f.name, "dsfield" | "precedence") && matches(name, f.name);
    let found = fields.iter().find(|f| f.name == name || abbreviates(f));
    let field = found.filter(|f| !(f.plain_only && edit.extended)).ok_or_else(wrong)?;
    words.more()?;
    let place = Key { header, add: false, off: field.off, keep: 0, val: 0, at: None };
    command(words, edit, field, place)
        .map_err(|err| if err.exit == 1 { err.then("bad pedit parsing") } else { err })
}

/// `offset OFF u8|u16|u32 [at AT offmask MASK shift SHIFT] CMD`.
fn raw(words: &mut Words<'_>, edit: &mut Pedit) -> Result<(), TcError> {
    let off = units::signed(words.value()?).ok_or_else(bad)?;
    words.more()?;
    let (len, retain) = match words.peek() {
        Some(word) if matches(word, "u32") => (4, u32::MAX),
        Some(word) if matches(word, "u16") => (2, 0xffff),
        Some(word) if matches(word, "u8") => (1, 0xff),
        _ => return Err(bad()),
    };
    words.skip();
    words.more()?;
    let mut place = Key { header: Header::Network, add: false, off, keep: 0, val: 0, at: None };
    if words.take_abbreviation("at") {
        let at = number(words.value()?, 0)?;
        words.take_abbreviation("offmask");
        let mask = number(words.value()?, 16)?;
        words.take_abbreviation("shift");
        let shift = number(words.value()?, 0)?;
        place.at = Some((at as i32, mask as u8, shift as u8));
        words.more()?;
    }
    command(words, edit, &field("", off, len, Kind::Number, retain), place)
}

fn number(text: &str, base: u32) -> Result<u32, TcError> {
    units::u32_in(text, base).ok_or_else(bad)
}

/// What is done with a field.
fn command(words: &mut Words<'_>, edit: &mut Pedit, field: &Field, mut key: Key) -> Result<(), TcError> {
    let all = ((1u64 << (8 * field.len.min(4))) - 1) as u32;
    let plain = || TcError::words("Non-extended pedit only supports set command.");
    let (mut val, mut keep, mut retain) = ([0u32; 4], 0, field.retain);
    let word = words.value()?;
    if matches(word, "invert") {
        (val[0], keep) = (all, all);
    } else if matches(word, "set") || matches(word, "add") {
        key.add = matches(word, "add");
        if key.add && !edit.extended {
            return Err(plain());
        }
        val = value(words.value()?, field.kind)?;
    } else if matches(word, "decrement") {
        if !field.decrements {
            return Err(TcError::words("decrement command is not supported for this field"));
        }
        if !edit.extended {
            return Err(plain());
        }
        (key.add, val[0]) = (true, retain);
    } else if matches(word, "preserve") {
        retain = 0;
    } else if !matches(word, "clear") {
        return Err(bad());
    }
    if words.take_abbreviation("retain") {
        retain = number(words.value()?, 0)?;
    }
    if field.len > 4 && retain != u32::MAX {
        return Err(TcError::words("retain is not supported for fields longer the 32 bits"));
    }
    match field.kind {
        Kind::Mac => mac(edit, key, val),
        Kind::Ipv6 => {
            for (i, word) in val.into_iter().enumerate() {
                let key = Key { off: key.off + 4 * i as i32, ..key };
                pack(edit, key, 4, word, 0, u32::MAX)?;
            }
            Ok(())
        }
        Kind::Number | Kind::Ipv4 => pack(edit, key, field.len, val[0], keep, retain),
    }
}

fn value(text: &str, kind: Kind) -> Result<[u32; 4], TcError> {
    let host = text.split('/').next().unwrap_or_default();
    Ok(match kind {
        Kind::Number => [number(text, 0)?, 0, 0, 0],
        Kind::Ipv4 => [host.parse::<Ipv4Addr>().map_err(|_| bad())?.to_bits(), 0, 0, 0],
        Kind::Ipv6 => {
            let bits = host.parse::<Ipv6Addr>().map_err(|_| bad())?.to_bits();
            std::array::from_fn(|i| (bits >> (96 - 32 * i)) as u32)
        }
        Kind::Mac => {
            let [a, b, c, d, e, f] = text.parse::<MacAddr>().map_err(|_| bad())?.0;
            [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, 0, 0]), 0, 0]
        }
    })
}

/// An address is two words, of which one is half another's.
fn mac(edit: &mut Pedit, key: Key, [high, low, ..]: [u32; 4]) -> Result<(), TcError> {
    let address = u64::from(high) << 16 | u64::from(low >> 16);
    let (first, second) = match key.off % 4 {
        0 => ((4, (address >> 16) as u32), (2, address as u32 & 0xffff)),
        _ => ((2, (address >> 32) as u32), (4, address as u32)),
    };
    let behind = key.off + if first.0 == 4 { 4 } else { 2 };
    pack(edit, key, first.0, first.1, 0, u32::MAX)?;
    pack(edit, Key { off: behind, ..key }, second.0, second.1, 0, u32::MAX)
}

/// Puts a value of `len` bytes into its word.
fn pack(edit: &mut Pedit, key: Key, len: u32, val: u32, keep: u32, retain: u32) -> Result<(), TcError> {
    let at = key.off & 3;
    let all = ((1u64 << (8 * len)) - 1) as u32;
    if val > all || keep > all {
        return Err(TcError::words(format!("pack_key{} bad value", 8 * len)));
    }
    if at as u32 + len > 4 {
        let why = if len == 4 {
            "pack_key32: 32 bit offsets must begin in 32bit boundaries".to_owned()
        } else {
            format!("pack_key16 bad index value {at}")
        };
        return Err(TcError::words(why));
    }
    if edit.keys.len() >= MAX_KEYS {
        return Err(bad());
    }
    let shift = 8 * (4 - at as u32 - len);
    let others = !(all.checked_shl(shift).unwrap_or(0));
    let keep = (((keep | !retain) & all) << shift) | others;
    edit.keys.push(Key { off: key.off & !3, keep, val: (val & retain & all) << shift, ..key });
    Ok(())
}

/// Writes what it does, after its name.
pub fn print(out: &mut Out, edit: &Pedit, action: Control) {
    super::print::control(out, "action ", action, " ");
    out.num("nkeys", "keys ", edit.keys.len(), "\n");
}

/// Writes its changes, behind its number.
pub fn print_keys(out: &mut Out, edit: &Pedit) {
    out.open_array("keys");
    for (i, key) in edit.keys.iter().enumerate() {
        out.open("");
        out.raw(format_args!("\n\t key #{i}  at "));
        let header = match key.header {
            Header::Network => "",
            Header::Eth => "eth",
            Header::Ip4 => "ipv4",
            Header::Ip6 => "ipv6",
            Header::Tcp => "tcp",
            Header::Udp => "udp",
        };
        if header.is_empty() {
            out.json_str("htype", "network");
            out.num("offset", "", key.off, "");
        } else {
            out.str("htype", "", header, "");
            out.shown("offset", key.off, format_args!("{:+}", key.off));
        }
        out.raw(if key.add { ": add" } else { ": val" });
        out.json_str("cmd", if key.add { "add" } else { "set" });
        out.hex("val", key.val, format_args!(" {:08x}", key.val));
        out.hex("mask", key.keep, format_args!(" mask {:08x}", key.keep));
        out.close();
    }
    out.close_array();
}
