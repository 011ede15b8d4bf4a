//! csum: checksums (tc-csum(8)).

use skiff_dataplane::sched::act::{ActionKind, Control, csum};

use super::{ActionRequest, request};
use crate::tc::error::TcError;
use crate::tc::filter::out::Out;
use crate::tc::words::{Words, matches};

const USAGE: &str = "Usage: ... csum <UPDATE>\n\
Where: UPDATE := <TARGET> [<UPDATE>]\n       \
TARGET := { ip4h | icmp | igmp | tcp | udp | udplite | sctp | <SWEETS> }\n       \
SWEETS := { and | or | '+' }\n";

/// Words and their bits; the first of a bit is the one that is printed.
const NAMES: [(&str, u32); 12] = [
    ("iph", csum::IP4H),
    ("ip4h", csum::IP4H),
    ("ipv4h", csum::IP4H),
    ("icmp", csum::ICMP),
    ("igmp", csum::IGMP),
    ("tcp", csum::TCP),
    ("udp", csum::UDP),
    ("udplite", csum::UDPLITE),
    ("sctp", csum::SCTP),
    ("and", 0),
    ("or", 0),
    ("+", 0),
];

/// Reads what follows the word.
pub fn parse(words: &mut Words<'_>) -> Result<ActionRequest, TcError> {
    words.more()?;
    let mut which = 0;
    loop {
        while let Some((_, bit)) =
            words.peek().and_then(|word| NAMES.iter().find(|(name, _)| matches(word, name)))
        {
            which |= bit;
            words.skip();
        }
        if words.abbreviates("help") {
            return Err(TcError::usage(USAGE));
        }
        if !words.take_abbreviation("csum") {
            break;
        }
        words.more()?;
    }
    if which == 0 {
        return Err(TcError::words("Illegal csum construct, empty <UPDATE> list"));
    }
    let next = super::control(words, false).ok().flatten().unwrap_or(Control::Ok);
    let index = super::index(words, "Illegal \"index\" <csum>")?;
    Ok(request(ActionKind::Csum(which), next, index))
}

/// Writes what it does.
pub fn print(out: &mut Out, which: u32, action: Control) {
    let mut seen = 0;
    let mut names = Vec::new();
    for (name, bit) in NAMES {
        if which & bit & !seen != 0 {
            names.push(name);
            seen |= bit;
        }
    }
    out.str("csum", "(", names.join(", "), ") ");
    super::print::control(out, "action ", action, "\n");
}
