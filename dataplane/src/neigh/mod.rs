//! Neighbours: who answers for an IPv4 address on a link, and how we keep knowing it.
//!
//! Three layers, each tested without the next:
//! [`machine`] is the kernel's NUD state machine for one neighbour, pure and under a virtual clock;
//! [`cache`] owns every machine, its timers and the packets that wait, and belongs to one control thread;
//! [`table`] is what worker lcores read while the cache writes it in place.
//! [`arp`] is the wire format, [`arp_rcv`] decides what a received ARP packet means.

pub mod arp;
pub mod arp_process;
pub mod arp_rcv;
pub mod cache;
pub mod machine;
pub mod nud;
pub mod proxies;
pub mod table;
