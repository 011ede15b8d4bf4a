//! Which of our addresses speaks: for answers, for entries in options, for errors.

use crate::core::env::Env;
use crate::device::{DeviceKind, NetDevice};
use crate::fib::next_hop::{Kind, NextHop};

/// The address an answer to a packet comes from: the one it was sent to if that is `local` to us alone, else the one
/// that faces its sender (kernel `fib_compute_spec_dst`, RFC 1122 section 3.3.4.2). 0 if we have none.
pub fn fib_compute_spec_dst(env: &Env<'_>, dev: &NetDevice, src: u32, dst: u32, local: bool) -> u32 {
    if local {
        return dst;
    }
    if src != 0
        && let Some(back) = hop_towards(env, src)
        && matches!(back.kind, Kind::Gateway | Kind::Link | Kind::Local | Kind::Broadcast)
    {
        return preferred(env, &back);
    }
    inet_select_addr(env, dev, src)
}

/// The address that stands for us on the way out by `hop` to `next` (kernel `ip_rt_get_source`).
pub fn ip_rt_get_source(env: &Env<'_>, hop: &NextHop, next: u32) -> u32 {
    match hop.prefsrc {
        0 => inet_select_addr(env, env.snap.device(hop.oif), next),
        prefsrc => prefsrc,
    }
}

/// The source a route prefers, or that its device has for the gateway (kernel `fib_result_prefsrc`).
pub fn preferred(env: &Env<'_>, hop: &NextHop) -> u32 {
    ip_rt_get_source(env, hop, hop.gateway)
}

/// The way to an address; of several the first.
pub fn hop_towards(env: &Env<'_>, addr: u32) -> Option<NextHop> {
    let id = env.shared.fib.lookup(addr);
    let hop = env.shared.next_hops.get(id);
    if hop.kind == Kind::Multipath { env.shared.next_hops.members(id).next() } else { Some(hop) }
}

/// Whether a packet of our own finds a way to an address.
pub fn has_way(env: &Env<'_>, addr: u32) -> bool {
    hop_towards(env, addr).is_some_and(|hop| is_way(hop.kind))
}

/// Whether packets of our own go where routes of this kind lead.
pub fn is_way(kind: Kind) -> bool {
    matches!(kind, Kind::Gateway | Kind::Link | Kind::Broadcast | Kind::Local)
}

/// A primary address of `dev`, of the subnet of `dst` if it has one there; of another device if it has none at all; 0
/// if no device has.
pub fn inet_select_addr(env: &Env<'_>, dev: &NetDevice, dst: u32) -> u32 {
    let others = env.snap.devices().filter(|other| other.kind != DeviceKind::Loopback);
    dev.select_addr(dst).or_else(|| others.filter_map(|other| other.select_addr(dst)).next()).unwrap_or(0)
}
