//! `ipset`: sets of addresses, networks and ports that rules match with `-m set`.
//!
//! The types are hash:ip, hash:net, hash:ip,port, hash:net,port and bitmap:port, all of IPv4. What ipset prints of the
//! insides of its hashes (bucketsize, initval, size in memory) is not printed; `hashsize` is read and means nothing.

mod element;
mod table;

#[cfg(test)]
mod tests;

use skiff_dataplane::netfilter::ip_tables::rule::{IpSet, Match, Ruleset};

use super::counters::Counters;
use super::error::{Error, quote};
use super::programs::{Call, Outcome};
use super::words;
use crate::config::Fault;
use table::Sets;

/// Most mistakes reported of one text.
const MOST_ERRORS: usize = 50;

/// Reads the text of `ipset save`.
///
/// # Errors
/// Every mistake, in the order of the text.
pub fn sets(text: &str) -> Result<Vec<IpSet>, Vec<Error>> {
    let mut sets = Sets::of(&[]);
    let mut errors = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Err(error) = line_of(&mut sets, line) {
            errors.push(error.at(number));
        }
        if errors.len() >= MOST_ERRORS {
            break;
        }
    }
    if errors.is_empty() { Ok(sets.into_sets()) } else { Err(errors) }
}

/// One line of a text: only commands that change something stand there.
fn line_of(sets: &mut Sets, line: &str) -> Result<(), Error> {
    let words = words::split(line.trim())?;
    match words.first() {
        None => Ok(()),
        Some(first) if first.starts_with('#') || (first == "COMMIT" && words.len() == 1) => Ok(()),
        Some(_) => command(sets, &words, &|_| false).map(drop),
    }
}

/// Carries out `skiff ipset ...`.
pub(super) fn run(call: &Call, current: &Ruleset) -> Result<Outcome, Error> {
    let mut sets = Sets::of(&current.sets);
    let used = |name: &str| references(current, name) > 0;
    let mut args = call.args.clone();
    if let Some(Some(file)) = super::Program::Ipset.input(&args) {
        // The client read it.
        args.drain(file - 1..=file);
    }
    let stdout = match args.first().map(String::as_str) {
        Some("restore" | "-R") => {
            for (number, line) in (1..).zip(call.input.lines()) {
                let words = words::split(line.trim())?;
                if words.first().is_some_and(|word| !word.starts_with('#') && word != "COMMIT") {
                    command(&mut sets, &words, &used).map_err(|error| error.at(number))?;
                }
            }
            String::new()
        }
        Some("list" | "-L" | "save" | "-S") => return show(&sets, &args, current),
        _ => command(&mut sets, &args, &used)?,
    };
    let changed = sets.into_sets();
    if changed == current.sets {
        return Ok(Outcome { stdout, ruleset: None });
    }
    let ruleset = Ruleset { tables: current.tables.clone(), sets: changed };
    Ok(Outcome { stdout, ruleset: Some((ruleset, Counters::Keep)) })
}

fn references(ruleset: &Ruleset, name: &str) -> usize {
    let rules = ruleset.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    rules.flat_map(|rule| &rule.matches).filter(|m| matches!(m, Match::Set(set) if set.name == name)).count()
}

/// One command that changes sets, or `test`; gives what it prints.
fn command(sets: &mut Sets, words: &[String], used: &dyn Fn(&str) -> bool) -> Result<String, Error> {
    const COMMANDS: [&str; 8] = ["create", "add", "del", "test", "destroy", "flush", "rename", "swap"];
    let exist = |word: &&str| matches!(*word, "-exist" | "-!");
    let exists = words.iter().map(String::as_str).any(|word| exist(&word));
    let plain: Vec<&str> =
        words.iter().map(String::as_str).filter(|word| !exist(word) && *word != "-q").collect();
    let in_use = |name: &str| Error::refused(format!("set {} is in use by a rule", quote(name)));
    match plain.as_slice() {
        ["create" | "-N", name, kind, options @ ..] => sets.create(name, kind, options, exists)?,
        ["add" | "-A", name, element, options @ ..] => sets.add(name, element, options, exists)?,
        ["del" | "-D", name, element, options @ ..] => sets.delete(name, element, options, exists)?,
        ["test" | "-T", name, element] => {
            if sets.test(name, element)? {
                return Ok(format!("{element} is in set {name}.\n"));
            }
            return Err(Error::refused(format!("{element} is NOT in set {name}.")));
        }
        ["destroy" | "-X"] => {
            if let Some(name) = sets.names().find(|name| used(name)) {
                return Err(in_use(name));
            }
            *sets = Sets::of(&[]);
        }
        ["destroy" | "-X", name] if used(name) => return Err(in_use(name)),
        ["destroy" | "-X", name] => sets.destroy(name)?,
        ["flush" | "-F"] => sets.flush(None)?,
        ["flush" | "-F", name] => sets.flush(Some(name))?,
        ["rename" | "-E", name, _] if used(name) => return Err(in_use(name)),
        ["rename" | "-E", name, new] => sets.rename(name, new)?,
        ["swap" | "-W", one, other] => sets.swap(one, other)?,
        [] => {
            return Err(Error::usage(
                Fault::from("no command is given").help("try list, create, add, del or test"),
            ));
        }
        [known, ..] if COMMANDS.contains(known) => {
            return Err(Error::usage(format!("{} has too few or too many words", quote(known))));
        }
        [other, ..] => {
            let fault = Fault::from(format!("{} is no ipset command", quote(other)));
            return Err(Error::usage(
                fault.nearest(other, COMMANDS.iter().copied().chain(["list", "save", "restore"])),
            ));
        }
    }
    Ok(String::new())
}

/// `list` and `save`.
fn show(sets: &Sets, args: &[String], current: &Ruleset) -> Result<Outcome, Error> {
    let (mut save, mut names, mut terse) = (matches!(args[0].as_str(), "save" | "-S"), false, false);
    let mut only = None;
    let mut words = args[1..].iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-n" | "-name" if !save => names = true,
            "-t" | "-terse" if !save => terse = true,
            "-o" | "-output" => match words.next().map(String::as_str) {
                Some("save") => save = true,
                Some("plain") => {}
                other => {
                    return Err(Error::usage(format!(
                        "output {} is not supported yet",
                        quote(other.unwrap_or(""))
                    )));
                }
            },
            "-s" | "-sorted" => {}
            option if option.starts_with('-') => {
                return Err(Error::usage(format!("unknown option {}", quote(option))));
            }
            name => only = Some(name.to_owned()),
        }
    }
    let stdout = sets.print(only.as_deref(), |name| match (save, names, terse) {
        (true, ..) => table::Form::Save,
        (_, true, _) => table::Form::Name,
        (_, _, terse) => table::Form::List { members: !terse, references: references(current, name) },
    })?;
    Ok(Outcome { stdout, ruleset: None })
}
