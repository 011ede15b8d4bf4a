//! `ip address`.

use super::{UsageError, Words, link};
use crate::ip::request::{AddrFilter, AddrSpec, AddrVerb, Broadcast, Command, Topic};
use crate::ip::words::Scope;

#[derive(Clone, Copy)]
enum Verb {
    Modify(AddrVerb),
    Show,
    Flush,
    Foreign,
    Help,
}

const VERBS: [(&str, Verb); 13] = [
    ("add", Verb::Modify(AddrVerb::Add)),
    ("change", Verb::Modify(AddrVerb::Change)),
    ("chg", Verb::Modify(AddrVerb::Change)),
    ("replace", Verb::Modify(AddrVerb::Replace)),
    ("delete", Verb::Modify(AddrVerb::Del)),
    ("show", Verb::Show),
    ("lst", Verb::Show),
    ("list", Verb::Show),
    ("ls", Verb::Show),
    ("flush", Verb::Flush),
    ("save", Verb::Foreign),
    ("restore", Verb::Foreign),
    ("help", Verb::Help),
];

pub(super) fn command(words: &mut Words<'_>) -> Result<Command, UsageError> {
    match words.verb("address", &VERBS, Verb::Show)? {
        Verb::Modify(verb) => modify(words).map(|spec| Command::AddrModify(verb, spec)),
        Verb::Show => filter(words).map(Command::AddrShow),
        Verb::Flush if words.peek().is_none() => Err(words.error("flush requires arguments")),
        Verb::Flush => filter(words).map(Command::AddrFlush),
        Verb::Foreign => Err(words.unsupported("this command")),
        Verb::Help => Ok(Command::Help(Topic::Address)),
    }
}

fn filter(words: &mut Words<'_>) -> Result<AddrFilter, UsageError> {
    let mut filter = AddrFilter::default();
    while let Some(word) = words.next() {
        match word {
            "to" => filter.to = Some(words.prefix("to")?),
            "scope" => filter.scope = scope(words)?,
            "label" | "dynamic" | "permanent" | "deprecated" | "tentative" | "primary" | "secondary" => {
                return Err(words.unsupported(&format!("the selector \"{word}\"")));
            }
            _ if link::show_word(words, &mut filter.link, word)? => {}
            _ => return Err(words.garbage("dev", word)),
        }
    }
    Ok(filter)
}

/// The scope after `scope`; `all` is no restriction.
fn scope(words: &mut Words<'_>) -> Result<Option<Scope>, UsageError> {
    match words.value("scope")? {
        "all" => Ok(None),
        word => Scope::from_word(word).map(Some).ok_or_else(|| words.wrong(word, "invalid \"scope\" value")),
    }
}

fn modify(words: &mut Words<'_>) -> Result<AddrSpec, UsageError> {
    let (mut local, mut dev, mut broadcast, mut label, mut scope) = (None, None, None, None, None);
    while let Some(word) = words.next() {
        match word {
            "dev" => dev = Some(words.device("dev")?),
            "label" => label = Some(self::label(words)?),
            "scope" => scope = self::scope(words)?,
            "peer" | "remote" => return Err(words.unsupported("a \"peer\" address")),
            "anycast" | "valid_lft" | "preferred_lft" | "metric" | "proto" | "home" | "nodad"
            | "noprefixroute" => {
                return Err(words.unsupported(&format!("\"{word}\"")));
            }
            "brd" => set_broadcast(words, &mut broadcast)?,
            _ if !word.is_empty() && "broadcast".starts_with(word) => set_broadcast(words, &mut broadcast)?,
            _ => {
                let word = if word == "local" { words.value("local")? } else { word };
                if local.is_some() {
                    return Err(words.garbage("local", word));
                }
                local = Some(words.parse_prefix(word)?);
                words.name(word);
            }
        }
    }
    let dev = dev.ok_or_else(|| words.error("not enough information: \"dev\" argument is required"))?;
    let local = local.ok_or_else(|| words.error("not enough information: an address is required"))?;
    Ok(AddrSpec { local, dev, broadcast, label, scope })
}

fn set_broadcast(words: &mut Words<'_>, slot: &mut Option<Broadcast>) -> Result<(), UsageError> {
    let broadcast = match words.value("broadcast")? {
        "+" => Broadcast::Ones,
        "-" => Broadcast::Zeros,
        address => Broadcast::Address(words.parse_address(address)?),
    };
    words.once(slot, "broadcast", broadcast)
}

/// A label is at most 15 bytes, as a device's name, and may hold a colon.
fn label(words: &mut Words<'_>) -> Result<String, UsageError> {
    let word = words.value("label")?;
    let valid = (1..=15).contains(&word.len()) && !word.bytes().any(|b| b.is_ascii_whitespace() || b == 0);
    if valid { Ok(word.to_owned()) } else { Err(words.wrong(word, "not a valid label")) }
}
