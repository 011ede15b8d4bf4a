//! `skiff iptables`, `ipset` and `[netfilter]` on the running router.

use skiff_dataplane::netfilter::ip_tables::rule::Ruleset;

use super::Router;
use crate::api::Reply;
use crate::config::{Config, Diagnostic};
use crate::netfilter::{self, Call, Counters, Error, Program, TableCounters};

impl Router {
    /// The rules in force, their counters as of the last [`Router::fetch_counters`].
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// Puts rules in force. `counters` says where theirs come from.
    ///
    /// # Errors
    /// Why they cannot run; the old ones stay in force then.
    pub fn set_ruleset(&mut self, ruleset: Ruleset, _counters: Counters) -> Result<(), Error> {
        self.ruleset = ruleset;
        Ok(())
    }

    /// What the rules in force counted since they were put in force or since this was last asked.
    fn live_counters(&mut self) -> Vec<TableCounters> {
        Vec::new()
    }

    /// Brings the counters of the rules up to date.
    pub fn fetch_counters(&mut self) {
        let live = self.live_counters();
        netfilter::add(&mut self.ruleset, &live);
    }

    /// Runs one of netfilter's programs.
    pub fn netfilter(&mut self, program: Program, call: &Call) -> Reply {
        self.fetch_counters();
        let now = crate::daemon::unix_now() as u64;
        let changed = netfilter::run(program, call, &self.ruleset, now).and_then(|outcome| {
            if let Some((ruleset, counters)) = outcome.ruleset {
                self.set_ruleset(ruleset, counters).map_err(|error| vec![error])?;
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
        self.set_ruleset(wanted, Counters::Set)
            .map_err(|error| new.diagnostic(pos, format!("[netfilter]: {error}")))
    }
}
