//! Names from the running router.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::Names;
use crate::api::Reply;
use crate::client::{Client, ClientError};
use crate::netfilter::{Call, Program};
use crate::tc;

/// How long a prompt may be kept waiting.
const PATIENCE: Duration = Duration::from_millis(700);

/// The router behind a socket.
pub(super) struct Live {
    client: Client,
}

impl Live {
    pub(super) fn new(socket: PathBuf) -> Live {
        Live { client: Client::new(socket).within(PATIENCE) }
    }

    /// The rows of a show of tc's, as its JSON has them.
    fn rows(&self, object: &str, device: &str) -> Vec<Value> {
        let args = ["-j", object, "show", "dev", device].map(str::to_owned).to_vec();
        rows(self.client.tc(&tc::Call { args, input: String::new() }))
    }

    fn netfilter(&self, program: Program, args: &[&str]) -> String {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let call = Call { args, input: String::new(), input_name: String::new() };
        self.client.netfilter(program, &call).map(|reply| reply.stdout).unwrap_or_default()
    }
}

impl Names for Live {
    fn devices(&self) -> Vec<String> {
        let links = rows(self.client.ip(&["-j", "link", "show"].map(str::to_owned)));
        links.iter().filter_map(|link| text(link, "ifname")).collect()
    }

    fn classes(&self, device: &str) -> Vec<(String, String)> {
        let class = |row: &Value| Some((text(row, "handle")?, text(row, "class").unwrap_or_default()));
        self.rows("class", device).iter().filter_map(class).collect()
    }

    fn handles(&self, device: &str) -> Vec<(String, String)> {
        let named = |(handle, _): &(String, String)| !handle.starts_with("0:");
        let qdisc = |row: &Value| Some((text(row, "handle")?, text(row, "kind").unwrap_or_default()));
        self.rows("qdisc", device).iter().filter_map(qdisc).filter(named).collect()
    }

    fn chains(&self, table: &str) -> Vec<String> {
        let rules = self.netfilter(Program::Iptables, &["-t", table, "-S"]);
        let chain = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
            ["-P" | "-N", chain, ..] => Some(chain.to_owned()),
            _ => None,
        };
        rules.lines().filter_map(chain).collect()
    }

    fn sets(&self) -> Vec<String> {
        self.netfilter(Program::Ipset, &["list", "-n"]).lines().map(str::to_owned).collect()
    }
}

fn rows(answer: Result<Reply, ClientError>) -> Vec<Value> {
    answer.ok().and_then(|reply| serde_json::from_str(&reply.stdout).ok()).unwrap_or_default()
}

fn text(row: &Value, key: &str) -> Option<String> {
    row.get(key)?.as_str().map(str::to_owned)
}
