//! `ip neighbour`.

use super::{UsageError, Words};
use crate::ip::request::{Command, NeighFilter, NeighSpec, NeighVerb, ProxySpec, Topic};
use crate::ip::words::{NudSet, NudState};

#[derive(Clone, Copy)]
enum Verb {
    Modify(NeighVerb),
    Show,
    Flush,
    Foreign,
    Help,
}

const VERBS: [(&str, Verb); 12] = [
    ("add", Verb::Modify(NeighVerb::Add)),
    ("change", Verb::Modify(NeighVerb::Change)),
    ("chg", Verb::Modify(NeighVerb::Change)),
    ("replace", Verb::Modify(NeighVerb::Replace)),
    ("delete", Verb::Modify(NeighVerb::Del)),
    ("get", Verb::Foreign),
    ("show", Verb::Show),
    ("lst", Verb::Show),
    ("list", Verb::Show),
    ("ls", Verb::Show),
    ("flush", Verb::Flush),
    ("help", Verb::Help),
];

pub(super) fn command(words: &mut Words<'_>) -> Result<Command, UsageError> {
    match words.verb("neigh", &VERBS, Verb::Show)? {
        Verb::Modify(verb) => modify(words, verb),
        Verb::Show => filter(words).map(|(filter, proxy)| match proxy {
            true => Command::ProxyShow(filter),
            false => Command::NeighShow(filter),
        }),
        Verb::Flush if words.peek().is_none() => Err(words.error("flush requires arguments")),
        Verb::Flush => filter(words).map(|(filter, proxy)| match proxy {
            true => Command::ProxyFlush(filter),
            false => Command::NeighFlush(filter),
        }),
        Verb::Foreign => Err(words.unsupported("this command")),
        Verb::Help => Ok(Command::Help(Topic::Neighbour)),
    }
}

/// The filter, and whether it is for proxied addresses.
fn filter(words: &mut Words<'_>) -> Result<(NeighFilter, bool), UsageError> {
    let (mut filter, mut proxy) = (NeighFilter::default(), false);
    while let Some(word) = words.next() {
        match word {
            "dev" => filter.dev = Some(words.value("dev")?.to_owned()),
            "nud" => add_state(words, &mut filter)?,
            // iproute2 accepts "all" for every entry, as in "neigh flush all".
            "all" if filter.to.is_none() => filter.to = Some(ipnet::Ipv4Net::default()),
            "proxy" => proxy = true,
            "unused" | "master" | "nomaster" | "vrf" | "protocol" => {
                return Err(words.unsupported(&format!("the selector \"{word}\"")));
            }
            _ => {
                let word = if word == "to" { words.value("to")? } else { word };
                if filter.to.is_some() {
                    return Err(words.garbage("to", word));
                }
                filter.to = Some(words.parse_prefix(word)?);
            }
        }
    }
    Ok((filter, proxy))
}

/// The first `nud` takes the place of the default; each further one adds a state.
fn add_state(words: &mut Words<'_>, filter: &mut NeighFilter) -> Result<(), UsageError> {
    let before = if filter.states_given { filter.states } else { NudSet::EMPTY };
    filter.states = match words.value("nud")? {
        "all" => NudSet::ALL,
        word => before.with(state(words, word)?),
    };
    filter.states_given = true;
    Ok(())
}

fn state(words: &Words<'_>, word: &str) -> Result<NudState, UsageError> {
    NudState::from_word(word).ok_or_else(|| words.wrong(word, "nud state is bad"))
}

fn modify(words: &mut Words<'_>, verb: NeighVerb) -> Result<Command, UsageError> {
    let (mut address, mut dev, mut lladdr, mut nud, mut router) = (None, None, None, None, false);
    let (mut proxy, mut probe) = (false, false);
    while let Some(word) = words.next() {
        match word {
            "dev" => dev = Some(words.device("dev")?),
            "nud" => {
                let word = words.value("nud")?;
                nud = Some(state(words, word)?);
            }
            "router" => router = true,
            // The address follows, as it may do without the word.
            "proxy" => proxy = true,
            "use" => probe = true,
            "extern_learn" | "managed" | "protocol" => {
                return Err(words.unsupported(&format!("\"{word}\"")));
            }
            _ if !word.is_empty() && "lladdr".starts_with(word) => {
                let mac = words.value("lladdr")?;
                let mac = mac.parse().map_err(|_| words.error(format!("\"{mac}\" is invalid lladdr")))?;
                words.once(&mut lladdr, "lladdr", mac)?;
            }
            _ => {
                let word = if word == "to" { words.value("to")? } else { word };
                if address.is_some() {
                    return Err(words.garbage("to", word));
                }
                address = Some(words.parse_address(word)?);
                words.name(word);
            }
        }
    }
    match (address, dev) {
        (Some(address), dev) if proxy => {
            Ok(Command::ProxyModify(verb != NeighVerb::Del, ProxySpec { address, dev }))
        }
        (Some(address), Some(dev)) => {
            let state = nud.unwrap_or(NudState::Permanent);
            Ok(Command::NeighModify(verb, NeighSpec { address, dev, lladdr, state, router, probe }))
        }
        _ => Err(words.error("device and destination are required arguments")),
    }
}
