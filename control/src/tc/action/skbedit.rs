//! skbedit: what is known of a packet (tc-skbedit(8)).

use skiff_dataplane::sched::act::skbedit::Skbedit;
use skiff_dataplane::sched::act::{ActionKind, Control};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::skb::pkt_type;

use super::{ActionRequest, request};
use crate::tc::error::TcError;
use crate::tc::filter::out::Out;
use crate::tc::units;
use crate::tc::words::{Words, matches};

const USAGE: &str = "Usage: ... skbedit <[QM] [PM] [MM] [PT] [IF]>\n\
QM = queue_mapping QUEUE_MAPPING\n\
PM = priority PRIORITY\n\
MM = mark MARK[/MASK]\n\
PT = ptype PACKETYPE\n\
IF = inheritdsfield\n\
PACKETYPE = is one of:\n  \
host, otherhost, broadcast, multicast\n\
QUEUE_MAPPING = device transmit queue to use\n\
PRIORITY = classID to assign to priority field\n\
MARK = firewall mark to set\n\
MASK = mask applied to firewall mark (0xffffffff by default)\n\
note: inheritdsfield maps DS field to skb->priority\n";

const TYPES: [(&str, u8); 4] = [
    ("host", pkt_type::HOST),
    ("broadcast", pkt_type::BROADCAST),
    ("multicast", pkt_type::MULTICAST),
    ("otherhost", pkt_type::OTHERHOST),
];

/// Reads what follows the word.
pub fn parse(words: &mut Words<'_>) -> Result<ActionRequest, TcError> {
    words.more()?;
    let mut edit = Skbedit::default();
    let bad = |text: String| TcError::words(text);
    while let Some(word) = words.peek() {
        match word {
            _ if matches(word, "queue_mapping") => {
                let queue = units::u32_in(value(words)?, 10).and_then(|n| u16::try_from(n).ok());
                edit.queue_mapping = Some(queue.ok_or_else(|| bad("Illegal queue_mapping".into()))?);
            }
            _ if matches(word, "priority") => {
                let class = units::classid(value(words)?).ok_or_else(|| bad("Illegal priority".into()))?;
                edit.priority = Some(class.0);
            }
            _ if matches(word, "mark") => {
                let text = value(words)?;
                let (mark, mask) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
                let mark = units::u32_in(mark, 0).ok_or_else(|| bad("Illegal mark".into()))?;
                let read = |mask| units::u32_in(mask, 0).ok_or_else(|| bad("Illegal mask".into()));
                edit.mark = Some((mark, mask.map_or(Ok(u32::MAX), read)?));
            }
            _ if matches(word, "ptype") => {
                let text = value(words)?;
                let found = TYPES.iter().find(|(name, _)| matches(text, name));
                edit.ptype = Some(found.ok_or_else(|| bad(format!("Illegal ptype ({text})")))?.1);
            }
            _ if matches(word, "inheritdsfield") => {
                edit.inherit_dsfield = true;
                words.skip();
            }
            _ if matches(word, "help") => return Err(TcError::usage(USAGE)),
            _ => break,
        }
    }
    let next = super::control(words, false).ok().flatten().unwrap_or(Control::Pipe);
    let index = super::index(words, "skbedit: Illegal \"index\"")?;
    let empty = edit == Skbedit::default();
    if empty && index.is_none() {
        return Err(TcError::words(USAGE));
    }
    Ok(ActionRequest { bare: empty, ..request(ActionKind::Skbedit(edit), next, index) })
}

fn value<'a>(words: &mut Words<'a>) -> Result<&'a str, TcError> {
    words.skip();
    words.value()
}

/// Writes what it does.
pub fn print(out: &mut Out, edit: &Skbedit, action: Control) {
    if let Some(queue) = edit.queue_mapping {
        out.num("queue_mapping", "queue_mapping ", queue, "");
    }
    if let Some(priority) = edit.priority {
        out.str("priority", " priority ", TcHandle(priority), "");
    }
    if let Some((mark, mask)) = edit.mark {
        out.num("mark", " mark ", mark, "");
        if mask != u32::MAX {
            out.hex("mask", mask, format_args!("/{mask:#x}"));
        }
    }
    if let Some((name, _)) = TYPES.iter().find(|(_, kind)| Some(*kind) == edit.ptype) {
        out.str("ptype", " ptype ", name, "");
    }
    if edit.inherit_dsfield {
        out.shown("inheritdsfield", "null", " inheritdsfield");
    }
    super::print::control(out, " ", action, "");
    out.nl();
}
