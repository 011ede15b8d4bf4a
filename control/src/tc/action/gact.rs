//! gact: decisions (tc-actions(8)).

use skiff_dataplane::sched::act::gact::{Chance, Gact};
use skiff_dataplane::sched::act::{ActionKind, Control};

use super::{ActionRequest, control, request};
use crate::tc::error::TcError;
use crate::tc::filter::out::Out;
use crate::tc::words::Words;

const USAGE: &str = "Usage: ... gact <ACTION> [RAND] [INDEX]\n\
Where: \tACTION := reclassify | drop | continue | pass | pipe |\n       \
\t          goto chain <CHAIN_INDEX> | jump <JUMP_COUNT>\n\
\tRAND := random <RANDTYPE> <ACTION> <VAL>\n\
\tRANDTYPE := netrand | determ\n\
\tVAL : = value not exceeding 10000\n\
\tJUMP_COUNT := Absolute jump from start of action list\n\
\tINDEX := index value used\n";

fn usage(text: &str) -> TcError {
    let line = if text.is_empty() { String::new() } else { format!("{text}\n") };
    TcError { exit: 255, text: format!("{line}{USAGE}") }
}

fn decision(words: &mut Words<'_>) -> Result<Control, TcError> {
    let word = words.peek().unwrap_or_default();
    let bad = || usage(&format!("Bad action type {word}"));
    control(words, false).map_err(|err| usage(&err.text))?.ok_or_else(bad)
}

/// Reads it; the word `gact` may be left out.
pub fn parse(words: &mut Words<'_>) -> Result<ActionRequest, TcError> {
    if words.take_abbreviation("gact") {
        words.more()?;
    }
    if words.abbreviates("index") {
        let index = super::index(words, "Illegal \"index\"")?;
        let request = request(ActionKind::Gact(Gact::default()), Control::Ok, index);
        return Ok(ActionRequest { bare: true, ..request });
    }
    let action = decision(words)?;
    let mut gact = Gact::default();
    if words.take_abbreviation("random") {
        let determ = match words.value()? {
            word if super::matches(word, "netrand") => false,
            word if super::matches(word, "determ") => true,
            _ => return Err(TcError::words("Illegal \"random type\"")),
        };
        words.more()?;
        let control = decision(words)?;
        let of = words.u32(10).and_then(|n| u16::try_from(n).ok());
        let of = of.ok_or_else(|| TcError::words("Illegal probability val 0x0"))?;
        if of > 10_000 {
            return Err(TcError::words(format!("Illegal probability val  {of:#x}")));
        }
        gact.random = Some(Chance { determ, control, of });
    } else if words.abbreviates("help") {
        return Err(usage(""));
    }
    let index = super::index(words, "Illegal \"index\"")?;
    if words.abbreviates("help") {
        return Err(usage(""));
    }
    Ok(request(ActionKind::Gact(gact), action, index))
}

/// Writes what it does.
pub fn print(out: &mut Out, gact: &Gact, action: Control) {
    super::print::control(out, "action ", action, "");
    out.open("prob");
    out.nl();
    let (kind, control, of) = match gact.random {
        None => ("none", Control::Ok, 0),
        Some(Chance { determ, control, of }) => (if determ { "determ" } else { "netrand" }, control, of),
    };
    out.str("random_type", "\t random type ", kind, "");
    super::print::control(out, " ", control, " ");
    out.num("val", "val ", of, "");
    out.close();
    out.nl();
}
