//! Actions: `tc actions`, and the actions of filters (tc-actions(8)).

pub mod csum;
pub mod gact;
pub mod mirred;
pub mod pedit;
pub mod police;
pub mod print;
pub mod skbedit;
pub mod table;
pub mod vlan;

use skiff_dataplane::sched::act::{ActionKind, ActionSpec, Control, MAX_ACTIONS};

use super::filter::numbers;
use crate::tc::error::{Errno, TcError};
use crate::tc::units;
use crate::tc::words::{Words, matches};

/// An action as it was written: by its parameters, by its number, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRequest {
    /// Its parameters.
    pub spec: ActionSpec,
    /// Its number; 0 for the next free one.
    pub index: u32,
    /// Only the number was given: one that exists is meant.
    pub bare: bool,
}

/// `tc actions ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionCommand {
    /// `add`; with `true` `change` or `replace`.
    Modify(bool, Vec<ActionRequest>),
    /// `get`: kind and number.
    Get(Vec<(String, u32)>),
    /// `delete`.
    Delete(Vec<(String, u32)>),
    /// `show`, `ls`: of this kind.
    Show(String),
    /// `flush`.
    Flush(String),
    /// The usage text.
    Help,
}

/// The usage of `tc actions`.
pub const USAGE: &str = "usage: tc actions <ACTSPECOP>*\n\
Where: \tACTSPECOP := ACR | GD | FL\n\
\tACR := add | change | replace <ACTSPEC>*\n\
\tGD := get | delete | <ACTISPEC>*\n\
\tFL := ls | list | flush | <ACTNAMESPEC>\n\
\tACTNAMESPEC :=  action <ACTNAME>\n\
\tACTISPEC := <ACTNAMESPEC> <INDEXSPEC>\n\
\tACTSPEC := action <ACTDETAIL> [INDEXSPEC] [HWSTATSSPEC] [SKIPSPEC]\n\
\tINDEXSPEC := index <32 bit indexvalue>\n\
\tHWSTATSSPEC := hw_stats [ immediate | delayed | disabled ]\n\
\tSKIPSPEC := [ skip_sw | skip_hw ]\n\
\tACTDETAIL := <ACTNAME> <ACTPARAMS>\n\
\t\tExample ACTNAME is gact, mirred, bpf, etc\n\
\t\tEach action has its own parameters (ACTPARAMS)\n";

/// Kinds there are.
const KINDS: [&str; 7] = ["gact", "police", "mirred", "skbedit", "pedit", "csum", "vlan"];

/// Reads what follows `tc actions`.
///
/// # Errors
/// What tc writes about words it does not understand.
pub fn parse(mut words: Words<'_>) -> Result<ActionCommand, TcError> {
    let Some(verb) = words.peek() else { return Ok(ActionCommand::Help) };
    let failed = |err: TcError| TcError { exit: 255, ..err };
    words.skip();
    if matches(verb, "add") {
        return Ok(ActionCommand::Modify(false, actions(&mut words).map_err(illegal).map_err(failed)?));
    }
    if matches(verb, "change") || matches(verb, "replace") {
        return Ok(ActionCommand::Modify(true, actions(&mut words).map_err(illegal).map_err(failed)?));
    }
    if matches(verb, "delete") {
        return numbered(&mut words).map(ActionCommand::Delete);
    }
    if matches(verb, "get") {
        return numbered(&mut words).map(ActionCommand::Get);
    }
    let show = ["list", "show", "lst"].iter().any(|name| matches(verb, name));
    if show || matches(verb, "flush") {
        if words.len() < 2 {
            return Err(TcError::usage(USAGE));
        }
        words.skip();
        let kind = words.value()?.to_owned();
        return Ok(if show { ActionCommand::Show(kind) } else { ActionCommand::Flush(kind) });
    }
    if matches(verb, "help") {
        return Err(TcError::usage(USAGE));
    }
    Err(TcError { exit: 255, text: format!("Command \"{verb}\" is unknown, try \"tc actions help\".") })
}

/// tc's line after an action it did not understand.
pub fn illegal(err: TcError) -> TcError {
    match err.exit {
        1 => err.then("Illegal \"action\""),
        _ => err,
    }
}

/// `action KIND index N ...`.
fn numbered(words: &mut Words<'_>) -> Result<Vec<(String, u32)>, TcError> {
    let fail = |text: String| TcError { exit: 255, text };
    let mut all = Vec::new();
    while let Some(kind) = words.peek() {
        words.skip();
        if kind == "action" {
            continue;
        }
        if !KINDS.contains(&kind) {
            return Err(fail(format!("Error: non existent action: {kind}")));
        }
        if !words.take_abbreviation("index") {
            return Err(fail(format!("Error: no index specified action: {kind}")));
        }
        words.more()?;
        let index = words.u32(10).ok_or_else(|| fail("Illegal \"index\"".into()))?;
        all.push((kind.to_owned(), index));
    }
    Ok(all)
}

/// Reads a row of actions, up to a word that is none.
///
/// # Errors
/// What tc writes. Its exit code is 1 where the words of one action are wrong.
pub fn actions(words: &mut Words<'_>) -> Result<Vec<ActionRequest>, TcError> {
    let mut all = Vec::new();
    let mut expected = false;
    if words.is_empty() {
        return Err(TcError::words(""));
    }
    while let Some(word) = words.peek() {
        if word == "action" {
            words.skip();
            expected = true;
            continue;
        }
        let ends = ["flowid", "classid"].contains(&word);
        if ends || ["change", "replace", "delete", "get", "add"].iter().any(|verb| matches(word, verb)) {
            break;
        }
        if word == "help" {
            return Err(TcError::words(""));
        }
        expected = false;
        let left = words.len();
        let mut request = one(words).map_err(|err| match err.exit {
            1 => {
                let line = format!("parse_action: bad value ({left}:{word})!");
                err.then("bad action parsing").then(&line)
            }
            _ => err,
        })?;
        options(words, &mut request)?;
        all.push(request);
    }
    if expected {
        return Err(TcError::words("bad action empty 1\nparse_action: bad value (0:(null))!"));
    }
    match all.len() > MAX_ACTIONS {
        true => Err(TcError::filter_errno(Errno::Invalid)),
        false => Ok(all),
    }
}

fn one(words: &mut Words<'_>) -> Result<ActionRequest, TcError> {
    type Parse = fn(&mut Words<'_>) -> Result<ActionRequest, TcError>;
    let parse: Parse = match words.peek() {
        Some("police") => police::parse,
        Some("mirred") => mirred::parse,
        Some("skbedit") => skbedit::parse,
        Some("pedit") => pedit::parse,
        Some("csum") => csum::parse,
        Some("vlan") => vlan::parse,
        _ => return gact::parse(words),
    };
    words.skip();
    parse(words)
}

/// What may stand behind every action.
fn options(words: &mut Words<'_>, request: &mut ActionRequest) -> Result<(), TcError> {
    if words.take("cookie") {
        let text = words.value()?;
        if text.len() > 32 {
            return Err(TcError::argument(text, &format!("{} Max allowed size 32", text.len())));
        }
        request.spec.cookie =
            numbers::unhex(text).ok_or_else(|| TcError::argument(text, "cookie must be a hex string\n"))?;
    }
    if words.take_abbreviation("hw_stats") {
        let word = words.value()?;
        if !["immediate", "delayed", "disabled"].iter().any(|name| matches(word, name)) {
            return Err(TcError::argument(word, "value is invalid\n"));
        }
    }
    words.take("no_percpu");
    for _ in 0..2 {
        let _ = words.take("skip_sw") || words.take("skip_hw");
    }
    Ok(())
}

/// The word for what follows an action, as tc's `action_a2n`. `allow_num`: a number will do.
pub fn control_word(word: &str, allow_num: bool) -> Option<Control> {
    const WORDS: [(&str, Control); 9] = [
        ("continue", Control::Continue),
        ("drop", Control::Shot),
        ("shot", Control::Shot),
        ("pass", Control::Ok),
        ("ok", Control::Ok),
        ("reclassify", Control::Reclassify),
        ("pipe", Control::Pipe),
        ("goto", Control::Goto(0)),
        ("jump", Control::Jump(0)),
    ];
    if let Some((_, control)) = WORDS.iter().find(|(name, _)| matches(word, name)) {
        return Some(*control);
    }
    if matches(word, "trap") {
        return Some(Control::Trap);
    }
    match units::signed(word).filter(|_| allow_num)? {
        -1 => Some(Control::Continue),
        0 => Some(Control::Ok),
        1 => Some(Control::Reclassify),
        2 => Some(Control::Shot),
        3 => Some(Control::Pipe),
        4 => Some(Control::Stolen),
        8 => Some(Control::Trap),
        _ => None,
    }
}

/// The same with its chain or number behind it. `None` if the next word is no such word.
///
/// # Errors
/// The chain or the number is missing or wrong.
pub fn control(words: &mut Words<'_>, allow_num: bool) -> Result<Option<Control>, TcError> {
    let Some(control) = words.peek().and_then(|word| control_word(word, allow_num)) else { return Ok(None) };
    words.skip();
    const MOST: u32 = 0x0fff_ffff;
    match control {
        Control::Goto(_) => {
            if !matches(words.value()?, "chain") {
                return Err(TcError::words("\"chain index\" expected"));
            }
            words.more()?;
            let chain = words.u32(10).filter(|n| *n <= MOST);
            chain.map(|n| Some(Control::Goto(n))).ok_or_else(|| TcError::words("Illegal \"chain index\""))
        }
        Control::Jump(_) => {
            words.more()?;
            let word = words.peek().unwrap_or_default();
            let count = words.u32(10).filter(|n| *n <= MOST);
            let bad = || TcError::words(format!("Invalid \"jump count\" ({word})"));
            count.map(|n| Some(Control::Jump(n))).ok_or_else(bad)
        }
        control => Ok(Some(control)),
    }
}

/// `index N`, if it is there. `illegal` is what tc writes if it is no number.
pub(super) fn index(words: &mut Words<'_>, illegal: &str) -> Result<Option<u32>, TcError> {
    if !words.take_abbreviation("index") {
        return Ok(None);
    }
    words.more()?;
    words.u32(10).map(Some).ok_or_else(|| TcError::words(illegal))
}

/// A request of these parameters.
pub(super) fn request(kind: ActionKind, control: Control, index: Option<u32>) -> ActionRequest {
    let spec = ActionSpec { kind, control, cookie: Vec::new() };
    ActionRequest { spec, index: index.unwrap_or(0), bare: false }
}
