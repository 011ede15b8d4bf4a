//! The packet's journey, stage by stage, on poll-mode lcores.
//!
//! The stages bear the kernel's names and keep its order and semantics; not its control flow: a stage takes a list of
//! at most 32 packets, splits it, and hands the parts on, so that table lookups are always made in bulk.
//!
//! ```text
//! poll -> netif_receive_skb_list -> ip_list_rcv -> ip_rcv_finish -+-> ip_forward -> ip_output -> dev_queue_xmit
//!          L2_INPUT      |          PRE_ROUTING                   |    FORWARD     POST_ROUTING    L2_ENQUEUE
//!                        +-> arp_process                          +-> ip_local_deliver -> icmp, udp, tcp, igmp
//!                                                                 |    LOCAL_IN              -> LOCAL_OUT -> ip_output
//!                                                                 +-> ip_mr_input -> ip_output
//!                                                                 +-> ip_error
//! ```
//!
//! In capitals, the [`netfilter`] hooks of the stage above them; L2_DEQUEUE is before the driver.
//!
//! Frames of a bond's member pass `bond_handle_frame`, tagged ones `vlan_do_receive`, before they are the upper device's in
//! `netif_receive_skb_list`; on the way out `dev_queue_xmit` goes through `vlan_dev_hard_start_xmit` and `bond_start_xmit`
//! down to a port.
//!
//! Laws of the hot path: no allocation, lock, system call or panic; lcores read configuration as one immutable
//! [`core::snapshot::Snapshot`] picked up between bursts; every packet is accounted for
//! (`rx + created = tx + dropped + delivered + held`, [`core::counters::Ledger`]); time is an argument.
#![forbid(unsafe_code)]

pub mod core;
pub mod device;
pub mod fib;
pub mod ipv4;
pub mod neigh;
pub mod net;
pub mod netfilter;
pub mod random;
pub mod sched;
pub mod skb;
pub mod time;
