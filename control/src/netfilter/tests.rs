//! Whole rules and texts: what iptables 1.8.9 was seen to do, and that what is printed reads back.

use skiff_dataplane::netfilter::ip_tables::rule::{RuleCounters, Ruleset};

use super::*;

mod listing;
mod properties;
mod texts;

/// What is saved of the one rule of `chain` after `line`, or why it was not taken.
fn saved(table: &str, chain: &str, line: &str) -> Result<String, String> {
    let sets = sets("create web hash:ip\ncreate pairs hash:ip,port\n").unwrap();
    let text = format!("*{table}\n:uc - [0:0]\n-A {chain} {line}\nCOMMIT\n");
    let ruleset = ruleset(&text, sets).map_err(|errors| errors[0].to_string())?;
    let prefix = format!("-A {chain}");
    let saved = save(&ruleset, None, false, "DATE");
    let rules = saved.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::trim_start);
    Ok(rules.collect::<Vec<_>>().join(" // "))
}

/// Lines `TABLE CHAIN RULE;SAVED;OK|FAIL`; a third word `REFUSED` is for rules that iptables takes and this refuses,
/// and `TAKEN` the other way round.
#[test]
fn rules_are_saved_as_iptables_saves_them() {
    let mut wrong = Vec::new();
    for line in include_str!("tests/rules.txt").lines().filter(|line| !line.starts_with('#')) {
        let [rule, expected, outcome] = line.split(';').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let mut words = rule.splitn(3, ' ');
        let (table, chain) = (words.next().unwrap(), words.next().unwrap());
        let rule = words.next().unwrap_or_default();
        let expected = if expected == "=" { rule } else { expected };
        let found = saved(table, chain, rule);
        let right = match (&found, outcome) {
            (Ok(found), "OK" | "TAKEN") => found == expected,
            (Err(_), "FAIL" | "REFUSED") => true,
            _ => false,
        };
        if !right {
            wrong.push(format!("{line}\n    {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} rules:\n{}", wrong.len(), wrong.join("\n"));
}
