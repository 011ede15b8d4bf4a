//! Commands, options and their values, from the definition of the command line.

use clap::{Arg, Command, ValueHint};

use super::{Names, Offer, language};

/// Names of values that stand for a device.
const DEVICE_VALUES: [&str; 3] = ["DEV", "DEVICE", "INTERFACE"];

/// What may stand behind the words `done`, in the place of `partial`. `cli` is built.
pub(super) fn offer(cli: &Command, done: &[String], partial: &str, names: &dyn Names) -> Offer {
    let mut command = cli;
    let mut path: Vec<&str> = Vec::new();
    let mut positional = 0;
    let mut rest = done.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            return Offer::default();
        }
        if word.starts_with('-') && word.len() > 1 {
            if takes_next(command, word) && rest.next().is_none() {
                return option(command, word).map(|arg| value(arg, &path, names)).unwrap_or_default();
            }
        } else if let Some(below) =
            command.find_subcommand(word).filter(|below| positional == 0 && !below.is_hide_set())
        {
            if language::knows(below.get_name()) {
                let words: Vec<&str> = rest.as_slice().iter().map(String::as_str).collect();
                return language::offer(below.get_name(), &words, names);
            }
            command = below;
            path.push(below.get_name());
        } else {
            positional += 1;
        }
    }
    if let Some((name, _)) = partial.split_once('=').filter(|_| partial.starts_with("--")) {
        return option(command, name).map(|arg| prefixed(name, value(arg, &path, names))).unwrap_or_default();
    }
    if partial.starts_with('-') {
        return options(command);
    }
    let positionals = command.get_positionals().filter(|arg| !arg.is_last_set()).nth(positional);
    subcommands(command, positional).and(positionals.map(|arg| value(arg, &path, names)).unwrap_or_default())
}

/// The option `word` names, `--long` or `-s`, of the command.
fn option<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|arg| match word.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short().is_some_and(|short| word.chars().nth(1) == Some(short)),
    })
}

/// Whether the value of the option `word` is the word behind it.
fn takes_next(command: &Command, word: &str) -> bool {
    let joined = if word.starts_with("--") { word.contains('=') } else { word.chars().count() > 2 };
    !joined && option(command, word).is_some_and(|arg| arg.get_action().takes_values())
}

/// What an argument may be.
fn value(arg: &Arg, path: &[&str], names: &dyn Names) -> Offer {
    let possible = arg.get_possible_values();
    if !possible.is_empty() && arg.get_action().takes_values() {
        let shown = possible.iter().filter(|value| !value.is_hide_set());
        let help = |value: &clap::builder::PossibleValue| {
            value.get_help().map(ToString::to_string).unwrap_or_default()
        };
        return Offer { words: shown.map(|v| (v.get_name().to_owned(), help(v))).collect(), files: false };
    }
    let named = |wanted: &[&str]| {
        arg.get_value_names().is_some_and(|names| names.iter().any(|name| wanted.contains(&name.as_str())))
    };
    match arg.get_value_hint() {
        ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath => Offer::files(),
        _ if named(&DEVICE_VALUES) || path == ["bond", "show"] => Offer::of(names.devices()),
        _ => Offer::default(),
    }
}

/// The values of `--name=`.
fn prefixed(name: &str, mut offer: Offer) -> Offer {
    for (word, _) in &mut offer.words {
        *word = format!("{name}={word}");
    }
    offer
}

fn options(command: &Command) -> Offer {
    let mut words = Vec::new();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional()) {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        words.extend(arg.get_long().map(|long| (format!("--{long}"), help.clone())));
        words.extend(arg.get_short().map(|short| (format!("-{short}"), help)));
    }
    Offer { words, files: false }
}

/// The commands below, as long as no argument has taken their place.
fn subcommands(command: &Command, positional: usize) -> Offer {
    let below = command.get_subcommands().filter(|below| positional == 0 && !below.is_hide_set());
    let about = |c: &Command| c.get_about().map(ToString::to_string).unwrap_or_default();
    Offer { words: below.map(|c| (c.get_name().to_owned(), about(c))).collect(), files: false }
}
