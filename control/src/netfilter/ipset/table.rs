//! Sets under change.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use skiff_dataplane::netfilter::ip_tables::rule::{IpSet, SetEntry, SetKind};

use super::element::{self, KINDS};
use crate::config::Fault;
use crate::netfilter::error::{Error, quote};
use crate::netfilter::parse::values::number;

/// Elements a hash takes unless told otherwise.
const MAXELEM: u32 = 65_536;
/// Longest name, in bytes.
const LONGEST_NAME: usize = 31;

/// Which form to print.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Commands that make the set again.
    Save,
    /// The name alone.
    Name,
    /// To be read, perhaps without the members.
    List { members: bool, references: usize },
}

/// One set. Elements are keyed by what tells them apart, which an exception is not.
struct Set {
    name: String,
    kind: SetKind,
    maxelem: u32,
    elements: BTreeMap<SetEntry, bool>,
}

/// All sets, in the order in which they were made.
#[derive(Default)]
pub(super) struct Sets(Vec<Set>);

impl Sets {
    /// A copy of those in force.
    pub fn of(sets: &[IpSet]) -> Sets {
        let element = |entry: &SetEntry| (SetEntry { nomatch: false, ..*entry }, entry.nomatch);
        let set = |set: &IpSet| Set {
            name: set.name.clone(),
            kind: set.kind,
            maxelem: set.maxelem,
            elements: set.entries.iter().map(element).collect(),
        };
        Sets(sets.iter().map(set).collect())
    }

    /// What they come to.
    pub fn into_sets(self) -> Vec<IpSet> {
        let set = |set: Set| IpSet {
            name: set.name,
            kind: set.kind,
            entries: set.elements.into_iter().map(|(entry, nomatch)| SetEntry { nomatch, ..entry }).collect(),
            maxelem: set.maxelem,
        };
        self.0.into_iter().map(set).collect()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|set| set.name.as_str())
    }

    fn place(&self, name: &str) -> Result<usize, Error> {
        self.0.iter().position(|set| set.name == name).ok_or_else(|| {
            let fault = Fault::from(format!("there is no set {}", quote(name)));
            Error::refused(fault.nearest(name, self.names()))
        })
    }

    fn find(&mut self, name: &str) -> Result<&mut Set, Error> {
        let at = self.place(name)?;
        Ok(&mut self.0[at])
    }

    pub fn create(&mut self, name: &str, kind: &str, options: &[&str], exists: bool) -> Result<(), Error> {
        check_name(name)?;
        let Some(&(_, kind)) = KINDS.iter().find(|(known, _)| *known == kind) else {
            let fault = Fault::from(format!("set type {} is not supported", quote(kind)));
            return Err(Error::usage(fault.nearest(kind, KINDS.iter().map(|(name, _)| *name))));
        };
        let maxelem = create_options(kind, options)?;
        match self.0.iter().find(|set| set.name == name) {
            None => self.0.push(Set { name: name.to_owned(), kind, maxelem, elements: BTreeMap::new() }),
            Some(set) if exists && set.kind == kind => {}
            Some(_) => return Err(Error::refused(format!("set {} is there already", quote(name)))),
        }
        Ok(())
    }

    pub fn add(&mut self, name: &str, element: &str, options: &[&str], exists: bool) -> Result<(), Error> {
        let set = self.find(name)?;
        let nomatch = match options {
            [] => false,
            ["nomatch"] if element::has_networks(set.kind) => true,
            [other, ..] => {
                return Err(Error::usage(format!("option {} is not supported in this set", quote(other))));
            }
        };
        for entry in element::parse(set.kind, element)? {
            if set.kind == SetKind::BitmapPort && !range(set.maxelem).contains(&entry.port) {
                return Err(Error::refused(format!(
                    "port {} is out of the range of set {}",
                    entry.port,
                    quote(name)
                )));
            }
            let full = set.kind != SetKind::BitmapPort && set.elements.len() >= set.maxelem as usize;
            match set.elements.get_mut(&entry) {
                Some(there) if exists => *there = nomatch,
                Some(_) => {
                    let entry = element::print(set.kind, &entry);
                    return Err(Error::refused(format!("{entry} is in set {} already", quote(name))));
                }
                None if full => {
                    let most = set.maxelem;
                    return Err(Error::refused(format!(
                        "set {} is full: it takes {most} elements",
                        quote(name)
                    )));
                }
                None => drop(set.elements.insert(entry, nomatch)),
            }
        }
        Ok(())
    }

    pub fn delete(&mut self, name: &str, element: &str, options: &[&str], exists: bool) -> Result<(), Error> {
        let set = self.find(name)?;
        if let Some(option) = options.first() {
            return Err(Error::usage(format!("option {} does not go with del", quote(option))));
        }
        for entry in element::parse(set.kind, element)? {
            if set.elements.remove(&entry).is_none() && !exists {
                let entry = element::print(set.kind, &entry);
                return Err(Error::refused(format!("{entry} is not in set {}", quote(name))));
            }
        }
        Ok(())
    }

    /// Whether an element is in a set; of an address in a set of networks, whether the smallest network around it is
    /// there and no exception.
    pub fn test(&mut self, name: &str, element: &str) -> Result<bool, Error> {
        let set = self.find(name)?;
        let entries = element::parse(set.kind, element)?;
        let [entry] = entries.as_slice() else {
            return Err(Error::usage(format!("{} is more than one element", quote(element))));
        };
        if !element::has_networks(set.kind) || element.contains('/') {
            return Ok(set.elements.get(entry).is_some_and(|nomatch| !nomatch));
        }
        let around = (1..=32u8).rev().find_map(|prefix| {
            let addr = entry.addr & (u32::MAX << (32 - u32::from(prefix)));
            set.elements.get(&SetEntry { addr, prefix, ..*entry })
        });
        Ok(around.is_some_and(|nomatch| !nomatch))
    }

    pub fn destroy(&mut self, name: &str) -> Result<(), Error> {
        let at = self.place(name)?;
        self.0.remove(at);
        Ok(())
    }

    pub fn flush(&mut self, name: Option<&str>) -> Result<(), Error> {
        match name {
            Some(name) => self.find(name)?.elements.clear(),
            None => self.0.iter_mut().for_each(|set| set.elements.clear()),
        }
        Ok(())
    }

    pub fn rename(&mut self, name: &str, new: &str) -> Result<(), Error> {
        check_name(new)?;
        if self.names().any(|known| known == new) {
            return Err(Error::refused(format!("set {} is there already", quote(new))));
        }
        new.clone_into(&mut self.find(name)?.name);
        Ok(())
    }

    /// Exchanges what is in two sets of one type: rules that name the one then mean what was the other.
    pub fn swap(&mut self, one: &str, other: &str) -> Result<(), Error> {
        let (first, second) = (self.place(one)?, self.place(other)?);
        if self.0[first].kind != self.0[second].kind {
            return Err(Error::refused(format!("sets {} and {} are of two types", quote(one), quote(other))));
        }
        self.0.swap(first, second);
        one.clone_into(&mut self.0[first].name);
        other.clone_into(&mut self.0[second].name);
        Ok(())
    }

    /// One set or all of them as text.
    pub fn print(&self, only: Option<&str>, form: impl Fn(&str) -> Form) -> Result<String, Error> {
        let chosen = match only {
            Some(name) => {
                let at = self.place(name)?;
                &self.0[at..=at]
            }
            None => &self.0,
        };
        let mut text = String::new();
        for (at, set) in chosen.iter().enumerate() {
            match form(&set.name) {
                Form::Save => set.save(&mut text),
                Form::Name => {
                    let _ = writeln!(text, "{}", set.name);
                }
                Form::List { members, references } => {
                    text.push_str(if at > 0 { "\n" } else { "" });
                    set.list(&mut text, members, references);
                }
            }
        }
        Ok(text)
    }
}

impl Set {
    fn type_name(&self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(name, _)| name)
    }

    fn header(&self) -> String {
        match self.kind {
            SetKind::BitmapPort => {
                format!("range {}-{}", range(self.maxelem).start(), range(self.maxelem).end())
            }
            _ => format!("family inet hashsize 1024 maxelem {}", self.maxelem),
        }
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let line = |(entry, nomatch): (&SetEntry, &bool)| {
            element::print(self.kind, &SetEntry { nomatch: *nomatch, ..*entry })
        };
        self.elements.iter().map(line)
    }

    fn save(&self, text: &mut String) {
        let _ = writeln!(text, "create {} {} {}", self.name, self.type_name(), self.header());
        for line in self.lines() {
            let _ = writeln!(text, "add {} {line}", self.name);
        }
    }

    fn list(&self, text: &mut String, members: bool, references: usize) {
        let _ = writeln!(text, "Name: {}\nType: {}\nHeader: {}", self.name, self.type_name(), self.header());
        let _ = writeln!(text, "References: {references}\nNumber of entries: {}", self.elements.len());
        if members {
            text.push_str("Members:\n");
            for line in self.lines() {
                let _ = writeln!(text, "{line}");
            }
        }
    }
}

/// The ports of a bitmap: the first in the high half of `maxelem`, the last in the low.
fn range(maxelem: u32) -> std::ops::RangeInclusive<u16> {
    (maxelem >> 16) as u16..=maxelem as u16
}

fn check_name(name: &str) -> Result<(), Error> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '"';
    if name.is_empty() || name.len() > LONGEST_NAME || name.starts_with('-') || name.contains(bad) {
        return Err(Error::usage(format!("{} is no name of a set", quote(name))));
    }
    Ok(())
}

/// Reads the options of `create`: the most elements of a hash, or the range of a bitmap.
fn create_options(kind: SetKind, options: &[&str]) -> Result<u32, Error> {
    let bitmap = kind == SetKind::BitmapPort;
    let (mut maxelem, mut ports) = (MAXELEM, None);
    let mut words = options.iter();
    while let Some(option) = words.next() {
        let mut value =
            || words.next().ok_or_else(|| Error::usage(format!("option {} ends early", quote(option))));
        match *option {
            "maxelem" if !bitmap => {
                let text = value()?;
                let found =
                    number(text, u64::from(u32::MAX)).filter(|&n| n > 0).and_then(|n| u32::try_from(n).ok());
                maxelem =
                    found.ok_or_else(|| Error::usage(format!("{} is no number of elements", quote(text))))?;
            }
            "range" if bitmap => ports = Some(port_range(value()?)?),
            "family" if !bitmap => match *value()? {
                "inet" => {}
                other => return Err(Error::usage(format!("family {} is not supported yet", quote(other)))),
            },
            // The insides of ipset's hashes.
            "hashsize" | "bucketsize" | "initval" if !bitmap => drop(value()?),
            other => {
                return Err(Error::usage(format!("option {} is not supported in this set", quote(other))));
            }
        }
    }
    match (bitmap, ports) {
        (true, Some((first, last))) => Ok(u32::from(first) << 16 | u32::from(last)),
        (true, None) => {
            Err(Error::usage(Fault::from("bitmap:port needs a range").help("write range 0-65535")))
        }
        (false, _) => Ok(maxelem),
    }
}

fn port_range(text: &str) -> Result<(u16, u16), Error> {
    let port = |text: &str| number(text, 65_535).and_then(|n| u16::try_from(n).ok());
    text.split_once('-')
        .and_then(|(first, last)| Some((port(first)?, port(last)?)))
        .filter(|(first, last)| first <= last)
        .ok_or_else(|| Error::usage(format!("{} is no range of ports", quote(text))))
}
