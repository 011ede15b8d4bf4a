//! What stands before the object: how to print, or that commands come from a file.

use super::super::error::TcError;
use super::super::request::Show;
use super::super::words::lookup;
use super::help;

/// What a command line begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Front<'a> {
    /// A command follows.
    Command(Show, &'a [&'a str]),
    /// Commands are in the file whose name is this argument, counted from 0; `-` for standard input.
    Batch(Show, usize),
    /// Only this is to be printed.
    Text(&'static str),
}

#[derive(Clone, Copy)]
enum Word {
    Stats,
    Details,
    Raw,
    Pretty,
    Version,
    Iec,
    Help,
    Batch,
    Netns,
    Json,
    Oneline,
    /// Nothing we do depends on it.
    Any,
}

/// In tc's order. What is not here is refused: `-graph`, `-names`, `-conf`, `-brief`, `-echo`.
const WORDS: [(&str, Word); 17] = [
    ("-stats", Word::Stats),
    ("-statistics", Word::Stats),
    ("-details", Word::Details),
    ("-raw", Word::Raw),
    ("-pretty", Word::Pretty),
    ("-Version", Word::Version),
    ("-iec", Word::Iec),
    ("-help", Word::Help),
    ("-force", Word::Any),
    ("-batch", Word::Batch),
    ("-netns", Word::Netns),
    ("-Numeric", Word::Any),
    ("-color", Word::Any),
    ("-timestamp", Word::Any),
    ("-tshort", Word::Any),
    ("-json", Word::Json),
    ("-oneline", Word::Oneline),
];

/// Takes the options off.
///
/// # Errors
/// One that tc does not have, or that means nothing here.
pub fn front<'a>(args: &'a [&'a str]) -> Result<Front<'a>, TcError> {
    let mut options = Show::default();
    let mut batch = None;
    let mut at = 0;
    while let Some(word) = args.get(at).filter(|word| word.starts_with('-')) {
        at += 1;
        let unknown = || TcError::usage(format!("Option \"{word}\" is unknown, try \"tc -help\"."));
        let known = if *word == "-" { None } else { lookup(word, &WORDS) };
        match known.ok_or_else(unknown)? {
            Word::Stats => options.stats = true,
            Word::Details => options.details = true,
            Word::Raw => options.raw = true,
            Word::Pretty => options.pretty = true,
            Word::Iec => options.iec = true,
            Word::Json => options.json = true,
            Word::Oneline => options.oneline = true,
            Word::Version => return Ok(Front::Text(help::VERSION)),
            Word::Help => return Ok(Front::Text(help::TC)),
            Word::Netns => {
                return Err(TcError::usage("Error: there are no network namespaces here."));
            }
            Word::Batch if at < args.len() => {
                batch = Some(at);
                at += 1;
            }
            Word::Batch => return Ok(Front::Text(help::TC)),
            Word::Any => {}
        }
    }
    Ok(match batch {
        Some(file) => Front::Batch(options, file),
        None => Front::Command(options, &args[at..]),
    })
}
