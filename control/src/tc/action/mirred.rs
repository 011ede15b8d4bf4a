//! mirred: to other devices (tc-mirred(8)).

use skiff_dataplane::net::IfIndex;
use skiff_dataplane::sched::act::{ActionKind, Control, Mirred};

use super::{ActionRequest, control, request};
use crate::tc::error::TcError;
use crate::tc::filter::out::Out;
use crate::tc::request::Devices;
use crate::tc::words::Words;

const USAGE: &str = "Usage: mirred <DIRECTION> <ACTION> [index INDEX] <dev DEVICENAME>\n\
where:\n\
\tDIRECTION := <ingress | egress>\n\
\tACTION := <mirror | redirect>\n\
\tINDEX  is the specific policy instance id\n\
\tDEVICENAME is the devicename\n";

/// Reads what follows the word.
pub fn parse(words: &mut Words<'_>) -> Result<ActionRequest, TcError> {
    words.more()?;
    if !["egress", "ingress", "index"].iter().any(|name| words.abbreviates(name)) {
        if words.abbreviates("help") {
            return Err(TcError::usage(USAGE));
        }
        let word = words.peek().unwrap_or_default();
        return Err(TcError::words(format!("mirred option not supported {word}")));
    }
    let (mut ingress, mut egress) = (false, false);
    let (mut mirror, mut redirect) = (false, false);
    let (mut index, mut dev) = (None, None);
    let bad = |text: &str| Err(TcError::words(text));
    while let Some(word) = words.peek() {
        if words.take_abbreviation("action") {
            words.more()?;
            break;
        } else if !egress && words.take_abbreviation("egress") {
            egress = true;
        } else if !ingress && words.take_abbreviation("ingress") {
            ingress = true;
        } else if words.abbreviates("index") {
            index = super::index(words, "Illegal \"index\"")?;
            if !ingress && !egress {
                break;
            }
        } else if !mirror && words.take_abbreviation("mirror") {
            mirror = true;
        } else if !redirect && words.take_abbreviation("redirect") {
            redirect = true;
        } else if (mirror || redirect) && words.take_abbreviation("dev") {
            let name = words.value()?;
            if dev.is_some() {
                return Err(TcError::duplicate("dev", name));
            }
            dev = Some(name);
            break;
        } else {
            let _ = word;
            words.skip();
        }
        if ingress && egress {
            return bad("Can't have both egress and ingress");
        }
        if mirror && redirect {
            return bad("Can't have both mirror and redir");
        }
        words.more().map_err(|_| TcError::incomplete())?;
    }
    let to = match dev {
        None => IfIndex::NONE,
        Some(name) => words
            .devices
            .index(name)
            .ok_or_else(|| TcError::words(format!("Cannot find device \"{name}\"")))?,
    };
    let next = match (mirror, redirect) {
        (true, _) => control(words, false).ok().flatten().unwrap_or(Control::Pipe),
        (_, true) => Control::Stolen,
        _ => Control::Ok,
    };
    if words.abbreviates("index") {
        if index.is_some() {
            return bad("mirred: Illegal double index");
        }
        index = super::index(words, "mirred: Illegal \"index\"")?;
    }
    let request = request(ActionKind::Mirred(Mirred { dev: to, ingress, redirect }), next, index);
    Ok(ActionRequest { bare: !mirror && !redirect, ..request })
}

/// Writes what it does.
pub fn print(out: &mut Out, mirred: &Mirred, action: Control, devices: &dyn Devices) {
    let (way, upper) = if mirred.ingress { ("ingress", "Ingress") } else { ("egress", "Egress") };
    let (what, name) = if mirred.redirect { ("redirect", "Redirect") } else { ("mirror", "Mirror") };
    out.raw(format_args!("({upper} {name}"));
    out.json_str("mirred_action", what);
    out.json_str("direction", way);
    let name = devices.name(mirred.dev).unwrap_or_else(|| "*".into());
    out.str("to_dev", " to device ", name, ")");
    super::print::control(out, " ", action, "");
    out.nl();
}
