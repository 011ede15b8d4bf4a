//! From rules as data to the programs lcores run: names become numbers, chains are checked, classifiers are built.

mod calls;
mod check;
mod demand;
mod layout;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::classify::Field;
use super::counts::Counts;
use super::demands::{Accepts, Filter};
use super::hashlimit::Hashlimit;
use super::limit::Limit;
use super::matches::Matcher;
use super::program::*;
use super::rule::{self, *};
use super::sets::SetLookup;
use super::table_text;
use super::target::Extension;
use super::tcpmss::Mss;
use crate::net::IfIndex;
use crate::netfilter::hooks::{Hook, HookEntry, priority};
use crate::netfilter::nf_log::{LogSpec, log_flags};
use check::{check_place, check_protocol};
use demand::filter_of;

/// What rules refer to.
#[derive(Clone, Copy, Debug)]
pub struct CompileEnv<'a> {
    /// The devices there are. A rule about another one matches no packet (or every one, if negated); compile again when
    /// a device comes, goes or is renamed.
    pub devices: &'a [(IfIndex, &'a str)],
    /// Worker lcores, each of which counts for itself.
    pub lcores: usize,
    /// The lcores' clock, milliseconds: when buckets begin.
    pub now_millis: u64,
    /// The rules in force, whose hashlimit tables hand on what they remember.
    pub previous: Option<&'a Compiled>,
    /// Tables that are the same in it. Their limits and counts go on; those of others begin anew, as in the kernel, where
    /// every change loads a whole table.
    pub unchanged: &'a [TableName],
}

/// Why a rule set cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{table}: {chain}{}: {problem}", rule_text(.rule))]
pub struct CompileError {
    /// Name of the table.
    pub table: &'static str,
    /// The chain.
    pub chain: String,
    /// The rule in it, from 1, if it is about one.
    pub rule: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

fn rule_text(rule: &Option<usize>) -> String {
    rule.map_or_else(String::new, |n| format!(" rule {n}"))
}

/// What is wrong with a rule set, by the kernel's reasons.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// ENOENT
    #[error("no chain \"{0}\"")]
    NoChain(String),
    /// ENOENT
    #[error("no set \"{0}\"")]
    NoSet(String),
    /// EEXIST
    #[error("there are two of that name")]
    Twice,
    /// EINVAL: a jump to a built-in chain, a policy where there can be none.
    #[error("{0}")]
    Chain(&'static str),
    /// ELOOP
    #[error("chains call each other in a circle")]
    Loop,
    /// More nested calls than the engine takes.
    #[error("calls of chains nest deeper than {MAX_DEPTH}")]
    TooDeep,
    /// EINVAL
    #[error("{0} needs -p {1}")]
    Protocol(&'static str, &'static str),
    /// EINVAL
    #[error("{what} is valid only in {place}")]
    Place {
        /// The target or match.
        what: &'static str,
        /// Where it may stand.
        place: &'static str,
    },
    /// ERANGE
    #[error("{0}: rate or burst out of range")]
    Range(&'static str),
}

/// A rule set ready to run.
#[derive(Debug)]
pub struct Compiled {
    programs: Vec<Arc<Program>>,
    states: BTreeMap<StateKey, State>,
    hashlimits: BTreeMap<String, (HashlimitMatch, Arc<Hashlimit>)>,
}

/// Table, chain, rule and match that remembers something.
type StateKey = (TableName, String, usize, usize);

#[derive(Clone, Debug)]
enum State {
    Limit(Arc<Limit>),
    Nth(Arc<AtomicU32>),
}

impl Compiled {
    /// What to register at which hook. A table that was loaded has its function at all its hooks, since its policies
    /// count.
    pub fn hooks(&self) -> Vec<(Hook, HookEntry)> {
        let mut entries = Vec::new();
        for program in &self.programs {
            let priority = match program.name {
                TableName::Raw => priority::RAW,
                TableName::Mangle => priority::MANGLE,
                TableName::Filter => priority::FILTER,
            };
            for &(hook, name) in builtins(program.name) {
                if let Some(chain) = program.chains.iter().position(|c| &*c.name == name) {
                    let function = Arc::new(TableHook { program: Arc::clone(program), chain: chain as u32 });
                    entries.push((hook, HookEntry { priority, dev: None, function }));
                }
            }
        }
        entries
    }

    /// Counters of all rules and policies, in the order of the rule set: for each chain of each table first its policy's,
    /// then its rules'.
    pub fn counters(&self) -> Vec<RuleCounters> {
        self.places().map(|(program, at)| program.counts.read(at)).collect()
    }

    /// Adds to counters in the same order: what was counted elsewhere. Missing ones are left as they are.
    pub fn add_counters(&self, more: &[RuleCounters]) {
        self.places().zip(more).for_each(|((program, at), more)| program.counts.add(at, *more));
    }

    /// Writes the counters into the rule set this was compiled from.
    pub fn read_into(&self, ruleset: &mut Ruleset) {
        counters_of(ruleset).zip(self.counters()).for_each(|(place, live)| *place = live);
    }

    fn places(&self) -> impl Iterator<Item = (&Arc<Program>, usize)> {
        self.programs.iter().flat_map(|program| {
            program
                .chains
                .iter()
                .enumerate()
                .flat_map(move |(i, chain)| {
                    let policy = program.rules.len() + i;
                    std::iter::once(policy).chain(chain.rules.start as usize..chain.rules.end as usize)
                })
                .map(move |at| (program, at))
        })
    }
}

/// The counters of a rule set, in the order of [`Compiled::counters`].
pub fn counters_of(ruleset: &mut Ruleset) -> impl Iterator<Item = &mut RuleCounters> {
    ruleset.tables.iter_mut().flat_map(|t| &mut t.chains).flat_map(|chain| {
        std::iter::once(&mut chain.counters).chain(chain.rules.iter_mut().map(|r| &mut r.counters))
    })
}

/// The built-in chains of a table.
const fn builtins(table: TableName) -> &'static [(Hook, &'static str)] {
    match table {
        TableName::Filter => {
            &[(Hook::LocalIn, "INPUT"), (Hook::Forward, "FORWARD"), (Hook::LocalOut, "OUTPUT")]
        }
        TableName::Mangle => &[
            (Hook::PreRouting, "PREROUTING"),
            (Hook::LocalIn, "INPUT"),
            (Hook::Forward, "FORWARD"),
            (Hook::LocalOut, "OUTPUT"),
            (Hook::PostRouting, "POSTROUTING"),
        ],
        TableName::Raw => &[(Hook::PreRouting, "PREROUTING"), (Hook::LocalOut, "OUTPUT")],
    }
}

/// Compiles a rule set. The counters in it are where counting begins.
///
/// # Errors
/// The first thing the kernel would not take either.
pub fn compile(ruleset: &Ruleset, env: &CompileEnv<'_>) -> Result<Compiled, CompileError> {
    let traced = ruleset
        .tables
        .iter()
        .flat_map(|t| &t.chains)
        .flat_map(|c| &c.rules)
        .any(|r| r.target == Target::Trace);
    let mut compiled =
        Compiled { programs: Vec::new(), states: BTreeMap::new(), hashlimits: BTreeMap::new() };
    let named = env.devices.iter().map(|(dev, name)| (*name, *dev)).collect();
    let mut shared = SharedParts { ruleset, env, named, sets: HashMap::new() };
    for (i, table) in ruleset.tables.iter().enumerate() {
        if ruleset.tables.iter().take(i).any(|t| t.name == table.name) {
            return Err(error(table, "", None, Problem::Twice));
        }
        let program = TableCompiler::new(table, &mut shared, &mut compiled)?.program(traced)?;
        compiled.programs.push(Arc::new(program));
    }
    Ok(compiled)
}

/// What the tables of a rule set share.
struct SharedParts<'a> {
    ruleset: &'a Ruleset,
    env: &'a CompileEnv<'a>,
    /// Devices by their names.
    named: HashMap<&'a str, IfIndex>,
    sets: HashMap<&'a str, Arc<SetLookup>>,
}

fn error(table: &Table, chain: &str, rule: Option<usize>, problem: Problem) -> CompileError {
    CompileError {
        table: table_text(table.name),
        chain: chain.to_owned(),
        rule: rule.map(|n| n + 1),
        problem,
    }
}

struct TableCompiler<'a, 'b> {
    table: &'a Table,
    shared: &'b mut SharedParts<'a>,
    compiled: &'b mut Compiled,
    numbers: HashMap<&'a str, u32>,
    /// The hooks each chain is reached from, a bit for each.
    hooks: Vec<u32>,
    /// The chains so that callers stand before those they call.
    order: Vec<u32>,
}

impl<'a, 'b> TableCompiler<'a, 'b> {
    fn new(
        table: &'a Table,
        shared: &'b mut SharedParts<'a>,
        compiled: &'b mut Compiled,
    ) -> Result<Self, CompileError> {
        let mut numbers = HashMap::new();
        for (i, chain) in table.chains.iter().enumerate() {
            let built_in = builtins(table.name).iter().any(|(_, name)| *name == chain.name);
            if built_in != chain.policy.is_some() {
                let problem = Problem::Chain("built-in chains have a policy, and no other chain has");
                return Err(error(table, &chain.name, None, problem));
            }
            if numbers.insert(chain.name.as_str(), i as u32).is_some() {
                return Err(error(table, &chain.name, None, Problem::Twice));
            }
        }
        let hooks = vec![0; table.chains.len()];
        let mut compiler = TableCompiler { table, shared, compiled, numbers, hooks, order: Vec::new() };
        compiler.follow_calls()?;
        Ok(compiler)
    }

    fn program(mut self, traced: bool) -> Result<Program, CompileError> {
        let (mut chains, mut rules, mut demands, mut initial) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (number, chain) in self.table.chains.iter().enumerate() {
            let first = rules.len() as u32;
            for (i, rule) in chain.rules.iter().enumerate() {
                let (compiled, demand) = self
                    .rule(chain, i, rule, self.hooks[number])
                    .map_err(|problem| error(self.table, &chain.name, Some(i), problem))?;
                rules.push(compiled);
                demands.push(demand);
                initial.push(rule.counters);
            }
            chains.push(super::program::Chain {
                name: chain.name.as_str().into(),
                policy: chain.policy,
                rules: first..rules.len() as u32,
                chunks: 0..0,
            });
        }
        initial.extend(self.table.chains.iter().map(|chain| chain.counters));
        let with_ports =
            demands.iter().any(|(filter, exact)| *exact == Exact::WithPorts || filter.has_ports());
        let with_devices = rules.iter().any(|rule| rule.iif.is_some() || rule.oif.is_some());
        let (steps, chunks) = layout::steps(&mut chains, &rules, &demands, &self.order, !traced);
        Ok(Program {
            name: self.table.name,
            chains: chains.into(),
            rules: rules.into(),
            steps: steps.into(),
            chunks: chunks.into(),
            with_ports,
            with_devices,
            traced,
            counts: Counts::new(self.shared.env.lcores, &initial),
        })
    }

    fn rule(
        &mut self,
        chain: &rule::Chain,
        number: usize,
        rule: &rule::Rule,
        hooks: u32,
    ) -> Result<(super::program::Rule, (Filter, Exact)), Problem> {
        check_protocol(rule)?;
        check_place(self.table.name, hooks, rule)?;
        let action = self.action(rule)?;
        let iif = rule.ip.iniface.as_ref().map(|i| self.devices(i));
        let oif = rule.ip.outiface.as_ref().map(|i| self.devices(i));
        let demand = filter_of(rule, &iif, &oif);
        let mut matches = Vec::new();
        for (i, m) in rule.matches.iter().enumerate() {
            if !matches!(m, Match::Comment(_)) {
                matches.push(self.matcher((self.table.name, chain.name.clone(), number, i), m)?);
            }
        }
        let ip = IpMatch { iniface: None, outiface: None, ..rule.ip.clone() };
        let verdict = matches!(action, Action::Accept | Action::Drop | Action::Return);
        let unconditional = verdict && rule.ip == IpMatch::default() && rule.matches.is_empty();
        let matches = matches.into();
        Ok((super::program::Rule { action, unconditional, ip, iif, oif, matches }, demand))
    }

    /// The numbers of the devices an interface match is about, 0 standing for none.
    fn devices(&self, m: &IfaceMatch) -> Accepts {
        let (named, devices) = (&self.shared.named, self.shared.env.devices);
        // Numbers that no device has are like none: of the empty name.
        let empty = m.name.is_empty();
        let others: Vec<IfIndex> = match m.wildcard {
            true => {
                let others = devices.iter().filter(|(_, name)| name.starts_with(&m.name) != empty);
                others.map(|(dev, _)| *dev).collect()
            }
            false if empty => devices.iter().map(|(dev, _)| *dev).collect(),
            false => named.get(m.name.as_str()).copied().into_iter().collect(),
        };
        let others = Accepts::ranges(others.into_iter().map(|dev| (u32::from(dev.0), u32::from(dev.0))));
        others.inverted_if(empty != m.invert, Field::Iif)
    }

    fn matcher(&mut self, key: StateKey, m: &Match) -> Result<Matcher, Problem> {
        let env = self.shared.env;
        let previous = env.previous.filter(|_| env.unchanged.contains(&key.0));
        let kept = previous.and_then(|p| p.states.get(&key)).cloned();
        Ok(match m {
            Match::Limit(spec) => {
                let limit = match kept {
                    Some(State::Limit(limit)) => limit,
                    _ => {
                        Arc::new(Limit::new(spec, self.shared.env.now_millis).ok_or(Problem::Range("limit"))?)
                    }
                };
                self.compiled.states.insert(key, State::Limit(Arc::clone(&limit)));
                Matcher::Limit(limit)
            }
            Match::Statistic(Inv { value: StatisticMatch::Nth { every, packet }, invert }) => {
                let last = every.saturating_sub(1);
                if *packet > last {
                    return Err(Problem::Range("statistic"));
                }
                let count = match kept {
                    Some(State::Nth(count)) => count,
                    _ => Arc::new(AtomicU32::new(last - packet)),
                };
                self.compiled.states.insert(key, State::Nth(Arc::clone(&count)));
                Matcher::Nth { every: *every, invert: *invert, count }
            }
            Match::Hashlimit(spec) => Matcher::Hashlimit { above: spec.above, table: self.hashlimit(spec)? },
            Match::Set(spec) => Matcher::Set(spec.clone(), self.set(&spec.name)?),
            plain => Matcher::Plain(plain.clone()),
        })
    }

    /// The table of that name: one a rule set, and the one in force if it is of the same kind.
    fn hashlimit(&mut self, spec: &HashlimitMatch) -> Result<Arc<Hashlimit>, Problem> {
        if let Some((_, table)) = self.compiled.hashlimits.get(&spec.name) {
            return Ok(Arc::clone(table));
        }
        let spec = HashlimitMatch { above: false, ..spec.clone() };
        let old = self.shared.env.previous.and_then(|p| p.hashlimits.get(&spec.name));
        let table = match old.filter(|(old, _)| *old == spec) {
            Some((_, table)) => Arc::clone(table),
            None => Arc::new(Hashlimit::new(&spec).ok_or(Problem::Range("hashlimit"))?),
        };
        self.compiled.hashlimits.insert(spec.name.clone(), (spec, Arc::clone(&table)));
        Ok(table)
    }

    fn set(&mut self, name: &str) -> Result<Arc<SetLookup>, Problem> {
        let ruleset = self.shared.ruleset;
        let set =
            ruleset.sets.iter().find(|s| s.name == name).ok_or_else(|| Problem::NoSet(name.to_owned()))?;
        Ok(Arc::clone(self.shared.sets.entry(&set.name).or_insert_with(|| Arc::new(SetLookup::new(set)))))
    }

    fn action(&self, rule: &rule::Rule) -> Result<Action, Problem> {
        let extension = match &rule.target {
            Target::None => return Ok(Action::Next),
            Target::Accept => return Ok(Action::Accept),
            Target::Drop => return Ok(Action::Drop),
            Target::Return => return Ok(Action::Return),
            Target::Jump { chain, goto } => {
                let number =
                    self.numbers.get(chain.as_str()).ok_or_else(|| Problem::NoChain(chain.clone()))?;
                return Ok(Action::Jump { chain: *number, goto: *goto });
            }
            Target::Reject(with) => Extension::Reject(*with),
            Target::Log(log) => {
                let spec =
                    LogSpec { prefix: log.prefix.clone(), level: log.level, flags: log.flags, group: None };
                Extension::Log(Arc::new(spec))
            }
            Target::Nflog(log) => Extension::Log(Arc::new(LogSpec {
                prefix: log.prefix.clone(),
                level: 5,
                flags: log_flags::ALL,
                group: Some(log.group),
            })),
            Target::Nfqueue(queue) => Extension::Nfqueue(*queue),
            Target::Mark(m) => Extension::Mark { value: m.value, mask: m.mask },
            Target::Classify(class) => Extension::Classify(*class),
            Target::Dscp(dscp) => Extension::Tos(Masked8 { value: dscp << 2, mask: 0xfc }),
            Target::Tos(tos) => Extension::Tos(*tos),
            Target::Ttl(ttl) => Extension::Ttl(*ttl),
            Target::Tcpmss(TcpmssTarget::Set(mss)) => Extension::Tcpmss(Mss::Set(*mss)),
            Target::Tcpmss(TcpmssTarget::ClampToPmtu) => Extension::Tcpmss(Mss::Pmtu),
            Target::Ecn(ecn) => Extension::Ecn(*ecn),
            Target::Trace => Extension::Trace,
        };
        Ok(Action::Extension(Box::new(extension)))
    }
}
