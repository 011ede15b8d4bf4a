//! Which option a name is, among those of the extensions loaded so far.

use super::{Jump, Loaded, Reader};
use crate::config::Fault;
use crate::netfilter::error::quote;
use crate::netfilter::names;
use crate::netfilter::parse::globals::{self, Global};
use crate::netfilter::parse::options::{Given, Spec};
use crate::netfilter::parse::{matches, targets, unsupported};

/// What a long option turned out to be.
pub(super) enum Found {
    Global(Global, bool),
    Match(usize, &'static Spec),
    Target(&'static Spec),
}

impl Reader<'_> {
    /// Finds a long option: exactly, the newest extension first; or by a beginning that only one option has.
    pub(super) fn find(&self, name: &str) -> Result<Option<Found>, Fault> {
        let all = || self.known();
        if let Some((_, found)) = all().find(|(known, _)| *known == name) {
            return Ok(Some(found));
        }
        let mut begun = all().filter(|(known, _)| known.starts_with(name));
        let Some((first, found)) = begun.next() else { return Ok(None) };
        // Two names of one option are no choice.
        match begun.find(|(_, other)| !other.same(&found)) {
            Some((second, _)) => {
                Err(format!("option \"--{name}\" may be \"--{first}\" or \"--{second}\"").into())
            }
            None => Ok(Some(found)),
        }
    }

    /// Every long option that can stand here.
    fn known(&self) -> impl Iterator<Item = (&'static str, Found)> {
        let target = match &self.jump {
            Some(Jump::Extension(loaded)) => loaded.extension.options,
            _ => &[],
        };
        let target =
            target.iter().flat_map(|spec| spec.names.iter().map(move |name| (*name, Found::Target(spec))));
        let matches = self.matches.iter().enumerate().rev().flat_map(|(at, loaded)| {
            loaded
                .extension
                .options
                .iter()
                .flat_map(move |spec| spec.names.iter().map(move |name| (*name, Found::Match(at, spec))))
        });
        let globals = globals::long_names().map(|(name, global, arg)| (name, Found::Global(global, arg)));
        target.chain(matches).chain(globals)
    }

    /// Loads the match of the protocol; false if it is there or there is none.
    pub(super) fn imply(&mut self) -> Result<bool, Fault> {
        let Some(proto) = self.ip.proto.filter(|_| !self.implied) else { return Ok(false) };
        let name = names::protocol_name(proto.value);
        self.implied = true;
        if matches::find(&name).is_none() {
            return match unsupported::matching(&name) {
                Some(fault) => Err(fault),
                None => Ok(false),
            };
        }
        self.load(&name)?;
        Ok(true)
    }

    pub(super) fn load(&mut self, name: &str) -> Result<(), Fault> {
        match matches::find(name) {
            Some(extension) => {
                let given = Given { what: format!("match \"{name}\""), options: Vec::new() };
                self.matches.push(Loaded { extension, given });
                Ok(())
            }
            None => Err(unsupported::matching(name).unwrap_or_else(|| {
                Fault::from(format!("there is no match {}", quote(name))).nearest(name, matches::names())
            })),
        }
    }

    /// Why `--name` means nothing here.
    pub(super) fn unknown(&self, name: &str) -> Fault {
        let dashed = format!("--{name}");
        let of = |what: &str, options: &'static [Spec]| {
            let names: Vec<String> =
                options.iter().flat_map(|spec| spec.names).map(|name| format!("--{name}")).collect();
            let fault = Fault::from(format!("unknown option {} of {what}", quote(&dashed)));
            Some(fault.nearest(&dashed, names.iter().map(String::as_str)))
                .filter(|fault| fault.help.is_some())
        };
        let target = match &self.jump {
            Some(Jump::Extension(loaded)) => of(&loaded.given.what, loaded.extension.options),
            _ => None,
        };
        let matching = || self.matches.iter().rev().find_map(|m| of(&m.given.what, m.extension.options));
        target.or_else(matching).unwrap_or_else(|| {
            let fault = Fault::from(format!("unknown option {}", quote(&dashed)));
            match home(name) {
                Some(home) => fault.help(format!("it belongs to {home}, which stands before it")),
                None => {
                    let globals: Vec<String> =
                        globals::long_names().map(|(name, ..)| format!("--{name}")).collect();
                    fault.nearest(&dashed, globals.iter().map(String::as_str))
                }
            }
        })
    }
}

impl Found {
    fn same(&self, other: &Found) -> bool {
        match (self, other) {
            (Found::Global(one, _), Found::Global(other, _)) => one == other,
            (Found::Match(_, one), Found::Match(_, other)) => one.names == other.names,
            (Found::Target(one), Found::Target(other)) => one.names == other.names,
            _ => false,
        }
    }
}

/// Which extension an option belongs to.
fn home(name: &str) -> Option<String> {
    let has = |options: &[Spec]| options.iter().any(|spec| spec.names.contains(&name));
    if has(matches::find("udp")?.options) {
        return Some("-p tcp or -p udp".to_owned());
    }
    let matching = matches::names().find(|m| matches::find(m).is_some_and(|m| has(m.options)));
    let target = || targets::names().find(|t| targets::find(t).is_some_and(|t| has(t.options)));
    matching.map(|name| format!("-m {name}")).or_else(|| target().map(|name| format!("-j {name}")))
}
