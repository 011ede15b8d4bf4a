//! `skiff iptables`, `ipset` and `[netfilter]` on the running router.

use skiff_dataplane::netfilter::ip_tables::CompileError;

use super::Router;
use crate::api::Reply;
use crate::config::{Config, Diagnostic};
use crate::netfilter::{self, Call, Counters, Error, Program};

impl Router {
    /// Runs one of netfilter's programs.
    pub fn netfilter(&mut self, program: Program, call: &Call) -> Reply {
        let current = self.ruleset();
        let now = crate::daemon::unix_now() as u64;
        let changed = netfilter::run(program, call, &current, now).and_then(|outcome| {
            let refused = |error: CompileError| vec![Error::refused(error.to_string())];
            match outcome.ruleset {
                Some((ruleset, Counters::Keep)) => self.replace_ruleset(current, ruleset).map_err(refused)?,
                Some((ruleset, Counters::Set)) => self.set_ruleset(ruleset).map_err(refused)?,
                None => {}
            }
            Ok(outcome.stdout)
        });
        match changed {
            Ok(stdout) => Reply::ok(stdout),
            Err(errors) => {
                let text: String =
                    errors.iter().map(|error| error.report(&call.input_name, program.name())).collect();
                Reply::failed(errors.first().map_or(netfilter::REFUSED, |error| error.exit), text)
            }
        }
    }

    /// Takes the rules of a configuration. Rules that were changed by command stay as long as the file says what it
    /// said before.
    pub(super) fn apply_netfilter(&mut self, old: Option<&Config>, new: &Config) -> Result<(), Diagnostic> {
        let rules = |config: &Config| config.netfilter.as_ref().map(|n| n.value.clone()).unwrap_or_default();
        let wanted = rules(new);
        if old.map(rules).unwrap_or_default() == wanted {
            return Ok(());
        }
        let pos = new.netfilter.as_ref().map_or(crate::config::Pos::START, |netfilter| netfilter.pos);
        self.set_ruleset(wanted).map_err(|error| new.diagnostic(pos, format!("[netfilter]: {error}")))
    }
}
