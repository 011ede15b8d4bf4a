//! `ip mroute`. iproute2 only shows; `add` and `del` are ours.

use super::{UsageError, Words};
use crate::ip::request::{Command, MrouteFilter, MrouteKey, MrouteSpec, Topic};
use std::net::Ipv4Addr;

#[derive(Clone, Copy)]
enum Verb {
    Add,
    Del,
    Show,
    Help,
}

const VERBS: [(&str, Verb); 7] = [
    ("add", Verb::Add),
    ("delete", Verb::Del),
    ("show", Verb::Show),
    ("lst", Verb::Show),
    ("list", Verb::Show),
    ("ls", Verb::Show),
    ("help", Verb::Help),
];

pub(super) fn command(words: &mut Words<'_>) -> Result<Command, UsageError> {
    match words.verb("mroute", &VERBS, Verb::Show)? {
        Verb::Add => add(words).map(Command::MrouteAdd),
        Verb::Del => del(words).map(Command::MrouteDel),
        Verb::Show => filter(words).map(Command::MrouteShow),
        Verb::Help => Ok(Command::Help(Topic::Mroute)),
    }
}

/// What `add` and `del` have in common, as far as it was read.
#[derive(Default)]
struct Parts {
    group: Option<Ipv4Addr>,
    source: Option<Ipv4Addr>,
    iif: Option<String>,
}

impl Parts {
    /// Takes in `word`, which is none of the command's own.
    fn word(&mut self, words: &mut Words<'_>, word: &str) -> Result<(), UsageError> {
        match word {
            "from" => {
                let value = words.value("from")?;
                let source = source(words, value)?;
                words.once(&mut self.source, "from", source)
            }
            "iif" => {
                let dev = words.device("iif")?;
                words.once(&mut self.iif, "iif", dev)
            }
            _ => {
                let word = if word == "to" { words.value("to")? } else { word };
                if self.group.is_some() {
                    return Err(words.garbage("to", word));
                }
                self.group = Some(group(words, word)?);
                words.name(word);
                Ok(())
            }
        }
    }

    fn key(self, words: &Words<'_>) -> Result<MrouteKey, UsageError> {
        let group = self.group.ok_or_else(|| words.error("a group is required"))?;
        let source = self.source.unwrap_or(Ipv4Addr::UNSPECIFIED);
        if group.is_unspecified() && !source.is_unspecified() {
            return Err(words.error("any group of one source cannot be forwarded"));
        }
        Ok(MrouteKey { group, source, iif: self.iif })
    }
}

fn add(words: &mut Words<'_>) -> Result<MrouteSpec, UsageError> {
    let (mut parts, mut oifs) = (Parts::default(), Vec::new());
    while let Some(word) = words.next() {
        if word != "oif" {
            parts.word(words, word)?;
            continue;
        }
        let dev = words.device("oif")?;
        let ttl = match words.peek() {
            Some("ttl") => {
                words.next();
                words.number("ttl", 1, 254)? as u8
            }
            _ => 1,
        };
        oifs.push((dev, ttl));
    }
    let key = parts.key(words)?;
    if key.iif.is_none() {
        return Err(words.error("\"iif DEVICE\" is required"));
    }
    Ok(MrouteSpec { key, oifs })
}

fn del(words: &mut Words<'_>) -> Result<MrouteKey, UsageError> {
    let mut parts = Parts::default();
    while let Some(word) = words.next() {
        parts.word(words, word)?;
    }
    parts.key(words)
}

fn filter(words: &mut Words<'_>) -> Result<MrouteFilter, UsageError> {
    let mut filter = MrouteFilter::default();
    while let Some(word) = words.next() {
        match word {
            "iif" => filter.iif = Some(words.value("iif")?.to_owned()),
            "from" => {
                let value = words.value("from")?;
                filter.from = Some(words.parse_prefix(value)?);
            }
            "table" => return Err(words.unsupported("the selector \"table\"")),
            _ => {
                let word = if word == "to" { words.value("to")? } else { word };
                if filter.to.is_some() {
                    return Err(words.garbage("to", word));
                }
                filter.to = Some(words.parse_prefix(word)?);
            }
        }
    }
    Ok(filter)
}

/// A group, or 0.0.0.0 and `any` for all.
fn group(words: &Words<'_>, word: &str) -> Result<Ipv4Addr, UsageError> {
    let addr = any_or_address(words, word)?;
    if addr.is_multicast() || addr.is_unspecified() {
        Ok(addr)
    } else {
        Err(words.wrong(word, "not a multicast address"))
    }
}

fn source(words: &Words<'_>, word: &str) -> Result<Ipv4Addr, UsageError> {
    let addr = any_or_address(words, word)?;
    if addr.is_multicast() || addr.is_broadcast() {
        Err(words.wrong(word, "not a unicast address"))
    } else {
        Ok(addr)
    }
}

fn any_or_address(words: &Words<'_>, word: &str) -> Result<Ipv4Addr, UsageError> {
    if word == "any" { Ok(Ipv4Addr::UNSPECIFIED) } else { words.parse_address(word) }
}
