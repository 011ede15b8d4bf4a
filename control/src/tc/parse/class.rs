//! `tc class ...`

use skiff_dataplane::sched::handle::TcHandle;

use super::super::error::TcError;
use super::super::request::{ClassChange, ClassFilter, Request, Verb};
use super::super::units;
use super::super::words::{Words, matches};
use super::{device, estimator, help, htb, parent};

/// Kinds with classes that tc knows options of, and we have nothing of.
const OTHERS: [&str; 6] = ["cbq", "drr", "dsmark", "ets", "hfsc", "qfq"];

/// Reads what follows `add` and its kin.
pub(super) fn change(verb: Verb, mut words: Words<'_>) -> Result<Request, TcError> {
    let mut change = ClassChange::default();
    while let Some(word) = words.pop() {
        match word {
            "dev" => change.dev = Some(device(&mut words, change.dev.as_ref())?),
            "classid" => change.classid = classid(&mut words, change.classid)?,
            "root" if change.parent != TcHandle::UNSPEC => {
                return Err(TcError::usage("Error: \"root\" is duplicate parent ID."));
            }
            "root" => change.parent = TcHandle::ROOT,
            "parent" => change.parent = parent(&mut words, change.parent)?,
            word if matches(word, "estimator") => {
                estimator(&mut words)?;
            }
            word if matches(word, "help") => return Ok(Request::Help(help::CLASS)),
            "htb" => {
                change.htb = Some(htb::read_class(words, change.dev.as_ref())?);
                break;
            }
            word if OTHERS.contains(&word) => break,
            word => return Err(TcError::words(format!("Error: Qdisc \"{word}\" is classless."))),
        }
    }
    Ok(Request::Class(verb, change))
}

fn classid(words: &mut Words<'_>, so_far: TcHandle) -> Result<TcHandle, TcError> {
    let word = words.value()?;
    if so_far != TcHandle::UNSPEC {
        return Err(TcError::duplicate("classid", word));
    }
    units::classid(word).ok_or_else(|| TcError::argument(word, "invalid class ID"))
}

/// Reads what follows `show`.
pub(super) fn show(mut words: Words<'_>) -> Result<Request, TcError> {
    let mut filter = ClassFilter::default();
    while let Some(word) = words.pop() {
        match word {
            "dev" => filter.dev = Some(device(&mut words, filter.dev.as_ref())?),
            "qdisc" => {
                let word = words.value()?;
                if filter.qdisc.is_some() {
                    return Err(TcError::duplicate("qdisc", word));
                }
                let handle = units::qdisc_handle(word);
                filter.qdisc = Some(handle.ok_or_else(|| TcError::argument(word, "invalid qdisc ID"))?);
            }
            "classid" => {
                filter.classid = Some(classid(&mut words, filter.classid.unwrap_or_default())?);
            }
            "root" if filter.parent.is_some() => {
                return Err(TcError::usage("Error: \"root\" is duplicate parent ID"));
            }
            "root" => filter.parent = Some(TcHandle::ROOT),
            "parent" => filter.parent = Some(parent(&mut words, filter.parent.unwrap_or_default())?),
            word if matches(word, "help") => return Ok(Request::Help(help::CLASS)),
            word => {
                return Err(TcError::usage(format!("What is \"{word}\"? Try \"tc class help\".")));
            }
        }
    }
    Ok(Request::ClassShow(filter))
}
