//! Printers: rows in, iproute2's text or JSON out.
//!
//! A filter decides both which rows appear and which columns do: what the user selected by (`dev`, `table`, `via`,
//! `proto`, `scope`, `src`) is not repeated. One deliberate difference: where iproute2 leaves an empty `{}` in the
//! JSON array for a row it filtered out, nothing is printed.

mod addr;
mod help;
mod link;
mod linkinfo;
mod maddr;
mod mroute;
mod neigh;
mod route;

pub use addr::{matching_addrs, show_addrs};
pub use help::help_text;
pub use link::show_links;
pub use maddr::show_maddrs;
pub use mroute::show_mroutes;
pub use neigh::{matching_neighs, matching_proxies, show_neighs, show_proxies};
pub use route::{matching_routes, show_route_get, show_routes};

use super::json::Json;
use super::request::Options;

/// Where a row's line ends inside the row: a new line, or `\` in the one-line form.
fn line_break(options: &Options) -> char {
    if options.oneline { '\\' } else { '\n' }
}

/// The rows as one JSON document.
fn document(rows: Vec<Json>, options: &Options) -> String {
    Json::Arr(rows).document(options.pretty)
}
