//! What is shown and measured of bonds.

use serde_json::{Map, Value, json};
use skiff_dataplane::net::IfIndex;

use super::super::Router;
use crate::api::Reply;
use crate::bond::BondMachine;
use crate::bond::options::OptionRow;
use crate::cli::Exit;
use crate::facts::{BondFacts, BondMemberFacts};
use crate::ip::LinkRow;

impl Router {
    /// `skiff bond show`: the lines of /proc/net/bonding, of one bond or of all.
    pub fn bond_show(&self, name: Option<&str>, json: bool) -> Reply {
        let machines = self.bonds.machines.values();
        let chosen: Vec<&BondMachine> =
            machines.filter(|machine| name.is_none_or(|name| machine.name() == name)).collect();
        if let Some(name) = name.filter(|_| chosen.is_empty()) {
            return Reply::failed(Exit::Failed as u8, format!("skiff: bond show: no bond \"{name}\"\n"));
        }
        if json {
            let rows: Vec<Value> = chosen.into_iter().map(as_json).collect();
            return Reply::ok(format!("{}\n", Value::from(rows)));
        }
        let one = |machine: &&BondMachine| match name {
            Some(_) => machine.proc_text(),
            None => format!("{}\n{}", machine.name(), machine.proc_text()),
        };
        Reply::ok(chosen.iter().map(one).collect::<Vec<_>>().join("\n"))
    }

    /// What machines know goes into the rows of links.
    pub(in crate::router) fn fill_in_bonds<'a>(&self, rows: impl Iterator<Item = &'a mut LinkRow>) {
        for row in rows {
            let named = |machine: &&BondMachine| machine.name() == row.name;
            if let Some(bond) = &mut row.details.bond
                && let Some(machine) = self.bonds.machines.values().find(named)
            {
                bond.1 = machine.info();
            }
            if row.details.slave.is_some() {
                let dev = IfIndex(row.ifindex as u16);
                let status = self.bonds.machines.values().find_map(|machine| machine.member_status(dev));
                row.details.slave = status.or(row.details.slave);
            }
        }
    }

    /// What is measured of bonds.
    pub(in crate::router) fn bond_facts(&self) -> Vec<BondFacts> {
        self.bonds.machines.values().map(facts).collect()
    }
}

fn as_json(machine: &BondMachine) -> Value {
    let mut bond = object(&machine.options().rows(&machine.info()));
    bond.insert("ifname".to_owned(), machine.name().into());
    bond.insert("mii_status".to_owned(), if machine.has_carrier() { "UP" } else { "DOWN" }.into());
    bond.insert("speed".to_owned(), machine.speed().into());
    bond.insert("failovers".to_owned(), machine.failovers().into());
    let members: Vec<Value> = machine
        .members()
        .iter()
        .map(|member| {
            let mut row = machine.member_status(member.dev()).map(|s| object(&s.rows())).unwrap_or_default();
            row.insert("ifname".to_owned(), member.name().into());
            if let Some(port) = machine.lacp().and_then(|lacp| lacp.port(member.dev())) {
                row.insert("lacp_rx_pdus".to_owned(), port.rx_pdus.into());
                row.insert("lacp_tx_pdus".to_owned(), port.tx_pdus.into());
                row.insert(
                    "churn".to_owned(),
                    json!({
                        "actor": port.actor_churn.state.word(),
                        "partner": port.partner_churn.state.word(),
                        "actor_count": port.actor_churn.count,
                        "partner_count": port.partner_churn.count,
                    }),
                );
            }
            Value::Object(row)
        })
        .collect();
    bond.insert("members".to_owned(), members.into());
    Value::Object(bond)
}

fn object(rows: &[OptionRow]) -> Map<String, Value> {
    rows.iter().map(|row| (row.key.to_owned(), row.json.clone())).collect()
}

fn facts(machine: &BondMachine) -> BondFacts {
    let member = |member: &crate::bond::Member| {
        let port = machine.lacp().and_then(|lacp| lacp.port(member.dev()));
        BondMemberFacts {
            name: member.name().to_owned(),
            active: machine.is_active(member.dev()),
            up: member.can_send(),
            link_failures: u64::from(member.link_failures()),
            lacp: port.map(|port| (port.rx_pdus, port.tx_pdus, port.actor.state, port.partner.key)),
            aggregator: port
                .and(machine.member_status(member.dev()))
                .and_then(|s| s.ad)
                .map(|ad| ad.aggregator_id),
        }
    };
    BondFacts {
        name: machine.name().to_owned(),
        failovers: machine.failovers(),
        members: machine.members().iter().map(member).collect(),
    }
}
