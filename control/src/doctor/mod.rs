//! `skiff doctor`: what this machine has for a router, and what to do about what it lacks.
//!
//! Nothing is changed and nothing is needed: no daemon, no root. Each check looks at files below a root directory, which
//! is `/` outside of tests, and says one line or a few.

mod access;
mod cpu;
mod host;
mod memory;
mod nic;
mod service;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::api::Reply;
use crate::cli::Exit;
use host::Host;

/// `skiff doctor`
#[derive(Clone, Debug, Args)]
pub struct Doctor {
    /// The configuration the service runs with
    #[arg(short, long, value_name = "FILE", default_value = "/etc/skiff/skiff.toml")]
    pub config: PathBuf,
    /// JSON
    #[arg(short, long)]
    pub json: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// Nothing to do.
    Ok,
    /// The router runs, but slower, or something is to be known.
    Warn,
    /// The router does not run, or not as configured.
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// What was looked at, in a word or two.
    what: &'static str,
    /// What was found.
    found: String,
    /// What to do about it; nothing if all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    advice: String,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, what, found: found.into(), advice: String::new() }
    }

    fn warn(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { level: Level::Warn, what, found: found.into(), advice: advice.into() }
    }

    fn fail(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { level: Level::Fail, what, found: found.into(), advice: advice.into() }
    }
}

/// Looks at everything. Exit code 1 if anything is so that the router cannot run as configured.
pub fn run(args: &Doctor, socket: &Path) -> Reply {
    let host = Host::new("/");
    let mut findings = machine(&host);
    findings.extend(service::checks(&args.config, socket));
    let exit = if findings.iter().any(|f| f.level == Level::Fail) { Exit::Failed } else { Exit::Ok };
    let stdout = if args.json { json(&findings) } else { text(&findings) };
    Reply { stdout, exit: exit as u8, ..Reply::default() }
}

/// What files of the machine say.
fn machine(host: &Host) -> Vec<Finding> {
    let mut findings = cpu::checks(host);
    findings.extend(memory::checks(host));
    findings.extend(access::checks(host));
    findings.extend(nic::checks(host));
    findings
}

fn text(findings: &[Finding]) -> String {
    let mut out = String::new();
    for Finding { level, what, found, advice } in findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        };
        let _ = write!(out, "{level:<4}  {what}: {found}");
        if !advice.is_empty() {
            let _ = write!(out, ": {advice}");
        }
        out.push('\n');
    }
    out
}

fn json(findings: &[Finding]) -> String {
    // Strings only: nothing that JSON could not hold.
    serde_json::to_string(findings).map(|text| text + "\n").unwrap_or_default()
}
