//! The rule tables of the router: the rule set as its model, compiled for the lcores, replaced whole.
//!
//! One publication brings all tables of a rule set, so no burst meets some of the old rules and some of the new. The rules
//! are compiled again when devices change, since they name devices. Packets that the old program counts after its counters
//! were read and before the last lcore has let go of it are added to the new one once that has happened.

use std::sync::Arc;

use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::Hooks;
use skiff_dataplane::netfilter::ip_tables::rule::{
    Chain, Match, Rule, RuleCounters, Ruleset, Table, TableName,
};
use skiff_dataplane::netfilter::ip_tables::{CompileEnv, CompileError, Compiled, compile, counters_of};
use tracing::warn;

use super::{LONGEST_BURST, Router};
use crate::facts::ChainFacts;
use crate::netfilter::{policy_name, table_name};

/// Log lines printed in one turn, so that a flood cannot keep the control thread from its timers.
const LINES_A_TURN: usize = 256;

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// As they were given; the counters in it are those they began with.
    model: Ruleset,
    compiled: Option<Arc<Compiled>>,
    /// The devices they were compiled for.
    devices: Vec<(IfIndex, String)>,
    /// Log lines lost that were reported as such.
    lost: u64,
}

impl Rules {
    /// These functions and those of the rule tables.
    pub fn with_tables(&self, hooks: &Hooks) -> Hooks {
        let mut all = hooks.clone();
        for (hook, entry) in self.compiled.iter().flat_map(|compiled| compiled.hooks()) {
            all.register(hook, entry);
        }
        all
    }

    /// The names of sets and how many elements each has.
    pub fn set_sizes(&self) -> Vec<(String, usize)> {
        self.model.sets.iter().map(|set| (set.name.clone(), set.entries.len())).collect()
    }

    /// The rules as they were given.
    pub fn model(&self) -> &Ruleset {
        &self.model
    }

    /// The chains with their live counters.
    pub fn facts(&self) -> Vec<ChainFacts> {
        let mut live = self.compiled.iter().flat_map(|compiled| compiled.counters());
        // The counters of a chain's policy stand before those of its rules.
        let mut next = || live.next().unwrap_or_default();
        let mut facts = Vec::new();
        for table in &self.model.tables {
            for chain in &table.chains {
                let counters = next();
                facts.push(ChainFacts {
                    table: table_name(table.name),
                    name: chain.name.clone(),
                    policy: chain.policy.map(|policy| (policy_name(policy), counters)),
                    rules: chain.rules.iter().map(|rule| (comment(rule).to_owned(), next())).collect(),
                });
            }
        }
        facts
    }
}

/// A rule's comment; the first, if it has more.
fn comment(rule: &Rule) -> &str {
    let comments = rule.matches.iter().filter_map(|m| match m {
        Match::Comment(text) => Some(text.as_str()),
        _ => None,
    });
    comments.into_iter().next().unwrap_or_default()
}

impl Router {
    /// Makes `ruleset` the one in force, with the counters it has.
    ///
    /// # Errors
    /// What the kernel would refuse; the old rules stay in force.
    pub fn set_ruleset(&mut self, ruleset: Ruleset) -> Result<(), CompileError> {
        let devices = self.device_names();
        let compiled = self.compile_rules(&ruleset, &devices)?;
        let empty = ruleset.tables.is_empty();
        self.rules.model = ruleset;
        self.rules.devices = devices;
        self.rules.compiled = (!empty).then(|| Arc::new(compiled));
        self.publish();
        Ok(())
    }

    /// The rule set in force with its live counters.
    pub fn ruleset(&self) -> Ruleset {
        let mut ruleset = self.rules.model.clone();
        if let Some(compiled) = &self.rules.compiled {
            compiled.read_into(&mut ruleset);
        }
        ruleset
    }

    /// Changes the rule set in force. Rules that `edit` leaves as they are, counters too, lose no packet: what they count
    /// while the new program takes over is added to it.
    ///
    /// # Errors
    /// As [`set_ruleset`](Self::set_ruleset).
    pub fn edit_ruleset(&mut self, edit: impl FnOnce(&mut Ruleset)) -> Result<(), CompileError> {
        let before = self.ruleset();
        let mut after = before.clone();
        edit(&mut after);
        self.replace_ruleset(before, after)
    }

    /// Makes `after` the rule set in force, which was made of `before`, what [`ruleset`](Self::ruleset) gave. Rules that
    /// are in both, with the counters they had, lose no packet.
    ///
    /// # Errors
    /// As [`set_ruleset`](Self::set_ruleset).
    pub fn replace_ruleset(&mut self, before: Ruleset, after: Ruleset) -> Result<(), CompileError> {
        let kept = kept(&before, &after);
        let old = self.rules.compiled.clone();
        self.set_ruleset(after)?;
        if let (Some(old), Some(new)) = (old, self.rules.compiled.clone()) {
            self.settle(LONGEST_BURST);
            let mut read = before;
            let began: Vec<RuleCounters> = counters_of(&mut read).map(|c| *c).collect();
            let since: Vec<RuleCounters> =
                old.counters().into_iter().zip(began).map(|(now, then)| difference(now, then)).collect();
            let more: Vec<RuleCounters> = kept
                .into_iter()
                .map(|from| from.and_then(|i| since.get(i).copied()).unwrap_or_default())
                .collect();
            new.add_counters(&more);
        }
        Ok(())
    }

    /// Compiles the rules again if devices have other names now. To be called before a snapshot with new devices is
    /// published; this publishes one itself if it had to.
    pub(super) fn recompile_rules(&mut self) {
        if self.rules.compiled.is_none() || self.device_names() == self.rules.devices {
            return;
        }
        if let Err(error) = self.edit_ruleset(|_| {}) {
            // They compiled before, and device names cannot make them wrong.
            warn!(%error, "rules");
        }
    }

    /// Prints what LOG, NFLOG and TRACE have to say. True if more is waiting.
    pub(super) fn print_log(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let name = |dev: IfIndex| self.rtnl.link(dev).map_or_else(String::new, |link| link.name().to_owned());
        for _ in 0..LINES_A_TURN {
            let Some(message) = shared.nf_log().pop() else { break };
            // With the level in front, as the journal and syslog take it.
            eprintln!("<{}>{}", message.level(), message.line(name).trim_end());
        }
        let lost = shared.nf_log().lost();
        if lost > self.rules.lost {
            warn!(lines = lost - self.rules.lost, "log lines about packets lost");
            self.rules.lost = lost;
        }
        !shared.nf_log().is_empty()
    }

    fn compile_rules(
        &self,
        ruleset: &Ruleset,
        devices: &[(IfIndex, String)],
    ) -> Result<Compiled, CompileError> {
        let devices: Vec<(IfIndex, &str)> = devices.iter().map(|(dev, name)| (*dev, name.as_str())).collect();
        let env = CompileEnv {
            devices: &devices,
            lcores: self.shared.lcores(),
            now_millis: self.clock.now().as_millis(),
            previous: self.rules.compiled.as_deref(),
            unchanged: &unchanged(&self.rules.model, ruleset),
        };
        compile(ruleset, &env)
    }

    fn device_names(&self) -> Vec<(IfIndex, String)> {
        self.rtnl.links().map(|link| (link.ifindex(), link.name().to_owned())).collect()
    }
}

fn difference(now: RuleCounters, then: RuleCounters) -> RuleCounters {
    RuleCounters {
        packets: now.packets.wrapping_sub(then.packets),
        bytes: now.bytes.wrapping_sub(then.bytes),
    }
}

/// The tables that have the same rules in both.
fn unchanged(before: &Ruleset, after: &Ruleset) -> Vec<TableName> {
    let in_before = |table: &&Table| before.tables.iter().any(|old| same_rules(old, table));
    after.tables.iter().filter(in_before).map(|table| table.name).collect()
}

/// Equal but for the counters.
fn same_rules(a: &Table, b: &Table) -> bool {
    let rule = |(a, b): (&Rule, &Rule)| a.ip == b.ip && a.matches == b.matches && a.target == b.target;
    let chain = |(a, b): (&Chain, &Chain)| {
        a.name == b.name
            && a.policy == b.policy
            && a.rules.len() == b.rules.len()
            && a.rules.iter().zip(&b.rules).all(rule)
    };
    a.name == b.name && a.chains.len() == b.chains.len() && a.chains.iter().zip(&b.chains).all(chain)
}

/// A counter as the model has it: its chain, its rule (`None` for a policy), its value.
type Counted<'a> = ((TableName, &'a str), Option<&'a Rule>, RuleCounters);

fn counted(ruleset: &Ruleset) -> Vec<Counted<'_>> {
    let chains = ruleset.tables.iter().flat_map(|t| t.chains.iter().map(move |c| (t.name, c)));
    chains
        .flat_map(|(table, chain)| {
            let at = (table, chain.name.as_str());
            let rules = chain.rules.iter().map(move |rule| (at, Some(rule), rule.counters));
            std::iter::once((at, None, chain.counters)).chain(rules)
        })
        .collect()
}

/// For each counter of `after` the one of `before` that it is, if it is the same rule of the same chain with the same
/// value. Equal rules keep their order.
fn kept(before: &Ruleset, after: &Ruleset) -> Vec<Option<usize>> {
    let before = counted(before);
    let mut taken = vec![false; before.len()];
    let mut next = 0;
    let mut find = |wanted: &Counted<'_>| {
        // Mostly the rule after the one before is the next one: look there first.
        let from = next.min(before.len());
        let places = (from..before.len()).chain(0..from);
        let found = places.into_iter().find(|&i| !taken[i] && before[i] == *wanted)?;
        taken[found] = true;
        next = found + 1;
        Some(found)
    };
    counted(after).iter().map(&mut find).collect()
}

#[cfg(test)]
mod tests {
    use skiff_dataplane::netfilter::ip_tables::rule::{IpMatch, Policy, Target};

    use super::*;

    fn ruleset(rules: &[(Target, u64)]) -> Ruleset {
        let counters = |packets| RuleCounters { packets, bytes: packets * 100 };
        let rules = rules.iter().map(|(target, packets)| Rule {
            ip: IpMatch::default(),
            matches: vec![],
            target: target.clone(),
            counters: counters(*packets),
        });
        let chain = Chain {
            name: "FORWARD".into(),
            policy: Some(Policy::Accept),
            counters: counters(1),
            rules: rules.collect(),
        };
        Ruleset { tables: vec![Table { name: TableName::Filter, chains: vec![chain] }], sets: vec![] }
    }

    #[test]
    fn unchanged_rules_keep_their_counters_and_others_begin_anew() {
        let before = ruleset(&[(Target::Accept, 5), (Target::Drop, 7), (Target::Accept, 5)]);
        assert_eq!(kept(&before, &before), [Some(0), Some(1), Some(2), Some(3)]);
        let inserted =
            ruleset(&[(Target::Return, 0), (Target::Accept, 5), (Target::Drop, 7), (Target::Accept, 5)]);
        assert_eq!(kept(&before, &inserted), [Some(0), None, Some(1), Some(2), Some(3)]);
        let zeroed = ruleset(&[(Target::Accept, 5), (Target::Drop, 0)]);
        assert_eq!(kept(&before, &zeroed), [Some(0), Some(1), None]);
    }
}
