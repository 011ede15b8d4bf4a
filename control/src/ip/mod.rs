//! `skiff ip`: iproute2's language for links, addresses, routes and neighbours.
//!
//! [`parse`] turns the words after `ip` into a [`Request`]; whoever owns the tables carries it out and hands rows
//! back to a printer of [`print`](mod@print), which filters them and writes iproute2's text or JSON forms, byte for
//! byte. What the owner cannot do it says with a [`Refusal`]. Nothing here knows a table, a socket or the data plane.

pub(crate) mod json;
mod linkspec;
mod parse;
mod print;
mod refusal;
mod request;
mod rows;
mod words;

pub use linkspec::{KindSpec, LinkAdd, SlaveSpec, VlanFlags, VlanRow, VlanSpec};
pub use parse::{UsageError, parse};
pub use print::{
    help_text, matching_addrs, matching_neighs, matching_proxies, matching_routes, show_addrs, show_links,
    show_maddrs, show_mroutes, show_neighs, show_proxies, show_route_get, show_routes,
};
pub use refusal::Refusal;
pub use request::{
    AddrFilter, AddrSpec, AddrVerb, Broadcast, Command, Family, LinkFilter, LinkSet, MaddrSpec, Metrics,
    MrouteFilter, MrouteKey, MrouteSpec, NeighFilter, NeighSpec, NeighVerb, NextHopSpec, Options,
    PrefixFilter, ProxySpec, Request, RouteFilter, RouteGet, RouteSpec, RouteVerb, TableFilter, Topic,
};
pub use rows::{
    AddrRow, Gso, LinkAddrs, LinkDetails, LinkFlags, LinkRow, LinkStats, LowerLink, MaddrRow, MrouteRow,
    NeighRow, NeighUse, NextHopRow, OperState, ProxyRow, RouteFlags, RouteGetRow, RouteRow, RxStats, TxStats,
};
pub use words::{NudSet, NudState, Protocol, RouteType, Scope, Table};
