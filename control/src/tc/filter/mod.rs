//! Filters: `tc filter` (tc(8), tc-u32(8), tc-fw(8), tc-flower(8), tc-matchall(8), tc-basic(8)).
//!
//! [`parse`] reads a command, a [`table::FilterTable`] carries it out with the kernel's refusals, and [`print`] writes what
//! is there as tc does. None of it does any I/O.

pub mod basic;
pub mod flower;
pub mod fw;
pub mod matchall;
pub mod numbers;
pub mod out;
pub mod print;
pub mod table;
pub mod u32;
mod usage;

use skiff_dataplane::net::IfIndex;
use skiff_dataplane::sched::cls::ETH_P_ALL;
use skiff_dataplane::sched::handle::TcHandle;

use super::action::ActionRequest;
use crate::tc::error::TcError;
use crate::tc::units;
use crate::tc::words::{Words, matches};

/// `ingress` of `clsact`, and the parent of filters of `ingress`.
pub const INGRESS: TcHandle = TcHandle(0xffff_fff2);
/// `egress` of `clsact`.
pub const EGRESS: TcHandle = TcHandle(0xffff_fff3);

/// What is to be done with filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A new one.
    Add,
    /// Of one that exists.
    Change,
    /// One or the other.
    Replace,
    /// Away with one, or with all of a preference or parent.
    Delete,
    /// Show one.
    Get,
    /// Show those.
    Show,
}

/// `tc filter ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterCommand {
    /// What to do.
    pub verb: Verb,
    /// With which device; all of them if not given, for shows only.
    pub dev: Option<IfIndex>,
    /// Where; [`TcHandle::UNSPEC`] is the root discipline.
    pub parent: TcHandle,
    /// The preference; 0 if not given.
    pub pref: u16,
    /// The protocol, if given.
    pub protocol: Option<u16>,
    /// The chain, if given.
    pub chain: Option<u32>,
    /// The number; 0 if not given.
    pub handle: u32,
    /// The kind.
    pub kind: Option<String>,
    /// What stood behind the kind.
    pub options: Option<Options>,
}

/// The options of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Options {
    /// None were given.
    None,
    /// u32.
    U32(u32::U32Options),
    /// fw.
    Fw(fw::FwOptions),
    /// matchall.
    Matchall(Common),
    /// flower.
    Flower(Box<flower::FlowerOptions>),
    /// basic.
    Basic(basic::BasicOptions),
}

/// What all kinds may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// `classid`, `flowid`.
    pub classid: Option<TcHandle>,
    /// `action`.
    pub actions: Vec<ActionRequest>,
    /// The only action is a policer given by the old word `police`.
    pub old_police: bool,
    /// `skip_hw`.
    pub skip_hw: bool,
    /// `skip_sw`: packets do not meet it.
    pub skip_sw: bool,
}

impl FilterCommand {
    /// The class that is named.
    pub fn classid(&self) -> Option<TcHandle> {
        match self.options.as_ref()? {
            Options::None => None,
            Options::U32(options) => options.common.classid,
            Options::Fw(options) => options.common.classid,
            Options::Matchall(common) => common.classid,
            Options::Flower(options) => options.common.classid,
            Options::Basic(options) => options.common.classid,
        }
    }
}

/// The usage of `tc filter`.
pub const USAGE: &str = "Usage: tc filter [ add | del | change | replace | show ] [ dev STRING ]\n       \
tc filter [ add | del | change | replace | show ] [ block BLOCK_INDEX ]\n       \
tc filter get dev STRING parent CLASSID protocol PROTO handle FILTERID pref PRIO FILTER_TYPE\n       \
tc filter get block BLOCK_INDEX protocol PROTO handle FILTERID pref PRIO FILTER_TYPE\n       \
[ pref PRIO ] protocol PROTO [ chain CHAIN_INDEX ]\n       \
[ estimator INTERVAL TIME_CONSTANT ]\n       \
[ root | ingress | egress | parent CLASSID ]\n       \
[ handle FILTERID ] [ [ FILTER_TYPE ] [ help | OPTIONS ] ]\n\n       \
tc filter show [ dev STRING ] [ root | ingress | egress | parent CLASSID ]\n       \
tc filter show [ block BLOCK_INDEX ]\n\
Where:\n\
FILTER_TYPE := { rsvp | u32 | bpf | fw | route | etc. }\n\
FILTERID := ... format depends on classifier, see there\n\
OPTIONS := ... try tc filter add <desired FILTER_KIND> help\n";

/// Reads what follows `tc filter`.
///
/// # Errors
/// What tc writes about words it does not understand; with the exit code 0, its usage.
pub fn parse(mut words: Words<'_>) -> Result<FilterCommand, TcError> {
    let verb = match words.peek() {
        None => Verb::Show,
        Some(word) => verb(word)?,
    };
    words.skip();
    let mut draft = Draft::new(verb);
    let mut kind = None;
    while let Some(word) = words.peek() {
        if !draft.option(word, &mut words)? {
            kind = Some(word.to_owned());
            break;
        }
    }
    draft.finish(kind, words)
}

fn verb(word: &str) -> Result<Verb, TcError> {
    const VERBS: [(&str, Verb); 8] = [
        ("add", Verb::Add),
        ("change", Verb::Change),
        ("replace", Verb::Replace),
        ("delete", Verb::Delete),
        ("get", Verb::Get),
        ("list", Verb::Show),
        ("show", Verb::Show),
        ("lst", Verb::Show),
    ];
    if let Some((_, verb)) = VERBS.iter().find(|(name, _)| matches(word, name)) {
        return Ok(*verb);
    }
    if matches(word, "help") {
        return Err(TcError { exit: 0, text: USAGE.into() });
    }
    Err(fail(&format!("Command \"{word}\" is unknown, try \"tc filter help\".")))
}

fn fail(text: &str) -> TcError {
    TcError::usage(text)
}

/// What has been read so far.
struct Draft<'a> {
    verb: Verb,
    dev: Option<&'a str>,
    parent: TcHandle,
    handle: Option<&'a str>,
    pref: u16,
    protocol: Option<u16>,
    chain: Option<u32>,
}

impl<'a> Draft<'a> {
    fn new(verb: Verb) -> Draft<'a> {
        Draft {
            verb,
            dev: None,
            parent: TcHandle::UNSPEC,
            handle: None,
            pref: 0,
            protocol: None,
            chain: None,
        }
    }

    /// Reads one option. False if the word is none.
    fn option(&mut self, word: &str, words: &mut Words<'a>) -> Result<bool, TcError> {
        match word {
            "dev" => once(&mut self.dev, "dev", words, Ok)?,
            _ if matches(word, "block") => {
                words.skip();
                words.value()?;
                return Err(TcError::filter_refused("Specified block index is not supported"));
            }
            "root" => self.attach(TcHandle::ROOT, word, words)?,
            "ingress" => self.attach(INGRESS, word, words)?,
            "egress" => self.attach(EGRESS, word, words)?,
            "parent" => {
                words.skip();
                let value = words.value()?;
                if self.parent != TcHandle::UNSPEC {
                    return Err(TcError::duplicate("parent", value));
                }
                let what = if self.verb == Verb::Show { "invalid parent ID" } else { "Invalid parent ID" };
                self.parent = units::classid(value).ok_or_else(|| TcError::argument(value, what))?;
            }
            "handle" => once(&mut self.handle, "handle", words, Ok)?,
            _ if matches(word, "preference") || matches(word, "priority") => {
                let what =
                    if self.verb == Verb::Show { "invalid preference" } else { "invalid priority value" };
                let mut pref = (self.pref != 0).then_some(self.pref);
                let read = |text: &str| units::u32_in(text, 0).and_then(|n| u16::try_from(n).ok());
                once(&mut pref, "priority", words, |text| {
                    read(text).ok_or_else(|| TcError::argument(text, what))
                })?;
                self.pref = pref.unwrap_or(0);
            }
            _ if matches(word, "protocol") => once(&mut self.protocol, "protocol", words, |text| {
                numbers::protocol(text).ok_or_else(|| TcError::argument(text, "invalid protocol"))
            })?,
            _ if matches(word, "chain") => once(&mut self.chain, "chain", words, |text| {
                units::u32_in(text, 0).ok_or_else(|| TcError::argument(text, "invalid chain index value"))
            })?,
            _ if matches(word, "estimator") && !matches!(self.verb, Verb::Get | Verb::Show) => {
                return Err(fail("Rate estimators are not supported"));
            }
            _ if matches(word, "help") => return Err(TcError { exit: 0, text: USAGE.into() }),
            _ if self.verb == Verb::Show => {
                return Err(fail(&format!(" What is \"{word}\"? Try \"tc filter help\"")));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn attach(&mut self, parent: TcHandle, word: &str, words: &mut Words<'_>) -> Result<(), TcError> {
        if self.parent != TcHandle::UNSPEC {
            return Err(fail(&format!("Error: \"{word}\" is duplicate parent ID")));
        }
        self.parent = parent;
        words.skip();
        Ok(())
    }

    fn finish(self, kind: Option<String>, mut words: Words<'a>) -> Result<FilterCommand, TcError> {
        let get = self.verb == Verb::Get;
        if get {
            let missing = match () {
                () if self.protocol.is_none() => "Must specify filter protocol",
                () if self.pref == 0 => "Must specify filter priority",
                () if self.parent == TcHandle::UNSPEC => "Must specify filter parent",
                () if kind.is_none() => "Must specify filter type",
                () if self.dev.is_none() => "Must specify netdevice \"dev\" or block index \"block\"",
                () => "",
            };
            if !missing.is_empty() {
                return Err(fail(missing));
            }
        }
        let dev = match self.dev {
            None => None,
            Some(name) => {
                let unknown = || TcError::words(format!("Cannot find device \"{name}\""));
                Some(words.devices.index(name).ok_or_else(unknown)?)
            }
        };
        let create = matches!(self.verb, Verb::Add | Verb::Replace);
        let (mut handle, mut options) = (0, None);
        if let Some(kind) = &kind {
            words.skip();
            let protocol = self.protocol.or(create.then_some(ETH_P_ALL));
            let (number, read) = of_kind(kind, self.handle, protocol, &mut words)?;
            (handle, options) = (number, Some(read));
        } else if self.handle.is_some() && self.verb != Verb::Show {
            return Err(fail("Must specify filter type when using \"handle\""));
        }
        if get && self.handle.is_none() {
            return Err(fail("Must specify filter \"handle\""));
        }
        Ok(FilterCommand {
            verb: self.verb,
            dev,
            parent: self.parent,
            pref: self.pref,
            protocol: self.protocol.or(create.then_some(ETH_P_ALL)),
            chain: self.chain,
            handle,
            kind,
            options,
        })
    }
}

/// Reads the value of an option that may be given once.
fn once<'a, T>(
    place: &mut Option<T>,
    key: &str,
    words: &mut Words<'a>,
    read: impl Fn(&'a str) -> Result<T, TcError>,
) -> Result<(), TcError> {
    words.skip();
    let value = words.value()?;
    if place.is_some() {
        return Err(TcError::duplicate(key, value));
    }
    *place = Some(read(value)?);
    Ok(())
}

/// The number and the options of a filter of a kind.
fn of_kind(
    kind: &str,
    handle: Option<&str>,
    protocol: Option<u16>,
    words: &mut Words<'_>,
) -> Result<(u32, Options), TcError> {
    match kind {
        "u32" => u32::parse(handle, words),
        "fw" => fw::parse(handle, words),
        "matchall" => matchall::parse(handle, words),
        "flower" => flower::parse(handle, protocol, words),
        "basic" => basic::parse(handle, words),
        _ => match words.peek() {
            Some(option) => Err(TcError::words(format!(
                "Unknown filter \"{kind}\", hence option \"{option}\" is unparsable"
            ))),
            None if handle.is_some() => {
                Err(TcError::words(format!("Unknown filter \"{kind}\", hence handle is unparsable")))
            }
            None => Ok((0, Options::None)),
        },
    }
}

impl Common {
    /// Reads `classid`, `action` and what else all kinds share. False if the word is none of it.
    fn option(&mut self, words: &mut Words<'_>, police: bool) -> Result<bool, TcError> {
        if words.abbreviates("classid") || words.is("flowid") {
            words.skip();
            words.more()?;
            let class = words.classid().ok_or_else(|| TcError::words("Illegal \"classid\""))?;
            self.classid = Some(class);
        } else if words.abbreviates("action") {
            words.skip();
            words.more()?;
            self.actions = super::action::actions(words).map_err(super::action::illegal)?;
        } else if police && words.abbreviates("police") {
            words.skip();
            words.more()?;
            let illegal = |err: TcError| if err.exit == 1 { err.then("Illegal \"police\"") } else { err };
            self.actions = vec![super::action::police::parse(words).map_err(illegal)?];
            self.old_police = true;
        } else if words.take("skip_hw") {
            self.skip_hw = true;
        } else if words.take("skip_sw") {
            self.skip_sw = true;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The same without `police`, where another word for the class may be abbreviated too.
    fn option_with(&mut self, words: &mut Words<'_>, class: &str) -> Result<bool, TcError> {
        if words.abbreviates(class) {
            words.skip();
            words.more()?;
            let class = words.classid().ok_or_else(|| TcError::words("Illegal \"classid\""))?;
            self.classid = Some(class);
            return Ok(true);
        }
        self.option(words, false)
    }

    /// What tc refuses at the end.
    fn check(&self) -> Result<(), TcError> {
        match self.skip_hw && self.skip_sw {
            true => Err(TcError::words("skip_hw and skip_sw are mutually exclusive")),
            false => Ok(()),
        }
    }
}

/// tc's answer to a word no kind knows: the word, and the kind's usage.
fn what(word: &str, usage: &str) -> TcError {
    match word {
        "help" => TcError::words(usage),
        _ => TcError::words(format!("What is \"{word}\"?\n{usage}")),
    }
}

#[cfg(test)]
mod tests;
