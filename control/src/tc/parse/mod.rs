//! Words into a [`Request`].
//!
//! Every table of words is in tc's order, because that decides what an abbreviation stands for.

mod class;
mod fifo;
mod help;
mod htb;
mod options;
mod prio;
mod qdisc;
mod red;
mod tbf;

use skiff_dataplane::sched::handle::TcHandle;

pub use options::{Front, front};

use super::error::TcError;
use super::request::{Device, Devices, Estimator, Request, Verb};
use super::units;
use super::words::{Words, lookup, matches};

#[derive(Clone, Copy)]
enum Object {
    Qdisc,
    Class,
    Filter,
    Chain,
    Actions,
    Other,
    Help,
}

const OBJECTS: [(&str, Object); 8] = [
    ("qdisc", Object::Qdisc),
    ("class", Object::Class),
    ("filter", Object::Filter),
    ("chain", Object::Chain),
    ("actions", Object::Actions),
    ("monitor", Object::Other),
    ("exec", Object::Other),
    ("help", Object::Help),
];

#[derive(Clone, Copy)]
enum Command {
    Change(Verb),
    Show,
    Help,
}

/// Classes have all but `link`.
const COMMANDS: [(&str, Command); 10] = [
    ("add", Command::Change(Verb::Add)),
    ("change", Command::Change(Verb::Change)),
    ("replace", Command::Change(Verb::Replace)),
    ("link", Command::Change(Verb::Link)),
    ("delete", Command::Change(Verb::Delete)),
    ("list", Command::Show),
    ("show", Command::Show),
    ("lst", Command::Show),
    ("ls", Command::Show),
    ("help", Command::Help),
];

/// Reads a command, its options already taken off.
///
/// # Errors
/// It is none, in tc's words.
pub fn request(words: &[&str], devices: &dyn Devices) -> Result<Request, TcError> {
    let mut words = Words::new(words, devices);
    let Some(object) = words.pop() else { return Ok(Request::Help(help::TC)) };
    let to_filters =
        |name, words: Words<'_>| Request::Filter(name, words.rest().iter().map(|&w| w.to_owned()).collect());
    match lookup(object, &OBJECTS) {
        Some(Object::Qdisc) => match command(&mut words, "qdisc")? {
            Command::Change(verb) => qdisc::change(verb, words),
            Command::Show => qdisc::show(words),
            Command::Help => Ok(Request::Help(help::QDISC)),
        },
        Some(Object::Class) => match command(&mut words, "class")? {
            Command::Change(verb) => class::change(verb, words),
            Command::Show => class::show(words),
            Command::Help => Ok(Request::Help(help::CLASS)),
        },
        Some(Object::Filter) => Ok(to_filters("filter", words)),
        Some(Object::Chain) => Ok(to_filters("chain", words)),
        Some(Object::Actions) => Ok(to_filters("actions", words)),
        Some(Object::Help) => Ok(Request::Help(help::TC)),
        Some(Object::Other) | None => {
            Err(TcError::usage(format!("Object \"{object}\" is unknown, try \"tc help\".")))
        }
    }
}

fn command(words: &mut Words<'_>, object: &str) -> Result<Command, TcError> {
    let Some(word) = words.pop() else { return Ok(Command::Show) };
    let unknown = || TcError::usage(format!("Command \"{word}\" is unknown, try \"tc {object} help\"."));
    let known = |command: &Command| object == "qdisc" || !matches!(command, Command::Change(Verb::Link));
    COMMANDS
        .iter()
        .find(|(full, command)| matches(word, full) && known(command))
        .map(|&(_, command)| command)
        .ok_or_else(unknown)
}

/// The device behind `dev`.
fn device(words: &mut Words<'_>, so_far: Option<&Device>) -> Result<Device, TcError> {
    let name = words.value()?;
    if so_far.is_some() {
        return Err(TcError::duplicate("dev", name));
    }
    words.devices.find(name).ok_or_else(|| TcError::no_device(name))
}

/// The place behind `parent`.
fn parent(words: &mut Words<'_>, so_far: TcHandle) -> Result<TcHandle, TcError> {
    let word = words.value()?;
    if so_far != TcHandle::UNSPEC {
        return Err(TcError::duplicate("parent", word));
    }
    units::classid(word).ok_or_else(|| TcError::argument(word, "invalid parent ID"))
}

/// What is behind `estimator`: the time between two looks, and that after which a change has mostly come through.
fn estimator(words: &mut Words<'_>) -> Result<Estimator, TcError> {
    let bad = |why| TcError::argument(why, "estimator");
    let interval = units::time(words.value()?).ok_or_else(|| bad("invalid estimator interval"))?;
    let constant = units::time(words.value()?).ok_or_else(|| bad("invalid estimator time constant"))?;
    let exponent = (0..=5u8).find(|i| u64::from(interval) <= 250_000 << i);
    let heavier = |log: &u8| {
        let kept = 1.0 - 0.5f64.powi(i32::from(*log));
        f64::from(interval) / -kept.ln() > f64::from(constant)
    };
    // The last weight that is still fast enough; 1 and less is none.
    let ewma_log = (1..32).find(heavier).unwrap_or(32) - 1;
    match exponent {
        Some(interval) if (1..31).contains(&ewma_log) => Ok(Estimator { interval, ewma_log }),
        _ => Err(TcError::usage("Error: estimator parameters are out of range.")),
    }
}

/// `ethernet`, `atm` or `adsl`; true for cells of 53 bytes.
fn link_layer(word: &str) -> Option<bool> {
    lookup(word, &[("ethernet", false), ("atm", true), ("adsl", true)])
}
