//! What the kernel checks when a table is loaded: where targets and matches may stand, which protocol they need, and
//! that no path through the chains comes back to where it was.
//!
//! A rule's hooks are those of the built-in chains that lead to it, so a chain nothing jumps to may hold anything its
//! table allows. Rules behind an unconditional ACCEPT, DROP or RETURN are reached by nothing, as in the kernel.

use std::collections::HashMap;

use skiff_dataplane::netfilter::ip_tables::rule::{
    EcnMatch, EcnTarget, IpMatch, IpSet, Match, RejectWith, Rule, TableName, Target, TcpMatch, TcpmssTarget,
};

use super::draft::{Draft, DraftChain, DraftRule, DraftTable};
use super::error::{Error, quote};
use crate::config::Fault;

const PREROUTING: u8 = 1;
const INPUT: u8 = 2;
const FORWARD: u8 = 4;
const OUTPUT: u8 = 8;
const POSTROUTING: u8 = 16;
const HOOKS: [(&str, u8); 5] = [
    ("PREROUTING", PREROUTING),
    ("INPUT", INPUT),
    ("FORWARD", FORWARD),
    ("OUTPUT", OUTPUT),
    ("POSTROUTING", POSTROUTING),
];
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// Checks every rule of a draft.
///
/// # Errors
/// Every mistake, at the line of its rule.
pub(super) fn check(draft: &Draft) -> Result<(), Vec<Error>> {
    let mut errors = Vec::new();
    for table in &draft.tables {
        let hooks = match reach(table) {
            Ok(hooks) => hooks,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for (chain, hooks) in table.chains.iter().zip(hooks) {
            for (rule, hooks) in chain.rules.iter().zip(hooks) {
                if let Err(fault) = rule_fits(&rule.rule, table.name, hooks, &draft.sets) {
                    errors.push(Error::refused(fault).at(rule.line));
                }
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The hooks that reach each rule of each chain.
fn reach(table: &DraftTable) -> Result<Vec<Vec<u8>>, Error> {
    let index: HashMap<&str, usize> =
        table.chains.iter().enumerate().map(|(at, chain)| (chain.name.as_str(), at)).collect();
    let mut hooks: Vec<Vec<u8>> = table.chains.iter().map(|chain| vec![0; chain.rules.len()]).collect();
    for (at, chain) in table.chains.iter().enumerate() {
        if let Some(&(_, hook)) = HOOKS.iter().find(|(name, _)| chain.policy.is_some() && *name == chain.name)
        {
            walk(table, &index, at, hook, &mut hooks)?;
        }
    }
    Ok(hooks)
}

/// Follows every path from one built-in chain, without recursion: rulesets may be as deep as they have chains.
fn walk(
    table: &DraftTable,
    index: &HashMap<&str, usize>,
    start: usize,
    hook: u8,
    hooks: &mut [Vec<u8>],
) -> Result<(), Error> {
    let mut path = vec![(start, 0)];
    let mut on_path = vec![false; table.chains.len()];
    let mut done = vec![false; table.chains.len()];
    on_path[start] = true;
    while let Some((at, next)) = path.last_mut() {
        let (chain, number) = (*at, *next);
        let Some(rule) =
            table.chains[chain].rules.get(number).filter(|_| !is_end(&table.chains[chain], number))
        else {
            (on_path[chain], done[chain]) = (false, true);
            path.pop();
            continue;
        };
        *next += 1;
        hooks[chain][number] |= hook;
        let Target::Jump { chain: to, .. } = &rule.rule.target else { continue };
        let Some(&to) = index.get(to.as_str()) else { continue };
        if on_path[to] {
            return Err(is_loop(table, &path, to, rule));
        }
        if !done[to] {
            on_path[to] = true;
            path.push((to, 0));
        }
    }
    Ok(())
}

/// True if the rule before ends the chain for every packet.
fn is_end(chain: &DraftChain, number: usize) -> bool {
    let Some(before) = number.checked_sub(1).and_then(|before| chain.rules.get(before)) else { return false };
    let rule = &before.rule;
    matches!(rule.target, Target::Accept | Target::Drop | Target::Return)
        && rule.matches.is_empty()
        && rule.ip == IpMatch::default()
}

fn is_loop(table: &DraftTable, path: &[(usize, usize)], to: usize, rule: &DraftRule) -> Error {
    let round = path.iter().map(|(at, _)| *at).skip_while(|at| *at != to).chain([to]);
    let names: Vec<&str> = round.map(|at| table.chains[at].name.as_str()).collect();
    Error::refused(format!("chains jump in a circle: {}", names.join(" -> "))).at(rule.line)
}

fn rule_fits(rule: &Rule, table: TableName, hooks: u8, sets: &[IpSet]) -> Result<(), Fault> {
    rule.matches.iter().try_for_each(|m| match_fits(m, &rule.ip, table, hooks, sets))?;
    target_fits(rule, table, hooks)
}

fn match_fits(m: &Match, ip: &IpMatch, table: TableName, hooks: u8, sets: &[IpSet]) -> Result<(), Fault> {
    match m {
        Match::Tcp(_) => protocol("match \"tcp\"", ip, TCP, "tcp"),
        Match::Udp(_) => protocol("match \"udp\"", ip, UDP, "udp"),
        Match::Icmp(_) => protocol("match \"icmp\"", ip, ICMP, "icmp"),
        Match::Tcpmss(_) => protocol("match \"tcpmss\"", ip, TCP, "tcp"),
        Match::Ecn(EcnMatch { tcp_ece, tcp_cwr, .. }) if tcp_ece.is_some() || tcp_cwr.is_some() => {
            protocol("--ecn-tcp-ece or --ecn-tcp-cwr", ip, TCP, "tcp")
        }
        Match::Mac(_) => stands("match \"mac\"", hooks, PREROUTING | INPUT | FORWARD),
        Match::Rpfilter(_) => {
            tables("match \"rpfilter\"", table, &[TableName::Raw, TableName::Mangle])?;
            stands("match \"rpfilter\"", hooks, PREROUTING)
        }
        Match::Addrtype(addrtype) => {
            if addrtype.limit_iface_in {
                stands("--limit-iface-in", hooks, PREROUTING | INPUT | FORWARD)?;
            }
            if addrtype.limit_iface_out {
                stands("--limit-iface-out", hooks, FORWARD | OUTPUT | POSTROUTING)?;
            }
            Ok(())
        }
        Match::Set(set) if !sets.iter().any(|known| known.name == set.name) => {
            let fault = Fault::from(format!("there is no set {}", quote(&set.name)));
            Err(fault.nearest(&set.name, sets.iter().map(|set| set.name.as_str())))
        }
        _ => Ok(()),
    }
}

fn target_fits(rule: &Rule, table: TableName, hooks: u8) -> Result<(), Fault> {
    let only = |what: &str, name: TableName| tables(what, table, &[name]);
    match &rule.target {
        Target::Reject(with) => {
            only("target \"REJECT\"", TableName::Filter)?;
            match with {
                RejectWith::TcpReset => protocol("--reject-with tcp-reset", &rule.ip, TCP, "tcp"),
                _ => Ok(()),
            }
        }
        Target::Dscp(_) => only("target \"DSCP\"", TableName::Mangle),
        Target::Tos(_) => only("target \"TOS\"", TableName::Mangle),
        Target::Ttl(_) => only("target \"TTL\"", TableName::Mangle),
        Target::Ecn(EcnTarget { tcp_remove, tcp_cwr, tcp_ece, .. }) => {
            only("target \"ECN\"", TableName::Mangle)?;
            match *tcp_remove || tcp_cwr.is_some() || tcp_ece.is_some() {
                true => protocol("target \"ECN\" on TCP flags", &rule.ip, TCP, "tcp"),
                false => Ok(()),
            }
        }
        Target::Trace => only("target \"TRACE\"", TableName::Raw),
        Target::Classify(_) => stands("target \"CLASSIFY\"", hooks, FORWARD | OUTPUT | POSTROUTING),
        Target::Tcpmss(tcpmss) => {
            if *tcpmss == TcpmssTarget::ClampToPmtu {
                stands("--clamp-mss-to-pmtu", hooks, FORWARD | OUTPUT | POSTROUTING)?;
            }
            protocol("target \"TCPMSS\"", &rule.ip, TCP, "tcp")?;
            if rule.matches.iter().any(is_syn) {
                return Ok(());
            }
            Err(Fault::from("target \"TCPMSS\" needs a match on SYN").help("add --tcp-flags SYN,RST SYN"))
        }
        _ => Ok(()),
    }
}

fn is_syn(m: &Match) -> bool {
    const SYN: u8 = 2;
    matches!(m, Match::Tcp(TcpMatch { flags: Some(flags), .. }) if !flags.invert && flags.value.comp & SYN != 0)
}

fn protocol(what: &str, ip: &IpMatch, number: u8, name: &str) -> Result<(), Fault> {
    match ip.proto {
        Some(proto) if proto.value == number && !proto.invert => Ok(()),
        _ => Err(format!("{what} needs -p {name}").into()),
    }
}

fn tables(what: &str, table: TableName, allowed: &[TableName]) -> Result<(), Fault> {
    if allowed.contains(&table) {
        return Ok(());
    }
    let names: Vec<&str> = allowed.iter().map(|table| super::table_name(*table)).collect();
    Err(format!("{what} stands in table {} only", names.join(" or ")).into())
}

fn stands(what: &str, hooks: u8, allowed: u8) -> Result<(), Fault> {
    match HOOKS.iter().find(|(_, hook)| hooks & !allowed & hook != 0) {
        Some((name, _)) => {
            let good: Vec<&str> =
                HOOKS.iter().filter(|(_, hook)| allowed & hook != 0).map(|(name, _)| *name).collect();
            Err(format!("{what} cannot be reached from {name}, only from {}", good.join(", ")).into())
        }
        None => Ok(()),
    }
}
