//! Extended echo requests (RFC 8335): what state an interface of this router is in, by its name, number or address.
//! Answered only with `icmp_echo_enable_probe`.

use std::net::Ipv4Addr;

use crate::core::env::Env;
use crate::device::NetDevice;
use crate::net::IfIndex;
use crate::skb::icmp::{HEADER_LEN, ICMP_EXT_ECHOREPLY};
use crate::skb::{Skb, SkbExt};

/// The request could not be understood.
const CODE_MAL_QUERY: u8 = 1;
/// No such interface.
const CODE_NO_IF: u8 = 2;

const CTYPE_NAME: u8 = 1;
const CTYPE_INDEX: u8 = 2;
const CTYPE_ADDR: u8 = 3;
const AFI_IP: u16 = 1;

/// The interface is up.
const ACTIVE: u8 = 1 << 2;
/// It has an IPv4 address.
const IPV4: u8 = 1 << 1;

/// Extension header, and the header of the object that identifies the interface.
const OBJECT_AT: usize = 4;
const OBJECT_HEADER_LEN: usize = 4;
/// The largest object the kernel reads: an IPv6 address.
const OBJECT_MAX: usize = OBJECT_HEADER_LEN + 4 + 16;
/// Longest name of an interface and its end.
const IFNAMSIZ: usize = 16;

/// Type, code, identifier and sequence number of the answer. `None` if there is none: probes are off, or the interface is
/// not one of this router (the L bit is clear).
pub fn icmp_build_probe(env: &Env<'_>, skb: &Skb) -> Option<[u8; 6]> {
    let at = usize::from(skb.fields().network_offset) + usize::from(skb.fields().ip_hdr_len);
    let mut head = [0u8; HEADER_LEN];
    if !env.snap.sysctl.icmp_echo_enable_probe || !skb.copy_out(at, &mut head) || head[7] & 1 == 0 {
        return None;
    }
    let mut object = [0u8; OBJECT_AT + OBJECT_MAX];
    let len = skb.len().saturating_sub(at + HEADER_LEN).min(object.len());
    let object = if skb.copy_out(at + HEADER_LEN, &mut object[..len]) { &object[..len] } else { &[] };
    let (code, status) = match interface(env, object) {
        None => (CODE_MAL_QUERY, 0),
        Some(None) => (CODE_NO_IF, 0),
        Some(Some(dev)) => (head[1], status(dev)),
    };
    Some([ICMP_EXT_ECHOREPLY, code, head[4], head[5], head[6], status])
}

fn status(dev: &NetDevice) -> u8 {
    let bit = |on, bit| if on { bit } else { 0 };
    bit(dev.up, ACTIVE) | bit(!dev.addresses.is_empty(), IPV4)
}

/// The interface an object identifies, if there is one; `None` if the object is malformed.
fn interface<'a>(env: &Env<'a>, extension: &[u8]) -> Option<Option<&'a NetDevice>> {
    let object = extension.get(OBJECT_AT..)?;
    let header = object.first_chunk::<OBJECT_HEADER_LEN>()?;
    let len = usize::from(u16::from_be_bytes([header[0], header[1]]));
    if !(OBJECT_HEADER_LEN + 1..=OBJECT_MAX).contains(&len) {
        return None;
    }
    let ident = object.get(OBJECT_HEADER_LEN..len)?;
    let mut devices = env.snap.devices();
    // As the kernel does, without a look at the class, which is 3 for interface identification.
    match header[3] {
        CTYPE_NAME if ident.len() < IFNAMSIZ => {
            let name = ident.split(|&b| b == 0).next()?;
            Some(devices.find(|dev| dev.name.as_bytes() == name))
        }
        CTYPE_INDEX => {
            let index = u32::from_be_bytes(*ident.first_chunk().filter(|_| ident.len() == 4)?);
            Some(devices.find(|dev| u32::from(dev.ifindex.0) == index && dev.ifindex != IfIndex::NONE))
        }
        CTYPE_ADDR => {
            let (head, addr) = ident.split_first_chunk::<4>()?;
            let addr: [u8; 4] = *addr.first_chunk().filter(|_| addr.len() == 4 && head[2] == 4)?;
            if u16::from_be_bytes([head[0], head[1]]) != AFI_IP {
                return None;
            }
            let addr = Ipv4Addr::from(addr);
            Some(devices.find(|dev| dev.addresses.iter().any(|a| a.net.addr() == addr)))
        }
        _ => None,
    }
}
