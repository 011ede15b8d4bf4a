//! What the file may say and the router does not do yet. A setting that would be ignored is a mistake: nobody
//! should find out from lost packets.

use super::diag::quote;
use super::model::{Config, InterfaceKind};
use super::section::Section;

/// Reports every part of the configuration that nothing acts on yet.
pub(super) fn check(top: &Section<'_>, config: &Config) {
    for interface in &config.interfaces {
        let (kind, pos) = match &interface.kind {
            InterfaceKind::Port(_) => continue,
            InterfaceKind::Vlan(vlan) => ("vlan", vlan.pos),
            InterfaceKind::Bond(bond) => ("bond", bond.pos),
        };
        top.source.report(pos, format!("interface {}: {kind} is not supported yet", quote(&interface.name)));
    }
    if let Some(value) = top.get("traffic-control") {
        let pos = top.source.pos(value.span().start);
        top.source.report(pos, "[traffic-control] is not supported yet");
    }
}
