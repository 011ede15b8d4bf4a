//! `ip maddress`. iproute2 adds and deletes link-layer addresses; here it is groups, which bring their link-layer
//! address along.

use super::{UsageError, Words};
use crate::ip::request::{Command, MaddrSpec, Topic};

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
    match words.verb("maddr", &VERBS, Verb::Show)? {
        Verb::Add => spec(words).map(Command::MaddrAdd),
        Verb::Del => spec(words).map(Command::MaddrDel),
        Verb::Show => device(words).map(Command::MaddrShow),
        Verb::Help => Ok(Command::Help(Topic::Maddr)),
    }
}

fn device(words: &mut Words<'_>) -> Result<Option<String>, UsageError> {
    let mut dev = None;
    while let Some(word) = words.next() {
        let word = if word == "dev" { words.value("dev")? } else { word };
        words.once(&mut dev, "dev", word.to_owned())?;
    }
    Ok(dev)
}

fn spec(words: &mut Words<'_>) -> Result<MaddrSpec, UsageError> {
    let (mut group, mut dev) = (None, None);
    while let Some(word) = words.next() {
        if word == "dev" {
            let name = words.device("dev")?;
            words.once(&mut dev, "dev", name)?;
            continue;
        }
        let word = if word == "address" { words.value("address")? } else { word };
        if group.is_some() {
            return Err(words.garbage("address", word));
        }
        let addr = words.parse_address(word)?;
        if !addr.is_multicast() {
            return Err(words.wrong(word, "not a multicast address"));
        }
        group = Some(addr);
        words.name(word);
    }
    match (group, dev) {
        (Some(group), Some(dev)) => Ok(MaddrSpec { group, dev }),
        _ => Err(words.error("group and device are required arguments")),
    }
}
