//! `ip link`.

use super::{UsageError, Words};
use crate::ip::request::{Command, LinkFilter, LinkSet, Topic};

#[derive(Clone, Copy)]
enum Verb {
    Add,
    Set,
    Replace,
    Delete,
    Show,
    Foreign,
    Help,
}

const VERBS: [(&str, Verb); 11] = [
    ("add", Verb::Add),
    ("set", Verb::Set),
    ("change", Verb::Set),
    ("replace", Verb::Replace),
    ("delete", Verb::Delete),
    ("show", Verb::Show),
    ("lst", Verb::Show),
    ("list", Verb::Show),
    ("xstats", Verb::Foreign),
    ("property", Verb::Foreign),
    ("help", Verb::Help),
];

pub(super) fn command(words: &mut Words<'_>) -> Result<Command, UsageError> {
    // iproute2 lists with the word "ls" too, which abbreviates nothing.
    if words.peek() == Some("ls") {
        words.next();
        words.what = "ip link show".to_owned();
        return show(words).map(Command::LinkShow);
    }
    match words.verb("link", &VERBS, Verb::Show)? {
        Verb::Add | Verb::Replace => Err(add(words)),
        Verb::Delete => {
            Err(words.unsupported("deleting a link; take it out of the configuration file instead"))
        }
        Verb::Set => set(words).map(Command::LinkSet),
        Verb::Show => show(words).map(Command::LinkShow),
        Verb::Foreign => Err(words.unsupported("this command")),
        Verb::Help => Ok(Command::Help(Topic::Link)),
    }
}

/// Devices come from the configuration file: names the kind that was asked for.
fn add(words: &mut Words<'_>) -> UsageError {
    while let Some(word) = words.next() {
        if word == "type" {
            return match words.value("type") {
                Ok(kind) => words.unsupported(&format!("adding a link of type \"{kind}\"")),
                Err(error) => error,
            };
        }
    }
    words.error("not enough information: \"type\" argument is required")
}

pub(super) fn show(words: &mut Words<'_>) -> Result<LinkFilter, UsageError> {
    let mut filter = LinkFilter::default();
    while let Some(word) = words.next() {
        if !show_word(words, &mut filter, word)? {
            return Err(words.garbage("dev", word));
        }
    }
    Ok(filter)
}

/// Reads one selector of devices, which `addr show` shares. False if `word` is none and a device is named already.
pub(super) fn show_word(
    words: &mut Words<'_>,
    filter: &mut LinkFilter,
    word: &str,
) -> Result<bool, UsageError> {
    match word {
        "up" => filter.up = true,
        "type" => filter.kind = Some(words.value("type")?.to_owned()),
        "master" | "nomaster" | "vrf" | "group" => {
            return Err(words.unsupported(&format!("the selector \"{word}\"")));
        }
        _ => {
            let name = if word == "dev" { words.value("dev")? } else { word };
            if filter.dev.is_some() {
                return Ok(false);
            }
            filter.dev = Some(name.to_owned());
        }
    }
    Ok(true)
}

fn set(words: &mut Words<'_>) -> Result<LinkSet, UsageError> {
    let mut set = LinkSet::default();
    let mut dev = None;
    while let Some(word) = words.next() {
        match word {
            "up" => set.up = Some(true),
            "down" => set.up = Some(false),
            "mtu" => {
                let mtu = words.number_u32("mtu")?;
                words.once(&mut set.mtu, "mtu", mtu)?;
            }
            "promisc" => set.promisc = Some(on_off(words, "promisc")?),
            "name" => set.name = Some(words.device("name")?),
            _ if "address".starts_with(word) && !word.is_empty() => {
                let mac = words.value("address")?;
                let mac = mac.parse().map_err(|_| words.error(format!("\"{mac}\" is invalid lladdr")))?;
                words.once(&mut set.address, "address", mac)?;
            }
            _ if FOREIGN.contains(&word) => return Err(words.unsupported(&format!("\"{word}\""))),
            _ => {
                let name = if word == "dev" { words.value("dev")? } else { word };
                if dev.is_some() {
                    return Err(words.garbage("dev", name));
                }
                dev = Some(words.device_name(name)?);
            }
        }
    }
    set.dev = dev.ok_or_else(|| words.error("not enough information: \"dev\" argument is required"))?;
    words.name(&set.dev);
    Ok(set)
}

/// Words of `link set` this router has no use for yet.
const FOREIGN: [&str; 17] = [
    "arp",
    "dynamic",
    "multicast",
    "allmulticast",
    "carrier",
    "txqueuelen",
    "txqlen",
    "qlen",
    "broadcast",
    "brd",
    "netns",
    "alias",
    "vf",
    "master",
    "nomaster",
    "type",
    "group",
];

fn on_off(words: &mut Words<'_>, key: &str) -> Result<bool, UsageError> {
    match words.value(key)? {
        "on" => Ok(true),
        "off" => Ok(false),
        other => {
            Err(words.error(format!("argument of \"{key}\" must be \"on\" or \"off\", not \"{other}\"")))
        }
    }
}
