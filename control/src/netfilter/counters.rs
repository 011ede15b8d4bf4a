//! Live counters: what the engine counted since it was given a ruleset, and their way into the rules.
//!
//! The engine knows rules by table, chain and position in the ruleset it runs. Whoever changes or prints rules first
//! adds what it counted to the rules ([`add`]); a changed ruleset then carries its counters along, whatever moved.

use skiff_dataplane::netfilter::ip_tables::rule::{RuleCounters, Ruleset, TableName};

/// What one table of the running ruleset counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCounters {
    /// Which.
    pub table: TableName,
    /// Its chains, in the order of the ruleset.
    pub chains: Vec<ChainCounters>,
}

/// What one chain counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainCounters {
    /// Packets the policy decided about.
    pub policy: RuleCounters,
    /// Each rule, in order.
    pub rules: Vec<RuleCounters>,
}

/// Where the counters of a new ruleset come from. Either way the engine starts from those in its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counters {
    /// They are those of the rules in force, added up just now: what is counted until the new rules take over may be
    /// added to rules that stay.
    Keep,
    /// They were given with the rules and hold exactly.
    Set,
}

/// Adds what the engine counted to the rules it counted for.
pub fn add(ruleset: &mut Ruleset, live: &[TableCounters]) {
    for counted in live {
        let Some(table) = ruleset.tables.iter_mut().find(|table| table.name == counted.table) else {
            continue;
        };
        for (chain, counted) in table.chains.iter_mut().zip(&counted.chains) {
            sum(&mut chain.counters, counted.policy);
            for (rule, counted) in chain.rules.iter_mut().zip(&counted.rules) {
                sum(&mut rule.counters, *counted);
            }
        }
    }
}

fn sum(counters: &mut RuleCounters, more: RuleCounters) {
    counters.packets = counters.packets.wrapping_add(more.packets);
    counters.bytes = counters.bytes.wrapping_add(more.bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_to_the_rules_by_position() {
        let text = "*filter\n:INPUT ACCEPT [1:2]\n[3:4] -A INPUT -j DROP\n[5:6] -A INPUT\nCOMMIT\n";
        let mut ruleset = crate::netfilter::ruleset(text, Vec::new()).unwrap();
        let one = |packets, bytes| RuleCounters { packets, bytes };
        let input = ChainCounters { policy: one(10, 20), rules: vec![one(100, 200), one(1000, 2000)] };
        add(&mut ruleset, &[TableCounters { table: TableName::Filter, chains: vec![input] }]);
        let chain = &ruleset.tables[0].chains[0];
        assert_eq!(chain.counters, one(11, 22));
        assert_eq!(
            chain.rules.iter().map(|rule| rule.counters).collect::<Vec<_>>(),
            [one(103, 204), one(1005, 2006)]
        );
    }
}
