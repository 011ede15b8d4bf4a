//! `skiff tc`: the language of tc(8), 6.1, and the picture of all trees of disciplines that it works on.
//!
//! [`run`] carries out one command line, or a batch of them: words become a [`request`], which the [`tree`] checks and
//! takes in by the rules of the kernel, and shows are [`print`]ed as tc prints them. What the owners of trees must do comes
//! out as [`Ops`]. Nothing here does I/O.
//!
//! What differs from tc on purpose: a batch is taken whole or not at all (`-force` is without effect); disciplines and
//! classes are shown each before those below it, so that what is shown can be read again; and a class has no minor number 0.

mod batch;
mod error;
mod filters;
mod parse;
mod print;
mod request;
mod tree;
mod units;
mod words;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use error::TcError;
pub use request::{Device, Devices, NodeSpec};
pub use tree::{Band, Classes, HtbClass, Node, Ops, Picture, Tree};

use crate::api::Reply;
use batch::Line;
use parse::Front;
use request::{Options, Request};

/// The exit code of a batch with a line that is wrong.
const BATCH_FAILED: u8 = 1;

/// A command line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The words after `tc`.
    pub args: Vec<String>,
    /// The text of the batch, if it is one.
    #[serde(default)]
    pub input: String,
}

/// Which argument names the file a batch is in, `-` for standard input.
pub fn input(args: &[String]) -> Option<usize> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match parse::front(&words) {
        Ok(Front::Batch(_, at)) => Some(at),
        _ => None,
    }
}

/// Carries out a command line: what to print, and what the owners of trees must do. If it fails, nothing is changed.
pub fn run(call: &Call, picture: &mut Picture, devices: &dyn Devices) -> (Reply, Ops) {
    let words: Vec<&str> = call.args.iter().map(String::as_str).collect();
    let mut session = Session::new(picture, devices);
    let failed = match parse::front(&words) {
        Ok(Front::Text(text)) => return (Reply::ok(text), Ops::new()),
        Ok(Front::Command(options, words)) => {
            session.options = options;
            session.command(words).err()
        }
        Ok(Front::Batch(options, file)) => {
            session.options = options;
            session.batch(&call.input, words[file]).err()
        }
        Err(error) => Some(error),
    };
    session.reply(failed)
}

/// Where each command in `text` begins, bytes.
pub fn starts(text: &str) -> Vec<usize> {
    batch::lines(text).iter().map(|line| line.start).collect()
}

/// A line of a text of commands that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where the command begins in the text, bytes.
    pub start: usize,
    /// What is wrong, on one line.
    pub why: String,
}

/// Carries out the commands in `text`, all or none.
///
/// # Errors
/// Every line that is no command; or, if all are, the first that cannot be carried out.
pub fn load(text: &str, picture: &mut Picture, devices: &dyn Devices) -> Result<Ops, Vec<Fault>> {
    let fault = |line: &Line<'_>, error: &TcError| Fault { start: line.start, why: error.plain().to_owned() };
    let lines = batch::lines(text);
    let wrong = |line: &Line<'_>| match parse::request(&line.words, devices) {
        Ok(request) if request.is_change() => None,
        Ok(_) => Some(Fault { start: line.start, why: "changes nothing".to_owned() }),
        Err(error) => Some(fault(line, &error)),
    };
    let faults: Vec<Fault> = lines.iter().filter_map(wrong).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let before = picture.clone();
    let mut session = Session::new(picture, devices);
    for line in &lines {
        if let Err(error) = session.command(&line.words) {
            *picture = before;
            return Err(vec![fault(line, &error)]);
        }
    }
    Ok(session.ops)
}

/// A command line that is being carried out.
struct Session<'a> {
    picture: &'a mut Picture,
    devices: &'a dyn Devices,
    options: Options,
    ops: Ops,
    stdout: String,
    stderr: String,
}

impl<'a> Session<'a> {
    fn new(picture: &'a mut Picture, devices: &'a dyn Devices) -> Session<'a> {
        Session {
            picture,
            devices,
            options: Options::default(),
            ops: Ops::new(),
            stdout: String::new(),
            stderr: String::new(),
        }
    }

    fn batch(&mut self, text: &str, name: &str) -> Result<(), TcError> {
        let before = self.picture.clone();
        for line in batch::lines(text) {
            if let Err(mut error) = self.command(&line.words) {
                *self.picture = before;
                self.ops.clear();
                error.text.push_str(&format!("Command failed {name}:{}\n", line.number));
                error.exit = BATCH_FAILED;
                return Err(error);
            }
        }
        Ok(())
    }

    fn command(&mut self, words: &[&str]) -> Result<(), TcError> {
        let (picture, options) = (&mut *self.picture, &self.options);
        match parse::request(words, self.devices)? {
            Request::Help(text) => self.stdout.push_str(text),
            Request::QdiscShow(filter) => {
                self.stdout.push_str(&print::qdiscs(&filter, options, picture, self.devices));
            }
            Request::ClassShow(filter) => {
                self.stdout.push_str(&print::classes(&filter, options, picture, self.devices));
            }
            Request::Qdisc(verb, change) => {
                if let Some(kind) = &change.kind {
                    self.stderr.push_str(&kind.notes);
                }
                let dev = change.dev.as_ref().ok_or_else(no_device)?;
                picture.change(dev, &mut self.ops, |tree| tree.qdisc(verb, &change))?;
            }
            Request::Class(verb, change) => {
                let dev = change.dev.as_ref().ok_or_else(no_device)?;
                let warning = picture.change(dev, &mut self.ops, |tree| tree.class(verb, &change))?;
                self.stderr.push_str(&warning.unwrap_or_default());
            }
            Request::Filter(object, words) => filters::run(self, object, &words)?,
        }
        Ok(())
    }

    fn reply(self, failed: Option<TcError>) -> (Reply, Ops) {
        let Session { ops, stdout, mut stderr, .. } = self;
        let exit = failed.as_ref().map_or(0, |error| error.exit);
        if let Some(error) = failed {
            stderr.push_str(&error.text);
        }
        (Reply { stdout, stderr, exit }, ops)
    }
}

fn no_device() -> TcError {
    TcError::errno(error::Errno::NoDevice)
}
