//! `ip link`.

use super::{UsageError, Words, kind};
use crate::ip::linkspec::LinkAdd;
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
        Verb::Add => add(words).map(Command::LinkAdd),
        Verb::Replace => Err(words.unsupported("this command")),
        Verb::Delete => delete(words).map(Command::LinkDel),
        Verb::Set => set(words).map(Command::LinkSet),
        Verb::Show => show(words).map(Command::LinkShow),
        Verb::Foreign => Err(words.unsupported("this command")),
        Verb::Help => Ok(Command::Help(Topic::Link)),
    }
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
        "master" => filter.master = Some(Some(words.device("master")?)),
        "nomaster" => filter.master = Some(None),
        "vrf" | "group" => {
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
    let said = properties(words, false)?;
    let mut set = said.set;
    set.dev = said.dev.ok_or_else(|| no_device(words))?;
    words.name(&set.dev);
    Ok(set)
}

fn add(words: &mut Words<'_>) -> Result<LinkAdd, UsageError> {
    let mut said = properties(words, true)?;
    if said.set.kind.is_none() {
        return Err(words.error("not enough information: \"type\" argument is required"));
    }
    let name = match (said.set.name.take(), said.dev) {
        (Some(_), Some(_)) => {
            return Err(words.error("both \"name\" and \"dev\" cannot be used when creating devices."));
        }
        (name, dev) => name.or(dev),
    };
    if let Some(name) = &name {
        words.name(name);
    }
    Ok(LinkAdd { name, link: said.link, set: said.set })
}

/// What `type` says does not matter: a device goes whatever it is.
fn delete(words: &mut Words<'_>) -> Result<String, UsageError> {
    let mut dev = None;
    while let Some(word) = words.next() {
        if word == "type" {
            while words.next().is_some() {}
            break;
        }
        positional(words, &mut dev, word)?;
    }
    let dev = dev.ok_or_else(|| no_device(words))?;
    words.name(&dev);
    Ok(dev)
}

fn no_device(words: &Words<'_>) -> UsageError {
    words.error("not enough information: \"dev\" argument is required")
}

/// The device, with or without `dev` before it.
fn positional(words: &mut Words<'_>, dev: &mut Option<String>, word: &str) -> Result<(), UsageError> {
    let name = if word == "dev" { words.value("dev")? } else { word };
    if dev.is_some() {
        return Err(words.garbage("dev", name));
    }
    *dev = Some(words.device_name(name)?);
    Ok(())
}

/// What `add` and `set` say of a device.
#[derive(Default)]
struct Properties {
    dev: Option<String>,
    link: Option<String>,
    set: LinkSet,
}

fn properties(words: &mut Words<'_>, adding: bool) -> Result<Properties, UsageError> {
    let mut said = Properties::default();
    let set = &mut said.set;
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
            "master" => {
                let master = words.device("master")?;
                words.once(&mut set.master, "master", Some(master))?;
            }
            "nomaster" => words.once(&mut set.master, "master", None)?,
            "type" => set.kind = Some(kind::kind(words)?),
            "link" if adding => said.link = Some(words.device("link")?),
            _ if "address".starts_with(word) && !word.is_empty() => {
                let mac = words.value("address")?;
                let mac = mac.parse().map_err(|_| words.error(format!("\"{mac}\" is invalid lladdr")))?;
                words.once(&mut set.address, "address", mac)?;
            }
            _ if FOREIGN.contains(&word) => return Err(words.unsupported(&format!("\"{word}\""))),
            _ => positional(words, &mut said.dev, word)?,
        }
    }
    Ok(said)
}

/// Words of `link add` and `set` this router has no use for yet.
const FOREIGN: [&str; 14] = [
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
    "group",
];

pub(super) fn on_off(words: &mut Words<'_>, key: &str) -> Result<bool, UsageError> {
    match words.value(key)? {
        "on" => Ok(true),
        "off" => Ok(false),
        other => {
            Err(words.error(format!("argument of \"{key}\" must be \"on\" or \"off\", not \"{other}\"")))
        }
    }
}
