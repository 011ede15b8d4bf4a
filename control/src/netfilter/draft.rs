//! Tables under change: rules that know the line they were written on, chains in iptables' order, and the commands that
//! change them. Nothing here is in force; a draft that [`check`](super::check) finds nothing wrong with becomes a
//! [`Ruleset`].

use skiff_dataplane::netfilter::ip_tables::rule::{
    Chain, IpSet, Policy, Rule, RuleCounters, Ruleset, Table, TableName, Target,
};

use super::error::{Error, quote};
use super::parse::{self, Command};
use crate::config::Fault;

/// Longest name of a chain, in bytes.
const LONGEST_NAME: usize = 28;

/// Tables and sets under change.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub tables: Vec<DraftTable>,
    pub sets: Vec<IpSet>,
}

/// One table.
#[derive(Clone, Debug)]
pub(super) struct DraftTable {
    pub name: TableName,
    /// Built-in chains in hook order, then users' by name.
    pub chains: Vec<DraftChain>,
}

/// One chain.
#[derive(Clone, Debug)]
pub(super) struct DraftChain {
    pub name: String,
    /// Built-in chains have one.
    pub policy: Option<Policy>,
    pub counters: RuleCounters,
    pub rules: Vec<DraftRule>,
}

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct DraftRule {
    pub rule: Rule,
    /// Where it was written; 0 if nowhere.
    pub line: u32,
}

/// The built-in chains of a table, in hook order.
pub(super) fn built_in_chains(table: TableName) -> &'static [&'static str] {
    match table {
        TableName::Filter => &["INPUT", "FORWARD", "OUTPUT"],
        TableName::Mangle => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        TableName::Raw => &["PREROUTING", "OUTPUT"],
    }
}

impl Draft {
    /// A copy of what is in force.
    pub fn of(ruleset: &Ruleset) -> Draft {
        let rule = |rule: &Rule| DraftRule { rule: rule.clone(), line: 0 };
        let chain = |chain: &Chain| DraftChain {
            name: chain.name.clone(),
            policy: chain.policy,
            counters: chain.counters,
            rules: chain.rules.iter().map(rule).collect(),
        };
        let table = |table: &Table| {
            let mut chains: Vec<DraftChain> = table.chains.iter().map(chain).collect();
            let users = chains.partition_point(|chain| chain.policy.is_some());
            chains[users..].sort_by(|one, other| one.name.cmp(&other.name));
            DraftTable { name: table.name, chains }
        };
        Draft { tables: ruleset.tables.iter().map(table).collect(), sets: ruleset.sets.clone() }
    }

    /// What it comes to.
    pub fn into_ruleset(self) -> Ruleset {
        let chain = |chain: DraftChain| Chain {
            name: chain.name,
            policy: chain.policy,
            counters: chain.counters,
            rules: chain.rules.into_iter().map(|rule| rule.rule).collect(),
        };
        let table = |table: DraftTable| Table {
            name: table.name,
            chains: table.chains.into_iter().map(chain).collect(),
        };
        Ruleset { tables: self.tables.into_iter().map(table).collect(), sets: self.sets }
    }

    /// The table of that name, made if it is not there.
    pub fn table(&mut self, name: TableName) -> &mut DraftTable {
        let at = match self.tables.iter().position(|table| table.name == name) {
            Some(at) => at,
            None => {
                self.tables.push(DraftTable::new(name));
                self.tables.len() - 1
            }
        };
        &mut self.tables[at]
    }
}

impl DraftTable {
    /// A table with nothing but its built-in chains.
    pub fn new(name: TableName) -> DraftTable {
        let chain = |name: &&str| DraftChain {
            name: (*name).to_owned(),
            policy: Some(Policy::Accept),
            counters: RuleCounters::default(),
            rules: Vec::new(),
        };
        DraftTable { name, chains: built_in_chains(name).iter().map(chain).collect() }
    }

    /// Empties every chain and deletes those of users; policies stay.
    pub fn clear(&mut self) {
        self.chains.retain(|chain| chain.policy.is_some());
        self.chains.iter_mut().for_each(|chain| chain.rules.clear());
    }

    /// Where the chain of that name stands: among the few built-in ones, or among those of users, which are in order.
    fn place(&self, name: &str) -> Option<usize> {
        let users = self.users();
        let built_in = self.chains[..users].iter().position(|chain| chain.name == name);
        let of_users = || self.chains[users..].binary_search_by(|chain| chain.name.as_str().cmp(name)).ok();
        built_in.or_else(|| of_users().map(|at| users + at))
    }

    /// Where users' chains begin.
    fn users(&self) -> usize {
        self.chains.partition_point(|chain| chain.policy.is_some())
    }

    /// The chain of that name.
    pub fn chain(&mut self, name: &str) -> Result<&mut DraftChain, Error> {
        match self.place(name) {
            Some(at) => Ok(&mut self.chains[at]),
            None => Err(Error::refused(self.no_chain(name))),
        }
    }

    fn no_chain(&self, name: &str) -> Fault {
        let fault = Fault::from(format!("there is no chain {}", quote(name)));
        fault.nearest(name, self.chains.iter().map(|chain| chain.name.as_str()))
    }

    /// Makes a chain.
    pub fn new_chain(&mut self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        if self.place(name).is_some() {
            return Err(Error::refused(format!("chain {} is there already", quote(name))));
        }
        let users = self.users();
        let at = users + self.chains[users..].partition_point(|chain| chain.name.as_str() < name);
        let counters = RuleCounters::default();
        self.chains
            .insert(at, DraftChain { name: name.to_owned(), policy: None, counters, rules: Vec::new() });
        Ok(())
    }

    /// Sets the policy of a built-in chain.
    pub fn set_policy(&mut self, name: &str, policy: Policy) -> Result<(), Error> {
        let chain = self.chain(name)?;
        if chain.policy.is_none() {
            let why = format!("chain {} is not built in and has no policy", quote(name));
            return Err(Error::refused(why));
        }
        chain.policy = Some(policy);
        chain.counters = RuleCounters::default();
        Ok(())
    }

    /// Carries out a command that changes the table; those that only look change nothing. `line` is where it stands.
    pub fn apply(&mut self, command: Command, line: u32) -> Result<(), Error> {
        match command {
            Command::Append(chain, rules) => {
                let rules = self.admit(&chain, rules, line)?;
                self.chain(&chain)?.rules.extend(rules);
            }
            Command::Insert(chain, at, rules) => {
                let rules = self.admit(&chain, rules, line)?;
                let chain = self.chain(&chain)?;
                if at > chain.rules.len() + 1 {
                    return Err(too_big(at, chain));
                }
                chain.rules.splice(at - 1..at - 1, rules);
            }
            Command::Replace(chain, at, rule) => {
                let rules = self.admit(&chain, vec![rule], line)?;
                let chain = self.chain(&chain)?;
                if at > chain.rules.len() {
                    return Err(too_big(at, chain));
                }
                chain.rules.splice(at - 1..at, rules);
            }
            Command::Delete(chain, rules) => {
                for rule in rules {
                    let (chain, at) = self.find(&chain, &rule)?;
                    chain.rules.remove(at);
                }
            }
            Command::DeleteAt(chain, at) => {
                let chain = self.chain(&chain)?;
                if at > chain.rules.len() {
                    return Err(too_big(at, chain));
                }
                chain.rules.remove(at - 1);
            }
            Command::Check(chain, rules) => {
                rules.iter().try_for_each(|rule| self.find(&chain, rule).map(drop))?;
            }
            Command::Flush(Some(chain)) => self.chain(&chain)?.rules.clear(),
            Command::Flush(None) => self.chains.iter_mut().for_each(|chain| chain.rules.clear()),
            Command::Zero(chain, rule) => self.zero(chain.as_deref(), rule)?,
            Command::NewChain(name) => self.new_chain(&name)?,
            Command::DeleteChain(Some(name)) => self.delete_chain(&name)?,
            Command::DeleteChain(None) => self.delete_chains()?,
            Command::RenameChain(old, new) => self.rename_chain(&old, &new)?,
            Command::Policy(chain, policy) => self.set_policy(&chain, policy)?,
            Command::List(chain, rule, zero) | Command::ListRules(chain, rule, zero) => {
                if let Some(name) = &chain {
                    self.chain(name)?;
                }
                if zero {
                    self.zero(chain.as_deref(), rule)?;
                }
            }
        }
        Ok(())
    }

    /// Rules that may stand in a chain, which must be there as must be those they jump to.
    fn admit(&mut self, chain: &str, rules: Vec<Rule>, line: u32) -> Result<Vec<DraftRule>, Error> {
        self.chain(chain)?;
        for rule in &rules {
            if let Some(option) = parse::misplaced_interface(chain, &rule.ip) {
                return Err(Error::usage(format!(
                    "{option} cannot be used in {chain}, whose packets have none"
                )));
            }
            let Target::Jump { chain: to, goto } = &rule.target else { continue };
            match self.place(to).map(|at| &self.chains[at]) {
                Some(to) if to.policy.is_some() => {
                    return Err(Error::refused(format!(
                        "chain {} is built in: nothing jumps there",
                        quote(&to.name)
                    )));
                }
                Some(_) => {}
                None => return Err(Error::usage(self.no_target(to, *goto))),
            }
        }
        Ok(rules.into_iter().map(|rule| DraftRule { rule, line }).collect())
    }

    fn no_target(&self, name: &str, goto: bool) -> Fault {
        let chains =
            self.chains.iter().filter(|chain| chain.policy.is_none()).map(|chain| chain.name.as_str());
        if goto {
            return Fault::from(format!("there is no chain {} to go to", quote(name))).nearest(name, chains);
        }
        let fault = Fault::from(format!("there is no target or chain {}", quote(name)));
        if let Some(target) = parse::target_names().find(|target| target.eq_ignore_ascii_case(name)) {
            return fault.help(format!("did you mean {}?", quote(target)));
        }
        let known: Vec<&str> = chains.chain(parse::target_names().map(|name| -> &str { name })).collect();
        fault.nearest(name, known)
    }

    fn find(&mut self, chain: &str, rule: &Rule) -> Result<(&mut DraftChain, usize), Error> {
        let chain = self.chain(chain)?;
        let same = |found: &DraftRule| {
            found.rule.ip == rule.ip && found.rule.matches == rule.matches && found.rule.target == rule.target
        };
        match chain.rules.iter().position(same) {
            Some(at) => Ok((chain, at)),
            None => Err(Error::refused(format!("chain {} has no such rule", quote(&chain.name)))),
        }
    }

    fn zero(&mut self, chain: Option<&str>, rule: Option<usize>) -> Result<(), Error> {
        match (chain, rule) {
            (None, _) => self.chains.iter_mut().for_each(DraftChain::zero),
            (Some(name), None) => self.chain(name)?.zero(),
            (Some(name), Some(at)) => {
                let chain = self.chain(name)?;
                match chain.rules.get_mut(at - 1) {
                    Some(rule) => rule.rule.counters = RuleCounters::default(),
                    None => return Err(too_big(at, chain)),
                }
            }
        }
        Ok(())
    }

    /// How many rules jump to a chain.
    pub fn references(&self, name: &str) -> usize {
        let to = |rule: &DraftRule| matches!(&rule.rule.target, Target::Jump { chain, .. } if chain == name);
        self.chains.iter().map(|chain| chain.rules.iter().filter(|rule| to(rule)).count()).sum()
    }

    fn delete_chain(&mut self, name: &str) -> Result<(), Error> {
        let chain = self.chain(name)?;
        let (built_in, rules) = (chain.policy.is_some(), chain.rules.len());
        if built_in {
            return Err(Error::refused(format!("chain {} is built in", quote(name))));
        }
        if rules > 0 {
            let fault = Fault::from(format!("chain {} is not empty", quote(name)));
            return Err(Error::refused(fault.help(format!("flush it with -F {name}"))));
        }
        match self.references(name) {
            0 => self.chains.retain(|chain| chain.name != name),
            used => return Err(Error::refused(format!("{used} rules jump to chain {}", quote(name)))),
        }
        Ok(())
    }

    fn delete_chains(&mut self) -> Result<(), Error> {
        let users = self.chains.iter().filter(|chain| chain.policy.is_none());
        let names: Vec<String> = users.map(|chain| chain.name.clone()).collect();
        names.iter().try_for_each(|name| self.delete_chain(name))
    }

    fn rename_chain(&mut self, old: &str, new: &str) -> Result<(), Error> {
        check_name(new)?;
        if self.chain(old)?.policy.is_some() {
            return Err(Error::refused(format!("chain {} is built in", quote(old))));
        }
        if self.place(new).is_some() {
            return Err(Error::refused(format!("chain {} is there already", quote(new))));
        }
        let Some(at) = self.place(old) else { return Ok(()) };
        let mut renamed = self.chains.remove(at);
        self.new_chain(new)?;
        std::mem::swap(&mut renamed.rules, &mut self.chain(new)?.rules);
        for rule in self.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
            if let Target::Jump { chain, .. } = &mut rule.rule.target
                && chain == old
            {
                new.clone_into(chain);
            }
        }
        Ok(())
    }
}

impl DraftChain {
    fn zero(&mut self) {
        self.counters = RuleCounters::default();
        self.rules.iter_mut().for_each(|rule| rule.rule.counters = RuleCounters::default());
    }
}

fn too_big(at: usize, chain: &DraftChain) -> Error {
    let count = chain.rules.len();
    Error::refused(format!("chain {} has {count} rules, so there is no number {at}", quote(&chain.name)))
}

/// Whether a chain of users' may have this name.
fn check_name(name: &str) -> Result<(), Error> {
    let bad = |why: &str| Err(Error::usage(format!("{} is no name of a chain: {why}", quote(name))));
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"') {
        return bad("it is empty or has blanks");
    }
    if name.starts_with(['-', '!']) {
        return bad("it begins as an option does");
    }
    if name.len() > LONGEST_NAME {
        return bad(&format!("it has more than {LONGEST_NAME} bytes"));
    }
    if parse::is_target(name) {
        return bad("a target is called so");
    }
    Ok(())
}
