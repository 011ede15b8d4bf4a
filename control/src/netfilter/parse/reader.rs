//! Reads the words one after the other.

mod lookup;

use skiff_dataplane::netfilter::ip_tables::rule::{
    AddrMatch, Inv, IpMatch, Rule, RuleCounters, TableName, Target,
};

use super::arguments::{policy, rule_number};
use super::globals::{self, Global};
use super::matches::MatchExtension;
use super::options::{Given, Spec};
use super::request::{Command, Listing, Request};
use super::targets::{self, TargetExtension};
use super::{arguments, unsupported, values};
use crate::config::Fault;
use crate::netfilter::error::quote;
use lookup::Found;

/// Most rules that the lists of addresses of one line make.
const MOST_RULES: usize = 4096;

/// Parses the words after `iptables`, or those of one line of a text to restore.
///
/// # Errors
/// What is wrong with them.
pub(in crate::netfilter) fn parse(words: &[String]) -> Result<Request, Fault> {
    let mut reader = Reader { words, at: 0, ..Reader::default() };
    while let Some(word) = reader.words.get(reader.at) {
        reader.at += 1;
        reader.word(word)?;
    }
    reader.finish()
}

/// A match or target under way.
struct Loaded<E: 'static> {
    extension: &'static E,
    given: Given,
}

#[derive(Default)]
struct Reader<'a> {
    words: &'a [String],
    at: usize,
    /// `!` was the last word.
    invert: bool,
    commands: Vec<(Global, Vec<String>)>,
    table: Option<TableName>,
    listing: Listing,
    ip: IpMatch,
    sources: Vec<AddrMatch>,
    destinations: Vec<AddrMatch>,
    counters: Option<RuleCounters>,
    matches: Vec<Loaded<MatchExtension>>,
    /// The match of the protocol was loaded because of one of its options.
    implied: bool,
    jump: Option<Jump>,
    /// Options given so far that may be given once.
    seen: Vec<Global>,
}

enum Jump {
    Extension(Loaded<TargetExtension>),
    Chain { chain: String, goto: bool },
}

impl Reader<'_> {
    fn word(&mut self, word: &str) -> Result<(), Fault> {
        if word == "!" {
            if std::mem::replace(&mut self.invert, true) {
                return Err("\"!\" stands twice".into());
            }
            return Ok(());
        }
        let invert = std::mem::take(&mut self.invert);
        if let Some(long) = word.strip_prefix("--").filter(|name| !name.is_empty()) {
            let (name, attached) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            return self.long(name, attached, invert);
        }
        match word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            Some(letters) => self.letters(letters, invert),
            None => Err(self.stray(word)),
        }
    }

    /// A word that belongs to no option.
    fn stray(&self, word: &str) -> Fault {
        let fault = Fault::from(format!("unexpected {}", quote(word)));
        if self.at >= 2 && self.words.get(self.at - 2).is_some_and(|before| before == "!") {
            return fault.help("\"!\" stands before the option, as in ! -s 10.0.0.1");
        }
        fault
    }

    /// `-nvL`: letters one after the other, the last of which may take what is left.
    fn letters(&mut self, letters: &str, invert: bool) -> Result<(), Fault> {
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let (global, argument) = globals::by_letter(letter)
                .ok_or_else(|| Fault::from(format!("unknown option {}", quote(&format!("-{letter}")))))?;
            if argument {
                let attached = Some(rest.as_str()).filter(|rest| !rest.is_empty());
                return self.global(global, attached, invert);
            }
            self.global(global, None, invert)?;
        }
        Ok(())
    }

    fn long(&mut self, name: &str, attached: Option<&str>, invert: bool) -> Result<(), Fault> {
        let mut found = self.find(name)?;
        if found.is_none() && self.imply()? {
            found = self.find(name)?;
        }
        let (spec, target, at) = match found {
            None => return Err(self.unknown(name)),
            Some(Found::Global(_, false)) if attached.is_some() => {
                return Err(format!("option \"--{name}\" takes no argument").into());
            }
            Some(Found::Global(global, _)) => return self.global(global, attached, invert),
            Some(Found::Match(at, spec)) => (spec, false, at),
            Some(Found::Target(spec)) => (spec, true, 0),
        };
        let args = self.arguments(spec, attached)?;
        match (&mut self.jump, target) {
            (Some(Jump::Extension(loaded)), true) => loaded.given.add(spec, invert, args),
            _ => match self.matches.get_mut(at) {
                Some(loaded) => loaded.given.add(spec, invert, args),
                None => Ok(()),
            },
        }
    }

    fn arguments(&mut self, spec: &Spec, attached: Option<&str>) -> Result<Vec<String>, Fault> {
        let name = spec.names[0];
        if attached.is_some() && spec.args == 0 {
            return Err(format!("option \"--{name}\" takes no argument").into());
        }
        let mut args: Vec<String> = attached.map(str::to_owned).into_iter().collect();
        while args.len() < usize::from(spec.args) {
            args.push(self.argument(&format!("--{name}"))?);
        }
        Ok(args)
    }

    /// The next word, which belongs to `option`.
    fn argument(&mut self, option: &str) -> Result<String, Fault> {
        let word = self.words.get(self.at).ok_or_else(|| format!("option {} ends early", quote(option)))?;
        self.at += 1;
        if word == "!" && !matches!(option, "--comment" | "--log-prefix" | "--nflog-prefix") {
            let help = format!("\"!\" stands before the option, as in ! {option}");
            return Err(Fault::from(format!("option {} has no argument", quote(option))).help(help));
        }
        Ok(word.clone())
    }

    /// The next word if it is no option.
    fn optional(&mut self) -> Option<String> {
        let word = self.words.get(self.at).filter(|word| !word.starts_with(['-', '!']))?;
        self.at += 1;
        Some(word.clone())
    }

    fn global(&mut self, global: Global, attached: Option<&str>, invert: bool) -> Result<(), Fault> {
        let letter = global.letter();
        if invert && !global.negatable() {
            return Err(format!("\"!\" cannot stand before {letter}").into());
        }
        if global.is_command() {
            return self.command(global, attached);
        }
        let repeats = matches!(global, Global::Match | Global::Verbose | Global::Numeric | Global::Wait);
        // -j and -g are the same place.
        let once = if global == Global::Goto { Global::Jump } else { global };
        if !repeats && self.seen.contains(&once) {
            return Err(format!("{letter} is given twice").into());
        }
        self.seen.push(once);
        match global {
            Global::Verbose => self.listing.verbose = true,
            Global::Numeric => self.listing.numeric = true,
            Global::Exact => self.listing.exact = true,
            Global::LineNumbers => self.listing.line_numbers = true,
            Global::Ipv4 => {}
            Global::Ipv6 => return Err("IPv6 rules are not supported yet".into()),
            Global::Fragment => self.ip.fragment = Some(Inv { value: (), invert }),
            // Commands here never wait for each other.
            Global::Wait => drop(self.optional()),
            _ => {
                let argument = match attached {
                    Some(attached) => attached.to_owned(),
                    None => self.argument(&letter)?,
                };
                self.with_argument(global, &argument, invert)?;
            }
        }
        Ok(())
    }

    fn with_argument(&mut self, global: Global, argument: &str, invert: bool) -> Result<(), Fault> {
        match global {
            Global::Source => self.sources = addresses(argument, invert)?,
            Global::Destination => self.destinations = addresses(argument, invert)?,
            Global::Protocol => self.ip.proto = values::protocol(argument, invert)?,
            Global::InInterface => self.ip.iniface = values::interface("i", argument, invert)?,
            Global::OutInterface => self.ip.outiface = values::interface("o", argument, invert)?,
            Global::Match => self.load(argument)?,
            Global::Jump => self.jump = Some(jump(argument)?),
            Global::Goto => self.jump = Some(Jump::Chain { chain: argument.to_owned(), goto: true }),
            Global::Table => self.table = Some(unsupported::table(argument)?),
            Global::Counters => {
                let (packets, bytes) = match argument.split_once(',') {
                    Some((packets, bytes)) => (packets.to_owned(), bytes.to_owned()),
                    None => (argument.to_owned(), self.argument("-c")?),
                };
                self.counters = Some(arguments::counters(&packets, &bytes)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn command(&mut self, global: Global, attached: Option<&str>) -> Result<(), Fault> {
        let mut args: Vec<String> = attached.map(str::to_owned).into_iter().collect();
        let (least, most) = match global {
            Global::Append | Global::Check | Global::NewChain => (1, 1),
            Global::Delete | Global::Insert => (1, 2),
            Global::Replace | Global::RenameChain | Global::Policy => (2, 2),
            Global::List | Global::ListRules | Global::Zero => (0, 2),
            _ => (0, 1),
        };
        while args.len() < most {
            // A chain of the old days may be called "-x"; only what must be there is taken as it is.
            match self.optional() {
                Some(word) => args.push(word),
                None if args.len() < least => {
                    return Err(format!("{} wants {}", global.letter(), wanted(global)).into());
                }
                None => break,
            }
        }
        self.commands.push((global, args));
        Ok(())
    }

    fn finish(mut self) -> Result<Request, Fault> {
        if self.invert {
            return Err("\"!\" stands before nothing".into());
        }
        let (global, args, zero) = self.the_command()?;
        let is_rule = matches!(
            global,
            Global::Append | Global::Check | Global::Delete | Global::Insert | Global::Replace
        );
        let by_number = global == Global::Delete && args.len() == 2;
        self.check_options(global, !is_rule || by_number)?;
        let mut args = args.into_iter();
        let chain = args.next();
        let second = args.next();
        let position = |text: Option<String>| text.map(|text| rule_number(&text)).transpose();
        let command = match (global, chain) {
            (Global::Append, Some(chain)) => Command::Append(chain, self.rules()?),
            (Global::Check, Some(chain)) => Command::Check(chain, self.rules()?),
            (Global::Insert, Some(chain)) => {
                Command::Insert(chain, position(second)?.unwrap_or(1), self.rules()?)
            }
            (Global::Delete, Some(chain)) => match position(second)? {
                Some(at) => Command::DeleteAt(chain, at),
                None => Command::Delete(chain, self.rules()?),
            },
            (Global::Replace, Some(chain)) => {
                let at = position(second)?.unwrap_or(1);
                match <[Rule; 1]>::try_from(self.rules()?) {
                    Ok([rule]) => Command::Replace(chain, at, rule),
                    Err(_) => return Err("-R takes one address, not a list".into()),
                }
            }
            (Global::NewChain, Some(chain)) => Command::NewChain(chain),
            (Global::RenameChain, Some(chain)) => Command::RenameChain(chain, second.unwrap_or_default()),
            (Global::Policy, Some(chain)) => Command::Policy(chain, policy(&second.unwrap_or_default())?),
            (Global::List, chain) => Command::List(chain, position(second)?, zero),
            (Global::ListRules, chain) => Command::ListRules(chain, position(second)?, zero),
            (Global::Zero, chain) => Command::Zero(chain, position(second)?),
            (Global::DeleteChain, chain) => Command::DeleteChain(chain),
            (_, chain) => Command::Flush(chain),
        };
        Ok(Request { table: self.table, command, listing: self.listing })
    }

    /// The one command; -L and -S go together with -Z.
    fn the_command(&mut self) -> Result<(Global, Vec<String>, bool), Fault> {
        let mut commands = std::mem::take(&mut self.commands).into_iter();
        let Some(first) = commands.next() else {
            return Err(Fault::from("no command is given")
                .help("try -A, -I, -D, -R, -L, -S, -F, -N, -X, -P, -E or -Z"));
        };
        let Some(second) = commands.next() else { return Ok((first.0, first.1, false)) };
        let lists = |global| matches!(global, Global::List | Global::ListRules);
        let both = match (first.0, second.0) {
            (list, Global::Zero) if lists(list) && commands.len() == 0 => Some((first, second)),
            (Global::Zero, list) if lists(list) && commands.len() == 0 => Some((second, first)),
            (one, other) => {
                return Err(format!("{} and {} exclude each other", one.letter(), other.letter()).into());
            }
        };
        match both {
            Some(((list, args), (_, zeroed))) => {
                Ok((list, if args.is_empty() { zeroed } else { args }, true))
            }
            None => Ok((Global::List, Vec::new(), false)),
        }
    }

    /// Refuses options that a command has no use for.
    fn check_options(&self, command: Global, no_rule: bool) -> Result<(), Fault> {
        let lists = matches!(command, Global::List | Global::ListRules | Global::Zero);
        let misplaced = self.seen.iter().find(|global| match global {
            Global::Table | Global::Wait | Global::WaitInterval | Global::Ipv4 | Global::Verbose => false,
            Global::Modprobe => false,
            Global::Numeric | Global::Exact | Global::LineNumbers => !lists,
            _ => no_rule,
        });
        match misplaced {
            Some(global) => Err(format!("{} does not go with {}", global.letter(), command.letter()).into()),
            None => Ok(()),
        }
    }

    /// One rule for each source and destination.
    fn rules(&mut self) -> Result<Vec<Rule>, Fault> {
        let proto = self.ip.proto;
        let build = |loaded: &Loaded<MatchExtension>| (loaded.extension.build)(&loaded.given, proto);
        let matches = self.matches.iter().map(build).collect::<Result<Vec<_>, _>>()?;
        let target = match &self.jump {
            None => Target::None,
            Some(Jump::Chain { chain, goto }) => Target::Jump { chain: chain.clone(), goto: *goto },
            Some(Jump::Extension(loaded)) => (loaded.extension.build)(&loaded.given)?,
        };
        let counters = self.counters.unwrap_or_default();
        let ip = std::mem::take(&mut self.ip);
        let any = [AddrMatch::default()];
        let or_any = |list: &[AddrMatch]| if list.is_empty() { any.to_vec() } else { list.to_vec() };
        let (sources, destinations) = (or_any(&self.sources), or_any(&self.destinations));
        if sources.len().saturating_mul(destinations.len()) > MOST_RULES {
            return Err(format!("the lists of addresses make more than {MOST_RULES} rules").into());
        }
        let pairs = sources.iter().flat_map(|src| destinations.iter().map(move |dst| (*src, *dst)));
        Ok(pairs
            .map(|(src, dst)| Rule {
                ip: IpMatch { src, dst, ..ip.clone() },
                matches: matches.clone(),
                target: target.clone(),
                counters,
            })
            .collect())
    }
}

fn addresses(list: &str, invert: bool) -> Result<Vec<AddrMatch>, Fault> {
    if invert && list.contains(',') {
        return Err(
            Fault::from("\"!\" cannot stand before a list of addresses").help("make an ipset of them")
        );
    }
    list.split(',').map(|text| values::network(text, invert)).collect()
}

fn jump(name: &str) -> Result<Jump, Fault> {
    match targets::find(name) {
        Some(extension) => {
            let given = Given { what: format!("target \"{name}\""), options: Vec::new() };
            Ok(Jump::Extension(Loaded { extension, given }))
        }
        None => match unsupported::target(name) {
            Some(fault) => Err(fault),
            None => Ok(Jump::Chain { chain: name.to_owned(), goto: false }),
        },
    }
}

fn wanted(command: Global) -> &'static str {
    match command {
        Global::Replace => "a chain and the number of a rule",
        Global::RenameChain => "the old name and the new one",
        Global::Policy => "a chain and ACCEPT or DROP",
        _ => "a chain",
    }
}
