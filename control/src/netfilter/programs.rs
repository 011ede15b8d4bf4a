//! One call of one of the programs: words in, text and perhaps a new ruleset out.

use serde::{Deserialize, Serialize};
use skiff_dataplane::netfilter::ip_tables::rule::{Ruleset, TableName};

use super::check;
use super::counters::Counters;
use super::draft::Draft;
use super::error::{Error, quote};
use super::parse::{self, Command};
use super::restore::{Options, restore};
use super::{ipset, show};
use crate::config::Fault;

/// The programs there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// `iptables`
    Iptables,
    /// `iptables-save`
    IptablesSave,
    /// `iptables-restore`
    IptablesRestore,
    /// `ipset`
    Ipset,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The words after the program's name.
    pub args: Vec<String>,
    /// The text to read, if the program reads one.
    #[serde(default)]
    pub input: String,
    /// What messages call that text.
    #[serde(default)]
    pub input_name: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output.
    pub stdout: String,
    /// The rules that are to be in force now; `None` if nothing changed.
    pub ruleset: Option<(Ruleset, Counters)>,
}

impl Program {
    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Program::Iptables => "iptables",
            Program::IptablesSave => "iptables-save",
            Program::IptablesRestore => "iptables-restore",
            Program::Ipset => "ipset",
        }
    }

    /// Whether the program reads a text, and where it stands among `args` if that is a file.
    pub fn input(self, args: &[String]) -> Option<Option<usize>> {
        match self {
            Program::Iptables | Program::IptablesSave => None,
            Program::IptablesRestore => Some(restore_words(args).find_map(|(at, word)| match word {
                RestoreWord::File => Some(at),
                RestoreWord::Option(..) => None,
            })),
            Program::Ipset => {
                let option = |word: &String| word == "-f" || word == "-file";
                let restores = |word: &String| matches!(word.as_str(), "restore" | "-R");
                let file = args.iter().position(option).map(|at| at + 1).filter(|at| *at < args.len());
                args.iter().any(restores).then_some(file)
            }
        }
    }
}

/// Carries out one call on the rules in force, `current`, whose counters are up to date. `now` is the Unix time in
/// seconds.
///
/// # Errors
/// Every mistake; nothing is to change then.
pub fn run(program: Program, call: &Call, current: &Ruleset, now: u64) -> Result<Outcome, Vec<Error>> {
    match program {
        Program::Iptables => iptables(&call.args, current),
        Program::IptablesSave => save(&call.args, current, now).map_err(|error| vec![error]),
        Program::IptablesRestore => load(call, current),
        Program::Ipset => ipset::run(call, current).map_err(|error| vec![error]),
    }
}

fn iptables(args: &[String], current: &Ruleset) -> Result<Outcome, Vec<Error>> {
    let one = |error| vec![error];
    if matches!(args, [only] if only == "-V" || only == "--version") {
        let version = env!("CARGO_PKG_VERSION");
        return Ok(Outcome { stdout: format!("skiff v{version} (iptables v1.8.9)\n"), ruleset: None });
    }
    let request = parse::parse(args).map_err(|fault| one(fault.into()))?;
    let table = request.table.unwrap_or(TableName::Filter);
    let looks = matches!(
        request.command,
        Command::Check(..) | Command::List(_, _, false) | Command::ListRules(_, _, false)
    );
    let stdout = show::list(current, table, &request.command, request.listing).map_err(one)?;
    let mut draft = Draft::of(current);
    draft.table(table).apply(request.command, 0).map_err(one)?;
    if looks {
        return Ok(Outcome { stdout, ruleset: None });
    }
    check::check(&draft)?;
    Ok(Outcome { stdout, ruleset: Some((draft.into_ruleset(), Counters::Keep)) })
}

fn save(args: &[String], current: &Ruleset, now: u64) -> Result<Outcome, Error> {
    let (mut counters, mut table) = (false, None);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-c" | "--counters" => counters = true,
            "-t" | "--table" => table = Some(show::table_argument(words.next(), word)?),
            "-M" | "--modprobe" => drop(words.next()),
            other => return Err(unknown(other, &["-c", "--counters", "-t", "--table"])),
        }
    }
    Ok(Outcome { stdout: show::save(current, table, counters, &date(now)), ruleset: None })
}

enum RestoreWord<'a> {
    File,
    Option(&'a str, Option<&'a String>),
}

/// The words of `iptables-restore`, each with its place.
fn restore_words(args: &[String]) -> impl Iterator<Item = (usize, RestoreWord<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let place = at;
        let word = args.get(place)?;
        at += 1;
        let argument = match word.as_str() {
            "-T" | "--table" | "-M" | "--modprobe" | "-W" | "--wait-interval" => true,
            "-w" | "--wait" => args.get(at).is_some_and(|next| next.bytes().all(|b| b.is_ascii_digit())),
            _ if !word.starts_with('-') => return Some((place, RestoreWord::File)),
            _ => false,
        };
        at += usize::from(argument);
        Some((place, RestoreWord::Option(word, args.get(place + 1).filter(|_| argument))))
    })
}

fn load(call: &Call, current: &Ruleset) -> Result<Outcome, Vec<Error>> {
    let mut options = Options::default();
    let (mut test, mut files) = (false, 0);
    for (_, word) in restore_words(&call.args) {
        let (option, argument) = match word {
            RestoreWord::File => {
                files += 1;
                continue;
            }
            RestoreWord::Option(option, argument) => (option, argument),
        };
        match option {
            "-n" | "--noflush" => options.noflush = true,
            "-c" | "--counters" => options.counters = true,
            "-t" | "--test" => test = true,
            "-T" | "--table" => {
                options.table = Some(show::table_argument(argument, option).map_err(|error| vec![error])?);
            }
            "-v" | "--verbose" | "-w" | "--wait" | "-W" | "--wait-interval" | "-M" | "--modprobe" => {}
            other => {
                return Err(vec![unknown(
                    other,
                    &["--noflush", "--counters", "--test", "--table", "--verbose", "--wait"],
                )]);
            }
        }
    }
    if files > 1 {
        return Err(vec![Error::usage("one file is read, not several")]);
    }
    let (ruleset, stdout) = restore(current, &call.input, options)?;
    let counters = if options.counters { Counters::Set } else { Counters::Keep };
    Ok(Outcome { stdout, ruleset: (!test).then_some((ruleset, counters)) })
}

fn unknown(option: &str, known: &[&'static str]) -> Error {
    Error::usage(
        Fault::from(format!("unknown option {}", quote(option))).nearest(option, known.iter().copied()),
    )
}

/// A moment in UTC as asctime(3) writes it.
fn date(now: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let now = u32::try_from(now).unwrap_or(u32::MAX);
    let (year, month, day, second) = parse::civil(now);
    let name =
        |names: &[&'static str], at: u32| names.get(at as usize % names.len()).copied().unwrap_or_default();
    let (weekday, month) = (name(&DAYS, now / 86_400), name(&MONTHS, month - 1));
    format!(
        "{weekday} {month} {day:2} {:02}:{:02}:{:02} {year}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_look_as_those_of_iptables() {
        assert_eq!(date(1_795_271_552), "Sat Nov 21 14:32:32 2026");
        assert_eq!(date(0), "Thu Jan  1 00:00:00 1970");
    }

    #[test]
    fn the_file_is_found_among_the_words() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let place = |program: Program, line| program.input(&words(line));
        assert_eq!(place(Program::IptablesRestore, "-n -T filter -w 5 rules -c"), Some(Some(5)));
        assert_eq!(place(Program::IptablesRestore, "-n -w --counters"), Some(None));
        assert_eq!(place(Program::Ipset, "restore -file x"), Some(Some(2)));
        assert_eq!(place(Program::Ipset, "list"), None);
        assert_eq!(place(Program::Iptables, "-L"), None);
    }
}
