//! `tc qdisc ...`

use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::params::QdiscSpec;

use super::super::error::TcError;
use super::super::request::{Device, KindWords, NodeSpec, QdiscChange, QdiscFilter, Request, Verb};
use super::super::units;
use super::super::words::{Words, lookup, matches};
use super::{device, estimator, fifo, help, htb, parent, prio, red, tbf};

/// Kinds that tc knows options of and we have nothing of.
const OTHERS: [&str; 28] = [
    "atm", "cake", "cbq", "cbs", "choke", "codel", "drr", "dsmark", "etf", "ets", "fq", "fq_codel", "fq_pie",
    "gred", "hfsc", "hhf", "mqprio", "netem", "pie", "plug", "qfq", "rr", "sfb", "sfq", "skbprio", "taprio",
    "teql0", "teql1",
];

#[derive(Clone, Copy)]
enum Word {
    Estimator,
    Stab,
    IngressBlock,
    EgressBlock,
    Help,
}

/// What may be abbreviated. `dev`, `handle`, `root`, `parent`, `ingress` and `clsact` may not.
const WORDS: [(&str, Word); 5] = [
    ("estimator", Word::Estimator),
    ("stab", Word::Stab),
    ("ingress_block", Word::IngressBlock),
    ("egress_block", Word::EgressBlock),
    ("help", Word::Help),
];

/// Reads what follows `add` and its kin.
pub(super) fn change(verb: Verb, mut words: Words<'_>) -> Result<Request, TcError> {
    let mut change = QdiscChange::default();
    while let Some(word) = words.pop() {
        match word {
            "dev" => change.dev = Some(device(&mut words, change.dev.as_ref())?),
            "handle" => change.handle = handle(&mut words, change.handle)?,
            "root" if change.parent != TcHandle::UNSPEC => {
                return Err(TcError::usage("Error: \"root\" is duplicate parent ID"));
            }
            "root" => change.parent = TcHandle::ROOT,
            "parent" => change.parent = parent(&mut words, change.parent)?,
            "ingress" | "clsact" => {
                sides(&mut change, word, words)?;
                break;
            }
            word => match lookup(word, &WORDS) {
                Some(Word::Estimator) => change.estimator = Some(estimator(&mut words)?),
                Some(Word::Stab) => {
                    return Err(TcError::refused(
                        "Size tables are not supported: give the overhead to the shaper",
                    ));
                }
                Some(Word::IngressBlock | Word::EgressBlock) => {
                    return Err(TcError::refused("Block sharing is not supported"));
                }
                Some(Word::Help) => return Ok(Request::Help(help::QDISC)),
                None => {
                    change.kind = Some(kind(word, words, change.dev.as_ref())?);
                    break;
                }
            },
        }
    }
    Ok(Request::Qdisc(verb, change))
}

fn handle(words: &mut Words<'_>, so_far: TcHandle) -> Result<TcHandle, TcError> {
    if so_far != TcHandle::UNSPEC {
        return Err(TcError::duplicate("handle", "handle"));
    }
    let word = words.value()?;
    units::qdisc_handle(word).ok_or_else(|| TcError::argument(word, "invalid qdisc ID"))
}

/// `ingress` and `clsact`, which are a place and a kind at once.
fn sides(change: &mut QdiscChange, word: &str, mut words: Words<'_>) -> Result<(), TcError> {
    if change.parent != TcHandle::UNSPEC {
        return Err(TcError::usage(format!("Error: \"{word}\" is a duplicate parent ID")));
    }
    let spec = if word == "ingress" { NodeSpec::Ingress } else { NodeSpec::Clsact };
    while let Some(option) = words.pop() {
        // It was an option of ingress once.
        if word != "ingress" || option != "handle" {
            return Err(TcError::what_is(option, &format!("Usage: ... {word}")));
        }
        words.value()?;
    }
    change.parent = TcHandle::INGRESS;
    change.handle = TcHandle::INGRESS.qdisc();
    change.kind =
        Some(KindWords { name: word.to_owned(), spec: Some(spec), given: false, notes: String::new() });
    Ok(())
}

/// The kind, and all the rest of the line, which belongs to it.
fn kind(name: &str, words: Words<'_>, dev: Option<&Device>) -> Result<KindWords, TcError> {
    let given = words.peek().is_some();
    let sched = |spec| Some(NodeSpec::Sched(spec));
    let mut notes = String::new();
    let (spec, given) = match name {
        "pfifo" | "bfifo" | "pfifo_head_drop" => (sched(fifo::read(name, words, dev)?), given),
        "pfifo_fast" if given => {
            return Err(TcError::usage("qdisc 'pfifo_fast' does not support option parsing"));
        }
        "pfifo_fast" => (sched(QdiscSpec::PfifoFast { limit: Device::TX_QUEUE_LEN }), false),
        "prio" => (sched(QdiscSpec::Prio(prio::read(words)?)), true),
        "tbf" => (sched(QdiscSpec::Tbf(tbf::read(words, dev)?)), true),
        "red" => (sched(QdiscSpec::Red(red::read(words, dev, &mut notes)?)), true),
        "htb" => (sched(QdiscSpec::Htb(htb::read(words)?)), true),
        name if OTHERS.contains(&name) => (None, given),
        name => match words.peek() {
            Some(option) => {
                let text = format!("Unknown qdisc \"{name}\", hence option \"{option}\" is unparsable");
                return Err(TcError::words(text));
            }
            None => ((name == "noqueue").then_some(NodeSpec::Noqueue), false),
        },
    };
    Ok(KindWords { name: name.to_owned(), spec, given, notes })
}

/// Reads what follows `show`.
pub(super) fn show(mut words: Words<'_>) -> Result<Request, TcError> {
    let mut filter = QdiscFilter::default();
    let twice = |word, what| TcError::argument(word, &format!("{what} is already specified"));
    while let Some(word) = words.pop() {
        match word {
            "dev" => filter.dev = Some(device(&mut words, None)?),
            "root" | "ingress" | "clsact" => {
                let place = if word == "root" { TcHandle::ROOT } else { TcHandle::INGRESS };
                if filter.parent.replace(place).is_some() {
                    return Err(twice(word, "parent"));
                }
            }
            word if matches(word, "parent") => {
                if filter.parent.is_some() {
                    return Err(twice(word, "parent"));
                }
                filter.parent = Some(parent(&mut words, TcHandle::UNSPEC)?);
            }
            word if matches(word, "handle") => {
                if filter.handle.is_some() {
                    return Err(twice(word, "handle"));
                }
                let value = words.value()?;
                let handle = units::qdisc_handle(value);
                filter.handle = Some(handle.ok_or_else(|| TcError::argument(value, "invalid handle ID"))?);
            }
            // Defaults inside of trees, which have no names.
            "invisible" => {}
            word if matches(word, "help") => return Ok(Request::Help(help::QDISC)),
            word => {
                return Err(TcError::usage(format!("What is \"{word}\"? Try \"tc qdisc help\".")));
            }
        }
    }
    Ok(Request::QdiscShow(filter))
}
