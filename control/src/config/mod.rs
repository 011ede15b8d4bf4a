//! The configuration file: TOML in, checked values or every mistake out.
//!
//! [`parse`] goes through a file once and gathers all mistakes, each with its line and column: unknown keys, wrong
//! types and bad values as the sections are read, then ([`cross`]) what does not fit together, then commands of tc that
//! could not be carried out. A [`Config`] that comes out has none of them. Every value in it keeps its place in the file,
//! so that a mistake which shows only on the machine it is applied to can be reported the same way.

mod check;
mod cross;
mod device;
mod diag;
mod interface;
mod memory;
mod model;
mod multicast;
mod netfilter;
mod route;
mod section;
mod sysctl;
mod system;
mod text;
mod traffic_control;
mod upper;
mod value;

#[cfg(test)]
mod tests;

use std::path::Path;

use toml::de::{DeTable, DeValue};

pub use check::check;
pub(crate) use device::pci_address;
pub use device::{Bus, Device, EalDevice};
pub use diag::{At, Diagnostic, Fault, Pos};
pub use memory::MemoryPlan;
pub use model::*;
pub use sysctl::{Scope, Sysctl, Target};
pub use value::format_size;

use diag::{Source, quote};
use interface::Interfaces;
use section::Section;

/// Top-level keys of the file.
const SECTIONS: &[&str] = &[
    "system",
    "api",
    "metrics",
    "interface",
    "route",
    "neighbour",
    "mroute",
    "igmp-proxy",
    "sysctl",
    "traffic-control",
    "netfilter",
];

/// Reads and checks the configuration file at `path`.
///
/// # Errors
/// Every mistake in it, in the order of the file; or one, at 1:1, if it cannot be read.
pub fn load(path: &Path) -> Result<Config, Vec<Diagnostic>> {
    let file = path.display().to_string();
    let unreadable = |what: String| vec![Diagnostic::new(&file, Pos::START, what)];
    let bytes = std::fs::read(path).map_err(|error| unreadable(format!("cannot read: {error}")))?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(&file, &text),
        Err(error) => Err(not_utf8(&file, error)),
    }
}

/// Reads and checks a configuration; `file_name` is the name that diagnostics give it.
///
/// # Errors
/// Every mistake, in the order of the file. A file that is no TOML has only its syntax errors reported, because
/// what it means is not known.
pub fn parse(file_name: &str, text: &str) -> Result<Config, Vec<Diagnostic>> {
    let source = Source::new(file_name, text);
    let (root, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        syntax.iter().for_each(|error| report_syntax(&source, error));
        return Err(source.into_diagnostics());
    }
    let config = read(&source, file_name, root.get_ref());
    if source.is_clean() { Ok(config) } else { Err(source.into_diagnostics()) }
}

/// A file that is not text has one mistake: the first byte that is none.
fn not_utf8(file: &str, error: std::string::FromUtf8Error) -> Vec<Diagnostic> {
    let at = error.utf8_error().valid_up_to();
    let bytes = error.into_bytes();
    let valid = String::from_utf8_lossy(&bytes[..at]);
    vec![Diagnostic::new(file, Source::new(file, &valid).pos(at), "not UTF-8 text")]
}

fn report_syntax(source: &Source<'_>, error: &toml::de::Error) {
    let span = error.span().unwrap_or(0..0);
    let message = error.message().replace('\n', " ");
    let fault = match source.slice(span.clone()) {
        Some(key) if message == "duplicate key" && !key.is_empty() => format!("duplicate key {}", quote(key)),
        _ => message,
    };
    source.report(source.pos(span.start), fault);
}

fn read<'t>(source: &'t Source<'t>, file: &str, root: &'t DeTable<'t>) -> Config {
    let top = Section::new(source, root, Pos::START, SECTIONS);
    let interfaces = match top.get("interface") {
        Some(value) => interface::read_all(source, value),
        None => Interfaces { read: Vec::new(), addresses_are_known: true },
    };
    let mut config = Config {
        file: file.to_owned(),
        system: top.get("system").map_or_else(System::default, |value| system::read_system(source, value)),
        api: top.get("api").map_or_else(Api::default, |value| system::read_api(source, value)),
        metrics: top.get("metrics").and_then(|value| system::read_metrics(source, value)),
        interfaces: interfaces.read,
        routes: top.get("route").map_or(Vec::new(), |value| route::read_routes(source, value)),
        neighbours: top.get("neighbour").map_or(Vec::new(), |value| route::read_neighbours(source, value)),
        mroutes: top.get("mroute").map_or(Vec::new(), |value| multicast::read_mroutes(source, value)),
        igmp_proxy: top.get("igmp-proxy").and_then(|value| multicast::read_proxy(source, value)),
        sysctl: top.get("sysctl").map_or(Vec::new(), |value| sysctl::read(source, value)),
        netfilter: top.get("netfilter").and_then(|value| netfilter::read(source, value)),
        traffic_control: None,
    };
    let names: Vec<&str> = match top.get("interface").map(|value| value.get_ref()) {
        Some(DeValue::Table(table)) => table.keys().map(|name| &**name.get_ref()).collect(),
        _ => Vec::new(),
    };
    cross::check(source, &names, interfaces.addresses_are_known, &config);
    config.traffic_control =
        top.get("traffic-control").and_then(|value| traffic_control::read(source, value, &names, &config));
    config
}
