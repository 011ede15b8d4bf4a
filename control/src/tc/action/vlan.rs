//! vlan: tags (tc-vlan(8)).

use skiff_dataplane::device::vlan::VlanProto;
use skiff_dataplane::sched::act::vlan::VlanAct;
use skiff_dataplane::sched::act::{ActionKind, Control};

use super::{ActionRequest, request};
use crate::tc::error::{Errno, TcError};
use crate::tc::filter::numbers;
use crate::tc::filter::out::Out;
use crate::tc::units;
use crate::tc::words::{Words, matches};

const USAGE: &str = "Usage: vlan pop [CONTROL]\n       \
vlan push [ protocol VLANPROTO ] id VLANID [ priority VLANPRIO ] [CONTROL]\n       \
vlan modify [ protocol VLANPROTO ] id VLANID [ priority VLANPRIO ] [CONTROL]\n       \
VLANPROTO is one of 802.1Q or 802.1AD\n            \
with default: 802.1Q\n       \
CONTROL := reclassify | pipe | drop | continue | pass |\n                  \
goto chain <CHAIN_INDEX>\n";

fn usage(text: &str) -> TcError {
    TcError::words(format!("{text}\n{USAGE}"))
}

/// Reads what follows the word.
pub fn parse(words: &mut Words<'_>) -> Result<ActionRequest, TcError> {
    words.more()?;
    let mut what = None;
    let (mut id, mut proto, mut prio) = (None, VlanProto::Dot1q, None);
    while let Some(word) = words.peek() {
        const ACTS: [&str; 5] = ["pop", "push", "modify", "pop_eth", "push_eth"];
        if let Some(act) = ACTS.into_iter().find(|act| matches(word, act)) {
            if what.is_some() {
                return Err(usage(&format!("unexpected \"{word}\" - action already specified")));
            }
            if act.ends_with("_eth") {
                return Err(TcError::words(format!("\"{act}\" is not supported")));
            }
            what = Some(act);
            words.skip();
            continue;
        }
        let Some(key) = ["id", "protocol", "priority"].into_iter().find(|key| matches(word, key)) else {
            break;
        };
        if !matches!(what, Some("push" | "modify")) {
            return Err(TcError::argument(word, "only valid for push/modify"));
        }
        words.skip();
        let value = words.value()?;
        let number = || units::u32_in(value, 0);
        match key {
            "id" => {
                let vid = number().and_then(|n| u16::try_from(n).ok());
                id = Some(vid.ok_or_else(|| TcError::argument(value, "id is invalid"))?);
            }
            "protocol" => {
                let tpid = numbers::protocol(value)
                    .ok_or_else(|| TcError::argument(value, "protocol is invalid"))?;
                proto = VlanProto::from_tpid(tpid).ok_or_else(|| usage("protocol not supported"))?;
            }
            _ => {
                prio = Some(
                    number().filter(|n| *n < 8).ok_or_else(|| TcError::argument(value, "prio is invalid"))?
                        as u8,
                )
            }
        }
    }
    if words.abbreviates("help") {
        return Err(TcError::usage(USAGE));
    }
    let next = super::control(words, false).ok().flatten().unwrap_or(Control::Pipe);
    let index = super::index(words, "vlan: Illegal \"index\"")?;
    let of = |act: &str| id.ok_or_else(|| usage(&format!("id needs to be set for {act}")));
    let act = match what {
        Some("push") => VlanAct::Push { proto, id: of("push")?, prio },
        Some("modify") => VlanAct::Modify { proto, id: of("modify")?, prio },
        _ => VlanAct::Pop,
    };
    let id_is_too_large = id.is_some_and(|id| id > 0xfff);
    if id_is_too_large {
        return Err(TcError::filter_errno(Errno::OutOfRange));
    }
    Ok(ActionRequest { bare: what.is_none(), ..request(ActionKind::Vlan(act), next, index) })
}

/// Writes what it does.
pub fn print(out: &mut Out, act: &VlanAct, action: Control) {
    let (name, tag) = match *act {
        VlanAct::Pop => ("pop", None),
        // The kernel tells the priority of what is pushed in any case.
        VlanAct::Push { proto, id, prio } => ("push", Some((proto, id, Some(prio.unwrap_or(0))))),
        VlanAct::Modify { proto, id, prio } => ("modify", Some((proto, id, prio))),
    };
    out.str("vlan_action", " ", name, "");
    if let Some((proto, id, prio)) = tag {
        out.num("id", " id ", id, "");
        out.str("protocol", " protocol ", numbers::print_protocol(proto.tpid()), "");
        if let Some(prio) = prio {
            out.num("priority", " priority ", prio, "");
        }
    }
    super::print::control(out, " ", action, "");
    out.nl();
}
