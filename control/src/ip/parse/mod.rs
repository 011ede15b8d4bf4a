//! The grammar: options, object, verb, and then what each verb takes.
//!
//! Words abbreviate as in iproute2: options, objects and verbs to any prefix, the first in iproute2's order winning;
//! inside a verb only the keywords iproute2 lets be abbreviated. Numbers are decimal or hexadecimal after `0x`.

mod addr;
mod kind;
mod link;
mod maddr;
mod mroute;
mod neigh;
mod prefix;
mod route;
#[cfg(test)]
mod tests;

use super::request::{Command, Family, Options, Request, Topic};
use super::words::parse_number;

/// The words are no request. `Display` is `WHAT: WHY`, as in `ip route add: argument "x" is wrong: ...`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// Not the grammar. Exit code 2.
    #[error("{what}: {why}")]
    Usage {
        /// The command as far as it was understood.
        what: String,
        /// What is wrong, and with which word.
        why: String,
    },
    /// iproute2's grammar, but of something that is not there yet. Exit code 1.
    #[error("{what}: {feature} is not supported yet")]
    NotSupported {
        /// The command as far as it was understood.
        what: String,
        /// What is not there.
        feature: String,
    },
}

impl UsageError {
    /// The exit code: 2 for wrong usage, 1 for a refusal of what is not supported.
    pub const fn exit(&self) -> u8 {
        match self {
            UsageError::Usage { .. } => 2,
            UsageError::NotSupported { .. } => 1,
        }
    }

    /// The line for stderr: `skiff: WHAT: WHY` and a newline.
    pub fn line(&self) -> String {
        format!("skiff: {self}\n")
    }
}

/// Parses the words after `ip`.
///
/// # Errors
/// [`UsageError`] if the words are not iproute2's grammar or ask for what is not supported. Whether devices, addresses
/// and routes exist is not looked at.
pub fn parse(args: &[String]) -> Result<Request, UsageError> {
    let mut words = Words { rest: args, what: "ip".to_owned() };
    let options = options(&mut words)?;
    let command = object(&mut words)?;
    Ok(Request { options, command, what: words.what })
}

fn options(words: &mut Words<'_>) -> Result<Options, UsageError> {
    let mut options = Options::default();
    while let Some(word) = words.peek().filter(|w| w.starts_with('-')) {
        words.next();
        if word == "--" {
            break;
        }
        let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or(word);
        option(words, &mut options, word, name)?;
    }
    Ok(options)
}

/// The order is iproute2's, where it decides an abbreviation: `-s` is statistics, `-d` details, `-br` brief.
fn option(words: &mut Words<'_>, options: &mut Options, word: &str, name: &str) -> Result<(), UsageError> {
    let is = |full: &str| !name.is_empty() && full.starts_with(name);
    match name {
        "4" => options.family = Some(Family::Inet),
        "6" => options.family = Some(Family::Inet6),
        _ if is("family") => options.family = Some(family(words)?),
        _ if is("stats") || is("statistics") => options.stats = options.stats.saturating_add(1),
        _ if is("details") => options.details = true,
        _ if is("oneline") => options.oneline = true,
        _ if name.len() > 1 && is("brief") => options.brief = true,
        _ if is("json") => options.json = true,
        _ if is("pretty") => options.pretty = true,
        _ if is("color") || name.starts_with("color=") => {}
        _ if is("help") && name.len() > 1 => words.rest = &[],
        _ => return Err(words.error(format!("option \"{word}\" is unknown, try \"ip help\""))),
    }
    Ok(())
}

fn family(words: &mut Words<'_>) -> Result<Family, UsageError> {
    match words.value("-family")? {
        "inet" => Ok(Family::Inet),
        "inet6" => Ok(Family::Inet6),
        other => Err(words.wrong(other, "invalid protocol family")),
    }
}

/// Objects in the order in which iproute2 tries abbreviations, with what it says of each. Those not here are named so
/// that `ip ru` says that rules are not supported instead of guessing at `route`.
const OBJECTS: [(&str, Object); 24] = [
    ("address", Object::Topic(Topic::Address)),
    ("addrlabel", Object::Foreign),
    ("maddress", Object::Topic(Topic::Maddr)),
    ("route", Object::Topic(Topic::Route)),
    ("rule", Object::Foreign),
    ("neighbor", Object::Topic(Topic::Neighbour)),
    ("neighbour", Object::Topic(Topic::Neighbour)),
    ("ntable", Object::Foreign),
    ("link", Object::Topic(Topic::Link)),
    ("l2tp", Object::Foreign),
    ("fou", Object::Foreign),
    ("macsec", Object::Foreign),
    ("tunnel", Object::Foreign),
    ("tuntap", Object::Foreign),
    ("token", Object::Foreign),
    ("tcpmetrics", Object::Foreign),
    ("monitor", Object::Foreign),
    ("xfrm", Object::Foreign),
    ("mroute", Object::Topic(Topic::Mroute)),
    ("netns", Object::Foreign),
    ("netconf", Object::Foreign),
    ("vrf", Object::Foreign),
    ("nexthop", Object::Foreign),
    ("help", Object::Topic(Topic::Ip)),
];

#[derive(Clone, Copy)]
enum Object {
    Topic(Topic),
    Foreign,
}

fn object(words: &mut Words<'_>) -> Result<Command, UsageError> {
    let Some(word) = words.next() else { return Ok(Command::Help(Topic::Ip)) };
    let found = OBJECTS.into_iter().find(|(name, _)| !word.is_empty() && name.starts_with(word));
    match found {
        None => Err(words.error(format!("object \"{word}\" is unknown, try \"ip help\""))),
        Some((name, Object::Foreign)) => Err(words.unsupported(&format!("\"ip {name}\""))),
        Some((_, Object::Topic(Topic::Ip))) => Ok(Command::Help(Topic::Ip)),
        Some((_, Object::Topic(Topic::Link))) => link::command(words),
        Some((_, Object::Topic(Topic::Address))) => addr::command(words),
        Some((_, Object::Topic(Topic::Route))) => route::command(words),
        Some((_, Object::Topic(Topic::Neighbour))) => neigh::command(words),
        Some((_, Object::Topic(Topic::Mroute))) => mroute::command(words),
        Some((_, Object::Topic(Topic::Maddr))) => maddr::command(words),
    }
}

/// The words still to be read, and the name of the command read so far.
struct Words<'a> {
    rest: &'a [String],
    what: String,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.rest.first().map(String::as_str)
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// Reads the verb, `default` if there is none, and names it in errors from here on.
    fn verb<V: Copy>(
        &mut self,
        object: &str,
        verbs: &[(&'static str, V)],
        default: V,
    ) -> Result<V, UsageError> {
        self.what = format!("ip {object}");
        let Some(word) = self.next() else {
            self.name("show");
            return Ok(default);
        };
        match verbs.iter().find(|(name, _)| !word.is_empty() && name.starts_with(word)) {
            Some((name, verb)) => {
                self.name(match *name {
                    "delete" => "del",
                    "list" | "lst" => "show",
                    name => name,
                });
                Ok(*verb)
            }
            None => Err(self.error(format!("command \"{word}\" is unknown, try \"ip {object} help\""))),
        }
    }

    /// Adds a word to the name of the command.
    fn name(&mut self, word: &str) {
        self.what.push(' ');
        self.what.push_str(word);
    }

    /// The word after `key`.
    fn value(&mut self, key: &str) -> Result<&'a str, UsageError> {
        self.next()
            .ok_or_else(|| self.error(format!("command line is not complete: \"{key}\" takes a value")))
    }

    /// The number after `key`, from `min` to `max`.
    fn number(&mut self, key: &str, min: u64, max: u64) -> Result<u64, UsageError> {
        let word = self.value(key)?;
        parse_number(word)
            .filter(|n| (min..=max).contains(n))
            .ok_or_else(|| self.wrong(word, &format!("\"{key}\" value is invalid")))
    }

    /// The number after `key`, from 0 to 2^32 - 1.
    fn number_u32(&mut self, key: &str) -> Result<u32, UsageError> {
        self.number(key, 0, u32::MAX.into()).map(|n| n as u32)
    }

    /// A device's name after `key`.
    fn device(&mut self, key: &str) -> Result<String, UsageError> {
        let word = self.value(key)?;
        self.device_name(word)
    }

    /// `word` if it can name a device: 1 to 15 bytes, no `/`, no blank, not `.` or `..` (the kernel's rule).
    fn device_name(&self, word: &str) -> Result<String, UsageError> {
        let valid = (1..=15).contains(&word.len())
            && word != "."
            && word != ".."
            && !word.bytes().any(|b| b == b'/' || b == b':' || b.is_ascii_whitespace() || b == 0);
        if valid { Ok(word.to_owned()) } else { Err(self.wrong(word, "not a valid ifname")) }
    }

    fn error(&self, why: impl Into<String>) -> UsageError {
        UsageError::Usage { what: self.what.clone(), why: why.into() }
    }

    fn wrong(&self, word: &str, why: &str) -> UsageError {
        self.error(format!("argument \"{word}\" is wrong: {why}"))
    }

    fn garbage(&self, positional: &str, word: &str) -> UsageError {
        self.error(format!("either \"{positional}\" is duplicate, or \"{word}\" is a garbage"))
    }

    fn unsupported(&self, feature: &str) -> UsageError {
        UsageError::NotSupported { what: self.what.clone(), feature: feature.to_owned() }
    }

    /// Puts `value` where none may be yet.
    fn once<T>(&self, slot: &mut Option<T>, key: &str, value: T) -> Result<(), UsageError> {
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.error(format!("duplicate \"{key}\""))),
        }
    }
}
