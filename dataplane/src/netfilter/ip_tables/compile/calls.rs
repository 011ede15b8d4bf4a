//! Which chains call which.

use super::{CompileError, Problem, TableCompiler, builtins, error};
use crate::netfilter::ip_tables::program::MAX_DEPTH;
use crate::netfilter::ip_tables::rule::Target;

impl TableCompiler<'_, '_> {
    /// Follows all calls from the built-in chains: to known chains, in no circle, not too deep. Notes the hooks that reach
    /// each chain.
    pub(super) fn follow_calls(&mut self) -> Result<(), CompileError> {
        let mut calls: Vec<Vec<u32>> = Vec::new();
        for chain in &self.table.chains {
            let mut called = Vec::new();
            for (i, rule) in chain.rules.iter().enumerate() {
                let Target::Jump { chain: name, .. } = &rule.target else { continue };
                let problem = match self.numbers.get(name.as_str()) {
                    None => Problem::NoChain(name.clone()),
                    Some(&to) if self.table.chains[to as usize].policy.is_some() => {
                        Problem::Chain("built-in chains cannot be called")
                    }
                    Some(&to) => {
                        called.push(to);
                        continue;
                    }
                };
                return Err(error(self.table, &chain.name, Some(i), problem));
            }
            called.sort_unstable();
            called.dedup();
            calls.push(called);
        }
        let order = self.in_call_order(&calls)?;
        for &(hook, name) in builtins(self.table.name) {
            if let Some(&chain) = self.numbers.get(name) {
                self.hooks[chain as usize] |= 1 << hook as u32;
            }
        }
        let mut depth = vec![0usize; calls.len()];
        for &chain in &order {
            let chain = chain as usize;
            for &to in &calls[chain] {
                self.hooks[to as usize] |= self.hooks[chain];
                depth[to as usize] = depth[to as usize].max(depth[chain] + 1);
                if depth[to as usize] > MAX_DEPTH {
                    return Err(error(self.table, &self.table.chains[chain].name, None, Problem::TooDeep));
                }
            }
        }
        self.order = order;
        Ok(())
    }

    /// The chains so that callers stand before those they call.
    fn in_call_order(&self, calls: &[Vec<u32>]) -> Result<Vec<u32>, CompileError> {
        let mut callers = vec![0usize; calls.len()];
        calls.iter().flatten().for_each(|&to| callers[to as usize] += 1);
        let mut order: Vec<u32> = (0..calls.len() as u32).filter(|&c| callers[c as usize] == 0).collect();
        let mut at = 0;
        while let Some(&chain) = order.get(at) {
            at += 1;
            for &to in &calls[chain as usize] {
                callers[to as usize] -= 1;
                if callers[to as usize] == 0 {
                    order.push(to);
                }
            }
        }
        match callers.iter().position(|&n| n > 0) {
            Some(stuck) => Err(error(self.table, &self.table.chains[stuck].name, None, Problem::Loop)),
            None => Ok(order),
        }
    }
}
