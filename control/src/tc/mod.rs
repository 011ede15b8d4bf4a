//! `skiff tc`: the language of tc(8), 6.1, and the picture of all trees of disciplines that it works on.
//!
//! [`run`] carries out one command line, or a batch of them: words become a [`request`], which the [`tree`] checks and
//! takes in by the rules of the kernel, and shows are [`print`]ed as tc prints them. What the owners of trees must do comes
//! out as [`Ops`]. Nothing here does I/O.
//!
//! What differs from tc on purpose: a batch is taken whole or not at all (`-force` is without effect); disciplines and
//! classes are shown each before those below it, so that what is shown can be read again; and a class has no minor number 0.

pub mod action;
mod batch;
mod error;
pub mod filter;
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
use skiff_dataplane::netfilter::hooks::{Hook, HookEntry};
use skiff_dataplane::time::Instant;

pub use error::TcError;
pub use request::{Device, Devices, NodeSpec};
pub use tree::{Band, Classes, HtbClass, Node, Ops, Picture, Tree};

use crate::api::Reply;
use batch::Line;
use filters::{Dirty, World};
use parse::Front;
use request::{Request, Show};

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

/// What the data plane must do.
#[derive(Debug, Default)]
pub struct Changes {
    /// The owners of trees.
    pub ops: Ops,
    /// The functions of all `ingress` and `clsact`, if they have changed.
    pub hooks: Option<Vec<(Hook, HookEntry)>>,
}

/// Carries out a command line: what to print, and what the owners of trees must do. If it fails, nothing is changed.
pub fn run(call: &Call, picture: &mut Picture, devices: &dyn Devices, now: Instant) -> (Reply, Changes) {
    let words: Vec<&str> = call.args.iter().map(String::as_str).collect();
    let mut session = Session::new(picture, devices, now);
    let failed = match parse::front(&words) {
        Ok(Front::Text(text)) => return (Reply::ok(text), Changes::default()),
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
pub fn load(
    text: &str,
    picture: &mut Picture,
    devices: &dyn Devices,
    now: Instant,
) -> Result<Changes, Vec<Fault>> {
    let fault = |line: &Line<'_>, error: &TcError| Fault { start: line.start, why: error.plain().to_owned() };
    let lines = batch::lines(text);
    let wrong = |line: &Line<'_>| {
        let changes = match parse::request(&line.words, devices) {
            Ok(Request::Filter(object, words)) => filters::is_change(object, &words, devices),
            Ok(request) => Ok(request.is_change()),
            Err(error) => Err(error),
        };
        match changes {
            Ok(true) => None,
            Err(error) if error.exit != 0 => Some(fault(line, &error)),
            // To print something, or how it is used.
            _ => Some(Fault { start: line.start, why: "changes nothing".to_owned() }),
        }
    };
    let faults: Vec<Fault> = lines.iter().filter_map(wrong).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let before = picture.clone();
    let mut session = Session::new(picture, devices, now);
    for line in &lines {
        if let Err(error) = session.command(&line.words) {
            *picture = before;
            return Err(vec![fault(line, &error)]);
        }
    }
    Ok(session.changes())
}

/// A command line that is being carried out.
struct Session<'a> {
    picture: &'a mut Picture,
    devices: &'a dyn Devices,
    options: Show,
    now: Instant,
    ops: Ops,
    /// Filters that are to be compiled when all is done.
    dirty: Dirty,
    stdout: String,
    stderr: String,
}

impl<'a> Session<'a> {
    fn new(picture: &'a mut Picture, devices: &'a dyn Devices, now: Instant) -> Session<'a> {
        Session {
            picture,
            devices,
            options: Show::default(),
            now,
            ops: Ops::new(),
            dirty: Dirty::default(),
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
                self.dirty = Dirty::default();
                error.text = format!("{}Command failed {name}:{}", error.printed(), line.number);
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
                picture.count_sides();
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
            Request::Filter(object, words) => {
                let world = World { devices: self.devices, now: self.now, show: self.options };
                self.stdout += &filters::run(picture, object, &words, &world, &mut self.dirty)?;
            }
        }
        Ok(())
    }

    /// What has come of it for the data plane.
    fn changes(&mut self) -> Changes {
        let hooks = self.picture.compile_filters(&self.dirty, &mut self.ops);
        Changes { ops: std::mem::take(&mut self.ops), hooks }
    }

    fn reply(mut self, failed: Option<TcError>) -> (Reply, Changes) {
        let changes = self.changes();
        let Session { stdout, mut stderr, .. } = self;
        let exit = failed.as_ref().map_or(0, |error| error.exit);
        if let Some(error) = failed {
            stderr.push_str(&error.printed());
        }
        (Reply { stdout, stderr, exit }, changes)
    }
}

fn no_device() -> TcError {
    TcError::errno(error::Errno::NoDevice)
}
