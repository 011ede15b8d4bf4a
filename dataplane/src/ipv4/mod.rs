//! IPv4 from `ip_rcv` to `ip_output`, and ICMP.

pub mod icmp;
pub mod icmp_limit;
pub mod icmp_probe;
pub mod icmp_rcv;
pub mod ip_error;
pub mod ip_forward;
pub mod ip_frag;
pub mod ip_fragment;
pub mod ip_input;
pub mod ip_local_deliver;
pub mod ip_options;
pub mod ip_output;
pub mod ipmr;
pub mod loopback;
pub mod martian;
pub mod multipath_hash;
pub mod options_echo;
pub mod redirect_limit;
pub mod route;
pub mod source;
