//! What `skiff trace` asks of the running router.

use std::sync::Arc;

use skiff_dataplane::core::trace::TraceArm;

use super::Router;
use crate::netfilter;

impl Router {
    /// Has these packets traced from the next burst on.
    pub fn set_trace(&mut self, trace: Option<Arc<TraceArm>>) {
        self.trace = trace;
        self.publish();
    }

    /// Rule `number`, from 1, of a chain as `iptables-save` writes it behind the chain's name, a blank before each word;
    /// `None` if there is none.
    pub fn rule_text(&self, table: &str, chain: &str, number: u32) -> Option<String> {
        let model = self.rules.model();
        let table = model.tables.iter().find(|t| netfilter::table_name(t.name) == table)?;
        let chain = table.chains.iter().find(|c| c.name == chain)?;
        let rule = chain.rules.get((number as usize).checked_sub(1)?)?;
        Some(netfilter::rule_words(rule))
    }
}
