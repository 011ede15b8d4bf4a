//! The probes, a family a file: tables of variants, so that what is not covered can be seen.

mod addresses;
mod arp;
mod ethernet;
mod fragments;
mod headers;
mod icmp;
mod limits;
mod local;
mod mtu;
mod multicast;
mod neighbours;
mod options;
mod routes;

use super::probe::Scene;

/// Every scene with its probes.
pub fn all() -> Vec<Scene> {
    [
        headers::scenes(),
        ethernet::scenes(),
        options::scenes(),
        fragments::scenes(),
        mtu::scenes(),
        icmp::scenes(),
        local::scenes(),
        addresses::scenes(),
        routes::scenes(),
        limits::scenes(),
        arp::scenes(),
        neighbours::scenes(),
        // The last, because what it joins takes seconds to be reported and to be taken back.
        multicast::scenes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
